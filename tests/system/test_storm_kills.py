"""kill -9 at random instants of everything that answers for a container: after the next ordinary command nothing stays.

Killed are `stockade do`, shims, and `stockade-oci create`, `run`, `exec`, `delete`; the daemon has a storm of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.oci.harness import Runtime
from support import fixtures, programs
from support.command import start, stockade
from support.place import Place
from support.storm import Storm
from support.traces import Traces

pytestmark = [pytest.mark.root, pytest.mark.storm, pytest.mark.timeout(0)]
Record = Callable[[str, object], None]
# Longer than any of them takes on a busy machine.
LIFE = 0.4

_place = fixtures.place


def shims(place: Place) -> list[int]:
    """The pids of this place's shims that live."""
    found = []
    for pid_file in place.data.glob("containers/*/shim.pid"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(pid_file.read_text())
            if b"shim-stockade" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def clear(place: Place) -> None:
    """What people do: start something, which sweeps."""
    done = stockade(place, "do", "-q", "echo", "well")
    assert done.stdout == b"well\n", done.stderr


def swept(place: Place, traces: Traces) -> list[str]:
    """What stays; a shim whose client died is left in peace for some seconds."""
    left: list[str] = []
    for _ in range(5):
        clear(place)
        if not (left := traces.settle(2.0)):
            break
    return left


def words(dice: random.Random) -> tuple[str, ...]:
    """A command that makes a container."""
    script = dice.choice(("touch x; echo y; sleep 0.05", "while :; do echo x; sleep 0.02; done", "sleep 0.05 & true"))
    return ("do", "-q", "sh", "-c", script)


def test_commands_and_shims(place: Place, record_property: Record) -> None:
    seed = int(os.environ.get("STOCKADE_STORM_SEED", "0")) or random.randrange(1, 1 << 30)
    print(f"STOCKADE_STORM_SEED={seed}")
    dice, traces = random.Random(seed), Traces(place)
    project = place.top / "project"
    project.mkdir()
    stockade(place, "do", "-q", "true", cwd=project)
    storm, number = Storm(4, 100), 0
    while storm.lasts():
        with contextlib.ExitStack() as stack:
            for _ in range(dice.randint(2, 5)):
                number += 1
                command = start(place, *words(dice), cwd=project, stdin=-3, stdout=-3, stderr=-3)
                stack.enter_context(command)
                stack.callback(command.kill)
                time.sleep(dice.random() * LIFE / 2)
                traces.learn()
                for pid in shims(place):
                    if dice.random() < 0.25:
                        kill(pid)
                        storm.strikes += 1
                if dice.random() < 0.6:
                    time.sleep(dice.random() * LIFE)
                    command.kill()
                    storm.strikes += 1
            traces.learn()
        if number % 4 == 0:
            assert not (left := swept(place, traces)), "\n".join([str(seed), *left])
    assert not (left := swept(place, traces)), "\n".join([str(seed), *left])
    record_property("stockade", f"{number} commands, {storm.strikes} kills of them and of shims, nothing left")


def test_the_runtime_command(place: Place, record_property: Record) -> None:
    seed = int(os.environ.get("STOCKADE_STORM_SEED", "0")) or random.randrange(1, 1 << 30)
    print(f"STOCKADE_STORM_SEED={seed}")
    dice, traces = random.Random(seed), Traces(place)
    oci = Runtime("stockade-oci", (str(programs.program("stockade-oci")),), place)
    bundle = oci.bundle("sh", "-c", "sleep 1000 & sleep 1000")
    storm, calls = Storm(4, 100), 0
    while storm.lasts():
        id = place.name(f"k{dice.randrange(3)}")
        verbs = (
            ("create", "--bundle", bundle, id),
            ("run", "--detach", "--bundle", bundle, id),
            ("run", "--bundle", bundle, id),
            ("start", id),
            ("exec", id, "true"),
            ("kill", id, "KILL"),
            ("delete", id),
            ("delete", "--force", id),
        )
        with contextlib.ExitStack() as stack:
            for _ in range(dice.randint(1, 4)):
                command = subprocess.Popen(
                    oci.command(*dice.choice(verbs)), stdin=-3, stdout=-3, stderr=-3, cwd=place.top
                )
                stack.enter_context(command)
                stack.callback(command.kill)
                calls += 1
                time.sleep(dice.random() * 0.03)
                if dice.random() < 0.7:
                    command.kill()
                    storm.strikes += 1
            time.sleep(dice.random() * 0.03)
        if dice.random() < 0.3:
            _delete_everything(oci)
            assert not (left := traces.settle(20.0)), "\n".join([str(seed), *left])
    _delete_everything(oci)
    assert not (left := traces.settle(20.0)), "\n".join([str(seed), *left])
    record_property("stockade-oci", f"{calls} calls, {storm.strikes} killed, nothing left")


def _delete_everything(oci: Runtime) -> None:
    for index in range(3):
        oci.ok("delete", "--force", oci.place.name(f"k{index}"))
    assert json.loads(oci.ok("list", "--format", "json")) in (None, [])
