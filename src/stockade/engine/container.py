"""One container in memory: its record, its lock, its shim, and who waits for it."""

from __future__ import annotations

import asyncio
import os
from typing import Any, NamedTuple

import msgspec

from stockade.engine.answers import Waited
from stockade.engine.records import Record, State, Status, Wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.engine.containers import Prepared
    from stockade.engine.copies import Copies
    from stockade.engine.shims import Connected
    from stockade.host.ids import Ids
    from stockade.runtime.aio import Channel
    from stockade.runtime.task import Task
    from stockade.store import Table

ALIVE = frozenset({Status.RUNNING, Status.PAUSED})
"""Where processes of it exist."""


class Joined(NamedTuple):
    """A request under way, which equal ones join."""

    words: tuple[object, ...]
    work: asyncio.Task[Any]


class Container:
    """A record and what belongs to it while the engine lives. Whoever changes it holds `lock`."""

    def __init__(self, record: Record, directory: str, table: Table[Record], copies: Copies) -> None:
        self.record = record
        self.directory = directory
        self.lock = asyncio.Lock()
        self.task: Task | None = None
        self.channel: Channel | None = None
        self.watch: asyncio.Task[None] | None = None
        """Waits for its end."""
        self.timer: asyncio.Task[None] | None = None
        """Starts it again, when its time has come."""
        self.joined: dict[str, Joined] = {}
        self.by_hand = 0
        """How many verbs are ending it on purpose, so that no policy answers its end."""
        self.ending = False
        """Whether its end is recorded, and what it held is being given back."""
        self.prepared: Prepared | None = None
        """A start that went as far as it can without letting the program run."""
        self.prelaunched: asyncio.Future[Connected] | None = None
        """Starts its shim ahead of its first start; a shim that nobody uses leaves by itself after 30 seconds."""
        self.held: list[int] = []
        """Descriptors that a start binds; closed when its mounts are made."""
        self.ids: Ids | None = None
        """Its range, once it was looked up."""
        self.delay = 0.0
        """Seconds before its last start, if the policy made that."""
        self._table = table
        self._copies = copies
        self._waiting: dict[str, set[asyncio.Future[Waited]]] = {}

    @property
    def id(self) -> str:
        return self.record.wanted.id

    @property
    def wanted(self) -> Wanted:
        return self.record.wanted

    @property
    def state(self) -> State:
        return self.record.state

    @property
    def alive(self) -> bool:
        """Whether processes of it exist."""
        return self.record.state.status in ALIVE

    def change(self, **fields: Any) -> Record:
        """Keep other values of fields of its State."""
        return self.keep(msgspec.structs.replace(self.record, state=msgspec.structs.replace(self.state, **fields)))

    def reason_unless(self, reason: str) -> None:
        """Keep a reason, if that is not the one that is kept."""
        if self.state.reason != reason:
            self.change(reason=reason)

    def keep(self, record: Record) -> Record:
        """Keep a record in place of the one before: in the store, and beside its data for a repair."""
        self._table.put(record.wanted.id, record, name=record.wanted.name, namespace=record.wanted.namespace)
        self.record = record
        self._copies.want(self.directory, record)
        return record

    def forget(self) -> None:
        """Drop the record."""
        self._table.delete(self.id, self.wanted.namespace)

    async def drop_copy(self) -> None:
        """Its directory is about to go: nothing is written there any more."""
        await self._copies.drop(self.directory)

    def release_held(self) -> None:
        """Close what a start held open."""
        while self.held:
            os.close(self.held.pop())

    # Waiting ----------------------------------------------------------------------------------------------------

    def waiting(self, condition: str) -> asyncio.Future[Waited]:
        """A future of `next-exit`, `not-running` or `removed`."""
        future: asyncio.Future[Waited] = asyncio.get_running_loop().create_future()
        group = self._waiting.setdefault(condition, set())
        group.add(future)
        future.add_done_callback(group.discard)
        return future

    def came_to(self, future: asyncio.Future[Waited], error: str = "") -> None:
        """Tell one who waits."""
        if not future.done():
            future.set_result(Waited(self.state.exit_code, error))

    def came(self, condition: str) -> None:
        """Tell those who wait for it that it came about."""
        for future in list(self._waiting.get(condition, ())):
            self.came_to(future)

    def hold(self, connected: Connected) -> None:
        """Its shim is there."""
        self.task, self.channel = connected.task, connected.channel

    def let_go(self) -> None:
        """Close the connection to its shim, which goes on."""
        if self.watch is not None:
            self.watch.cancel()
            self.watch = None
        if self.channel is not None:
            self.channel.close()
        self.task = self.channel = None
