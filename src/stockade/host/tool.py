"""Calls of our Rust programs from the daemon's loop: descriptors are passed on, answers bounded, nobody is left behind.

A program is spawned, never forked, in a process group of its own with an empty environment. Descriptors keep their
numbers in it, so that an argument can name them. Whoever stops waiting has the program killed and reaped. Imports
asyncio, so nothing on the way of `stockade do` may import it; that has `host.layer`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Any, NamedTuple

from stockade.errors import RuntimeFailed, Unavailable
from stockade.runtime import shim

CHUNK = 64 << 10
MAX_LINE = 1 << 20
MAX_ANSWER = 64 << 20
MAX_SENTENCE = 4096


class Given(NamedTuple):
    """What a call gets besides its arguments."""

    descriptors: tuple[int, ...] = ()
    """Open in the program under the same numbers; the caller keeps its own."""
    text: bytes = b""
    """Its standard input."""


NOTHING = Given()


class Program:
    """One of our programs."""

    def __init__(self, name: str) -> None:
        self.path = shim.program(name)

    async def call(self, *arguments: str, given: Given = NOTHING) -> list[dict[str, Any]]:
        """One call to its end; the lines that it answered.

        Raises:
            RuntimeFailed: it failed; the message is its own sentence.
        """
        return [line async for line in self.lines(*arguments, given=given)]

    async def lines(self, *arguments: str, given: Given = NOTHING) -> AsyncGenerator[dict[str, Any], None]:
        """Its lines as it prints them; a failure is raised after the last one.

        Raises:
            RuntimeFailed: it failed; the message is its own sentence.
        """
        running = Running(self.path, arguments, given)
        try:
            async for line in running.lines():
                yield line
            await running.succeeded()
        finally:
            await running.stop()


class Running:
    """A program at work. Made by `Program`."""

    def __init__(self, program: str, arguments: tuple[str, ...], given: Given) -> None:
        self._program = os.path.basename(program)
        self._name = f"{self._program} {arguments[0]}" if arguments else self._program
        self._loop = asyncio.get_running_loop()
        self._sources: list[asyncio.ReadTransport] = []
        own, theirs = _pipes()
        self._stdin, self._out, self._error = own
        try:
            self._pid = os.posix_spawn(
                program,
                [program, *arguments],
                {"PATH": os.defpath},
                file_actions=_actions(theirs, given.descriptors),
                setpgroup=0,
                setsigmask=[],
                setsigdef=[signal.SIGPIPE],
            )
        except OSError as error:
            for end in own:
                os.close(end)
            raise Unavailable(f"cannot start {program}: {error.strerror}", hint="make setup") from error
        finally:
            for end in theirs:
                os.close(end)
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = os.pidfd_open(self._pid)
        self._loop.add_reader(self._pidfd, self._reap)
        self._feeder = asyncio.create_task(_feed(self._stdin, given.text), name=f"feed {self._name}")
        # Not in the task: one that is cancelled before its first step does nothing at all.
        self._feeder.add_done_callback(lambda _: os.close(self._stdin))
        self._sentence = asyncio.create_task(self._read_sentence(), name=f"errors of {self._name}")

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """Each line of its standard output, read as JSON."""
        end, self._out = self._out, -1
        reader = await self._reader(end)
        total = 0
        while line := await self._line(reader):
            total += len(line)
            if total > MAX_ANSWER:
                raise RuntimeFailed(f"{self._name} answers without end")
            try:
                yield json.loads(line)
            except ValueError as error:
                raise RuntimeFailed(f"{self._name} answered {line[:80]!r}") from error

    async def _line(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.readline()
        except ValueError as error:
            raise RuntimeFailed(f"{self._name} answered a line of more than {MAX_LINE} bytes") from error

    async def succeeded(self) -> None:
        """Wait for its end.

        Raises:
            RuntimeFailed: it failed; the message is its own sentence.
        """
        status = await asyncio.shield(self._ended)
        if status != 0:
            said = await self._sentence
            how = f"was killed by signal {-status}" if status < 0 else f"failed with status {status}"
            sentence, _, hint = said.partition("\n\nhint: ")
            raise RuntimeFailed(sentence or f"{self._name} {how}", hint=hint)

    async def stop(self) -> None:
        """Kill it if it runs still, reap it, and close what was open to it. Idempotent."""
        if not self._ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
        self._feeder.cancel()
        self._sentence.cancel()
        for source in self._sources:
            source.close()
        await asyncio.shield(self._ended)
        await asyncio.wait([self._feeder, self._sentence])
        for end in (self._out, self._error):
            if end >= 0:
                os.close(end)
        self._out = self._error = -1

    def _reap(self) -> None:
        """The program has ended, whoever waits for it or not."""
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        _, status = os.waitpid(self._pid, 0)
        self._ended.set_result(os.waitstatus_to_exitcode(status))

    async def _reader(self, end: int) -> asyncio.StreamReader:
        reader = asyncio.StreamReader(limit=MAX_LINE, loop=self._loop)
        transport, _ = await self._loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader, loop=self._loop), os.fdopen(end, "rb", buffering=0)
        )
        self._sources.append(transport)
        return reader

    async def _read_sentence(self) -> str:
        """What it says on standard error, without its own name before it; what is too long is read and dropped."""
        end, self._error = self._error, -1
        reader = await self._reader(end)
        kept = b""
        while piece := await reader.read(CHUNK):
            kept += piece[: MAX_SENTENCE - len(kept)]
        return kept.decode(errors="replace").strip().removeprefix(f"{self._program}: ")


async def _feed(end: int, text: bytes) -> None:
    """Write the program's standard input; one that reads no further loses the rest."""
    loop = asyncio.get_running_loop()
    os.set_blocking(end, False)
    rest = memoryview(text)
    while rest:
        try:
            rest = rest[os.write(end, rest[:CHUNK]) :]
        except BlockingIOError:
            writable = asyncio.Event()
            loop.add_writer(end, writable.set)
            try:
                await writable.wait()
            finally:
                loop.remove_writer(end)
        except BrokenPipeError:
            return


def _pipes() -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Our ends and theirs of standard input, output and error."""
    stdin, own_stdin = os.pipe2(os.O_CLOEXEC)
    own_out, out = os.pipe2(os.O_CLOEXEC)
    own_error, error = os.pipe2(os.O_CLOEXEC)
    return (own_stdin, own_out, own_error), (stdin, out, error)


def _actions(standard: tuple[int, int, int], passed: Iterable[int]) -> list[tuple[Any, ...]]:
    # To its own number: that takes close-on-exec from it, in the program alone (posix_spawn_file_actions_adddup2).
    keep = [(os.POSIX_SPAWN_DUP2, number, number) for number in passed]
    return keep + [(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(standard)]
