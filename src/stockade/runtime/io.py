"""What the core asks of the world. Two implementations, `blocking` and `aio`, pass the same contract tests."""

from __future__ import annotations

from typing import Protocol, TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from typing import Any

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds that a healthy shim may take to answer anything but Wait; Create and Start get more."""


class Pending(Protocol):
    """A request that was sent."""

    @property
    def done(self) -> bool:
        """Whether its answer is there, so that `result` will not wait."""

    async def result(self, timeout: float | None = None) -> dict[str, Any]:
        """The answer's fields.

        Raises:
            TimedOut: it did not come in time; it may be asked for again.
            Unavailable: the connection ended.
        """


class Channel(Protocol):
    """A connection to a shim, any number of requests outstanding."""

    async def begin(self, method: str, fields: Mapping[str, Any]) -> Pending:
        """Send a request of the Task service."""

    def pump(self) -> None:
        """Take what has arrived, without waiting."""

    def close(self) -> None:
        """End the connection; what is outstanding fails. Idempotent."""


class Io(Protocol):
    """The world."""

    async def connect(self, path: str) -> Channel:
        """Connect to a shim's ttrpc socket."""

    async def ready(
        self, reads: Sequence[int], writes: Sequence[int], timeout: float | None
    ) -> tuple[list[int], list[int]]:
        """Wait until a descriptor is readable (or at its end) or writable (or broken); none of them: the time is up."""

    def lock(self) -> AbstractAsyncContextManager[None]:
        """A new lock: whoever enters it is alone."""

    async def work(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call something that takes its time: in place, or in a thread while the loop goes on."""
