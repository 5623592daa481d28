"""The parts of the engine over a real store and a real shim, without images and without a container's verbs.

A frame that makes containers out of a busybox root; the parts are told of its turns as the engine tells them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from stockade.engine.events import Events
from stockade.engine.execs import Execs
from stockade.engine.health import Watch
from stockade.engine.records import LogConfig, Record, Status, Wanted
from stockade.engine.stats import Statistics
from stockade.engine.streams import Streams
from stockade.errors import NotFound, StockadeError
from stockade.host.ids import Ids
from stockade.images.values import HealthCheck
from stockade.model import Exit
from stockade.model.connection import Hijack
from stockade.runtime import shim
from stockade.runtime.aio import Channel, World
from stockade.runtime.task import Stdio, Task
from stockade.store import Store
from support import bundle
from support.place import Place
from support.programs import program
from support.wall import Work


class Ground:
    """A frame (engine.frame) of its own: containers are made by the test."""

    images: Any = None
    snapshots: Any = None
    storage: Any = None

    def __init__(self, place: Place, root: Path) -> None:
        self._place, self._root = place, root
        self.store = Store(str(place.data / "store.db"))
        self.events = Events()
        self._records: dict[str, Record] = {}
        self._tasks: dict[str, Task] = {}
        self._channels: list[Channel] = []
        self._rests: dict[str, asyncio.Future[Any]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._make_parts()

    def _make_parts(self) -> None:
        self.execs = Execs(self)
        self.streams = Streams(self)
        self.health = Watch(self, self.execs)
        self.stats = Statistics(self)

    # The frame ---------------------------------------------------------------------------------------------------

    def find(self, reference: str, namespace: str = "default") -> Record:
        if reference not in self._records:
            raise NotFound(f"No such container: {reference}")
        return self._records[reference]

    def directory(self, identity: str) -> str:
        return str(self._place.top / identity)

    async def task(self, identity: str) -> Task:
        return self._tasks[identity]

    async def footing(self, identity: str) -> tuple[tuple[str, ...], Ids | None]:
        return (str(self._root),), None

    async def pause(self, reference: str) -> None:
        await self._tasks[reference].pause()

    async def unpause(self, reference: str) -> None:
        await self._tasks[reference].resume()

    def lock(self, identity: str) -> asyncio.Lock:
        return self._locks.setdefault(identity, asyncio.Lock())

    def waiting(self, reference: str, condition: str, namespace: str = "default") -> asyncio.Future[Any]:
        return self._rests.setdefault(reference, asyncio.get_running_loop().create_future())

    def change(self, identity: str, **fields: Any) -> Record:
        record = self._records[identity]
        self._records[identity] = replace(record, state=replace(record.state, **fields))
        return self._records[identity]

    def tell(self, action: str, record: Record, attributes: Mapping[str, str] | None = None) -> None:
        self.events.publish("container", action, record.wanted.id, attributes)

    # What the engine does with containers -----------------------------------------------------------------------

    async def create(self, *argv: str, logged: bool = False, health: HealthCheck | None = None, **more: Any) -> str:
        """A container whose program is held back; `more` is Wanted's tty, open_stdin, stdin_once."""
        identity = self._place.name(os.urandom(4).hex())
        wanted = Wanted(
            identity, identity, 0, "busybox", "", health=health,
            log=LogConfig("json-file" if logged else "none"), **more,
        )  # fmt: skip
        work = Work(argv=argv, root=self._root, env={"PATH": "/bin"}, terminal=wanted.tty)
        document = bundle.config(work, user_namespace=True)
        if wanted.open_stdin:
            document["annotations"] = {"dev.stockade.stdin": "open"}
        directory = bundle.write(Path(self.directory(identity)), document)
        self._records[identity] = Record(wanted)
        path = await asyncio.to_thread(
            shim.launch, str(program(shim.PROGRAM)), str(directory), identity, "t", str(self._place.run)
        )
        channel = await World().connect(path)
        self._channels.append(channel)
        self._tasks[identity] = Task(channel, identity, str(directory))
        log = f"json-file://{directory}/log.json?max-size=1000000&max-file=2" if logged else ""
        await self._tasks[identity].create((), Stdio("", log, "" if wanted.tty else log, wanted.tty))
        return identity

    async def start(self, identity: str) -> None:
        await self.streams.handed(identity)
        await self._tasks[identity].start()
        self.change(identity, status=Status.RUNNING, started=time.time_ns())
        self.streams.started(identity)
        self.health.started(identity)

    async def run(self, *argv: str, **more: Any) -> str:
        identity = await self.create(*argv, **more)
        await self.start(identity)
        return identity

    async def end(self, identity: str) -> Exit:
        """Wait for its end, and tell the parts."""
        end = await self._tasks[identity].wait(timeout=30)
        self.change(identity, status=Status.EXITED)
        self.health.ended(identity)
        self.execs.ended(identity)
        return end

    async def restart_daemon(self) -> None:
        """Everything in memory is gone; the store and the shims are not."""
        await self._close_parts()
        for channel in self._channels:
            channel.close()
        self._make_parts()
        for identity in self._tasks:
            channel = await World().connect(shim.address(self.directory(identity)))
            self._channels.append(channel)
            self._tasks[identity] = Task(channel, identity, self.directory(identity))
            self.execs.recover(identity)
            self.health.resumed(identity)

    def actions(self, identity: str) -> list[str]:
        return [event.action for event in self.events._kept if event.id == identity]

    async def _close_parts(self) -> None:
        await self.health.close()
        await self.execs.close()
        await self.streams.close()

    async def close(self) -> None:
        await self._close_parts()
        for task in self._tasks.values():
            with contextlib.suppress(StockadeError):
                await task.kill(9, everything=True)
            with contextlib.suppress(StockadeError):
                await task.wait(timeout=10)
            with contextlib.suppress(StockadeError):
                await task.delete()
            with contextlib.suppress(StockadeError):
                await task.shutdown()
        for channel in self._channels:
            channel.close()
        self.store.close()


Story = Callable[[Ground], Awaitable[None]]


@contextlib.asynccontextmanager
async def ground(place: Place, root: Path) -> AsyncIterator[Ground]:
    made = Ground(place, root)
    try:
        yield made
    finally:
        await made.close()


class Client:
    """A door's client: its end of a connection, and what the door does when the engine takes the other."""

    def __init__(self, early: bytes = b"") -> None:
        self.ours, self._theirs = socket.socketpair()
        self._early = early
        self.framed: bool | None = None
        self.ours.settimeout(20)

    async def take(self, framed: bool) -> Hijack:
        self.framed = framed
        return Hijack(self._theirs.detach(), self._early, framed)

    async def take_descriptor(self, framed: bool) -> int:
        return (await self.take(framed)).descriptor

    async def read(self) -> bytes:
        """Everything until the end."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> bytes:
        found = b""
        while piece := self.ours.recv(65536):
            found += piece
        return found

    async def until(self, wanted: bytes) -> bytes:
        return await asyncio.to_thread(self._until, wanted)

    def _until(self, wanted: bytes) -> bytes:
        found = b""
        while wanted not in found:
            piece = self.ours.recv(65536)
            assert piece, f"ended after {found!r}"
            found += piece
        return found

    def close(self) -> None:
        self.ours.close()
        self._theirs.close()


def frames(data: bytes) -> dict[int, bytes]:
    """What each stream of Docker's frames carried."""
    found: dict[int, bytes] = {}
    while data:
        kind, length = struct.unpack(">BxxxL", data[:8])
        found[kind] = found.get(kind, b"") + data[8 : 8 + length]
        data = data[8 + length :]
    return found


async def eventually(check: Any, seconds: float = 15.0) -> None:
    """Until it holds."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.02)
