"""The world by asyncio, on the running loop."""

from __future__ import annotations

import asyncio

from stockade.errors import ProtocolBroken, StockadeError, TimedOut, Unavailable
from stockade.runtime import inbox, task, wire
from stockade.runtime.ttrpc import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TypeVar

    T = TypeVar("T")


class Pending:
    """A request that was sent; see io.Pending."""

    def __init__(self, path: str, method: str, answer: asyncio.Future[bytes]) -> None:
        self._path = path
        self._method = method
        self._answer = answer

    @property
    def done(self) -> bool:
        return self._answer.done()

    async def result(self, timeout: float | None = None) -> dict[str, Any]:
        # Not wait_for: the answer stays awaited when this wait ends.
        done, _ = await asyncio.wait([self._answer], timeout=timeout)
        if not done:
            raise TimedOut(f"the shim at {self._path} did not answer {self._method} within {timeout:g} s")
        return wire.decode(task.METHODS[self._method][1], self._answer.result())


class Channel(asyncio.BufferedProtocol):
    """A connection to a shim; see io.Channel."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection = Connection()
        self._outstanding: dict[int, asyncio.Future[bytes]] = {}
        self._transport: asyncio.Transport | None = None
        self._room = inbox.room()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._transport is None or self._transport.is_closing()

    async def begin(self, method: str, fields: Mapping[str, Any]) -> Pending:
        payload = wire.encode(task.METHODS[method][0], fields)
        if self._transport is None or self._transport.is_closing():
            raise Unavailable(f"the connection to the shim at {self._path} is closed")
        stream, frame = self._connection.request(task.SERVICE, method, payload)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._outstanding[stream] = answer
        self._transport.write(frame)
        return Pending(self._path, method, answer)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        try:
            replies = self._connection.feed(self._room[:nbytes])
        except ProtocolBroken as error:
            return self._fail(error)
        for stream, payload, refusal in replies:
            answer = self._outstanding.pop(stream, None)
            if answer is None or answer.done():
                continue
            if refusal is None:
                answer.set_result(payload)
            else:
                _refuse(answer, refusal)

    def pump(self) -> None:
        """The loop does it."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(Unavailable(f"the shim at {self._path} is gone" + (f": {exc}" if exc else "")))

    def close(self) -> None:
        self._fail(Unavailable(f"the connection to the shim at {self._path} is closed"))

    def _fail(self, error: StockadeError) -> None:
        if self._transport is not None:
            self._transport.close()
        while self._outstanding:
            _, answer = self._outstanding.popitem()
            if not answer.done():
                _refuse(answer, error)


def _refuse(answer: asyncio.Future[bytes], error: StockadeError) -> None:
    answer.set_exception(error)
    # Whoever no longer waits for it is no bug: an abandoned Wait of a closed connection.
    answer.exception()


class World:
    """See io.Io."""

    async def connect(self, path: str) -> Channel:
        loop = asyncio.get_running_loop()
        try:
            _, channel = await loop.create_unix_connection(lambda: Channel(path), path)
        except OSError as error:
            raise Unavailable(f"no shim answers at {path}: {error.strerror or error}") from error
        return channel

    async def ready(
        self, reads: Sequence[int], writes: Sequence[int], timeout: float | None
    ) -> tuple[list[int], list[int]]:
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        hit: set[int] = set()

        def wake(descriptor: int) -> None:
            hit.add(descriptor)
            if not woken.done():
                woken.set_result(None)

        for descriptor in reads:
            loop.add_reader(descriptor, wake, descriptor)
        for descriptor in writes:
            loop.add_writer(descriptor, wake, descriptor)
        try:
            await asyncio.wait([woken], timeout=timeout)
        finally:
            for descriptor in reads:
                loop.remove_reader(descriptor)
            for descriptor in writes:
                loop.remove_writer(descriptor)
        return [one for one in reads if one in hit], [one for one in writes if one in hit]

    def lock(self) -> asyncio.Lock:
        return asyncio.Lock()

    async def work(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.to_thread(function, *arguments)
