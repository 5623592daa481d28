"""Every condition that Stockade reports, as one tree; a class is one condition that a caller can act on.

A message is one sentence that names the object; `hint` says what to do about it. What a condition means to a shell
stands in one table at the end of this file, to which the HTTP and gRPC doors will add their columns.
"""

from __future__ import annotations


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


class Refused(StockadeError):
    """Understood, and not done: unsafe here, or not granted to this user."""


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


class TimedOut(StockadeError):
    """An answer did not come in time."""


# Condition → exit code, the nearest class of the tree counts. 125 is "Stockade itself failed", 126 and 127 are the
# shell's, as docker has them; a command's own status, 128+n for a signal, is never an error.
_EXIT_CODES: dict[type[StockadeError], int] = {
    StockadeError: 125,
    CommandNotExecutable: 126,
    CommandNotFound: 127,
}


def exit_code(error: StockadeError) -> int:
    """What a shell is told of this condition."""
    return next(_EXIT_CODES[kind] for kind in type(error).__mro__ if kind in _EXIT_CODES)
