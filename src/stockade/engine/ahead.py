"""Places of containers that nobody asked for yet: a directory, a range of ids, and a shim that waits.

What every container needs alike is not made while a client waits for one. When it is quiet after containers were
made, as many places are made as were asked for since; a place that nobody takes is given up before its shim would
leave by itself, so that an engine which makes no containers holds none. After a crash they are strays: the next start
removes the directories, and a shim whose directory is gone leaves.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import NamedTuple

from stockade.engine import ground, names, shims
from stockade.errors import StockadeError
from stockade.host import ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.engine.engine import Engine
    from stockade.engine.shims import Connected
    from stockade.host.ids import Ids

MOST = 8
"""Of places at once."""
_QUIET = 0.05
"""Seconds since a container was last made or started."""

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where a container will be."""

    directory: str
    ids: Ids
    shim: Connected


class Ahead:
    """The places that one engine has ready."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ready: dict[str, Place] = {}
        self._making: set[str] = set()
        self._leaving: dict[str, Place] = {}
        self._wanted = 0
        self._last = 0.0
        self._fill: asyncio.Task[None] | None = None
        self._end: asyncio.Task[None] | None = None

    def next_id(self) -> str:
        """The id of the container that is made next: that of a place, if there is one."""
        for identity, place in self._ready.items():
            if place.shim.usable:
                return identity
        return names.new_id()

    def take(self, identity: str) -> Place | None:
        """The place that was made for an id. Whoever takes it owns it."""
        self._wanted = min(MOST, self._wanted + 1)
        return self._ready.pop(identity, None)

    def holds(self, identity: str) -> bool:
        """Whether a directory is that of a place."""
        return identity in self._ready or identity in self._making or identity in self._leaving

    def busy(self) -> None:
        """A container is being made or started: no place is made beside it."""
        self._last = asyncio.get_running_loop().time()
        if self._fill is None:
            self._fill = asyncio.create_task(self._refill(), name="make places ahead")

    async def _refill(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._wanted:
                rest = self._last + _QUIET - loop.time()
                if rest > 0:
                    await asyncio.sleep(rest)
                elif sum(place.shim.usable for place in self._ready.values()) < self._wanted:
                    await self._make()
                else:
                    self._engine.networks.node.begin_ahead(self._wanted)
                    self._wanted = 0
        except (StockadeError, OSError) as error:
            # Each container's own start says what is missing.
            self._wanted = 0
            log.warning("nothing is made ready for the next container: %s", error)
        finally:
            self._fill = None
        if self._ready and self._end is None:
            self._end = asyncio.create_task(self._end_unused(), name="give places up")

    async def _make(self) -> None:
        identity = names.new_id()
        directory = self._engine.directory(identity)
        self._making.add(identity)
        try:
            os.mkdir(directory, 0o700)
            claimed = ids.claim(self._engine.paths, directory)
            ground.lay_ahead(directory, claimed)
            shim = await shims.launch(self._engine.paths, identity, directory)
            self._ready[identity] = Place(directory, claimed, shim)
        except BaseException:
            await self._remove(directory)
            raise
        finally:
            self._making.discard(identity)

    async def _end_unused(self) -> None:
        """Give places up in time, until none is left."""
        while self._ready:
            await asyncio.sleep(shims.USABLE)
            await self._let_go([identity for identity, place in self._ready.items() if not place.shim.usable])
        self._end = None
        await self._engine.networks.node.give_up()

    async def _let_go(self, identities: list[str]) -> None:
        # Whoever is cancelled in the midst of it leaves the rest to `give_up`.
        self._leaving |= {identity: self._ready.pop(identity) for identity in identities}
        for identity, place in list(self._leaving.items()):
            await place.shim.dismiss()
            await self._remove(place.directory)
            self._leaving.pop(identity, None)

    async def _remove(self, directory: str) -> None:
        """What is not removed now is a stray of the next start's."""
        try:
            await ground.remove_tree(directory)
        except StockadeError as error:
            log.warning("%s", error)
        ids.release(self._engine.paths, directory)

    async def give_up(self) -> None:
        """Leave nothing that was made ahead."""
        self._wanted = 0
        for task in (self._fill, self._end):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        self._end = None
        await self._let_go(list(self._ready))
        await self._engine.networks.node.give_up()
