"""`view`: the tree of system files holds what anybody may read, nothing else, and is renewed when that changes."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import time
from pathlib import Path

import pytest

from support.layer import Layer
from support.patience import eventually

pytestmark = pytest.mark.root


@pytest.fixture
def host(room: Path) -> Path:
    """The system files of a small host."""
    top = room / "host"
    for directory in (
        "etc/ssl/private",
        "etc/init",
        "usr/bin",
        "usr/share/doc/x/y/z",
        "usr/closed/inner",
        "opt/tool",
        "lib",
        "var/lib/dpkg",
        "home/a",
    ):
        (top / directory).mkdir(parents=True)
    for file, mode in (
        ("etc/passwd", 0o644),
        ("etc/shadow", 0o640),
        ("etc/suid", 0o4755),
        ("etc/ssl/private/key", 0o644),
        ("etc/hostname", 0o644),
    ):
        (top / file).write_text(file)
        (top / file).chmod(mode)
    (top / "etc/ssl/private").chmod(0o710)
    (top / "usr/closed").chmod(0o750)
    (top / "usr/share/doc").chmod(0o2775)
    (top / "etc/mtab").symlink_to("../proc/self/mounts")
    (top / "etc/secret-link").symlink_to("shadow")
    os.mkfifo(top / "etc/init/pipe", 0o666)
    os.mknod(top / "etc/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (top / "bin").symlink_to("usr/bin")
    (top / "usr/bin/true").write_text("")
    (top / "home/a/private").write_text("")
    (top / "var/lib/dpkg/status").write_text("1")
    return top


def names(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*")}


def view(layer: Layer, host: Path, *more: str) -> dict[str, object]:
    return layer.answer("view", "--source-root", host, "--dest", host.parent / "v", *more)


def test_only_what_anybody_may_read(layer: Layer, host: Path) -> None:
    answer = view(layer, host)
    assert (answer["stale"], answer["built"]) == (True, True)
    tree = Path(str(answer["path"]))
    assert (host.parent / "v/current").resolve() == tree
    found = names(tree)
    assert {name for name in found if name.startswith("etc")} == {
        "etc", "etc/passwd", "etc/suid", "etc/hostname", "etc/ssl", "etc/init", "etc/mtab", "etc/secret-link",
    }  # fmt: skip
    assert {name for name in found if name.startswith(("usr", "opt", "lib", "bin", "home"))} == {
        "usr", "usr/bin", "usr/share", "usr/share/doc", "usr/share/doc/x", "usr/share/doc/x/y", "usr/share/doc/x/y/z",
        "opt", "opt/tool", "lib", "bin", "home",
    }  # fmt: skip
    assert os.readlink(tree / "bin") == "usr/bin"
    assert os.readlink(tree / "etc/secret-link") == "shadow"
    assert stat.S_IMODE((tree / "etc/suid").stat().st_mode) == 0o755
    # On a directory it grants nothing; files made there keep the group, as on the host.
    assert stat.S_IMODE((tree / "usr/share/doc").stat().st_mode) == 0o2775
    assert stat.S_IMODE((tree / "tmp").stat().st_mode) == 0o1777
    assert (tree / "usr/share/doc").stat().st_mtime_ns == (host / "usr/share/doc").stat().st_mtime_ns
    assert (tree / "etc/passwd").read_text() == "etc/passwd"


@pytest.mark.parametrize(
    "change",
    [
        "echo changed > etc/passwd",
        "chmod 600 etc/passwd",
        "touch etc/new",
        "rm etc/hostname",
        "touch etc/init/deep",
        "chmod o+rx etc/ssl/private",
        "ln -sfn other etc/mtab",
        "echo 2 > var/lib/dpkg/status",
        "mkdir usr/new",
        "chmod 700 usr/share",
        "mkdir opt/tool/new",
        "rm bin && mkdir bin",
    ],
)
def test_a_change_is_noticed(layer: Layer, host: Path, change: str) -> None:
    first = view(layer, host)
    assert view(layer, host, "--check")["stale"] is False
    assert view(layer, host, "--only-if-stale")["stamp"] == first["stamp"]
    time.sleep(0.012)
    subprocess.run(change, shell=True, check=True, cwd=host)
    assert view(layer, host, "--check") | {"now": ""} == {
        "stale": True,
        "built": False,
        "stamp": None,
        "path": None,
        "now": "",
    }
    second = view(layer, host, "--only-if-stale")
    assert second["built"] is True
    assert second["stamp"] != first["stamp"]
    # A reader of the old tree is not disturbed until the caller says so.
    assert Path(str(first["path"])).is_dir()
    kept = layer.answer("view", "--dest", host.parent / "v", "--prune", "--keep", str(first["stamp"]))
    assert kept == {"removed": []}
    assert layer.answer("view", "--dest", host.parent / "v", "--prune") == {"removed": [first["stamp"]]}
    assert {path.name for path in (host.parent / "v").iterdir()} == {
        "current",
        "lock",
        second["stamp"],
        f"{second['stamp']}.seen",
    }


def test_pruning_beside_answers_first(layer: Layer, host: Path) -> None:
    """What nobody stands on is out of sight at once; the bytes go later, whoever else prunes or was killed over it."""
    first = view(layer, host)
    second = view(layer, host)
    (host.parent / "v/.old-left-by-a-killed-one").mkdir()
    answer = layer.answer("view", "--dest", host.parent / "v", "--prune", "--beside")
    assert answer == {"removed": [first["stamp"]]}
    assert not Path(str(first["path"])).exists()
    eventually(lambda: not list((host.parent / "v").glob(".old-*")), "old trees are gone")
    assert Path(str(second["path"])).is_dir()


def test_nothing_is_pruned_while_somebody_builds(layer: Layer, host: Path) -> None:
    first = view(layer, host)
    view(layer, host)
    with (host.parent / "v/lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert layer.answer("view", "--dest", host.parent / "v", "--prune") == {"removed": []}
    assert Path(str(first["path"])).is_dir()


def test_many_at_once_build_once(layer: Layer, host: Path) -> None:
    command: list[str | Path] = [
        layer.program,
        "view",
        "--source-root",
        host,
        "--dest",
        host.parent / "v",
        "--only-if-stale",
    ]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(8)]
    answers = [process.communicate()[0] for process in running]
    assert all(process.returncode == 0 for process in running)
    assert sum(b'"built":true' in answer for answer in answers) == 1


def test_a_killed_builder_leaves_nothing(layer: Layer, room: Path) -> None:
    for pause in (0.001, 0.01, 0.03):
        running = subprocess.Popen([layer.program, "view", "--dest", room / "v"], stdout=subprocess.DEVNULL)
        time.sleep(pause)
        running.kill()
        running.wait()
    answer = layer.answer("view", "--dest", room / "v")
    layer.answer("view", "--dest", room / "v", "--prune")
    assert {path.name for path in (room / "v").iterdir()} == {
        "current",
        "lock",
        answer["stamp"],
        f"{answer['stamp']}.seen",
    }


def test_the_real_host_as_nobody_sees_it(layer: Layer, room: Path) -> None:
    """Every file of the view is one that `nobody` reads on the host, with the same bytes."""
    tree = Path(str(layer.answer("view", "--dest", room / "v")["path"]))
    files = [path.relative_to(tree) for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
    assert Path("etc/passwd") in files
    assert not {"etc/shadow", "etc/gshadow"} & {str(path) for path in files}
    listing = "\0".join(f"/{path}" for path in files).encode()
    as_nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    read = subprocess.run([*as_nobody, "xargs", "-0", "cat"], input=listing, capture_output=True)
    assert read.returncode == 0, read.stderr
    assert read.stdout == b"".join((tree / path).read_bytes() for path in files)


def test_an_ordinary_user_has_a_view_of_its_own(layer: Layer, room: Path) -> None:
    home = room / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    room.chmod(0o755)
    with layer.program.open("rb") as file:
        command = [
            "setpriv",
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            f"/proc/self/fd/{file.fileno()}",
        ]
        subprocess.run(
            [*command, "view", "--dest", home / "a/v"], check=True, pass_fds=[file.fileno()], stdout=subprocess.DEVNULL
        )
        own = names((home / "a/v/current").resolve())
        assert own == names(Path(str(layer.answer("view", "--dest", room / "root")["path"])))
        subprocess.run([*command, "remove", home / "a"], check=True, pass_fds=[file.fileno()])
    assert not (home / "a").exists()
