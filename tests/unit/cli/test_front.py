"""Signals of the foreground that the daemon is to pass on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import cast

import pytest

from stockade.cli import front
from stockade.cli.foreground import Signals
from stockade.errors import Conflict, NotFound, StockadeError, Unavailable
from stockade.runtime.attach import Attachment, Ended


class End:
    """An attachment whose program ends when its signal was dealt with."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def fileno(self) -> int:
        return self.reader

    def receive(self) -> Ended:
        return Ended(7)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NotFound("no such container: x"), ""),
        (Conflict("container x is not running"), ""),
        (Unavailable("the daemon hung up"), "stockade: SIGUSR1 was not passed on: the daemon hung up\n"),
    ],
)
def test_a_signal_that_cannot_be_passed_on(error: StockadeError, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    end = End()

    def kill(number: str) -> None:
        os.write(end.writer, b".")
        raise error

    subject = front.Subject(kill, cast("Callable[[int, int], object]", None), lambda: 0)
    with Signals() as signals, signals.kept():
        os.kill(os.getpid(), signal.SIGUSR1)
        assert front.watch(subject, cast("Attachment", end), signals, terminal=False).status == 7
    os.close(end.reader)
    os.close(end.writer)
    assert capsys.readouterr().err == said
