"""Programs that the daemon starts beside its loop: each has an owner who waits for it; their bytes pass elsewhere.

Imports asyncio: for the engine's side alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from typing import NamedTuple

from stockade.errors import RuntimeFailed, TimedOut, Unavailable
from stockade.runtime import inbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Above every number that a program is given a descriptor under.
_ABOVE = 64
CHUNK = 64 << 10


class Answer(NamedTuple):
    """What a short program said."""

    status: int
    """0…255; -n: signal n ended it."""
    out: bytes
    complaint: bytes


class Child:
    """A program that was started. Its end is collected whether or not anybody waits for it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = loop.create_future()
        self._pidfd = os.pidfd_open(pid)
        loop.add_reader(self._pidfd, self._collect)

    @property
    def runs(self) -> bool:
        """Whether its end was not collected yet."""
        return not self._ended.done()

    async def wait(self) -> int:
        """Its status (-n: signal n), once it has ended."""
        return await asyncio.shield(self._ended)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it and what it started a signal; nothing when it has ended."""
        if not self._ended.done():
            # Nobody has its number yet: it is collected here alone.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def _collect(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        _, status = os.waitpid(self.pid, 0)
        if not self._ended.done():
            self._ended.set_result(os.waitstatus_to_exitcode(status))


def start(
    words: Sequence[str],
    descriptors: Mapping[int, int],
    environ: Mapping[str, str] | None = None,
    *,
    session: bool = False,
) -> Child:
    """Start a program with these descriptors (its number → ours) and no others; standard ones not named are /dev/null.

    Ours stay open. It is in a process group of its own, with `session` in a session of its own, with no signal blocked
    and the locale of POSIX.

    Raises:
        Unavailable: it cannot be started.
    """
    copies: list[int] = []
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in range(3) if number not in descriptors
    ]
    try:
        for number, ours in descriptors.items():
            copy = fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
            copies.append(copy)
            actions.append((os.POSIX_SPAWN_DUP2, copy, number))
        pid = os.posix_spawn(
            words[0],
            list(words),
            {"PATH": os.defpath, "LC_ALL": "C", **(environ or {})},
            file_actions=actions,
            **({"setsid": True} if session else {"setpgroup": 0}),
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGPIPE, signal.SIGTERM],
        )
    except OSError as error:
        raise Unavailable(f"cannot start {words[0]}: {error.strerror}") from error
    finally:
        for copy in copies:
            os.close(copy)
    return Child(pid)


async def ended(pidfd: int, patience: float) -> bool:
    """Whether a process, anybody's, has ended within so many seconds."""
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(pidfd, gone.set)
    try:
        await asyncio.wait_for(gone.wait(), patience)
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pidfd)
    return True


async def run(
    words: Sequence[str],
    descriptors: Mapping[int, int] | None = None,
    *,
    limit: int = 1 << 20,
    timeout: float | None = 60.0,
    environ: Mapping[str, str] | None = None,
) -> Answer:
    """Run a short program to its end; it is killed when it takes or says too much, and when this call is cancelled.

    Args:
        limit: bytes of standard output and of standard error.

    Raises:
        TimedOut: it took longer than `timeout` seconds.
        RuntimeFailed: it said more than `limit`.
    """
    out, their_out = outlet()
    err, their_err = outlet()
    try:
        try:
            child = start(words, {**(descriptors or {}), 1: their_out, 2: their_err}, environ)
        finally:
            os.close(their_out)
            os.close(their_err)
        try:
            talk = asyncio.gather(_hear(child, out, limit), _hear(child, err, limit), child.wait())
            said = await asyncio.wait_for(talk, timeout)
        except TimeoutError:
            raise TimedOut(f"{os.path.basename(words[0])} did not end within {timeout:g} s") from None
        finally:
            child.kill()
    finally:
        os.close(out)
        os.close(err)
    if max(len(said[0]), len(said[1])) > limit:
        raise RuntimeFailed(f"{os.path.basename(words[0])} said more than {limit} bytes")
    return Answer(said[2], said[0], said[1])


async def _hear(child: Child, descriptor: int, limit: int) -> bytes:
    """What a program says; one that does not stop is stopped."""
    said = await read(descriptor, limit)
    if len(said) > limit:
        child.kill()
    return said


async def read(descriptor: int, limit: int) -> bytes:
    """What comes out of a non-blocking pipe until its end, or until more than `limit` bytes did."""
    found = bytearray()
    while len(found) <= limit and (piece := await some(descriptor, limit + 1 - len(found))):
        found += piece
    return bytes(found)


async def some(descriptor: int, limit: int = inbox.SIZE) -> bytes:
    """What comes next out of a non-blocking pipe, a chunk at most; nothing: its end."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return inbox.read(descriptor, limit)
        except BlockingIOError:
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_reader(descriptor, _wake, ready)
            try:
                await ready
            finally:
                loop.remove_reader(descriptor)


async def feed(descriptor: int, text: bytes) -> None:
    """Write all of it into a non-blocking pipe; a reader that leaves loses the rest."""
    loop = asyncio.get_running_loop()
    rest = memoryview(text)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest[:CHUNK]) :]
        except BlockingIOError:
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_writer(descriptor, _wake, ready)
            try:
                await ready
            finally:
                loop.remove_writer(descriptor)
        except BrokenPipeError:
            return


def outlet() -> tuple[int, int]:
    """A pipe to hear a program by: our end, which does not block, and its own, which does."""
    ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(theirs, True)
    return ours, theirs


def inlet() -> tuple[int, int]:
    """A pipe to tell a program something by: our end, which does not block, and its own, which does."""
    theirs, ours = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(theirs, True)
    return ours, theirs


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
