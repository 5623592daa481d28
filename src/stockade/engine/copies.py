"""Copies of records beside the data, for a repair of the store: written a moment later, together, off the loop.

What counts is in the store. Replacing a file makes the file system write it out, which is milliseconds on a busy disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

import msgspec

from stockade.engine.records import Record
from stockade.errors import StockadeError
from stockade.host import locks

_AFTER = 0.2


class Copies:
    """What is still to be copied."""

    def __init__(self) -> None:
        self._wanted: dict[str, Record] = {}
        self._under_way: dict[str, Record] = {}
        self._written: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def want(self, directory: str, record: Record) -> None:
        """Have record.json in a container's directory follow its record."""
        self._wanted[directory] = record
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._soon(), name="copies of records")

    async def _soon(self) -> None:
        while self._wanted:
            await asyncio.sleep(_AFTER)
            self._under_way, self._wanted = self._wanted, {}
            self._written = asyncio.ensure_future(asyncio.to_thread(_write, self._under_way))
            await asyncio.shield(self._written)
            self._under_way = {}

    async def drop(self, directory: str) -> None:
        """The directory is about to go: nothing more is written there until it is wanted again."""
        self._wanted.pop(directory, None)
        if directory in self._under_way and self._written is not None:
            await asyncio.wait([self._written])

    async def close(self) -> None:
        """Write what is left."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        _write(self._wanted)


def _write(wanted: dict[str, Record]) -> None:
    """A directory that is gone needs none, and on a full disk there is none: the next start tries again."""
    for directory, record in wanted.items():
        with contextlib.suppress(StockadeError):
            if os.path.isdir(directory):
                locks.replace(f"{directory}/record.json", msgspec.json.encode(record).decode(), synced=False)
