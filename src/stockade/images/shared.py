"""Work that several wait for: done once, each told of all of it, ended when it is done or the last has left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from .values import Progress

T = TypeVar("T")
Tell = Callable[[Progress], object]


class Shared(Generic[T]):
    """One such work."""

    def __init__(self, name: str, work: Callable[[Tell], Awaitable[T]], ended: Callable[[], object]) -> None:
        self._listeners: list[Tell] = []
        self._said: dict[str, Progress] = {}
        self._task = asyncio.create_task(self._perform(work), name=name)
        # Before anybody who waits goes on: who asks from then on begins anew.
        self._task.add_done_callback(lambda _: ended())

    async def wait(self, tell: Tell) -> T:
        """Wait for its end, being told how far it is. Whoever is the last to stop waiting ends it."""
        for one in self._said.values():
            tell(one)
        self._listeners.append(tell)
        try:
            return await asyncio.shield(self._task)
        finally:
            self._listeners.remove(tell)
            if not self._listeners and not self._task.done():
                await self.stop()

    async def stop(self) -> None:
        """End it, whoever waits."""
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()  # nobody is left to be told

    async def _perform(self, work: Callable[[Tell], Awaitable[T]]) -> T:
        return await work(self._tell)

    def _tell(self, one: Progress) -> None:
        # Who comes later is told the newest of each layer; the first words stay first.
        self._said[one.id or one.status] = one
        for listener in list(self._listeners):
            listener(one)
