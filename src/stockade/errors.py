"""Every condition that Stockade reports, as one tree; a class is one condition that a caller can act on.

A message is one sentence that names the object; `hint` says what to do about it. What a condition means to a shell
and to an HTTP client stands in one table at the end of this file, to which the gRPC door will add its column.
"""

from __future__ import annotations

from typing import NamedTuple


class StockadeError(Exception):
    """The root: whatever Stockade raises on purpose."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BadValue(StockadeError):
    """An option, argument or value that means nothing."""


class NotFound(StockadeError):
    """No container, process, file or program of that name."""


class Conflict(StockadeError):
    """The object is in a state, or has a name, that does not allow this now."""


class NotModified(StockadeError):
    """The object is already as it was asked to be; nothing was done."""


class Refused(StockadeError):
    """Understood, and not done: unsafe here, or not granted to this user."""


class Unauthorized(Refused):
    """Whoever asked did not say who he is, or is not believed."""


class Unsupported(StockadeError):
    """This kernel, machine or installation lacks what it takes."""


class Unavailable(StockadeError):
    """A program that should answer does not: a shim that died, a socket nobody serves."""


class ProtocolBroken(Unavailable):
    """A peer said what the protocol does not allow."""


class RuntimeFailed(StockadeError):
    """The runtime tried and failed, for the reason in the message."""


class CommandNotFound(RuntimeFailed):
    """The program to be run does not exist in the container."""


class CommandNotExecutable(RuntimeFailed):
    """The program to be run exists and cannot be executed."""


class Damaged(StockadeError):
    """What was kept on disk cannot be read, or cannot be written."""


class TimedOut(StockadeError):
    """An answer did not come in time."""


class Meaning(NamedTuple):
    """What a condition is to those outside."""

    exit_code: int
    http_status: int


# The nearest class of the tree counts. Exit codes: 125 is "Stockade itself failed", 126 and 127 are the shell's, as
# docker has them; a command's own status, 128+n for a signal, is never an error.
_MEANINGS: dict[type[StockadeError], Meaning] = {
    StockadeError: Meaning(125, 500),
    BadValue: Meaning(125, 400),
    NotFound: Meaning(125, 404),
    Conflict: Meaning(125, 409),
    NotModified: Meaning(125, 304),
    Refused: Meaning(125, 403),
    Unauthorized: Meaning(125, 401),
    Unsupported: Meaning(125, 501),
    CommandNotExecutable: Meaning(126, 400),
    CommandNotFound: Meaning(127, 400),
}


def exit_code(error: StockadeError) -> int:
    """What a shell is told of this condition."""
    return _meaning(error).exit_code


def http_status(error: StockadeError) -> int:
    """What an HTTP client is told of this condition."""
    return _meaning(error).http_status


def _meaning(error: StockadeError) -> Meaning:
    return next(_MEANINGS[kind] for kind in type(error).__mro__ if kind in _MEANINGS)
