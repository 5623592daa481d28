"""The view of `stockade do`: its root reads what `nobody` reads on the host, changes all it sees, and the host
nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import fixtures
from support.command import stockade
from support.place import Place

pytestmark = pytest.mark.root

NOBODY = 65534
# Prints every file and directory that it can read, NUL-separated, crossing no mount of the kernel's own.
WALK = """
import os, sys
seen = []
def walk(top):
    try:
        entries = list(os.scandir(top))
    except OSError:
        return
    seen.append('d' + top)
    for entry in entries:
        path = entry.path
        if entry.is_dir(follow_symlinks=False):
            if path not in ('/proc', '/sys', '/dev'):
                walk(path)
        elif entry.is_file(follow_symlinks=False):
            try:
                os.close(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK))
                seen.append('f' + path)
            except OSError:
                pass
walk('/')
sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, seen)))
"""

_place, _project = fixtures.place, fixtures.project


@contextlib.contextmanager
def planted(*folders: str) -> Iterator[dict[str, Path]]:
    """Files and directories in the host's system directories that only root, or only a group, may read."""
    tag = f"stockade-test-{secrets.token_hex(4)}"
    made: dict[str, Path] = {}
    try:
        for folder in folders:
            top = Path(folder, tag)
            top.mkdir()
            made[folder] = top
            for name, mode in (
                ("private", 0o600),
                ("group", 0o640),
                ("write-only", 0o602),
                ("open", 0o644),
                ("suid", 0o4755),
            ):
                (top / name).write_text(f"{name} {tag}\n")
                (top / name).chmod(mode)
            for name, mode in (("closed", 0o700), ("listed", 0o744), ("passed", 0o711)):
                (top / name).mkdir()
                (top / name / "inside").write_text("inside\n")
                (top / name).chmod(mode)
            shutil.copy("/usr/bin/id", top / "suid")
            (top / "suid").chmod(0o4755)
        yield made
    finally:
        for top in made.values():
            shutil.rmtree(top)


def walk_as_nobody() -> set[str]:
    """What nobody reads on the host."""
    walked = subprocess.run(
        ["/usr/bin/python3", "-c", WALK],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        check=True,
        timeout=90,
    )
    return {os.fsdecode(path) for path in walked.stdout.split(b"\0")}


def test_its_root_reads_what_nobody_reads(place: Place, project: Path) -> None:
    with planted("/opt", "/usr/local", "/usr/lib"):
        seen = stockade(place, "do", "-q", "--no-cwd", "/usr/bin/python3", "-c", WALK)
        assert seen.returncode == 0, seen.stderr
        inside = {os.fsdecode(path) for path in seen.stdout.split(b"\0")}
        outside = walk_as_nobody()
    own = {"d/root", "d/run", "d/run/lock", "d/var", "d/home", "d/mnt", "d/srv", "d/tmp", "d/media", "d/boot"}
    more = {path for path in inside - outside - own if not path.startswith(("d/var/", "d/run/"))}
    assert not more, f"{len(more)} more than nobody reads: {sorted(more)[:10]}"
    assert len(inside) > 1000, "the walk saw next to nothing"
    assert {path for path in inside if path.startswith("f")} <= outside
    system = {path for path in outside if path[1:].startswith(("/usr/", "/opt/"))}
    assert not system - inside, f"the view lacks {sorted(system - inside)[:10]}"


def test_planted_secrets(place: Place, project: Path) -> None:
    with planted("/opt", "/usr/local") as made:
        for top in made.values():
            hidden = "private group write-only closed/inside listed/inside"
            script = f"cd {top}; cat open; cat {hidden}; cat passed/inside; ls closed passed"
            done = stockade(place, "do", "-q", "sh", "-c", script, cwd=project)
            assert done.stdout.startswith(b"open stockade-test-")
            assert done.stdout.count(b"inside") == 1, "only what lies in a directory that others may pass"
            assert done.stdout.count(b"stockade-test-") == 1
            tricks = "chmod 777 private; chown 0 private; cp private x; ln private y; mv private z && cat z"
            tricks += "; mv closed c; cat c/inside"
            done = stockade(place, "do", "-q", "sh", "-c", f"cd {top}; {tricks}", cwd=project)
            assert b"private stockade" not in done.stdout
            assert b"inside" not in done.stdout
            assert (top / "private").stat().st_mode == stat.S_IFREG | 0o600


def test_a_copied_up_file_of_the_hosts_root_stays_unreadable(place: Place, project: Path) -> None:
    """`ln` and `mv` make overlay copy a file up, as its mounter; owner and mode must come along."""
    with planted("/usr/local") as made:
        top = made["/usr/local"]
        script = (
            f"cd {top}; ln private /usr/local/here; mv private moved; setfacl -m o:r moved; cat moved /usr/local/here"
        )
        done = stockade(place, "do", "-q", "sh", "-c", script, cwd=project)
        assert b"private stockade" not in done.stdout


def test_software_can_be_installed_and_the_host_has_none_of_it(place: Place, project: Path) -> None:
    before = system_digest()
    script = """
set -e
echo 'int main(void){return 42;}' > /tmp/x.c
install -d /usr/local/share/thing /usr/share/thing /opt/thing
install -m 755 /bin/true /usr/bin/thing
install -m 644 /etc/passwd /usr/lib/thing.so
cp --remove-destination /bin/false /usr/bin/true; ! /usr/bin/true
rm /usr/bin/id; ! test -e /usr/bin/id
mv /usr/bin/env /usr/bin/env2 || true
ln -sf thing /usr/bin/thing2; /usr/bin/thing2
rm -rf /usr/share/base-files; mkdir /usr/share/base-files
echo new > /etc/new; echo more >> /etc/passwd; rm /etc/hosts
chmod 700 /usr/local/share/thing; chown 5:5 /usr/bin/thing
touch /root/x /home/x /var/x /tmp/x /srv/x
mkdir /toplevel
echo done
"""
    done = stockade(place, "do", "-q", "sh", "-c", script, cwd=project)
    assert done.stdout.endswith(b"done\n"), done.stderr
    assert system_digest() == before


def system_digest() -> str:
    """What the test above could have changed."""
    names = [
        "/usr/bin/thing",
        "/usr/lib/thing.so",
        "/etc/new",
        "/usr/share/thing",
        "/opt/thing",
        "/toplevel",
        "/root/x",
        "/srv/x",
    ]
    state = [os.path.lexists(name) for name in names]
    known = [Path(name).read_bytes() for name in ("/usr/bin/true", "/usr/bin/id", "/etc/passwd", "/etc/hosts")]
    return hashlib.sha256(repr((state, sorted(os.listdir("/usr/share/base-files")), *known)).encode()).hexdigest()


def test_setuid_programs_are_inert(place: Place, project: Path) -> None:
    with planted("/usr/local") as made:
        program = made["/usr/local"] / "suid"
        done = stockade(place, "do", "-q", "--user", "1000", str(program), "-u", cwd=project)
        assert done.stdout == b"1000\n", done.stderr
        done = stockade(place, "do", "-q", "grep", "NoNewPrivs", "/proc/self/status", cwd=project)
        assert done.stdout.split() == [b"NoNewPrivs:", b"1"]


def test_only_three_descriptors_arrive(place: Place, project: Path) -> None:
    script = "import os\nprint(sorted(int(n) for n in os.listdir('/proc/self/fd')))\n"
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        done = stockade(place, "do", "-q", "/usr/bin/python3", "-c", script, cwd=project)
    finally:
        os.close(read)
        os.close(write)
    assert done.stdout == b"[0, 1, 2, 3]\n", "3 is the listing itself"


def test_there_is_no_network(place: Place, project: Path) -> None:
    script = """
import errno, socket
print([name for _, name in socket.if_nameindex()])
for address in ('1.1.1.1', '127.0.0.1'):
    with socket.socket() as one:
        one.settimeout(2)
        print(errno.errorcode[one.connect_ex((address, 9))])
"""
    done = stockade(place, "do", "-q", "/usr/bin/python3", "-c", script, cwd=project)
    assert done.stdout.decode().splitlines() == ["['lo']", "ENETUNREACH", "ECONNREFUSED"]


def test_capabilities_are_short_and_its_own(place: Place, project: Path) -> None:
    done = stockade(place, "do", "-q", "cat", "/proc/self/status", "/proc/self/uid_map", cwd=project)
    text = done.stdout.decode()
    held = int(next(line for line in text.splitlines() if line.startswith("CapEff")).split()[1], 16)
    bounding = int(next(line for line in text.splitlines() if line.startswith("CapBnd")).split()[1], 16)
    sys_admin, net_raw, mknod, setfcap = 1 << 21, 1 << 13, 1 << 27, 1 << 31
    assert held == bounding
    assert not bounding & (sys_admin | net_raw | mknod | setfcap)
    inside, outside, size = text.splitlines()[-1].split()
    assert (inside, size) == ("0", "65536")
    assert int(outside) >= 1 << 19


def test_the_given_directory_is_untouched_without_apply(place: Place, project: Path) -> None:
    (project / "file").write_text("mine")
    (project / "folder").mkdir()
    before = [(path, path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in sorted(project.rglob("*"))]
    script = "chmod 777 file; echo x > file; touch -d 2001-01-01 file; rm -r folder; mkdir a b; ln file a/link"
    script += "; chown 9 a; truncate -s 1G big"
    done = stockade(place, "do", "-q", "sh", "-c", script, cwd=project)
    assert done.returncode == 0, done.stderr
    assert [(path, path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in sorted(project.rglob("*"))] == before


HOSTILE = {
    "set-user-id": "cp /bin/true program; chmod 4755 program",
    "set-group-id": "cp /bin/true program; chmod 2755 program",
    "a fifo": "mkfifo pipe",
    "a link out": "ln -s /etc/passwd link",
    "a link up": "ln -s ../../../etc link",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_apply_refuses(place: Place, project: Path, name: str) -> None:
    done = stockade(place, "do", "--apply", "--yes", "sh", "-c", f"echo x > good; {HOSTILE[name]}", cwd=project)
    assert done.returncode == 125, done.stderr
    assert b"refused" in done.stderr
    assert os.listdir(project) == []
    assert os.listdir(place.data / "containers") == []
    done = stockade(
        place, "do", "--apply", "--yes", "--skip-refused", "sh", "-c", f"echo x > good; {HOSTILE[name]}", cwd=project
    )
    assert done.returncode == 0, done.stderr
    assert os.listdir(project) == ["good"]


def test_apply_refuses_what_the_host_changed_meanwhile(place: Place, project: Path) -> None:
    (project / "file").write_text("old")
    assert (
        stockade(place, "do", "--keep", "k", "sh", "-c", "echo new > file; echo x > other", cwd=project).returncode == 0
    )
    (project / "file").write_text("the host's")
    done = stockade(place, "do", "--continue", "k", "--apply", "--yes")
    assert done.returncode == 125
    assert b"file" in done.stderr
    assert (project / "file").read_text() == "the host's"
    assert not (project / "other").exists()
    assert stockade(place, "do", "--drop", "k").returncode == 0


def test_apply_leaves_out_git_and_startup_files(place: Place, project: Path) -> None:
    (project / ".git/hooks").mkdir(parents=True)
    script = "echo x > good; echo evil > .git/hooks/pre-commit; echo evil > .envrc"
    done = stockade(place, "do", "--apply", "--yes", "sh", "-c", script, cwd=project)
    assert done.returncode == 0, done.stderr
    assert b".git/hooks/pre-commit" in done.stderr
    assert sorted(os.listdir(project)) == [".git", "good"]
    assert os.listdir(project / ".git/hooks") == []


def test_apply_never_leaves_the_directory(place: Place, project: Path) -> None:
    """A directory replaced by a link to another place, and files written 'through' it, stay in the upper layer."""
    victim = place.top / "victim"
    victim.mkdir()
    (project / "folder").mkdir()
    script = f"rm -r folder; mkdir -p {victim}; ln -s {victim} folder; echo evil > folder/file"
    stockade(place, "do", "--apply", "--yes", "--skip-refused", "sh", "-c", script, cwd=project)
    assert os.listdir(victim) == []
