"""What happened, told to whoever listens, and the last thousand of it to whoever comes later.

Types, actions and attributes are Docker's (api: SystemEvents). A listener that does not keep up loses the connection,
not the engine its pace.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping

from msgspec import Struct, field

from stockade.engine.records import NAMESPACE

KEPT = 1000
_BACKLOG = 4096


class Event(Struct, frozen=True):
    """One thing that happened."""

    type: str
    """`container`, `image`, `daemon`…"""
    action: str
    """`start`, `die`, `exec_create: sh`…"""
    id: str
    attributes: dict[str, str] = field(default_factory=dict)
    time: int = 0
    """Nanoseconds since the epoch."""
    namespace: str = NAMESPACE


class Events:
    """Publish and subscribe."""

    def __init__(self) -> None:
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._listeners: set[asyncio.Queue[Event | None]] = set()
        self._last = 0
        self.told = 0
        """How many events there were."""

    def publish(
        self,
        type: str,
        action: str,
        identity: str,
        attributes: Mapping[str, str] | None = None,
        namespace: str = NAMESPACE,
    ) -> Event:
        """Tell everybody. Times rise strictly, so that a listener can go on where it stopped, whatever the clock."""
        self._last = max(self._last + 1, time.time_ns())
        event = Event(type, action, identity, dict(attributes or {}), self._last, namespace)
        self._kept.append(event)
        self.told += 1
        for queue in list(self._listeners):
            if queue.qsize() >= _BACKLOG:
                self._listeners.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)
        return event

    async def listen(
        self, since: int | None = None, until: int | None = None, matches: Callable[[Event], bool] | None = None
    ) -> AsyncIterator[Event]:
        """Events from `since` (None: from now) to `until` (None: for ever), both in nanoseconds; then it ends."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        past = [event for event in self._kept if since is not None and event.time >= since]
        self._listeners.add(queue)
        try:
            for event in past:
                if (until is None or event.time <= until) and (matches is None or matches(event)):
                    yield event
            while True:
                left = None if until is None else (until - time.time_ns()) / 1e9
                if left is not None and left <= 0:
                    return
                try:
                    came = await asyncio.wait_for(queue.get(), left)
                except TimeoutError:
                    return
                if came is None or (until is not None and came.time > until):
                    return
                if matches is None or matches(came):
                    yield came
        finally:
            self._listeners.discard(queue)
