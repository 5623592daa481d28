"""The world by system calls: waits happen in place, so a coroutine over this never suspends and one step ends it."""

from __future__ import annotations

import select
import socket
import time
from _thread import allocate_lock
from typing import TypeVar

from stockade.errors import ProtocolBroken, StockadeError, TimedOut, Unavailable
from stockade.runtime import task, wire
from stockade.runtime.io import PATIENCE
from stockade.runtime.ttrpc import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from typing import Any

T = TypeVar("T")


def run(core: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of the core over `World`."""
    try:
        core.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    core.close()
    raise RuntimeError("a coroutine over the blocking world suspended")


class Pending:
    """A request that was sent; see io.Pending."""

    def __init__(self, channel: Channel, method: str) -> None:
        self._channel = channel
        self._method = method
        self._payload = b""
        self._error: StockadeError | None = None
        self.done = False
        self.waiting = False
        # Held means: nothing happened since the last look.
        self._bell = allocate_lock()
        self._bell.acquire()

    async def result(self, timeout: float | None = None) -> dict[str, Any]:
        if not self.done:
            self._channel.wait(self, None if timeout is None else time.monotonic() + timeout)
        if not self.done:
            raise TimedOut(f"the shim at {self._channel.path} did not answer {self._method} within {timeout:g} s")
        if self._error is not None:
            raise self._error.with_traceback(None)
        return wire.decode(task.METHODS[self._method][1], self._payload)

    def deliver(self, payload: bytes, error: StockadeError | None) -> None:
        """The answer is there."""
        self._payload, self._error, self.done = payload, error, True
        self.ring()

    def ring(self) -> None:
        """Have the thread that waits look again; kept for it if it is about to wait."""
        if self._bell.locked():
            self._bell.release()

    def listen(self, deadline: float | None) -> None:
        """Wait for `ring`."""
        self._bell.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic()))


class Channel:
    """A connection to a shim; see io.Channel.

    Threads may share it. One thread that waits reads for all of them; when it leaves it rings the others, of whom one
    follows it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.settimeout(PATIENCE)
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise Unavailable(f"no shim answers at {path}: {error.strerror or error}") from error
        self._connection = Connection()
        self._outstanding: dict[int, Pending] = {}
        self._sending = allocate_lock()
        self._reading = allocate_lock()

    def fileno(self) -> int:
        """For poll(2): when it is readable, `pump`."""
        return self._socket.fileno()

    async def begin(self, method: str, fields: Mapping[str, Any]) -> Pending:
        payload = wire.encode(task.METHODS[method][0], fields)
        pending = Pending(self, method)
        with self._sending:
            if self.fileno() < 0:
                raise Unavailable(f"the connection to the shim at {self.path} is closed")
            stream, frame = self._connection.request(task.SERVICE, method, payload)
            self._outstanding[stream] = pending
            try:
                self._socket.sendall(frame)
            except OSError as error:
                self._fail(Unavailable(f"the shim at {self.path} is gone: {error.strerror or error}"))
            except BaseException:
                # Half a frame may be out: nothing after it would be understood.
                self._fail(Unavailable(f"the connection to the shim at {self.path} was cut"))
                raise
        return pending

    def pump(self) -> None:
        """Take what has arrived, without waiting."""
        if self._reading.acquire(blocking=False):
            try:
                self._read(0.0)
            finally:
                self._reading.release()
                self._ring_all()

    def wait(self, pending: Pending, deadline: float | None) -> None:
        """Wait until the answer is there or the deadline has passed."""
        pending.waiting = True
        try:
            while not pending.done and (deadline is None or time.monotonic() < deadline):
                if not self._reading.acquire(blocking=False):
                    pending.listen(deadline)
                    continue
                try:
                    if not pending.done:
                        self._read(None if deadline is None else deadline - time.monotonic())
                finally:
                    self._reading.release()
                    self._ring_all()
        finally:
            pending.waiting = False

    def close(self) -> None:
        self._fail(Unavailable(f"the connection to the shim at {self.path} is closed"))

    def _read(self, timeout: float | None) -> None:
        """Wait for bytes, take them once, deliver what they complete. The caller holds `_reading`."""
        if self.fileno() < 0 or not _poll([self.fileno()], [], timeout)[0]:
            return
        try:
            data = self._socket.recv(1 << 16)
            replies = self._connection.feed(data)
        except OSError as error:
            return self._fail(Unavailable(f"the shim at {self.path} is gone: {error.strerror or error}"))
        except ProtocolBroken as error:
            return self._fail(error)
        if not data:
            self._fail(Unavailable(f"the shim at {self.path} is gone"))
        for stream, payload, refusal in replies:
            pending = self._outstanding.pop(stream, None)
            if pending is not None:
                pending.deliver(payload, refusal)

    def _fail(self, error: StockadeError) -> None:
        self._socket.close()
        while self._outstanding:
            _, pending = self._outstanding.popitem()
            pending.deliver(b"", error)

    def _ring_all(self) -> None:
        for pending in list(self._outstanding.values()):
            if pending.waiting:
                pending.ring()


class Lock:
    """A lock between threads, entered as `async with`."""

    def __init__(self) -> None:
        self._lock = allocate_lock()

    async def __aenter__(self) -> None:
        self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


class World:
    """See io.Io."""

    async def connect(self, path: str) -> Channel:
        return Channel(path)

    async def ready(
        self, reads: Sequence[int], writes: Sequence[int], timeout: float | None
    ) -> tuple[list[int], list[int]]:
        return _poll(reads, writes, timeout)

    def lock(self) -> Lock:
        return Lock()

    async def work(self, function: Callable[..., T], *arguments: Any) -> T:
        return function(*arguments)


def _poll(reads: Sequence[int], writes: Sequence[int], timeout: float | None) -> tuple[list[int], list[int]]:
    poll = select.poll()
    for descriptor in reads:
        poll.register(descriptor, select.POLLIN)
    for descriptor in writes:
        poll.register(descriptor, select.POLLOUT)
    # Rounded up: waking a millisecond early would have the caller spin.
    events = poll.poll(None if timeout is None else max(0, int(timeout * 1000 + 0.999)))
    hit = {descriptor for descriptor, _ in events}
    return [one for one in reads if one in hit], [one for one in writes if one in hit]
