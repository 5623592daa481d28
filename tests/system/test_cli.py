"""The command line with the daemon: exit codes, words, what is shown, and that nothing is left."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import fixtures
from support.command import environment, start, stockade
from support.daemon import IMAGE, Daemon, daemon
from support.patience import eventually
from support.place import Place

pytestmark = pytest.mark.root
Done = subprocess.CompletedProcess[bytes]

_place = fixtures.place


@pytest.fixture(name="engine", scope="module")
def _engine(place: Place) -> Iterator[Daemon]:
    with daemon(place) as made:
        made.load()
        yield made


@pytest.fixture
def cli(engine: Daemon) -> Iterator[Callable[..., Done]]:
    """`stockade` to its end; what it left is removed, and was nothing that is not listed."""

    def call(*words: str, input: bytes = b"", code: int | None = 0) -> Done:
        done = stockade(engine.place, *words, stdin=input)
        assert code is None or done.returncode == code, f"{words}: {done.returncode}\n{done.stderr.decode()}"
        assert b"Traceback" not in done.stderr
        return done

    yield call
    for name in call("ps", "--all", "--quiet").stdout.decode().split():
        call("rm", "--force", name)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "sh -c 'kill -9 $$'; exit $?"), 137),
        (("nonesuch",), 127),
        (("/etc",), 126),
    ],
)
def test_exit_codes(cli: Callable[..., Done], command: tuple[str, ...], code: int) -> None:
    cli("run", "--rm", IMAGE, *command, code=code)
    assert cli("ps", "--all", "--quiet").stdout == b""


@pytest.mark.parametrize(
    "words",
    [
        ("run", "/nonesuch", "true"),
        ("run", "nonesuch:1", "true"),
        ("run", "--rm", "--user", "nobody-here", IMAGE, "true"),
        ("run", "--rm", "--memory", "lots", IMAGE, "true"),
        ("run", "--rm", "--cap-add", "FLY", IMAGE, "true"),
        ("run", "--name", "a/b", IMAGE, "true"),
        ("run", "--rm", "--network", "nonesuch", IMAGE, "true"),
        ("run", "--rm", "--wall", "nonesuch", IMAGE, "true"),
        ("exec", "nobody", "true"),
        ("logs", "nobody"),
        ("kill", "nobody"),
        ("rmi", "nonesuch:1"),
        ("images", "--format", "{{.Nonesuch}}"),
    ],
)
def test_bad_input_is_one_sentence_and_125(cli: Callable[..., Done], words: tuple[str, ...]) -> None:
    done = cli(*words, code=125)
    assert done.stderr.startswith(b"stockade: ")
    assert cli("ps", "--all", "--quiet").stdout == b""


def test_input_and_both_outputs(cli: Callable[..., Done]) -> None:
    done = cli("run", "--rm", "-i", IMAGE, "sh", "-c", "cat; echo two >&2", input=b"one\n")
    assert done.stdout == b"one\n"
    assert done.stderr.endswith(b"two\n")


def test_much_output_arrives_whole(cli: Callable[..., Done]) -> None:
    assert len(cli("run", "--rm", IMAGE, "head", "-c", "3000000", "/dev/zero").stdout) == 3_000_000


def test_a_container_in_the_background(cli: Callable[..., Done]) -> None:
    script = "echo out; echo err >&2; while :; do sleep 0.05; done"
    identity = cli("run", "-d", "--name", "job", IMAGE, "sh", "-c", script).stdout.decode().strip()
    assert b"already in use" in cli("run", "-d", "--name", "job", IMAGE, "true", code=125).stderr
    (one,) = [json.loads(line) for line in cli("ps", "--no-trunc", "--format", "json").stdout.splitlines()]
    assert (one["ID"], one["Names"], one["State"], one["Image"]) == (identity, "job", "running", IMAGE)
    assert cli("inspect", "--format", "{{.State.Status}} {{.Name}}", "job").stdout == b"running /job\n"
    inside = cli("exec", "-i", "job", "sh", "-c", "cat; exit 4", input=b"in", code=4)
    assert inside.stdout == b"in"
    cli("exec", "job", "nonesuch", code=127)
    assert b"--force" in cli("rm", "job", code=125).stderr or b"remove" in cli("rm", "job", code=125).stderr
    cli("kill", "job")
    log = cli("logs", "--follow", "job")
    assert (log.stdout, log.stderr) == (b"out\n", b"err\n")
    assert cli("wait", "job").stdout == b"137\n"
    assert cli("ps", "--quiet").stdout == b""
    cli("start", "job")
    assert cli("stop", "-t", "1", "job").stdout == b"job\n"
    cli("rename", "job", "old")
    cli("rm", "old")


def test_images_come_are_named_and_go(cli: Callable[..., Done], engine: Daemon) -> None:
    tree = engine.place.top / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (tree / "bin/busybox").chmod(0o755)
    (tree / "bin/sh").symlink_to("busybox")
    identity = cli("import", str(tree), "mine:1", "-c", 'CMD ["sh", "-c", "echo mine"]').stdout.decode().strip()
    assert cli("run", "--rm", "mine:1").stdout == b"mine\n"
    cli("tag", "mine:1", "other:2")
    names = cli("images", "--format", "names").stdout.decode().split()
    assert {"mine:1", "other:2"} <= set(names)
    archive = engine.place.top / "mine.tar"
    cli("save", "-o", str(archive), "mine:1")
    cli("rmi", "-f", "mine:1", "other:2")
    assert b"mine:1" in cli("load", "-i", str(archive)).stdout
    assert cli("inspect", "--format", "{{.Id}}", "mine:1").stdout.decode().strip() == identity
    assert b"CREATED BY" in cli("history", "mine:1").stdout
    cli("rmi", "mine:1")
    assert b"Images" in cli("system", "df").stdout


def test_a_directory_and_an_archive_of_this_machine(cli: Callable[..., Done], engine: Daemon) -> None:
    tree = engine.place.top / "root"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (tree / "bin/busybox").chmod(0o755)
    (tree / "bin/sh").symlink_to("busybox")
    assert cli("run", "--rm", str(tree), "sh", "-c", "echo $((6*7)) > /x; busybox cat /x").stdout == b"42\n"
    assert not (tree / "x").exists()
    archive = engine.place.top / "root.tar"
    subprocess.run(["tar", "-C", tree, "-cf", archive, "."], check=True)
    for _ in range(2):
        assert cli("run", "--rm", str(archive), "sh", "-c", "echo 42").stdout == b"42\n"
    found = [one for one in cli("images", "--format", "names").stdout.decode().split() if one.startswith("archive:")]
    assert len(found) == 1
    cli("rmi", found[0])


def test_files_go_in_and_come_out(cli: Callable[..., Done], engine: Daemon) -> None:
    here = engine.place.top / "files"
    (here / "sub").mkdir(parents=True)
    (here / "sub/a").write_text("a")
    cli("create", "--name", "box", IMAGE, "cat", "/tmp/sub/a")
    cli("cp", str(here / "sub"), "box:/tmp")
    cli("cp", "box:/tmp/sub/a", str(here / "b"))
    assert (here / "b").read_text() == "a"
    assert b"A /tmp/sub/a" in cli("diff", "box").stdout
    assert b"no directory" in cli("cp", "box:/nonesuch", str(here / "no/where"), code=125).stderr
    cli("commit", "box", "made:1")
    assert cli("run", "--rm", "made:1").stdout == b"a"
    cli("rm", "box")
    cli("rmi", "made:1")


def test_a_terminal_of_its_own(engine: Daemon, cli: Callable[..., Done]) -> None:
    master, slave = pty.openpty()
    words = ("run", "--rm", "-it", "--name", "term", IMAGE, "sh")
    with start(engine.place, *words, cwd=engine.place.top, stdin=slave, stdout=slave, stderr=slave) as shell:
        os.close(slave)
        os.write(master, b"tty; echo $((40+2)); exit 3\n")
        said = b""
        deadline = time.monotonic() + 30
        while shell.poll() is None and time.monotonic() < deadline:
            try:
                said += os.read(master, 4096)
            except OSError:
                break
        assert shell.wait(20) == 3, said
    os.close(master)
    assert b"/dev/pts" in said or b"/dev/console" in said
    assert b"42" in said
    assert cli("ps", "-aq").stdout == b""


def test_ctrl_c_ends_what_ignores_it_and_leaves_nothing(engine: Daemon, cli: Callable[..., Done]) -> None:
    with start(
        engine.place, "run", "--rm", IMAGE, "sh", "-c", "echo up; sleep 1000", cwd=engine.place.top,
        stdin=-3, stdout=-1, stderr=-3,
    ) as command:  # fmt: skip
        assert command.stdout is not None
        assert command.stdout.readline() == b"up\n"
        command.send_signal(signal.SIGINT)
        assert command.wait(20) == 130
    deadline = time.monotonic() + 10
    while cli("ps", "-aq").stdout:
        assert time.monotonic() < deadline


def test_a_container_whose_shim_was_killed_says_so(cli: Callable[..., Done], engine: Daemon) -> None:
    identity = cli("run", "-d", "--name", "orphan", IMAGE, "sleep", "1000").stdout.decode().strip()
    os.kill(int((engine.place.data / "engine" / identity / "shim.pid").read_text()), signal.SIGKILL)
    look = ("inspect", "--format", "{{.State.Status}}", "orphan")
    eventually(lambda: cli(*look).stdout != b"running\n", "it has ended", patience=5)
    assert cli("inspect", "--format", "{{.State.ExitCode}}", "orphan").stdout == b"137\n"
    cli("rm", "orphan")


def test_what_happens_is_told(cli: Callable[..., Done]) -> None:
    began = str(int(time.time()))
    cli("run", "--rm", "--name", "told", IMAGE, "true")
    said = cli("events", "--since", began, "--until", str(int(time.time()) + 1), "--format", "json").stdout
    actions = [json.loads(line)["Action"] for line in said.splitlines() if b'"told"' in line]
    assert [one for one in actions if one in ("create", "start", "die", "destroy")] == [
        "create", "start", "die", "destroy",
    ]  # fmt: skip


def test_what_this_machine_offers(cli: Callable[..., Done]) -> None:
    done = cli("system", "check", "--format", "json", code=None)
    found = json.loads(done.stdout)
    assert done.returncode == int(any(one["needed"] and not one["ok"] for one in found))
    assert {one["topic"] for one in found} >= {"stockade", "native wall: namespaces", "native wall: limits"}
    assert b"native" in cli("system", "walls").stdout


def test_a_sandbox_stands_on_an_image(engine: Daemon, cli: Callable[..., Done]) -> None:
    script = (
        "import stockade\n"
        f"with stockade.Sandbox(stockade.OfImage({IMAGE!r})) as box:\n"
        "    print(box.run(['sh', '-c', 'echo $PATH; id -u; echo x > /new; ls /'], check=True).stdout.decode())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(engine.place), capture_output=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.split()[:2] == [b"/bin", b"0"]
    assert b"new" in done.stdout.split()
    assert b"new" not in cli("run", "--rm", IMAGE, "ls", "/").stdout.split()
