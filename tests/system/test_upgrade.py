"""One release in place of another while containers run: pip replaces the files, the next daemon takes everything up."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import releases
from support.daemon import IMAGE, Daemon
from support.netns import netns
from support.patience import eventually
from support.place import Place
from support.releases import NUMBER, Installation

pytestmark = [pytest.mark.root, pytest.mark.timeout(400)]

OLDER, NEWER = "0.0.9", "0.2.0"
COUNTS = "n=0; while :; do echo line $n; n=$((n+1)); sleep 0.05; done"
WAITS = "until [ -e /tmp/go ]; do sleep 0.05; done; echo said; exit 7"
STOPS = "trap 'exit 3' TERM; while :; do sleep 0.05; done"
SCHEMA = """
VERSION = 2
_MIGRATIONS[2] = ("CREATE TABLE later (what TEXT)",)
"""


@pytest.fixture
def installed(place: Place) -> Installation:
    return releases.environment(place.top / "venv")


@pytest.fixture
def box(place: Place, installed: Installation, tmp_path: Path) -> Iterator[Daemon]:
    with netns() as ns:
        made = Daemon(place, ns, python=str(installed.python))
        yield made
        installed.install(releases.wheel(tmp_path))
        made.clear()
        made.stop()


def release(box: Daemon) -> str:
    """The daemon's own word."""
    return box.said("version", "--format", "{{.Server.Version}}")


def directory(box: Daemon, name: str) -> Path:
    return box.place.data / "engine" / str(box.inspect(name, "{{json .Id}}"))


def driven_by(box: Daemon, name: str) -> int:
    """The program of the shim that drives a container: the number of its file, which may have been replaced since."""
    pid = int((directory(box, name) / "shim.pid").read_text())
    return os.stat(f"/proc/{pid}/exe").st_ino


def code(box: Daemon, name: str) -> int:
    return int(str(box.inspect(name, "{{json .State.ExitCode}}")))


def status(box: Daemon, name: str) -> str:
    return str(box.inspect(name, "{{json .State.Status}}"))


def hear(process: subprocess.Popen[bytes], words: bytes) -> bytes:
    """What comes out of a client until it has said that."""
    assert process.stdout is not None
    said = b""
    while words not in said:
        piece = os.read(process.stdout.fileno(), 4096)
        assert piece, said
        said += piece
    return said


def finish(*clients: subprocess.Popen[bytes]) -> None:
    for client in clients:
        client.kill()
        client.communicate()


def test_shims_of_the_older_release_are_driven_by_the_newer(
    box: Daemon, installed: Installation, tmp_path: Path
) -> None:  # fmt: skip
    installed.install(releases.wheel(tmp_path, OLDER))
    older = os.stat(installed.shim).st_ino
    box.start()
    assert release(box) == OLDER
    box.load()
    for name, script in (("counts", COUNTS), ("waits", WAITS), ("stops", STOPS), ("dies", COUNTS)):
        box.run("--name", name, IMAGE, "sh", "-c", script)
    box.run("--name", "echoes", "-i", IMAGE, "cat")
    pids = {name: box.inspect(name, "{{json .State.Pid}}") for name in ("counts", "waits", "stops", "echoes")}
    followed, attached = box.begin("logs", "-f", "counts"), box.begin("attach", "--sig-proxy=false", "echoes")
    try:
        assert attached.stdin is not None
        attached.stdin.write(b"before\n")
        hear(attached, b"before\n")

        installed.install(releases.wheel(tmp_path))
        # The older daemon goes on, with the newer programs.
        assert box.said("run", "--rm", IMAGE, "echo", "mixed") == "mixed"
        assert box.said("exec", "counts", "echo", "added") == "added"

        box.restart(signal.SIGTERM)
        assert release(box) == NUMBER
        assert {name: box.inspect(name, "{{json .State.Pid}}") for name in pids} == pids
        assert {driven_by(box, name) for name in pids} == {older}
        attached.stdin.write(b"after\n")
        hear(attached, b"after\n")
        hear(followed, box.said("logs", "--tail", "1", "counts").encode())
    finally:
        finish(followed, attached)
    _driven(box)
    assert status(box, "counts") == "running"
    box.docker("restart", "-t", "0", "counts")
    assert driven_by(box, "counts") == os.stat(installed.shim).st_ino != older


def _driven(box: Daemon) -> None:
    """Every verb that a shim has a part in."""
    lines = box.said("logs", "counts").splitlines()
    assert lines == [f"line {number}" for number in range(len(lines))]
    assert box.docker("exec", "-i", "echoes", "sh", "-c", "cat; exit 5", input=b"in", check=False).returncode == 5
    again = box.begin("attach", "--sig-proxy=false", "echoes")
    try:
        assert again.stdin is not None
        again.stdin.write(b"again\n")
        hear(again, b"again\n")
    finally:
        finish(again)
    box.docker("pause", "counts")
    assert status(box, "counts") == "paused"
    box.docker("unpause", "counts")
    box.docker("update", "--pids-limit", "55", "counts")
    assert box.said("stats", "--no-stream", "--format", "{{.PIDs}}", "counts").isdecimal()
    assert "sleep" in box.said("top", "counts")
    box.docker("exec", "waits", "touch", "/tmp/go")
    assert box.said("wait", "waits") == "7"
    assert box.said("logs", "waits") == "said"
    box.docker("stop", "stops")
    assert code(box, "stops") == 3
    # Its remains are taken away by a program of another release than wrote shim.json.
    os.kill(int((directory(box, "dies") / "shim.pid").read_text()), signal.SIGKILL)
    eventually(lambda: status(box, "dies") == "exited")
    assert code(box, "dies") == 137


def test_a_store_is_migrated_with_a_copy_kept_and_a_newer_one_refused(
    box: Daemon, installed: Installation, tmp_path: Path
) -> None:  # fmt: skip
    store = box.place.data / "store.db"
    installed.install(releases.wheel(tmp_path))
    box.start()
    box.load()
    box.run("--name", "counts", IMAGE, "sh", "-c", COUNTS)
    pid = box.inspect("counts", "{{json .State.Pid}}")

    installed.install(releases.wheel(tmp_path, NEWER, {"stockade/store/database.py": SCHEMA}))
    box.restart(signal.SIGKILL)
    assert release(box) == NEWER
    assert box.inspect("counts", "{{json .State.Pid}}") == pid
    copy = store.with_name("store.db.v1")
    assert copy.exists()

    installed.install(releases.wheel(tmp_path))
    box.stop()
    words = [str(installed.python), "-m", "stockade.daemon"]
    refused = subprocess.run(words, env=box.environment, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert "was written by a newer release: its version is 2, this one knows 1" in refused.stderr
    assert f"put {copy} in its place" in refused.stderr
    assert [path.name for path in store.parent.glob("store.db-*")] == []

    copy.rename(store)
    box.start()
    assert release(box) == NUMBER
    assert box.inspect("counts", "{{json .State}}")["Pid"] == pid  # type: ignore[index]
    lines = box.said("logs", "counts").splitlines()
    assert lines == [f"line {number}" for number in range(len(lines))]
