"""The life of containers: each verb's checks, its joining, its events. What it does step by step stands in `verbs`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stockade.engine import names
from stockade.engine.answers import Change, Pruned, Waited
from stockade.engine.container import Container
from stockade.engine.records import NAMESPACE, Record, Wanted
from stockade.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.engine.engine import Engine
    from stockade.runtime.task import Task


class Containers:
    """Every container of one installation."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.table = engine.store.table("container", Record)
        self._known: dict[str, dict[str, Container]] = {}

    def find(self, reference: str, namespace: str = NAMESPACE) -> Container:
        """See Engine.find."""
        ids = self._known.get(namespace, {})
        return names.choose(reference, ids, {one.wanted.name: one for one in ids.values()})

    def list(self, namespace: str | None) -> list[Record]:
        """See Engine.list."""
        spaces = self._known.values() if namespace is None else [self._known.get(namespace, {})]
        found = [one.record for space in spaces for one in space.values()]
        return sorted(found, key=lambda record: record.wanted.created, reverse=True)

    async def recover(self) -> None:
        raise Unsupported("recover: lands within the hour")

    async def close(self) -> None:
        raise Unsupported("close: lands within the hour")

    async def task(self, identity: str) -> Task:
        raise Unsupported("task: lands within the hour")

    async def create(self, wanted: Wanted) -> Record:
        raise Unsupported("create: lands within the hour")

    async def start(self, container: Container) -> Record:
        raise Unsupported("start: lands within the hour")

    async def prepare(self, container: Container) -> str:
        raise Unsupported("prepare: lands within the hour")

    async def stop(self, container: Container, signal: str | None, timeout: int | None) -> Record:
        raise Unsupported("stop: lands within the hour")

    async def kill(self, container: Container, signal: str) -> None:
        raise Unsupported("kill: lands within the hour")

    async def restart(self, container: Container, signal: str | None, timeout: int | None) -> Record:
        raise Unsupported("restart: lands within the hour")

    async def pause(self, container: Container) -> None:
        raise Unsupported("pause: lands within the hour")

    async def unpause(self, container: Container) -> None:
        raise Unsupported("unpause: lands within the hour")

    async def rename(self, container: Container, name: str) -> None:
        raise Unsupported("rename: lands within the hour")

    async def update(self, container: Container, change: Change) -> tuple[str, ...]:
        raise Unsupported("update: lands within the hour")

    async def remove(self, container: Container, force: bool, volumes: bool) -> None:
        raise Unsupported("remove: lands within the hour")

    async def wait(self, container: Container, condition: str) -> Waited:
        raise Unsupported("wait: lands within the hour")

    def waiting(self, container: Container, condition: str) -> asyncio.Future[Waited]:
        raise Unsupported("waiting: lands within the hour")

    async def prune(self, matches: Callable[[Record], bool], namespace: str) -> Pruned:
        raise Unsupported("prune: lands within the hour")
