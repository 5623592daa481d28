"""What arrives, and what state a program starts with."""

from __future__ import annotations

import signal

import pytest

from conformance.workload.conftest import Run, Start
from support.wall import finish, read_until

pytestmark = pytest.mark.root

RECORD = """
import signal, sys
wanted = [n for n in signal.valid_signals() if n not in (signal.SIGKILL, signal.SIGSTOP)]
signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
print("ready", flush=True)
while True:
    number = signal.sigwait(wanted)
    print(int(number), flush=True)
    if number == signal.SIGTERM: sys.exit(0)
"""


def test_every_signal_arrives(start: Start) -> None:
    running = start("python3", "-c", RECORD)
    read_until(running, "ready")
    last = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
            signal.SIGWINCH, signal.SIGCHLD, signal.SIGRTMIN, signal.SIGRTMIN + 7, signal.SIGRTMAX]  # fmt: skip
    for number in last:
        running.signal(number)
        assert read_until(running, "\n").strip() == str(int(number))
    running.signal(signal.SIGTERM)
    assert finish(running).ok() == "15\n"


def test_nothing_is_blocked_or_ignored_at_the_start(run: Run) -> None:
    script = "grep -E 'Sig(Blk|Ign)' /proc/self/status"
    fields = dict(line.split(":\t") for line in run("sh", "-c", script).ok().splitlines())
    assert fields == {"SigBlk": "0" * 16, "SigIgn": "0" * 16}


def test_stop_and_continue(start: Start) -> None:
    running = start("sh", "-c", "(while :; do echo tick; sleep 0.02; done) & echo up; wait")
    read_until(running, "up")
    ticking = running.execute("pgrep", "-P", "1").ok().split()[0]
    running.execute("sh", "-c", f"kill -STOP {ticking}").ok()
    for _ in range(50):
        if running.execute("ps", "-o", "stat=", "-p", ticking).text.startswith("T"):
            break
    else:
        pytest.fail("not stopped")
    running.execute("sh", "-c", f"kill -CONT {ticking}").ok()
    read_until(running, "tick")
    running.signal(signal.SIGKILL)
    assert finish(running).status == 137


def test_a_signal_between_processes_inside(run: Run) -> None:
    script = "trap 'echo got; exit 0' USR1; (kill -USR1 1) & while :; do sleep 0.02; done"
    assert run("bash", "-c", script).ok() == "got\n"
