"""Calls of our Rust programs from the daemon's loop: descriptors are passed on, answers bounded, nobody is left behind.

They are started by `host.spawn`. Descriptors keep their numbers in them, so that an argument can name them. Whoever
stops waiting has the program killed and reaped. Imports asyncio, so nothing on the way of `stockade do` may import it;
that has `host.layer`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from stockade.errors import RuntimeFailed
from stockade.host import spawn
from stockade.runtime import shim

MAX_LINE = 1 << 20
MAX_ANSWER = 64 << 20
MAX_SENTENCE = 4096


class Given(NamedTuple):
    """What a call gets besides its arguments."""

    descriptors: tuple[int, ...] = ()
    """Open in the program under the same numbers; the caller keeps its own."""
    text: bytes = b""
    """Its standard input."""
    environ: Mapping[str, str] = MappingProxyType({})
    """Variables beside PATH and the locale."""


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
        running.tell(given.text)
        async with contextlib.aclosing(running.answers()) as answers:
            async for line in answers:
                yield line

    def begin(self, *arguments: str) -> Running:
        """Start a call, for a caller that tells it its standard input later; it is stopped by `answers` or `stop`."""
        return Running(self.path, arguments, NOTHING)


class Running:
    """A program at work. Made by `Program`."""

    def __init__(self, program: str, arguments: tuple[str, ...], given: Given) -> None:
        self._program = os.path.basename(program)
        self._name = f"{self._program} {arguments[0]}" if arguments else self._program
        pipes = (spawn.inlet(), spawn.outlet(), spawn.outlet())
        self._stdin, self._out, self._error = (ours for ours, _ in pipes)
        standard = {number: theirs for number, (_, theirs) in enumerate(pipes)}
        try:
            descriptors = {**{one: one for one in given.descriptors}, **standard}
            self._child = spawn.start([program, *arguments], descriptors, given.environ)
        except BaseException:
            for ours, _ in pipes:
                os.close(ours)
            raise
        finally:
            for theirs in standard.values():
                os.close(theirs)
        self._feeder: asyncio.Task[None] | None = None
        self._sentence = asyncio.create_task(self._read_sentence(), name=f"errors of {self._name}")

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._child.runs

    def tell(self, text: bytes) -> None:
        """Its standard input, all of it."""
        self._feeder = asyncio.create_task(spawn.feed(self._stdin, text), name=f"feed {self._name}")
        # Not in the task: one that is cancelled before its first step does nothing at all.
        self._feeder.add_done_callback(lambda _: os.close(self._stdin))

    async def answers(self) -> AsyncGenerator[dict[str, Any], None]:
        """Its lines as it prints them, to its end; see Program.lines."""
        try:
            async for line in self.lines():
                yield line
            await self.succeeded()
        finally:
            await self.stop()

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """Each line of its standard output, read as JSON."""
        total, rest = 0, b""
        while piece := await spawn.some(self._out):
            total += len(piece)
            if total > MAX_ANSWER:
                raise RuntimeFailed(f"{self._name} answers without end")
            *whole, rest = (rest + piece).split(b"\n")
            if len(rest) > MAX_LINE:
                raise RuntimeFailed(f"{self._name} answered a line of more than {MAX_LINE} bytes")
            for line in whole:
                yield self._read(line)
        if rest:
            yield self._read(rest)

    def _read(self, line: bytes) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise RuntimeFailed(f"{self._name} answered {line[:80]!r}") from error
        return found

    async def succeeded(self) -> None:
        """Wait for its end.

        Raises:
            RuntimeFailed: it failed; the message is its own sentence.
        """
        status = await self._child.wait()
        if status != 0:
            said = await self._sentence
            how = f"was killed by signal {-status}" if status < 0 else f"failed with status {status}"
            sentence, _, hint = said.partition("\n\nhint: ")
            raise RuntimeFailed(sentence or f"{self._name} {how}", hint=hint)

    async def stop(self) -> None:
        """Kill it if it runs still, reap it, and close what was open to it. Idempotent."""
        self._child.kill()
        if self._feeder is None:
            self.tell(b"")
        own = [one for one in (self._feeder, self._sentence) if one is not None]
        for one in own:
            one.cancel()
        await self._child.wait()
        await asyncio.wait(own)
        for end in (self._out, self._error):
            if end >= 0:
                os.close(end)
        self._out = self._error = -1

    async def _read_sentence(self) -> str:
        """What it says on standard error, without its own name before it; what is too long is read and dropped."""
        kept = b""
        while piece := await spawn.some(self._error):
            kept += piece[: MAX_SENTENCE - len(kept)]
        said = kept.decode(errors="replace").strip().removeprefix(f"{self._program}: ")
        # It may carry words of a registry's or an archive's; they do not steer the terminal of whoever reads them.
        return "".join(
            letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in said
        )
