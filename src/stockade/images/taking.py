"""How images go: their records first, then what nobody needs any more.

record    names and images are forgotten, in one transaction   the point of no return
sweep     blobs and layers that nothing else needs go
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from stockade.store import Operation, Step, Verb

from .base import Base
from .values import Collected


class Taking:
    """One removal on its way; the context of its verb."""

    operation: Operation

    def __init__(self, base: Base, namespace: str, collect: Callable[[], Awaitable[Collected]]) -> None:
        self._base = base
        self._namespace = namespace
        self._collect = collect
        self.collected = Collected((), (), 0)

    async def record(self) -> None:
        """Forget names and images."""
        data = self.operation.data
        self._base.catalog.remove(data["names"], data["images"], self._namespace)

    async def sweep(self) -> None:
        """Take away what nothing else needs."""
        self.collected = await self._collect()


async def _record(taking: Taking) -> None:
    await taking.record()


async def _sweep(taking: Taking) -> None:
    await taking.sweep()


_STEPS: tuple[Step[Taking], ...] = (Step("record", _record), Step("sweep", _sweep))
REMOVE: Verb[Taking] = Verb("image-remove", _STEPS, "record")
PRUNE: Verb[Taking] = Verb("image-prune", _STEPS, "record")
