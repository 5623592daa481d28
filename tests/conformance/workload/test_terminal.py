"""A terminal as a person has it: sizes, keys that are signals, job control."""

from __future__ import annotations

import pytest

from conformance.workload.conftest import Start
from support.wall import finish, read_until, write

pytestmark = pytest.mark.root

PROMPT = {"PS1": "PROMPT> ", "PATH": "/usr/bin:/bin", "TERM": "dumb"}


def test_all_three_are_the_terminal(start: Start) -> None:
    done = finish(start("sh", "-c", "test -t 0 && test -t 1 && test -t 2 && tty && echo x >/dev/tty", terminal=True))
    assert done.text.split() in (["/dev/pts/0", "x"], ["/dev/console", "x"])


def test_size_and_its_change(start: Start) -> None:
    script = "stty size; trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done"
    running = start("bash", "-c", script, terminal=True, size=(33, 101))
    assert "33 101" in read_until(running, "ready")
    running.resize(50, 120)
    assert "50 120" in finish(running).text


@pytest.mark.parametrize(("key", "word"), [("\x03", "interrupted"), ("\x1c", "quit")])
def test_keys_are_signals(start: Start, key: str, word: str) -> None:
    script = f"trap 'echo {word}; exit 5' INT QUIT; echo ready; while :; do sleep 0.05; done"
    running = start("bash", "-c", script, terminal=True)
    read_until(running, "ready")
    write(running, key)
    done = finish(running)
    assert word in done.text
    assert done.status == 5


def test_end_of_input_by_key(start: Start) -> None:
    running = start("sh", "-c", "cat; echo over", terminal=True)
    write(running, "line\n")
    read_until(running, "line\r\nline\r\n")
    write(running, "\x04")
    assert "over" in finish(running).text


def test_job_control(start: Start) -> None:
    running = start("bash", "--norc", "--noediting", "-i", terminal=True, env=PROMPT)
    read_until(running, "PROMPT> ")
    write(running, "sleep 1000\n")
    read_until(running, "sleep 1000\r\n")
    for _ in range(100):  # the key must not come before the job is in the foreground
        if "S+" in running.execute("ps", "-o", "stat=,args=", "-C", "sleep").text:
            break
    write(running, "\x1a")
    read_until(running, "Stopped.*\r\nPROMPT> ")
    write(running, "bg; jobs\n")
    read_until(running, "Running.*\r\nPROMPT> ")
    write(running, "kill %1; wait; echo $?; exit 3\n")
    assert finish(running).status == 3


def test_echo_can_be_switched_off(start: Start) -> None:
    running = start("sh", "-c", "stty -echo; echo ready; read secret; echo read ${#secret}", terminal=True)
    read_until(running, "ready")
    write(running, "hidden\n")
    done = finish(running)
    assert "hidden" not in done.text
    assert "read 6" in done.text


def test_big_output_through_the_terminal(start: Start) -> None:
    done = finish(start("sh", "-c", "seq 1 200000", terminal=True))
    assert done.text.split() == [str(n) for n in range(1, 200001)]
