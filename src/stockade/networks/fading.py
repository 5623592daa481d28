"""Ends of containers that are over. They are cut off already; the kernel takes them away with their network namespace.

It does so in its own time, some milliseconds to a second later, and not at all as long as somebody else is in that
namespace (`--network container:X`). Nobody waits for it here: what is there still after a while is removed.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Iterable

from stockade.errors import StockadeError

_USUAL = 2.0
"""Seconds until the kernel is taken not to."""
_OURS = re.compile("veth[0-9a-f]{10}")

log = logging.getLogger(__name__)


class Fading:
    """The ends that are on their way out, by the names of their devices on the host."""

    def __init__(self, remove: Callable[[Iterable[str]], Awaitable[object]]) -> None:
        self._remove = remove
        self._names: set[str] = set()
        self._watch: asyncio.Task[None] | None = None

    def add(self, names: Iterable[str]) -> None:
        """They were cut off."""
        self._names.update(names)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._see_off(), name="see ends off")

    async def _see_off(self) -> None:
        while self._names:
            known = frozenset(self._names)
            await asyncio.sleep(_USUAL)
            try:
                await self._end(known)
            except StockadeError as error:
                log.error("an end of a network stays: %s", error)

    async def now(self) -> None:
        """Have all of them gone, for there is no room beside them.

        Raises:
            RuntimeFailed: one cannot be removed.
        """
        await self._end(frozenset(self._names))

    async def _end(self, names: frozenset[str]) -> None:
        there = names.intersection(devices())
        self._names.difference_update(names - there)
        if there:
            await self._remove(sorted(there))
            self._names.difference_update(there)

    async def close(self) -> None:
        """See nobody off any more: whoever comes next sweeps."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)


def devices() -> set[str]:
    """The devices of the host that are called as ends of containers are."""
    return {name for _, name in socket.if_nameindex() if _OURS.fullmatch(name)}
