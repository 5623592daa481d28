"""A program of the daemon's in the foreground: the shim has our descriptors, the daemon is told of signals and sizes.

As `foreground`, which serves what runs without a daemon; signals and the terminal are handled there for both.
"""

from __future__ import annotations

import os
import select
import signal
import time
from typing import NamedTuple

from stockade.cli.foreground import DRAIN, ENDING, Signals, dies_of, window_size
from stockade.cli.screen import note
from stockade.errors import Conflict, NotFound, StockadeError
from stockade.runtime.attach import Attachment, Detached, Ended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Subject(NamedTuple):
    """What runs, as far as the foreground must act on it."""

    kill: Callable[[str], object]
    """Send it a signal, by number in words."""
    resize: Callable[[int, int], object]
    """Tell its terminal rows and columns."""
    pid: Callable[[], int]
    """The host's pid of its process; 0: it has ended."""


class Outcome(NamedTuple):
    """How the foreground ended."""

    status: int | None = None
    """The program's, if it ended; 128+n if signal n of ours did it."""
    detached: bool = False


def watch(subject: Subject, attachment: Attachment, signals: Signals, terminal: bool) -> Outcome:
    """Return when the program ended and its output was delivered, the detach keys were typed, or its shim is gone."""
    poll = select.poll()
    poll.register(signals.reader, select.POLLIN)
    poll.register(attachment.fileno(), select.POLLIN)
    killed_by, deadline = 0, None
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        ready = [descriptor for descriptor, _ in poll.poll(left)]
        if not ready:
            return Outcome(128 + killed_by)
        if attachment.fileno() in ready:
            said = attachment.receive()
            if isinstance(said, Ended):
                return Outcome(128 + killed_by if killed_by and said.status == 137 else said.status)
            return Outcome(detached=isinstance(said, Detached))
        for number in signals.take():
            if _pass_on(subject, number, terminal):
                killed_by, deadline = number, time.monotonic() + DRAIN


def _pass_on(subject: Subject, number: int, terminal: bool) -> bool:
    """Do with a signal what it is for; whether the program was killed in its place."""
    try:
        if number == signal.SIGWINCH:
            if terminal:
                subject.resize(*window_size())
        elif number == signal.SIGTSTP:
            subject.kill("SIGSTOP")
            os.kill(os.getpid(), signal.SIGSTOP)
            subject.kill("SIGCONT")
        elif number in ENDING and dies_of(subject.pid(), number):
            subject.kill("SIGKILL")
            return True
        else:
            subject.kill(str(number))
    except (NotFound, Conflict):
        # It ended meanwhile; the next look finds out.
        return False
    except StockadeError as error:
        note(f"stockade: {signal.Signals(number).name} was not passed on: {error}")
    return False
