"""How a program ends is what its caller is told."""

from __future__ import annotations

import signal

import pytest

from conformance.workload.conftest import Run, Start
from support.wall import finish, read_until

pytestmark = pytest.mark.root


@pytest.mark.parametrize("status", [0, 1, 42, 126, 127, 255])
def test_status(run: Run, status: int) -> None:
    assert run("sh", "-c", f"exit {status}").status == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGUSR1])
def test_a_killed_child_is_seen_by_its_parent(run: Run, number: int) -> None:
    assert run("sh", "-c", f"sh -c 'kill -{number} $$'; echo $?").ok() == f"{128 + number}\n"


def test_kill_from_outside_is_137(start: Start) -> None:
    running = start("sh", "-c", "echo up; sleep 1000")
    read_until(running, "up")
    running.signal(signal.SIGKILL)
    assert finish(running).status == 137


def test_a_handler_decides(start: Start) -> None:
    running = start("bash", "-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done")
    read_until(running, "up")
    running.signal(signal.SIGTERM)
    assert finish(running).status == 7


def test_the_first_process_ignores_what_it_does_not_handle(start: Start) -> None:
    running = start("sh", "-c", "echo up; read line; echo still here: $line")
    read_until(running, "up")
    running.signal(signal.SIGTERM)
    assert finish(running, b"yes\n").ok() == "still here: yes\n"


def test_children_die_with_the_first_process(run: Run) -> None:
    # The background sleep holds stdout: were it alive, reading to the end would time out.
    assert run("sh", "-c", "sleep 1000 & echo gone", timeout=20).ok() == "gone\n"


def test_orphans_come_to_the_first_process(run: Run) -> None:
    script = "sh -c 'sh -c \"sleep 0.1; cat /proc/\\$\\$/stat | cut -d\\  -f4\" &'; wait; sleep 0.3"
    assert run("sh", "-c", script).ok() == "1\n"


def test_a_command_that_is_not_there(run: Run) -> None:
    done = run("/no/such/program")
    assert done.status not in (0, 137)
    assert b"/no/such/program" in done.err


def test_a_command_that_may_not_run(run: Run) -> None:
    done = run("/etc/passwd")
    assert done.status not in (0, 137)
    assert b"ermission denied" in done.err
