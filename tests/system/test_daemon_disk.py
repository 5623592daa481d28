"""A disk that is full or read-only: said in a sentence, nothing lost, and all is well once there is room."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon, daemon
from support.patience import eventually
from support.place import Place, place

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


@pytest.fixture
def box() -> Iterator[Daemon]:
    """A daemon whose data lies on a small file system of its own."""
    with place() as made:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=711", "small", made.data], check=True)
        try:
            with daemon(made) as found:
                found.load()
                yield found
        finally:
            (made.data / "ballast").unlink(missing_ok=True)
            subprocess.run(["umount", "-l", made.data], check=True)


def fill(made: Place) -> Path:
    ballast = made.data / "ballast"
    with ballast.open("ab") as file:
        try:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        except OSError:
            pass
    return ballast


def until_exited(box: Daemon, name: str) -> object:
    eventually(lambda: box.inspect(name, "{{json .State.Status}}") == "exited", "it has ended", patience=30)
    return box.inspect(name, "{{json .State.ExitCode}}")


def test_a_full_disk(box: Daemon) -> None:
    box.run("--name", "ends", "box:1", "sh", "-c", "sleep 2; exit 9")
    box.run("--name", "stays", "box:1", "sh", "-c", "while :; do echo x; sleep 0.1; done")
    for _ in range(8):
        # What the daemon set aside is given up first.
        ballast = fill(box.place)
        refused = box.docker("run", "--rm", "box:1", "true", check=False)
        if refused.returncode:
            break
    assert refused.returncode == 125
    assert "No space left on device" in refused.stderr or "disk is full" in refused.stderr, refused.stderr
    assert box.inspect("stays", "{{json .State.Status}}") == "running"
    time.sleep(2)
    ballast.unlink()
    assert until_exited(box, "ends") == 9
    assert box.docker("run", "--rm", "box:1", "echo", "hi").stdout == "hi\n"
    box.restart(signal.SIGKILL)
    assert box.inspect("stays", "{{json .State.Status}}") == "running"
    box.docker("rm", "-f", "stays", "ends")


def test_a_read_only_directory(box: Daemon) -> None:
    box.docker("create", "--name", "goes", "box:1", "sleep", "1000")
    box.stop(signal.SIGTERM)
    subprocess.run(["mount", "-o", "remount,ro", box.place.data], check=True)
    try:
        refused = subprocess.run(
            [sys.executable, "-m", "stockade.daemon"],
            env=box.place.environment(), capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
        assert "read" in refused.stderr.lower()
    finally:
        subprocess.run(["mount", "-o", "remount,rw", box.place.data], check=True)
    box.start()
    box.docker("start", "goes")
    assert os.path.exists(box.place.data / "store.db")
