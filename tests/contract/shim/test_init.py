"""The init that `dev.stockade.init` asks for, by itself: what a program above which it stands and its engine see."""

from __future__ import annotations

import os
import pty
import signal
import time
import tty
from collections.abc import Callable
from typing import Any

import pytest

from contract.shim.conftest import Config
from contract.shim.peer import Peer, Refused, Shim

pytestmark = pytest.mark.root
INIT = {"dev.stockade.init": "true"}
NAMES = {signal.SIGHUP: "HUP", signal.SIGTERM: "TERM", signal.SIGUSR1: "USR1", signal.SIGWINCH: "WINCH"}


def attached(shim: Shim, document: dict[str, Any]) -> tuple[Peer, Callable[[bytes], None]]:
    """A started container, and what waits for its next words."""
    peer = shim.start("c", document)
    shim.create(peer, "c")
    out_read, out_write = os.pipe()
    client = shim.attach("c", stdout=out_write)
    os.close(out_write)
    peer.call("Start", {1: "c"})
    stream = os.fdopen(out_read, "rb")

    def said(words: bytes) -> None:
        assert stream.readline() == words
        assert client.fileno() >= 0, "who lets go of the connection is detached"

    return peer, said


@pytest.mark.parametrize("number", NAMES)
def test_signals_are_passed_on(shim: Shim, config: Config, number: signal.Signals) -> None:
    script = f"trap 'echo got; exit 5' {NAMES[number]}; echo ready; while :; do sleep 0.05; done"
    peer, said = attached(shim, config("sh", "-c", script, annotations=INIT))
    said(b"ready\n")
    peer.call("Kill", {1: "c", 3: int(number)})
    said(b"got\n")
    assert peer.call("Wait", {1: "c"})[1] == 5
    assert shim.exit("c")["reason"] == "Exited"


def test_a_signal_without_a_handler_ends_the_program_as_it_would_anywhere(shim: Shim, config: Config) -> None:
    """As process 1 itself it would not: the kernel drops such a signal."""
    peer, said = attached(shim, config("sh", "-c", "echo ready; exec sleep 1000", annotations=INIT))
    said(b"ready\n")
    peer.call("Kill", {1: "c", 3: int(signal.SIGTERM)})
    assert peer.call("Wait", {1: "c"})[1] == 128 + signal.SIGTERM
    assert (shim.exit("c")["reason"], shim.exit("c")["message"]) == ("Signaled", "killed by signal 15")


def test_orphans_are_collected_and_the_rest_ends_with_the_program(shim: Shim, config: Config) -> None:
    script = (
        "for n in 1 2 3 4 5; do (sleep 0.05 & ) ; done;"
        # The dead have their names until somebody collects them.
        " while grep -qs '^Name:.sleep' /proc/[0-9]*/status; do busybox usleep 20000; done;"
        " tr '\\0' '|' < /proc/1/cmdline; echo; sleep 1000 & exit 9"
    )
    began = time.monotonic()
    peer, said = attached(shim, config("sh", "-c", script, annotations=INIT))
    # Its own words: no argument of the shim's, and nothing of the host.
    said(b"stockade-init|\n")
    assert peer.call("Wait", {1: "c"})[1] == 9
    assert time.monotonic() - began < 30
    assert not shim.place.members()


def test_the_keys_of_a_terminal_reach_the_program(shim: Shim, config: Config) -> None:
    peer = shim.start("c", config("sh", "-c", "echo ready; exec cat", terminal=True, annotations=INIT))
    shim.create(peer, "c", tty=True)
    ours, theirs = pty.openpty()
    # The container's own terminal makes a signal of the key.
    tty.setraw(theirs)
    client = shim.attach("c", stdin=theirs, stdout=theirs)
    peer.call("Start", {1: "c"})
    seen = b""
    while b"ready" not in seen:
        seen += os.read(ours, 100)
    os.write(ours, b"\x03")
    assert peer.call("Wait", {1: "c"})[1] == 128 + signal.SIGINT
    client.close()
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("value", ["yes", ""])
def test_another_value_is_refused(shim: Shim, config: Config, value: str) -> None:
    peer = shim.start("c", config("true", annotations={"dev.stockade.init": value}))
    with pytest.raises(Refused, match=r"annotations.dev.stockade.init"):
        shim.create(peer, "c")
