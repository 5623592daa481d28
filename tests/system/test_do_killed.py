"""kill -9 of `stockade do` or of its shim at any moment: nothing stays, and the next start works."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support import fixtures
from support.command import start, stockade
from support.place import Place
from support.storm import Storm
from support.traces import Traces

pytestmark = [pytest.mark.root, pytest.mark.storm]
Record = Callable[[str, object], None]
_place, _project = fixtures.place, fixtures.project


def test_killed_while_the_program_runs(place: Place, project: Path) -> None:
    traces = Traces(place)
    running = start(place, "do", "sh", "-c", "echo up; touch x /usr/x; sleep 60 & sleep 60", cwd=project, stdout=-1)
    with running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        traces.learn()
        assert traces.known
        running.kill()
    assert traces.settle() == []


def life(place: Place, project: Path) -> float:
    """Seconds that a run takes on this machine at this moment, and a little more."""
    stockade(place, "do", "true", cwd=project)
    begun = time.monotonic()
    stockade(place, "do", "-q", "sh", "-c", "touch x; sleep 0.02", cwd=project)
    return 1.2 * (time.monotonic() - begun)


def test_killed_at_any_moment(place: Place, project: Path, record_property: Record) -> None:
    longest = life(place, project)
    seed = random.randrange(1 << 30)
    dice, traces, storm = random.Random(seed), Traces(place), Storm(4, 100)
    while storm.lasts():
        running = start(place, "do", "-q", "sh", "-c", "touch x; sleep 0.02", cwd=project, stdout=-3, stderr=-3)
        with running:
            time.sleep(dice.random() * longest)
            traces.learn()
            running.kill()
        traces.learn()
        storm.strikes += 1
    time.sleep(6)
    done = stockade(place, "do", "-q", "echo", "well", cwd=project)
    assert done.stdout == b"well\n", done.stderr
    assert not (left := traces.settle()), "\n".join([str(seed), *left])
    record_property("do", f"{storm.strikes} killed, nothing left")


def test_terminated_at_any_moment(place: Place, project: Path, record_property: Record) -> None:
    """SIGTERM and SIGINT unwind: nothing is left at the very moment it ends."""
    longest = life(place, project)
    dice, traces, storm = random.Random(), Traces(place), Storm(4, 100)
    while storm.lasts():
        running = start(place, "do", "-q", "sh", "-c", "touch x; sleep 0.02", cwd=project, stdout=-3, stderr=-1)
        with running:
            time.sleep(dice.random() * longest)
            number = dice.choice((signal.SIGTERM, signal.SIGINT))
            running.send_signal(number)
            _, said = running.communicate(timeout=60)
            # SIGINT at the interpreter before it has come to us is the interpreter's.
            begins = b"import_site" in said or b"Fatal Python error: init" in said
            assert running.returncode in (0, 128 + number, -number) or begins, said
        assert traces.containers() == []
        storm.strikes += 1
    record_property("do", f"{storm.strikes} terminated, nothing left")


def test_its_shim_killed(place: Place, project: Path) -> None:
    traces = Traces(place)
    running = start(place, "do", "sh", "-c", "echo up; sleep 60 & sleep 60", cwd=project, stdout=-1, stderr=-1)
    with running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == b"up\n"
        traces.learn()
        (name,) = traces.containers()
        os.kill(int((place.data / "containers" / name / "shim.pid").read_text()), signal.SIGKILL)
        began = time.monotonic()
        said = running.stderr.read()
        assert running.wait(60) == 137
        assert time.monotonic() - began < 40, "it waited for something"
    assert b"shim died" in said
    assert traces.settle() == []


def test_what_a_killed_run_and_its_killed_shim_left_is_swept(place: Place, project: Path) -> None:
    traces = Traces(place)
    running = start(place, "do", "sh", "-c", "echo up; sleep 60 & sleep 60", cwd=project, stdout=-1)
    with running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        traces.learn()
        (name,) = traces.containers()
        shim = int((place.data / "containers" / name / "shim.pid").read_text())
        os.kill(running.pid, signal.SIGSTOP)
        os.kill(shim, signal.SIGKILL)
        running.kill()
    assert stockade(place, "do", "-q", "true", cwd=project).returncode == 0
    assert traces.settle() == []
