"""Calls of `stockade-layer`, the program that reads and writes trees of files (docs/layer.md)."""

from __future__ import annotations

import json
import os

from stockade.errors import RuntimeFailed, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

REFUSED = 3


def start(program: str, *arguments: str) -> Running:
    """Begin one call; it runs beside this process until its lines are asked for."""
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    error_read, error_write = os.pipe2(os.O_CLOEXEC)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, out_write, 1),
        (os.POSIX_SPAWN_DUP2, error_write, 2),
    ]
    try:
        pid = os.posix_spawn(program, [program, *arguments], {"PATH": os.defpath}, file_actions=actions)
    except OSError as error:
        os.close(out_read)
        os.close(error_read)
        raise Unavailable(f"cannot start {program}: {error.strerror}", hint="make setup") from error
    finally:
        os.close(out_write)
        os.close(error_write)
    return Running(pid, out_read, error_read, arguments[0])


def call(program: str, *arguments: str) -> list[dict[str, Any]]:
    """One call to its end; the lines that it answered.

    Raises:
        RuntimeFailed: it failed; the message is its own.
    """
    return start(program, *arguments).lines()


class Running:
    """A call that was begun. `lines` must be asked once: it also collects the process."""

    __slots__ = ("_error", "_out", "_pid", "_what", "status")

    def __init__(self, pid: int, out: int, error: int, what: str) -> None:
        self._pid, self._out, self._error, self._what = pid, out, error, what
        self.status = -1

    def lines(self, refusals: bool = False) -> list[dict[str, Any]]:
        """Wait for the end; every line of the answer.

        Args:
            refusals: take exit 3 (refused, nothing changed) as an answer, not as a failure.
        """
        with open(self._out, "rb") as out, open(self._error, "rb") as error:
            answer = [json.loads(line) for line in _whole_lines(out.read())]
            complaint = error.read().decode(errors="replace").strip()
        _, status = os.waitpid(self._pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        if self.status == 0 or (refusals and self.status == REFUSED):
            return answer
        reason = complaint.splitlines()[-1] if complaint else f"exit status {self.status}"
        raise RuntimeFailed(f"stockade-layer {self._what}: {reason.removeprefix('stockade-layer: ')}")


def _whole_lines(text: bytes) -> Iterator[bytes]:
    return (line for line in text.split(b"\n") if line)
