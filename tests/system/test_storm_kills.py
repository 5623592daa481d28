"""kill -9 at random instants of everything that answers for a container: after the next ordinary command nothing stays.

Killed are `stockade do`, `run -d`, `exec`, `rm`, shims, and `stockade-oci create`, `run`, `exec`, `delete`.
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
from support.traces import Traces

pytestmark = [pytest.mark.root, pytest.mark.storm, pytest.mark.timeout(0)]
Record = Callable[[str, object], None]
USR = ("--volume", "/usr:/usr:ro")
# Longer than any of them takes on a busy machine.
LIFE = 0.4

_place = fixtures.place


@pytest.fixture(scope="module")
def rootfs(place: Place) -> str:
    root = place.top / "root"
    for name in ("usr", "proc", "dev", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    return str(root)


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


def listed(place: Place) -> list[dict[str, object]]:
    done = stockade(place, "ps", "--all", "--format", "json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def clear(place: Place) -> None:
    """What people do: remove what is listed, then start something, which sweeps."""
    for one in listed(place):
        done = stockade(place, "rm", "--force", str(one["id"]))
        assert done.returncode == 0, done.stderr
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


def words(dice: random.Random, rootfs: str, number: int) -> tuple[str, ...]:
    """A command that makes a container, or acts on one that may be there."""
    name = f"n{number % 3}"
    return dice.choice(
        (
            ("do", "-q", "sh", "-c", "touch x; echo y; sleep 0.05"),
            ("run", "--rm", *USR, rootfs, "sh", "-c", "echo x; sleep 0.05 & true"),
            ("run", "-d", *USR, "--name", name, rootfs, "sh", "-c", "while :; do echo x; sleep 0.02; done"),
            ("run", "-d", *USR, "--name", name, rootfs, "sleep", "1000"),
            ("exec", name, "sh", "-c", "echo x; sleep 0.05"),
            ("kill", name),
            ("rm", "--force", name),
        )
    )


def test_commands_and_shims(place: Place, rootfs: str, soak_seconds: float, record_property: Record) -> None:
    seed = int(os.environ.get("STOCKADE_STORM_SEED", "0")) or random.randrange(1, 1 << 30)
    print(f"STOCKADE_STORM_SEED={seed}")
    dice, traces = random.Random(seed), Traces(place)
    stockade(place, "do", "-q", "true")
    until = time.monotonic() + soak_seconds
    number = killed = 0
    while time.monotonic() < until:
        with contextlib.ExitStack() as stack:
            for _ in range(dice.randint(2, 5)):
                number += 1
                command = start(place, *words(dice, rootfs, number), cwd=Path(rootfs), stdin=-3, stdout=-3, stderr=-3)
                stack.enter_context(command)
                stack.callback(command.kill)
                time.sleep(dice.random() * LIFE / 2)
                traces.learn()
                for pid in shims(place):
                    if dice.random() < 0.25:
                        kill(pid)
                        killed += 1
                if dice.random() < 0.6:
                    time.sleep(dice.random() * LIFE)
                    command.kill()
                    killed += 1
            traces.learn()
        if number % 4 == 0:
            assert not (left := swept(place, traces)), "\n".join([str(seed), *left])
    assert not (left := swept(place, traces)), "\n".join([str(seed), *left])
    record_property("stockade", f"{number} commands, {killed} kills of them and of shims, nothing left")


def test_the_end_of_a_shim_is_told(place: Place, rootfs: str) -> None:
    """Whoever waits, and whoever asks later, hears why within two seconds; the neighbours live on."""
    traces = Traces(place)
    for name in ("lives", "dies"):
        assert stockade(place, "run", "-d", *USR, "--name", name, rootfs, "sleep", "1000").returncode == 0
    waiting = start(place, "exec", "dies", "sleep", "1000", cwd=place.top, stdin=-3, stdout=-3, stderr=-1)
    pid = next(int(p.read_text()) for p in place.data.glob("containers/*/shim.pid") if _name(p.parent) == "dies")
    with waiting:
        deadline = time.monotonic() + 10
        while len(_members(place, "dies")) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        kill(pid)
        began = time.monotonic()
        assert waiting.stderr is not None
        said = waiting.stderr.read()
        status = waiting.wait(10)
        assert time.monotonic() - began < 2
    assert status != 0
    assert b"shim" in said, said
    found = {one["name"]: one for one in listed(place)}
    assert found["lives"]["status"] == "running"
    assert found["dies"]["status"] == "dead"
    end = found["dies"]["exit"]
    assert isinstance(end, dict)
    assert (end["status"], end["reason"]) == (137, "ShimDied")
    assert stockade(place, "exec", "lives", "true").returncode == 0
    assert swept(place, traces) == []


def _name(directory: Path) -> str:
    name: str = json.loads((directory / "record.json").read_text())["name"]
    return name


def _members(place: Place, name: str) -> list[str]:
    identity = next(
        path.parent.name for path in place.data.glob("containers/*/record.json") if _name(path.parent) == name
    )
    return [
        line
        for line in Traces(place, {identity}).processes()
        if identity.encode() in line.encode() and "shim" not in line
    ]


def test_the_runtime_command(place: Place, soak_seconds: float, record_property: Record) -> None:
    seed = int(os.environ.get("STOCKADE_STORM_SEED", "0")) or random.randrange(1, 1 << 30)
    print(f"STOCKADE_STORM_SEED={seed}")
    dice, traces = random.Random(seed), Traces(place)
    oci = Runtime("stockade-oci", (str(programs.program("stockade-oci")),), place)
    bundle = oci.bundle("sh", "-c", "sleep 1000 & sleep 1000")
    until = time.monotonic() + soak_seconds
    calls = killed = 0
    while time.monotonic() < until:
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
                    killed += 1
            time.sleep(dice.random() * 0.03)
        if dice.random() < 0.3:
            _delete_everything(oci)
            assert not (left := traces.settle(2.0)), "\n".join([str(seed), *left])
    _delete_everything(oci)
    assert not (left := traces.settle(2.0)), "\n".join([str(seed), *left])
    record_property("stockade-oci", f"{calls} calls, {killed} killed, nothing left")


def _delete_everything(oci: Runtime) -> None:
    for index in range(3):
        oci.ok("delete", "--force", oci.place.name(f"k{index}"))
    assert json.loads(oci.ok("list", "--format", "json")) in (None, [])
