"""Callers that come at once, and disks that are full: one wins, the others are told, nothing is half done."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.command import stockade
from support.daemon import daemon
from support.place import Place
from support.traces import Traces

pytestmark = [pytest.mark.root]
USR = ("--volume", "/usr:/usr:ro")
Done = subprocess.CompletedProcess[bytes]


@pytest.fixture
def rootfs(place: Place) -> Iterator[str]:
    """A tree to stand on, and a daemon."""
    root = place.top / "root"
    for name in ("usr", "proc", "dev", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    with daemon(place):
        yield str(root)


def at_once(place: Place, *commands: tuple[str, ...]) -> list[Done]:
    gate = threading.Barrier(len(commands))

    def one(words: tuple[str, ...]) -> Done:
        gate.wait()
        return stockade(place, *words)

    with ThreadPoolExecutor(len(commands)) as pool:
        return list(pool.map(one, commands))


def run(place: Place, rootfs: str, name: str, *command: str) -> None:
    done = stockade(place, "run", "-d", *USR, "--name", name, rootfs, *(command or ("sleep", "1000")))
    assert done.returncode == 0, done.stderr


def tidy(done: Done) -> bool:
    """An error in words: one sentence, no traceback."""
    return done.returncode in (0, 125, 1) and b"Traceback" not in done.stderr and done.stderr.count(b"stockade: ") <= 1


def left(traces: Traces) -> list[str]:
    """What stays, once what was made ahead of the next containers was given up."""
    assert stockade(traces.place, "system", "prune", "--force").returncode == 0
    return traces.settle(3.0)


def test_one_of_several_gets_the_name(place: Place, rootfs: str) -> None:
    words = ("run", "-d", *USR, "--name", "same", rootfs, "sleep", "1000")
    done = at_once(place, *[words] * 4)
    assert Counter(one.returncode for one in done) == {0: 1, 125: 3}, done
    assert all(b"already in use" in one.stderr for one in done if one.returncode)
    assert stockade(place, "rm", "--force", "same").returncode == 0
    assert left(Traces(place)) == []


@pytest.mark.parametrize("turn", range(4))
def test_one_of_several_removes(place: Place, rootfs: str, turn: int) -> None:
    run(place, rootfs, "same", "true") if turn % 2 else run(place, rootfs, "same")
    traces = Traces(place)
    traces.learn()
    force = ("--force",) if turn % 2 == 0 else ()
    if not force:
        stockade(place, "kill", "same")
    done = at_once(place, *[("rm", *force, "same")] * 3)
    assert all(map(tidy, done)), done
    assert any(one.returncode == 0 for one in done), done
    if force:
        assert {one.returncode for one in done} == {0}, done
    assert left(traces) == []


def test_everything_at_once(place: Place, rootfs: str) -> None:
    for _ in range(3):
        run(place, rootfs, "same")
        traces = Traces(place)
        traces.learn()
        done = at_once(
            place, ("rm", "-f", "same"), ("kill", "same"), ("exec", "same", "true"), ("kill", "-s", "TERM", "same"),
            ("ps", "--all"), ("logs", "same"),
        )  # fmt: skip
        assert all(b"Traceback" not in one.stderr for one in done), done
        assert done[0].returncode == 0, done[0]
        assert done[4].returncode == 0, done[4]
        assert left(traces) == []


@contextlib.contextmanager
def small(directory: Path, size: str) -> Iterator[None]:
    directory.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0711", "small", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


def fill(directory: Path, but: int = 0) -> Path:
    """Leave `but` bytes."""
    filler = directory / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    with filler.open("r+b") as file:
        file.truncate(max(0, filler.stat().st_size - but))
    return filler


@pytest.mark.parametrize("full", ["data", "run"])
@pytest.mark.parametrize("left", [0, 4096, 16384, 65536])
def test_a_full_disk_is_said_and_nothing_stays(place: Place, full: str, left: int) -> None:
    directory = place.data if full == "data" else place.run
    with small(directory, "64m"):
        assert stockade(place, "do", "-q", "true").returncode == 0
        filler = fill(directory, left)
        done = stockade(place, "do", "-q", "true")
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        if done.returncode:
            assert done.returncode == 125, done
            assert b"o space left" in done.stderr, done
        filler.unlink()
        done = stockade(place, "do", "-q", "echo", "well")
        assert done.stdout == b"well\n", done.stderr
        assert [one for one in Traces(place).settle(3.0) if not one.startswith("mount")] == []
