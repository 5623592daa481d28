"""Requests to the daemon: HTTP/1.1 (RFC 9112) on a unix socket, one connection each, over either world.

Written once over `runtime.io.Io`. What a stream carries may be taken from the connection by descriptor (`take`), so
that the bytes of archives and terminals are moved by the kernel and never held here.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time

from stockade import errors
from stockade.errors import ProtocolBroken, StockadeError, TimedOut, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from typing import Any

    from stockade.runtime.io import Io

    Json = Any

_HEAD_LIMIT = 64 << 10
_LINE_LIMIT = 8 << 20
_CHUNK = 1 << 16
PATIENCE = 60.0
"""Seconds until the head of an answer must be there, where the request itself does not wait for something."""


class Exchange:
    """A request that was sent, and its answer. Closing it ends what the daemon does for it."""

    def __init__(self, io: Io, connection: socket.socket, path: str, *, bodiless: bool = False) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._io = io
        self._socket = connection
        self._path = path
        self._buffer = bytearray()
        self._left: int | None = None
        """Bytes of the body (or of the present chunk) still to come; None: until the connection ends."""
        self._chunked = False
        self._ended = bodiless

    def fileno(self) -> int:
        """For poll(2)."""
        return self._socket.fileno()

    def close(self) -> None:
        """End the connection. Idempotent."""
        self._socket.close()

    async def __aenter__(self) -> Exchange:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def send(self, data: bytes, timeout: float | None = PATIENCE) -> None:
        """Send bytes as they are."""
        view = memoryview(data)
        deadline = None if timeout is None else time.monotonic() + timeout
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                await self._wait(writing=True, deadline=deadline)
            except OSError as error:
                if await self._refused_early(deadline):
                    return
                raise Unavailable(f"the daemon at {self._path} hung up: {error.strerror}") from error

    async def send_file(self, descriptor: int) -> None:
        """Send all that a descriptor has to give as a chunked body; the kernel moves the bytes (splice(2))."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            while True:
                count = await self._io.work(_fill, descriptor, writer)
                await self.send(f"{count:x}\r\n".encode() if count else b"0\r\n\r\n")
                if not count or self._ended:
                    return
                while count:
                    try:
                        count -= os.splice(reader, self._socket.fileno(), count)
                    except BlockingIOError:
                        await self._wait(writing=True, deadline=time.monotonic() + PATIENCE)
                    except OSError as error:
                        if await self._refused_early(time.monotonic() + PATIENCE):
                            return
                        raise Unavailable(f"the daemon at {self._path} hung up: {error.strerror}") from error
                await self.send(b"\r\n")
        finally:
            os.close(reader)
            os.close(writer)

    async def answer(self, timeout: float | None = PATIENCE) -> Exchange:
        """Wait for the head of the answer.

        Raises:
            StockadeError: what the daemon says is wrong, as the condition that it was there.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        await self._head(deadline)
        if self.status >= 400:
            raise condition(self.status, await self.read())
        return self

    async def read(self, limit: int = 256 << 20) -> bytes:
        """All of the body."""
        whole = bytearray()
        while piece := await self.some():
            whole += piece
            if len(whole) > limit:
                raise ProtocolBroken(f"the daemon's answer has more than {limit} bytes")
        return bytes(whole)

    async def json(self) -> Json:
        """The body's value; None for an empty one."""
        text = await self.read()
        return _parse(text) if text.strip() else None

    async def lines(self) -> AsyncIterator[Json]:
        """The values of a stream of JSON, one at a time as they come."""
        rest = bytearray()
        while piece := await self.some():
            rest += piece
            *whole, last = rest.split(b"\n")
            for line in whole:
                if line.strip():
                    yield _parse(line)
            rest = bytearray(last)
            if len(rest) > _LINE_LIMIT:
                raise ProtocolBroken(f"a line of the daemon's answer has more than {_LINE_LIMIT} bytes")
        if rest.strip():
            yield _parse(rest)

    async def some(self, timeout: float | None = None) -> bytes:
        """The next bytes of the body; empty at its end."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._chunked and self._left == 0 and not self._ended:
            self._left = await self._chunk_size(deadline)
        if self._ended or self._left == 0:
            return b""
        if not self._buffer and not await self._more(deadline):
            if self._left is None:
                self._ended = True
                return b""
            raise Unavailable(f"the daemon at {self._path} hung up within an answer")
        count = len(self._buffer) if self._left is None else min(self._left, len(self._buffer))
        piece = self._cut(count)
        if self._left is not None:
            self._left -= count
            if self._left == 0 and self._chunked:
                await self._expect_line_end(deadline)
        return piece

    def take(self) -> tuple[int, bytes]:
        """The connection, blocking again and now the caller's to close, and what was already read of the body."""
        early = bytes(self._buffer)
        self._socket.setblocking(True)
        return self._socket.detach(), early

    async def _refused_early(self, deadline: float | None) -> bool:
        """Whether the daemon answered without reading on: then the answer says why."""
        with contextlib.suppress(StockadeError):
            await self._head(deadline)
            return self.status >= 400
        return False

    async def _head(self, deadline: float | None) -> None:
        if self.status:
            return
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _HEAD_LIMIT or not await self._more(deadline):
                raise Unavailable(f"the daemon at {self._path} hung up without an answer")
        first, *lines = self._cut(end + 4).decode("latin-1").split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
            raise ProtocolBroken(f"the daemon at {self._path} answered {first!r}")
        if words[1] == "100":
            return await self._head(deadline)
        self.status = int(words[1])
        for line in lines:
            name, colon, value = line.partition(":")
            if colon:
                self.headers[name.lower()] = value.strip()
        self._chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        length = self.headers.get("content-length", "")
        if self._chunked:
            self._left = 0
        elif self.status in (101, 204, 304):
            self._left = None if self.status == 101 else 0
        elif length.isdigit():
            self._left = int(length)

    async def _chunk_size(self, deadline: float | None) -> int:
        line = await self._line(deadline)
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError:
            raise ProtocolBroken(f"the daemon sent a chunk of size {line[:40]!r}") from None
        if size == 0:
            while await self._line(deadline):
                pass
            self._ended = True
        return size

    async def _expect_line_end(self, deadline: float | None) -> None:
        if await self._line(deadline):
            raise ProtocolBroken("a chunk of the daemon's answer is longer than it says")

    async def _line(self, deadline: float | None) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > _HEAD_LIMIT or not await self._more(deadline):
                raise Unavailable(f"the daemon at {self._path} hung up within an answer")
        return self._cut(end + 2)[:-2]

    def _cut(self, count: int) -> bytes:
        piece = bytes(self._buffer[:count])
        del self._buffer[:count]
        return piece

    async def _more(self, deadline: float | None) -> bool:
        """Take what has come, waiting for something; False at the end."""
        while True:
            try:
                data = self._socket.recv(_CHUNK)
            except BlockingIOError:
                await self._wait(writing=False, deadline=deadline)
                continue
            except OSError as error:
                raise Unavailable(f"the daemon at {self._path} is gone: {error.strerror}") from error
            self._buffer += data
            return bool(data)

    async def _wait(self, *, writing: bool, deadline: float | None) -> None:
        one = [self._socket.fileno()]
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        reads, writes = await self._io.ready([] if writing else one, one if writing else [], left)
        if not reads and not writes and left is not None:
            raise TimedOut(f"the daemon at {self._path} did not answer in time")


async def connect(io: Io, path: str, *, bodiless: bool = False) -> Exchange:
    """A connection to the daemon; `bodiless`: for a HEAD request.

    Raises:
        Unavailable: nobody listens there.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.settimeout(PATIENCE)
        await io.work(connection.connect, path)
        connection.setblocking(False)
    except OSError as error:
        connection.close()
        raise Unavailable(f"no daemon answers at {path}: {error.strerror or error}") from error
    return Exchange(io, connection, path, bodiless=bodiless)


async def request(
    io: Io, path: str, method: str, target: str, body: Json = None, headers: Mapping[str, str] | None = None
) -> Exchange:
    """Send a request whose body, if any, is a JSON value; its answer is still to be waited for."""
    exchange = await connect(io, path, bodiless=method == "HEAD")
    try:
        text = b"" if body is None else json.dumps(body).encode("utf-8", "surrogateescape")
        more = {"Content-Type": "application/json"} if body is not None else {}
        if body is not None or method == "POST":
            more["Content-Length"] = str(len(text))
        await exchange.send(head(method, target, more | dict(headers or {})) + text)
    except BaseException:
        exchange.close()
        raise
    return exchange


def head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """The head of a request."""
    lines = [f"{method} {target} HTTP/1.1", "Host: stockade", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


# Status → condition, when the daemon does not name one itself.
_CONDITIONS: dict[int, str] = {
    400: "BadValue",
    403: "Refused",
    404: "NotFound",
    409: "Conflict",
    501: "Unsupported",
    503: "Unavailable",
}


def condition(status: int, body: bytes) -> StockadeError:
    """The condition that an answer tells of."""
    said = _parse(body) if body[:1] == b"{" else {"message": body.decode(errors="replace").strip()}
    name = said.get("condition") or _CONDITIONS.get(status, "RuntimeFailed")
    kind = getattr(errors, str(name), None)
    if not (isinstance(kind, type) and issubclass(kind, StockadeError)):
        kind = errors.RuntimeFailed
    return kind(str(said.get("message") or f"the daemon answered {status}"), hint=str(said.get("hint") or ""))


def _fill(source: int, pipe: int) -> int:
    """Move what a descriptor has into a pipe; how much, 0 at its end. Waits for the source, never for the pipe."""
    try:
        return os.splice(source, pipe, _CHUNK)
    except OSError:
        # Not everything can be spliced from (a terminal, some file systems).
        return os.write(pipe, os.read(source, 4096))


def _parse(text: bytes | bytearray) -> Json:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ProtocolBroken(f"the daemon answered {bytes(text[:100])!r}, which is no JSON") from error
