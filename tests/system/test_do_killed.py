"""kill -9 of `stockade do` or of its shim at any moment: nothing stays, and the next start works."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import fixtures
from support.command import start, stockade
from support.place import CGROUPS, Place

pytestmark = [pytest.mark.root, pytest.mark.storm]
IDS = Path("/var/lib/stockade/ids")

_place, _project = fixtures.place, fixtures.project


def containers(place: Place) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return os.listdir(place.data / "containers")
    return []


def traces(place: Place, known: set[str]) -> Iterator[str]:
    """Whatever of this place's containers is on the host."""
    for name in containers(place):
        known.add(name.lstrip("."))
        yield f"directory {name}"
    for link in IDS.iterdir():
        if link.is_symlink() and os.readlink(link).startswith(f"{place.data}/") and link.exists():
            yield f"ids {link.name}"
    for base, _, _ in os.walk(CGROUPS):
        if os.path.basename(base) in known:
            yield f"cgroup {base}"
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                words = (entry / "cmdline").read_bytes() + (entry / "cgroup").read_bytes()
                if any(name.encode() in words for name in known):
                    yield f"process {entry.name}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if str(place.top) in line:
            yield f"mount {line}"


def settle(place: Place, known: set[str], patience: float = 8.0) -> list[str]:
    deadline = time.monotonic() + patience
    while (found := list(traces(place, known))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_killed_while_the_program_runs(place: Place, project: Path) -> None:
    known: set[str] = set()
    running = start(place, "do", "sh", "-c", "echo up; touch x /usr/x; sleep 60 & sleep 60", cwd=project, stdout=-1)
    with running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        known.update(containers(place))
        assert known
        running.kill()
    assert settle(place, known, 3.0) == []


def test_killed_at_any_moment(place: Place, project: Path, soak_seconds: float) -> None:
    stockade(place, "do", "true", cwd=project)
    dice, known = random.Random(7), set[str]()
    deadline = time.monotonic() + soak_seconds
    while time.monotonic() < deadline:
        running = start(place, "do", "-q", "sh", "-c", "touch x; sleep 0.02", cwd=project, stdout=-3, stderr=-3)
        with running:
            time.sleep(dice.random() * 0.25)
            known.update(containers(place))
            running.kill()
        known.update(containers(place))
    time.sleep(6)
    done = stockade(place, "do", "-q", "echo", "well", cwd=project)
    assert done.stdout == b"well\n", done.stderr
    assert settle(place, known) == []


def test_terminated_at_any_moment(place: Place, project: Path, soak_seconds: float) -> None:
    """SIGTERM and SIGINT unwind: nothing is left at the very moment it ends."""
    stockade(place, "do", "true", cwd=project)
    dice = random.Random(8)
    deadline = time.monotonic() + soak_seconds
    while time.monotonic() < deadline:
        running = start(place, "do", "-q", "sh", "-c", "touch x; sleep 0.02", cwd=project, stdout=-3, stderr=-3)
        with running:
            time.sleep(dice.random() * 0.25)
            number = dice.choice((signal.SIGTERM, signal.SIGINT))
            running.send_signal(number)
            assert running.wait(15) in (0, 128 + number, -number)
        assert containers(place) == []


def test_its_shim_killed(place: Place, project: Path) -> None:
    known: set[str] = set()
    running = start(place, "do", "sh", "-c", "echo up; sleep 60 & sleep 60", cwd=project, stdout=-1, stderr=-1)
    with running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == b"up\n"
        (name,) = containers(place)
        known.add(name)
        os.kill(int((place.data / "containers" / name / "shim.pid").read_text()), signal.SIGKILL)
        began = time.monotonic()
        said = running.stderr.read()
        assert running.wait(10) == 137
        assert time.monotonic() - began < 2
    assert b"shim died" in said
    assert settle(place, known, 1.0) == []


def test_what_a_killed_run_and_its_killed_shim_left_is_swept(place: Place, project: Path) -> None:
    known: set[str] = set()
    running = start(place, "do", "sh", "-c", "echo up; sleep 60 & sleep 60", cwd=project, stdout=-1)
    with running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        (name,) = containers(place)
        known.add(name)
        shim = int((place.data / "containers" / name / "shim.pid").read_text())
        os.kill(running.pid, signal.SIGSTOP)
        os.kill(shim, signal.SIGKILL)
        running.kill()
    assert stockade(place, "do", "-q", "true", cwd=project).returncode == 0
    assert settle(place, known, 1.0) == []
