"""The sandbox for callers that await; the same core as `sandbox`, over the running loop."""

from __future__ import annotations

import os
import signal as signals

from stockade.errors import TimedOut
from stockade.model import Limits
from stockade.runtime.aio import World
from stockade.sdk.core import Core
from stockade.sdk.running import Running, Wish, words
from stockade.sdk.values import OUTPUT_LIMIT, PIPE, Completed, HostView, OfImage, Rootfs, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from types import TracebackType
    from typing import IO, Self

    from stockade.model import Exit

_CHUNK = 1 << 16


class AsyncSandbox:
    """`Sandbox` with `await`: entered with `async with`, every method awaited, the same arguments and errors.

    >>> async with AsyncSandbox(limits=Limits(memory=256 << 20)) as box:
    ...     done = await box.run(["python3", "-c", "print(6 * 7)"], timeout=5)
    """

    def __init__(
        self,
        root: HostView | Rootfs | OfImage = HostView(),  # noqa: B008 (immutable)
        *,
        limits: Limits = Limits(),  # noqa: B008 (immutable)
        network: str = "none",
        files: Mapping[str, bytes] | None = None,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: int = 0,
        hostname: str = "sandbox",
        output_limit: int = OUTPUT_LIMIT,
    ) -> None:
        settings = Settings(root, limits, network, files or {}, env or {}, workdir, user, hostname, output_limit)
        self._core = Core(World(), settings)

    async def __aenter__(self) -> Self:
        await self._core.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def run(
        self,
        args: Sequence[str],
        *,
        input: bytes = b"",
        timeout: float | None = None,
        check: bool = False,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: int | None = None,
    ) -> Completed:
        """Run a command to its end and take its output; see Sandbox.run. Cancelled, it kills the command."""
        wish = Wish(words(args), env=env or {}, workdir=workdir, user=user)
        completed = await self._core.run(wish, input, timeout)
        if check:
            completed.check_returncode()
        return completed

    async def start(
        self,
        args: Sequence[str],
        *,
        stdin: int | IO[bytes] = PIPE,
        stdout: int | IO[bytes] = PIPE,
        stderr: int | IO[bytes] = PIPE,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: int | None = None,
    ) -> AsyncProcess:
        """Start a command and go on; see Sandbox.start."""
        wish = Wish(words(args), stdin, stdout, stderr, env or {}, workdir, user)
        return AsyncProcess(self._core, await self._core.start(wish))

    async def put(self, path: str, content: bytes | IO[bytes], *, mode: int = 0o644) -> None:
        """Write a file inside; see Sandbox.put."""
        await self._core.put(path, content, mode)

    async def get(self, path: str, *, limit: int = OUTPUT_LIMIT) -> bytes:
        """Read a regular file from inside; see Sandbox.get."""
        return await self._core.get(path, limit)

    async def close(self) -> None:
        """Kill what still runs and remove everything. Idempotent."""
        await self._core.close()


class AsyncProcess:
    """A command that was started in a sandbox; see Process."""

    def __init__(self, core: Core, running: Running) -> None:
        self._running = running
        self.args = running.wish.args
        self.pid = running.pid
        """Its process id on the host."""
        self.stdin = Writer(core, running) if "stdin" in running.pipes else None
        self.stdout = Reader(core, running, "stdout") if "stdout" in running.pipes else None
        self.stderr = Reader(core, running, "stderr") if "stderr" in running.pipes else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the streams; wait for the end, or after an error make it."""
        if kind is not None:
            await self.kill()
        self._running.close()
        await self.wait()

    @property
    def exit(self) -> Exit | None:
        """How it ended; None while nobody has seen it end."""
        return self._running.end

    @property
    def returncode(self) -> int | None:
        """Its exit status, 128+n for signal n; None while nobody has seen it end."""
        return None if self._running.end is None else self._running.end.status

    async def poll(self) -> int | None:
        """Its exit status if it has ended."""
        return await self.wait() if self._running.poll() else None

    async def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has ended; see Process.wait."""
        try:
            return (await self._running.wait(timeout)).status
        except TimedOut as error:
            raise self._running.still_there(error) from error

    async def communicate(self, input: bytes = b"", timeout: float | None = None) -> Completed:
        """Feed it, take all that it prints, wait for its end; see Process.communicate."""
        try:
            return await self._running.communicate(input, timeout)
        except TimedOut as error:
            raise self._running.still_there(error) from error

    async def send_signal(self, number: int) -> None:
        """Send it a signal; nothing, if it has ended."""
        await self._running.signal(number)

    async def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        await self.send_signal(signals.SIGTERM)

    async def kill(self) -> None:
        """End it (SIGKILL)."""
        await self.send_signal(signals.SIGKILL)


class Reader:
    """What a command prints, as it comes. Iterating gives lines."""

    def __init__(self, core: Core, running: Running, name: str) -> None:
        self._core = core
        self._running = running
        self._name = name
        self._buffer = bytearray()
        os.set_blocking(running.pipes[name], False)

    async def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, at least one; without a size everything. Empty: the end."""
        if size < 0:
            while await self._fill():
                pass
            size = len(self._buffer)
        elif not self._buffer:
            await self._fill()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def readline(self) -> bytes:
        """A line with its end; the last one may lack it. Empty: the end."""
        while (at := self._buffer.find(b"\n")) < 0:
            if not await self._fill():
                return await self.read(len(self._buffer)) if self._buffer else b""
        return await self.read(at + 1)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while line := await self.readline():
            yield line

    async def _fill(self) -> bool:
        """Take what comes next; False at the end."""
        while (descriptor := self._running.pipes.get(self._name)) is not None:
            await self._core.io.ready([descriptor], [], None)
            try:
                part = os.read(descriptor, _CHUNK)
            except BlockingIOError:
                continue
            self._buffer += part
            return bool(part)
        return False


class Writer:
    """What a command reads."""

    def __init__(self, core: Core, running: Running) -> None:
        self._core = core
        self._running = running
        os.set_blocking(running.pipes["stdin"], False)

    async def write(self, data: bytes) -> None:
        """Write everything.

        Raises:
            BrokenPipeError: the command reads no more.
        """
        left = memoryview(data)
        while left:
            descriptor = self._running.pipes.get("stdin")
            if descriptor is None:
                raise BrokenPipeError("standard input is closed")
            await self._core.io.ready([], [descriptor], None)
            try:
                left = left[os.write(descriptor, left[:_CHUNK]) :]
            except BlockingIOError:
                continue

    def close(self) -> None:
        """Let the command see the end. Idempotent."""
        self._running.shut("stdin")
