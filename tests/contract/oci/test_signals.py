"""Signals: those that `kill` sends, those that a foreground command passes on."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from contract.oci.harness import Runtime
from support.patience import eventually

pytestmark = pytest.mark.root

TRAP = "trap 'echo got {0} > /tmp/got; exit 40' {0}; echo up > /tmp/up; while :; do sleep 0.01; done"


def file(runtime: Runtime, name: str) -> Path:
    return runtime.place.top / "bundle/rootfs/tmp" / name


@pytest.mark.parametrize("name", ["TERM", "SIGTERM", "15", "term", "USR1", "HUP"])
def test_kill_takes_names_and_numbers(like_runc: Runtime, name: str) -> None:
    runtime = like_runc
    trap = {"15": "TERM", "SIGTERM": "TERM", "term": "TERM"}.get(name, name)
    id = runtime.running("sh", "-c", TRAP.format(trap))
    eventually(file(runtime, "up").exists, "the trap is set")
    runtime.ok("kill", id, name)
    runtime.wait(id, "stopped")
    assert file(runtime, "got").read_text() == f"got {trap}\n"


def test_kill_sends_term_by_default(runtime: Runtime) -> None:
    id = runtime.running("sh", "-c", TRAP.format("TERM"))
    eventually(file(runtime, "up").exists, "the trap is set")
    runtime.ok("kill", id)
    runtime.wait(id, "stopped")
    assert file(runtime, "got").exists()


def test_kill_all_reaches_every_process(runtime: Runtime) -> None:
    inner = TRAP.format("USR1")
    id = runtime.running("sh", "-c", f'trap : USR1; sh -c "{inner}" & while :; do wait; sleep 0.05; done')
    eventually(file(runtime, "up").exists, "the trap is set")
    runtime.ok("kill", "--all", id, "USR1")
    eventually(file(runtime, "got").exists, "the inner process got it")
    assert runtime.state(id)["status"] == "running"


def test_kill_a_created_container(runtime: Runtime) -> None:
    id = runtime.create("sleep", "1000")
    runtime.ok("kill", id, "KILL")
    runtime.wait(id, "stopped")
    runtime.ok("delete", id)


def test_kill_a_paused_container(ours: Runtime) -> None:
    id = ours.running()
    ours.ok("pause", id)
    ours.ok("kill", id, "KILL")
    ours.wait(id, "stopped")
    ours.ok("delete", id)


def foreground(runtime: Runtime, *args: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        runtime.command(*args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def target(runtime: Runtime, process: subprocess.Popen[bytes]) -> int:
    """The runtime's own pid: crun stands behind unshare and sh, which execute in place."""
    return process.pid


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT]
)
def test_run_passes_signals_on(runtime: Runtime, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    bundle = runtime.bundle("sh", "-c", TRAP.format(name))
    with foreground(runtime, "run", "--bundle", str(bundle), runtime.place.name()) as process:
        eventually(file(runtime, "up").exists, "the trap is set")
        os.kill(target(runtime, process), number)
        assert process.wait(10) == 40
    assert file(runtime, "got").exists()


def test_exec_passes_signals_on(runtime: Runtime) -> None:
    id = runtime.running()
    with foreground(runtime, "exec", id, "sh", "-c", TRAP.format("TERM")) as process:
        eventually(file(runtime, "up").exists, "the trap is set")
        os.kill(target(runtime, process), signal.SIGTERM)
        assert process.wait(10) == 40


def test_a_signal_during_create_is_not_lost(ours: Runtime) -> None:
    bundle = ours.bundle("sh", "-c", "trap 'exit 41' TERM; while :; do sleep 0.01; done")
    with foreground(ours, "run", "--bundle", str(bundle), ours.place.name()) as process:
        # As pid 1 of its namespace the shell ignores TERM until its trap is set: repeat until it arrived.
        deadline = time.monotonic() + 10
        while process.poll() is None and time.monotonic() < deadline:
            os.kill(process.pid, signal.SIGTERM) if ours("state", ours.place.name()).code == 0 else None
            time.sleep(0.02)
        assert process.wait(1) == 41


def test_the_container_starts_with_clean_signals(runtime: Runtime) -> None:
    """No mask and nothing ignored but what the caller ignores (SIGPIPE is ignored by many runtimes' own languages)."""
    out = runtime.ok("run", "--bundle", runtime.bundle("cat", "/proc/self/status"), runtime.place.name())
    masks = {
        line.split()[0]: int(line.split()[1], 16) for line in out.splitlines() if line.startswith(("SigBlk", "SigIgn"))
    }
    if runtime.name == "ours":
        assert masks == {"SigBlk:": 0, "SigIgn:": 0}


def test_a_killed_foreground_run_leaves_a_container_that_can_be_deleted(runtime: Runtime) -> None:
    id = runtime.place.name()
    with foreground(runtime, "run", "--bundle", str(runtime.bundle("sleep", "1000")), id) as process:
        eventually(lambda: runtime("state", id).code == 0 and runtime.state(id)["status"] == "running", "it runs")
        process.kill()
        process.wait()
        runtime.ok("delete", "--force", id)
    assert not runtime.place.cgroups()
