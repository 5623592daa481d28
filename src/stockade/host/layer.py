"""Calls of `stockade-layer`, the program that reads and writes trees of files (docs/layer.md).

What a container of an ordinary user wrote may belong to the user's subordinate ids. The user reaches that only as
root of a user namespace with those ids, so there a call can be made in one.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import sys

from stockade.errors import RuntimeFailed, Unavailable
from stockade.runtime import shim

from . import ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from stockade.model import IdMap

    from .ids import Ids
    from .paths import Paths

REFUSED = 3
# Makes a user namespace, waits until it is mapped, and becomes the program there, as its root.
_ENTER = """
import ctypes, os, sys
if ctypes.CDLL(None, use_errno=True).unshare(0x10000000):
    sys.exit("cannot make a user namespace: " + os.strerror(ctypes.get_errno()))
os.write(3, b"!")
if not os.read(4, 1):
    sys.exit(1)
os.close(3)
os.close(4)
os.setresgid(0, 0, 0)
os.setresuid(0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def start(program: str, *arguments: str, inside: Ids | None = None) -> Running:
    """Begin one call; it runs beside this process until its lines are asked for.

    Args:
        inside: the ids of a user namespace to make the call in; None, or one id: as the caller.
    """
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    error_read, error_write = os.pipe2(os.O_CLOEXEC)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, out_write, 1),
        (os.POSIX_SPAWN_DUP2, error_write, 2),
    ]
    try:
        if inside is not None and inside.how == "subuid":
            pid = _spawn_inside([program, *arguments], actions, inside)
        else:
            # A process group of its own: Ctrl-C in the caller's terminal is not for it, nor is what the caller blocks.
            pid = os.posix_spawn(
                program,
                [program, *arguments],
                {"PATH": os.defpath},
                file_actions=actions,
                setpgroup=0,
                setsigmask=[],
            )
    except OSError as error:
        os.close(out_read)
        os.close(error_read)
        raise Unavailable(f"cannot start {program}: {error.strerror}", hint="make setup") from error
    finally:
        os.close(out_write)
        os.close(error_write)
    return Running(pid, out_read, error_read, arguments[0])


def call(program: str, *arguments: str, inside: Ids | None = None) -> list[dict[str, Any]]:
    """One call to its end; the lines that it answered.

    Raises:
        RuntimeFailed: it failed; the message is its own.
    """
    return start(program, *arguments, inside=inside).lines()


class Tool:
    """`stockade-layer` for one installation: as the caller, or where that is not enough as root of the caller's ids."""

    def __init__(self, paths: Paths) -> None:
        self.program = shim.program("stockade-layer")
        self._paths = paths
        self._inside: Ids | None = None
        self.marks = () if paths.root else ("--userxattr",)
        """How overlays of this user are marked, in words for the program."""

    def start(self, *arguments: str, mapped: bool = False) -> Running:
        """Begin one call; `mapped`: within the caller's user namespace, if there is one."""
        return start(self.program, *arguments, inside=self._ids() if mapped else None)

    def call(self, *arguments: str, mapped: bool = False) -> list[dict[str, Any]]:
        """One call to its end; the lines that it answered."""
        return self.start(*arguments, mapped=mapped).lines()

    def call_somehow(self, *arguments: str) -> list[dict[str, Any]]:
        """One call as the caller and, if that fails, within the caller's user namespace."""
        try:
            return self.call(*arguments)
        except RuntimeFailed:
            if self._ids() is None:
                raise
            return self.call(*arguments, mapped=True)

    def _ids(self) -> Ids | None:
        """The caller's own ids, where they are more than one."""
        if self._paths.root:
            return None
        if self._inside is None:
            self._inside = ids.claim(self._paths, "")
        return self._inside if self._inside.how == "subuid" else None


def _spawn_inside(words: list[str], actions: list[Any], mapping: Ids) -> int:
    """Start a program as root of a new user namespace with these ids; its pid."""
    ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
    go_read, go_write = os.pipe2(os.O_CLOEXEC)
    # Out of the way of the numbers that they are given under.
    theirs = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (ready_write, go_read)]
    os.close(ready_write)
    os.close(go_read)
    more = [(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(theirs, start=3)]
    arguments = [sys.executable, "-I", "-S", "-c", _ENTER, *words]
    try:
        pid = os.posix_spawn(
            sys.executable, arguments, {"PATH": os.defpath}, file_actions=actions + more, setpgroup=0, setsigmask=[]
        )
    finally:
        for end in theirs:
            os.close(end)
    try:
        if os.read(ready_read, 1):
            for tool, maps in (("newuidmap", mapping.uid), ("newgidmap", mapping.gid)):
                _map(tool, pid, maps)
            os.write(go_write, b"!")
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(ready_read)
        os.close(go_write)
    return pid


def _map(tool: str, pid: int, maps: tuple[IdMap, ...]) -> None:
    numbers = [str(number) for one in maps for number in one]
    path = next((f"{folder}/{tool}" for folder in os.get_exec_path() if os.access(f"{folder}/{tool}", os.X_OK)), tool)
    mapper = os.posix_spawn(path, [tool, str(pid), *numbers], {"PATH": os.defpath})
    if os.waitstatus_to_exitcode(os.waitpid(mapper, 0)[1]) != 0:
        raise RuntimeFailed(f"{tool} refused to map {numbers}")


class Running:
    """A call that was begun. `lines` must be asked once: it also collects the process."""

    __slots__ = ("_error", "_out", "_pid", "_what", "status")

    def __init__(self, pid: int, out: int, error: int, what: str) -> None:
        self._pid, self._out, self._error, self._what = pid, out, error, what
        self.status = -1

    def ended_within(self, seconds: float) -> bool:
        """Whether the answer is there by then."""
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

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
