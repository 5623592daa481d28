"""One client's socket, which may at any moment be given to another process.

The law: the open file stays in blocking mode, as the program that will be given it expects; the loop never blocks on
it because each call carries MSG_DONTWAIT. There is no transport and no buffer but `ahead`, so that what was read and
not used is known to the byte.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Callable

from stockade.errors import StockadeError
from stockade.runtime import inbox

AHEAD = 64 << 10
"""How much of a client's next requests is read while one is being answered."""
WRITE_LIMIT = 60.0
"""Seconds that a client may let an answer wait without reading a byte of it."""
_HALF_CLOSED_CHECK = 0.5


class Gone(StockadeError):
    """The client is no longer there, or no longer reads."""


class Wire:
    """A connected stream socket, and what was read of it ahead of its use."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self.socket = sock
        self.ahead = bytearray()
        self.ended = False
        """Whether the client has said all it will."""
        self._loop = asyncio.get_running_loop()
        self._descriptor = sock.fileno()
        self._on_gone: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def read(self) -> bytes:
        """What the client said next; empty at its end. Waits as long as it takes."""
        if self.ahead:
            data = bytes(self.ahead)
            self.ahead.clear()
            return data
        while not self.ended:
            try:
                data = inbox.receive(self.socket, socket.MSG_DONTWAIT)
            except BlockingIOError:
                await self._wait(self._loop.add_reader, self._loop.remove_reader)
                continue
            except OSError as error:
                raise Gone(f"the client hung up: {error.strerror}") from error
            if data:
                return data
            self.ended = True
        return b""

    async def write(self, data: bytes) -> None:
        """Send all of it; a client that takes none of it for WRITE_LIMIT seconds is gone."""
        view = memoryview(data)
        while view:
            try:
                view = view[self.socket.send(view, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                try:
                    async with asyncio.timeout(WRITE_LIMIT):
                        await self._wait(self._loop.add_writer, self._loop.remove_writer)
                except TimeoutError:
                    raise Gone("the client does not read its answer") from None
            except OSError as error:
                raise Gone(f"the client hung up: {error.strerror}") from error

    def watch(self, gone: Callable[[], None]) -> None:
        """Call `gone` once when the client hangs up; what it says meanwhile is kept in `ahead`."""
        self._on_gone = gone
        self._look_again()

    def unwatch(self) -> None:
        """Stop watching."""
        self._on_gone = None
        self._loop.remove_reader(self._descriptor)
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def detach(self) -> int:
        """Give the descriptor away: from here on it is the caller's, in blocking mode."""
        self.unwatch()
        return self.socket.detach()

    def duplicate(self) -> int:
        """A second descriptor of the same connection, for a program that reads a body from it."""
        return os.dup(self._descriptor)

    async def linger(self, limit: float) -> None:
        """End our half and take in what the client still sends: closing on unread bytes could cost it the answer."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
            self.ahead.clear()
            async with asyncio.timeout(limit):
                while await self.read():
                    pass
        except (OSError, TimeoutError, Gone):
            pass

    def close(self) -> None:
        """Hang up; nothing when it was given away."""
        if self.socket.fileno() >= 0:
            self.unwatch()
            self.socket.close()

    async def _wait(self, add: Callable[..., None], remove: Callable[[int], bool]) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        add(self._descriptor, _wake, waiter)
        try:
            await waiter
        finally:
            remove(self._descriptor)

    def _look_again(self) -> None:
        """Wait for the next word by the loop, or by a timer where words could no longer be told from silence."""
        if self.ended or len(self.ahead) >= AHEAD:
            self._loop.remove_reader(self._descriptor)
            self._timer = self._loop.call_later(_HALF_CLOSED_CHECK, self._check)
        else:
            self._loop.add_reader(self._descriptor, self._heard)

    def _heard(self) -> None:
        try:
            data = inbox.receive(self.socket, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.ahead += data
            if len(self.ahead) >= AHEAD:
                self._look_again()
            return
        self.ended = True
        self._loop.remove_reader(self._descriptor)
        self._check()

    def _check(self) -> None:
        """A client that only ended its half (SHUT_WR) still reads; one that closed does not: the kernel tells."""
        self._timer = None
        if self._on_gone is None:
            return
        poll = select.poll()
        poll.register(self._descriptor, 0)
        if poll.poll(0):
            gone, self._on_gone = self._on_gone, None
            gone()
        else:
            self._look_again()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
