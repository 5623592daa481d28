"""One command in a sandbox: its streams, its output, its end."""

from __future__ import annotations

import os
import signal
import time
from typing import NamedTuple

from stockade.errors import BadValue, NotFound, TimedOut
from stockade.model import Reason
from stockade.runtime import exits, shim
from stockade.runtime.attach import Attachment, Streams
from stockade.sdk.values import DEVNULL, PIPE, STDOUT, Completed, OutputTooLarge, SandboxEnded, SandboxTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import IO

    from stockade.embedded.session import Session
    from stockade.model import Exit
    from stockade.runtime.io import Pending
    from stockade.sdk.core import Core

# How often a look is taken at things that have no descriptor, in seconds.
_TICK = 0.2
# How long output may still come once the end is known.
_DRAIN = 1.0


class Wish(NamedTuple):
    """One command, as it was asked for."""

    args: tuple[str, ...]
    stdin: int | IO[bytes] = PIPE
    stdout: int | IO[bytes] = PIPE
    stderr: int | IO[bytes] = PIPE
    env: Mapping[str, str] = {}
    workdir: str | None = None
    user: int | None = None


class Running:
    """A command that was started."""

    def __init__(self, core: Core, session: Session, identity: str, wish: Wish) -> None:
        self.id = identity
        self.wish = wish
        self.pid = 0
        self.end: Exit | None = None
        self.pipes: dict[str, int] = {}
        """Our ends, by the stream's name."""
        self.files: dict[str, IO[bytes]] = {}
        """Those that a file object owns."""
        self._core = core
        self._session = session
        self._pending: Pending | None = None
        self._attachment: Attachment | None = None
        self._outputs: dict[str, bytearray] = {}

    async def begin(self) -> None:
        """Hand over the streams and let it run."""
        task = self._session.task
        given: list[int] = []
        streams: dict[str, int | None] = {}
        try:
            for name in ("stdin", "stdout", "stderr"):
                streams[name] = self._stream(name, getattr(self.wish, name), given)
            if self.wish.stderr == STDOUT:
                streams["stderr"] = streams["stdout"]
            address = shim.attach_address(self._session.bundle)
            wanted = Streams(**streams)
            self._attachment = await self._core.io.work(Attachment, address, task.id, wanted, self.id)
        finally:
            for descriptor in given:
                os.close(descriptor)
        self._pending = await task.begin_wait(self.id)
        self.pid = await task.start(self.id)

    def _stream(self, name: str, wish: int | IO[bytes], given: list[int]) -> int | None:
        """The descriptor to hand over for one stream; what is only for that is appended to `given`."""
        if wish == PIPE:
            reader, writer = os.pipe2(os.O_CLOEXEC)
            ours, theirs = (writer, reader) if name == "stdin" else (reader, writer)
            self.pipes[name] = ours
            given.append(theirs)
            return theirs
        if wish == DEVNULL or (wish == STDOUT and name == "stderr"):
            return None
        if isinstance(wish, int):
            if wish < 0:
                raise BadValue(f"{name} cannot be {wish}")
            return wish
        return wish.fileno()

    async def communicate(self, data: bytes, timeout: float | None) -> Completed:
        """Feed the input, take all output, wait for the end.

        Raises:
            TimedOut: it goes on; what came so far is kept for the next call.
            OutputTooLarge: it goes on, and nobody should wait for it.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        left = memoryview(data)
        self._take_over()
        over: float | None = None
        if not left:
            self.shut("stdin")
        while self.pipes or self._attachment is not None:
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                raise TimedOut(f"{self.wish.args[0]} did not end in time")
            if over is None and self.poll():
                over = now
            if over is not None and now >= over + _DRAIN:
                break
            patience = _TICK if deadline is None else min(_TICK, deadline - now)
            left = await self._step(left, patience)
        end = await self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        self.close()
        return self.completed(end)

    async def _step(self, left: memoryview, patience: float) -> memoryview:
        """One round of moving bytes; what of the input is left."""
        reads = {self.pipes[name]: name for name in ("stdout", "stderr") if name in self.pipes}
        writes = [self.pipes["stdin"]] if "stdin" in self.pipes else []
        attachment = self._attachment
        watched = [*reads, *([attachment.fileno()] if attachment else [])]
        readable, writable = await self._core.io.ready(watched, writes, patience)
        for descriptor in readable:
            if descriptor in reads:
                self._take(reads[descriptor], descriptor)
            elif attachment is not None:
                attachment.receive()
                self._end_attachment()
        if writable and "stdin" in self.pipes:
            try:
                left = left[os.write(writes[0], left[: 1 << 16]) :]
            except BrokenPipeError:
                left = left[:0]
            if not left:
                self.shut("stdin")
        return left

    def _take(self, name: str, descriptor: int) -> None:
        output = self._outputs.setdefault(name, bytearray())
        try:
            part = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return
        if not part:
            self.shut(name)
        output += part
        if len(output) > self._core.settings.output_limit:
            end = exits.from_status(128 + signal.SIGKILL)
            limit = self._core.settings.output_limit
            raise OutputTooLarge(f"{self.wish.args[0]} printed more than {limit} bytes", self.completed(end))

    def _end_attachment(self) -> None:
        """All output is in our pipes now: take it, even if somebody else holds the other ends."""
        if self._attachment is not None:
            self._attachment.close()
            self._attachment = None
        self.shut("stdin")
        for name in ("stdout", "stderr"):
            while name in self.pipes:
                before = len(self._outputs.get(name, b""))
                self._take(name, self.pipes[name])
                if len(self._outputs.get(name, b"")) == before:
                    self.shut(name)

    def completed(self, end: Exit) -> Completed:
        """The command with what it has printed so far."""
        stdout, stderr = (bytes(self._outputs.get(name, b"")) for name in ("stdout", "stderr"))
        return Completed(self.wish.args, end.status, stdout, stderr, end)

    def poll(self) -> bool:
        """Whether it has ended, without waiting."""
        if self.end is None and self._pending is not None and not self._pending.done:
            self._session.channel.pump()
        return self.end is not None or (self._pending is not None and self._pending.done)

    async def wait(self, timeout: float | None = None) -> Exit:
        """How it ended, once it has.

        Raises:
            TimedOut: it goes on.
        """
        if self.end is None:
            if self._pending is None:
                raise SandboxEnded(f"{self.wish.args[0]} was not started")
            try:
                end = await self._session.task.end(self._pending, self.id, timeout)
            except TimedOut as error:
                raise TimedOut(f"{self.wish.args[0]} did not end within {timeout:g} s") from error
            if self.end is None:
                self.end = end
                await self._core.ended(self)
        return self.end

    async def signal(self, number: int) -> None:
        """Send it a signal; nothing, if it has ended."""
        if self.poll():
            return
        try:
            await self._session.task.kill(number, self.id)
        except NotFound:
            return

    def still_there(self, error: TimedOut) -> SandboxTimeout:
        """What a caller is told that waited for too short a time."""
        end = exits.from_status(0)._replace(reason=Reason.TIMED_OUT, message="still running")
        return SandboxTimeout(error.message, self.completed(end))

    def _take_over(self) -> None:
        """Use the pipes that the caller has not closed himself, without waiting."""
        for name, file in list(self.files.items()):
            if file.closed:
                del self.files[name], self.pipes[name]
            elif name == "stdin":
                file.flush()
        for descriptor in self.pipes.values():
            os.set_blocking(descriptor, False)

    def shut(self, name: str) -> None:
        """Close our end of a stream. Idempotent."""
        descriptor, file = self.pipes.pop(name, None), self.files.pop(name, None)
        if file is not None:
            file.close()
        elif descriptor is not None:
            os.close(descriptor)

    def cut(self) -> None:
        """Its sandbox was closed under it."""
        if self.end is None:
            self.end = exits.from_status(128 + signal.SIGKILL)._replace(message="the sandbox was closed")
        self.close()

    def close(self) -> None:
        """Let go of the streams. Idempotent."""
        for name in list(self.pipes):
            self.shut(name)
        if self._attachment is not None:
            self._attachment.close()
            self._attachment = None


def words(args: str | Sequence[str]) -> tuple[str, ...]:
    """A command's words; a single string is refused: is it a program's name with spaces, or a line for a shell?"""
    if isinstance(args, str):
        raise BadValue(f"a command is a list of words, not {args!r}", hint='["sh", "-c", "…"] has a shell read it')
    return tuple(os.fsdecode(word) for word in args)
