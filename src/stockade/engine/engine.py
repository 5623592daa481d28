"""The engine as its doors see it: one object, a method a verb."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from stockade.engine import ground
from stockade.engine.answers import Change, Pruned, Waited
from stockade.engine.archive import Archive
from stockade.engine.containers import Containers
from stockade.engine.events import Events
from stockade.engine.execs import Execs
from stockade.engine.health import Watch
from stockade.engine.records import NAMESPACE, Record, Wanted
from stockade.engine.stats import Statistics
from stockade.engine.storage import Storage
from stockade.engine.streams import Streams
from stockade.networks import Networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.host.ids import Ids
    from stockade.host.paths import Paths
    from stockade.images import Images
    from stockade.networks.values import EndpointWanted
    from stockade.runtime.task import Task
    from stockade.snapshots import Snapshots
    from stockade.store import Store
    from stockade.volumes import Volumes


class Engine:
    """Containers of one installation. Made by `open`, within a running loop.

    The parts beside the containers' life stand on `find`, `directory`, `task`, `lock` and `change`, and are told of
    a container's turns by the hooks below.
    """

    def __init__(self, paths: Paths, store: Store, images: Images, snapshots: Snapshots, volumes: Volumes) -> None:
        self.paths = paths
        self.store = store
        self.images = images
        self.snapshots = snapshots
        self.events = Events()
        self.storage = Storage(self, volumes)
        self.containers = Containers(self)
        self.networks = Networks(paths, store)
        self.execs = Execs(self)
        self.streams = Streams(self)
        self.health = Watch(self, self.execs)
        self.stats = Statistics(self)
        self.archive = Archive(self)

    @classmethod
    async def open(cls, paths: Paths, store: Store, images: Images, snapshots: Snapshots, volumes: Volumes) -> Engine:
        """Take up what an earlier daemon left: finish or undo its operations, find every container again.

        Raises:
            Damaged: the store cannot be read.
        """
        engine = cls(paths, store, images, snapshots, volumes)
        await engine.networks.recover()
        await engine.containers.recover()
        await engine.networks.restore()
        engine.execs.sweep({record.wanted.id for record in engine.list(None)})
        for record in engine.list(None):
            engine.streams.recover(record)
        await volumes.dismiss(lambda one: any(record.state.pid for record in engine.storage.users(one)))
        return engine

    async def close(self) -> None:
        """Let go of everything; every container goes on."""
        await self.health.close()
        await self.execs.close()
        await self.streams.close()
        await self.archive.close()
        await self.containers.close()
        await self.networks.close()

    def is_free(self, name: str, namespace: str = NAMESPACE) -> bool:
        """Whether no container is called so, nor one that is being made."""
        return self.containers.is_free(name, namespace)

    def next_id(self) -> str:
        """The id that the next container is to have, if it is made at once."""
        return self.containers.ahead.next_id()

    # What the other parts stand on ------------------------------------------------------------------------------

    def find(self, reference: str, namespace: str = NAMESPACE) -> Record:
        """The container of that name, id, or unique beginning of an id.

        Raises:
            NotFound: there is none.
            BadValue: the beginning is that of several.
        """
        return self.containers.find(reference, namespace).record

    def directory(self, identity: str) -> str:
        """A container's directory, which is its bundle."""
        return f"{self.paths.data}/engine/{identity}"

    async def task(self, identity: str) -> Task:
        """The running container in its shim, connected.

        Raises:
            Conflict: it is not running.
            Unavailable: its shim does not answer.
        """
        return await self.containers.task(identity)

    async def footing(self, identity: str) -> tuple[tuple[str, ...], Ids | None]:
        """The layers beneath a container, the topmost first, and its files' ids on the host (None: the host's own)."""
        container = self.containers.by_id(identity)
        return await ground.layers(self, container.wanted), ground.host_ids(self, container)

    def lock(self, identity: str) -> asyncio.Lock:
        """Whoever changes a container holds this."""
        return self.containers.by_id(identity).lock

    def change(self, identity: str, **fields: Any) -> Record:
        """Keep other values of fields of a container's State."""
        return self.containers.by_id(identity).change(**fields)

    # Verbs ------------------------------------------------------------------------------------------------------

    def list(self, namespace: str | None = NAMESPACE) -> list[Record]:
        """Every container, the newest first; None: of every namespace."""
        return self.containers.list(namespace)

    async def create(self, wanted: Wanted) -> Record:
        """Make a container.

        Raises:
            NotFound: its image is not there.
            Conflict: its name is taken.
            BadValue, Unsupported, Refused: something in it cannot be had; nothing is left of it.
        """
        return await self.containers.create(wanted)

    async def start(self, reference: str, namespace: str = NAMESPACE) -> Record:
        """Let a container run.

        Raises:
            NotModified: it runs.
            CommandNotFound, CommandNotExecutable: its program is not there, or is none.
        """
        return await self.containers.start(self.containers.find(reference, namespace))

    async def prepare(self, reference: str, namespace: str = NAMESPACE) -> str:
        """Everything of `start` but letting the program run; the path of the private socket to attach to.

        What nobody starts within 30 seconds is undone.
        """
        return await self.containers.prepare(self.containers.find(reference, namespace))

    async def stop(
        self, reference: str, signal: str | None = None, timeout: int | None = None, namespace: str = NAMESPACE
    ) -> Record:
        """Ask a container to end, and kill it after `timeout` seconds (-1: never; None: its own, or 10).

        Raises:
            NotModified: it does not run.
        """
        return await self.containers.stop(self.containers.find(reference, namespace), signal, timeout)

    async def kill(self, reference: str, signal: str = "SIGKILL", namespace: str = NAMESPACE) -> None:
        """Send a signal to its first process; after SIGKILL, return when it has ended."""
        await self.containers.kill(self.containers.find(reference, namespace), signal)

    async def restart(
        self, reference: str, signal: str | None = None, timeout: int | None = None, namespace: str = NAMESPACE
    ) -> Record:
        """Stop it if it runs, and start it."""
        return await self.containers.restart(self.containers.find(reference, namespace), signal, timeout)

    async def pause(self, reference: str, namespace: str = NAMESPACE) -> None:
        """Freeze every process of it."""
        await self.containers.pause(self.containers.find(reference, namespace))

    async def unpause(self, reference: str, namespace: str = NAMESPACE) -> None:
        """Thaw every process of it."""
        await self.containers.unpause(self.containers.find(reference, namespace))

    async def rename(self, reference: str, name: str, namespace: str = NAMESPACE) -> None:
        """Give it another name."""
        await self.containers.rename(self.containers.find(reference, namespace), name)

    async def connect(self, reference: str, end: EndpointWanted, namespace: str = NAMESPACE) -> None:
        """Give it an end of another network, at once if it runs.

        Raises:
            Refused: it has one, or can have none.
            Conflict: an address is taken, or none is free.
        """
        await self.containers.connect(self.containers.find(reference, namespace), end)

    async def disconnect(self, reference: str, network: str, namespace: str = NAMESPACE) -> None:
        """Take its end of a network away, by the network's name.

        Raises:
            Refused: it has none.
        """
        await self.containers.disconnect(self.containers.find(reference, namespace), network)

    async def update(self, reference: str, change: Change, namespace: str = NAMESPACE) -> tuple[str, ...]:
        """Change its limits or restart policy; what is to be warned of."""
        return await self.containers.update(self.containers.find(reference, namespace), change)

    async def remove(
        self, reference: str, force: bool = False, volumes: bool = False, namespace: str = NAMESPACE
    ) -> None:
        """Remove it with everything that it wrote.

        Raises:
            Conflict: it runs, and `force` is not given.
        """
        container = self.containers.find(reference, namespace)
        if force:
            self.archive.cut(container.id)
        await self.containers.remove(container, force, volumes)

    async def wait(self, reference: str, condition: str = "not-running", namespace: str = NAMESPACE) -> Waited:
        """Wait until it does not run (`not-running`), ends the next time (`next-exit`) or is `removed`."""
        return await self.containers.wait(self.containers.find(reference, namespace), condition)

    def waiting(self, reference: str, condition: str, namespace: str = NAMESPACE) -> asyncio.Future[Waited]:
        """The same as a future, registered now: what happens from here on is not missed."""
        return self.containers.waiting(self.containers.find(reference, namespace), condition)

    async def prune(self, matches: Callable[[Record], bool], namespace: str = NAMESPACE) -> Pruned:
        """Remove the containers that do not run and that match, and what was made ahead of the next ones."""
        return await self.containers.prune(matches, namespace)

    # Turns in a container's life, told to the other parts ---------------------------------------------------------

    async def starting(self, identity: str) -> None:
        """Its root is about to be mounted."""
        await self.archive.starting(identity)

    async def created(self, identity: str) -> None:
        """Its processes are there, the program held back."""
        await self.streams.handed(identity)

    def failed(self, identity: str) -> None:
        """It could not be started."""
        self.streams.forget(identity)

    def started(self, identity: str) -> None:
        """It runs from now on."""
        self.streams.started(identity)
        self.health.started(identity)

    async def pausing(self, identity: str) -> None:
        """It is about to be frozen."""
        await self.health.pausing(identity)

    def paused(self, identity: str) -> None:
        """It is frozen."""

    def resumed(self, identity: str) -> None:
        """It is thawed, or was found running when the engine was opened."""
        self.health.resumed(identity)

    def ended(self, identity: str) -> None:
        """It does not run any more."""
        self.health.ended(identity)
        self.execs.ended(identity)

    def removed(self, identity: str) -> None:
        """It is gone."""
        self.streams.forget(identity)
        self.execs.forget(identity)

    def recovered(self, identity: str) -> None:
        """It was found running when the engine was opened; its shim is connected."""
        self.execs.recover(identity)
        self.health.resumed(identity)

    def tell(self, action: str, record: Record, attributes: Mapping[str, str] | None = None) -> None:
        """Publish an event of a container, with the attributes that Docker's have."""
        wanted = record.wanted
        known = {**wanted.labels, "image": wanted.image, "name": wanted.name, **(attributes or {})}
        self.events.publish("container", action, wanted.id, known, wanted.namespace)
