"""What the parts of the engine ask of it: the containers, their shims, their locks, the store, the events.

A part is an object over a frame; `Engine` is the frame of the daemon. A part holds nothing that the store or a shim
does not tell again, but for what is under way.
"""

from __future__ import annotations

from typing import Any, Protocol

from stockade.engine.records import NAMESPACE, Status
from stockade.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping

    from stockade.engine.records import Record
    from stockade.engine.storage import Storage
    from stockade.host.ids import Ids
    from stockade.images import Images
    from stockade.model.connection import Hijack
    from stockade.runtime.task import Task
    from stockade.snapshots import Snapshots
    from stockade.store import Store

    Take = Callable[[bool], Awaitable[Hijack]]
    """Called with whether output is to be framed, once nothing can be refused any more: writes the head of the answer
    and gives the connection away."""


class Frame(Protocol):
    """The engine, as its parts know it."""

    @property
    def store(self) -> Store:
        """Where records are kept."""

    @property
    def images(self) -> Images:
        """What containers are made of."""

    @property
    def snapshots(self) -> Snapshots:
        """What they stand on."""

    @property
    def storage(self) -> Storage:
        """The volumes that they have mounted."""

    def find(self, reference: str, namespace: str = NAMESPACE) -> Record:
        """The container of that name, id or unique beginning of an id."""

    def directory(self, identity: str) -> str:
        """Its bundle."""

    async def task(self, identity: str) -> Task:
        """Its shim, connected.

        Raises:
            Unavailable: the shim does not answer.
        """

    async def footing(self, identity: str) -> tuple[tuple[str, ...], Ids | None]:
        """The layers beneath it, the topmost first, and the ids that its files have on the host (None: its own)."""

    async def pause(self, reference: str) -> None:
        """Freeze it."""

    async def unpause(self, reference: str) -> None:
        """Thaw it."""

    def lock(self, identity: str) -> asyncio.Lock:
        """Held by whoever changes where the container is."""

    def waiting(self, reference: str, condition: str, namespace: str = NAMESPACE) -> asyncio.Future[Any]:
        """What comes true when the container is at rest (`not-running`)."""

    def change(self, identity: str, **fields: Any) -> Record:
        """Store new values of fields of its state."""

    def tell(self, action: str, record: Record, attributes: Mapping[str, str] | None = None) -> None:
        """Publish an event of a container."""


def running(frame: Frame, reference: str, verb: str = "") -> Record:
    """The container, if it runs; `verb` (as `exec`) is what a paused one does not allow, in Docker's words.

    Raises:
        Conflict: it does not run.
    """
    record = frame.find(reference)
    status = record.state.status
    if status is Status.RESTARTING:
        raise Conflict(f"Container {record.wanted.id} is restarting, wait until the container is running")
    if status not in (Status.RUNNING, Status.PAUSED):
        raise Conflict(f"container {record.wanted.id} is not running")
    if verb and status is Status.PAUSED:
        raise Conflict(f"Container {reference} is paused, unpause the container before {verb}")
    return record
