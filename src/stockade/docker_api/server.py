"""HTTP/1.1 over a listening socket: reads requests, bounded in size and time, and has the router answer them.

The law: h11 knows the protocol, `Wire` the socket, the router what to do; here they meet. One task a connection, and
none beside it. A client that vanishes ends what only waits for it (`Route.waits`) and nothing else.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from email.utils import formatdate
from typing import TypeVar

import h11

from stockade.docker_api.answers import JSON, REASONS, Answer, failure
from stockade.docker_api.fields import decode
from stockade.docker_api.query import Query
from stockade.docker_api.router import Found, Router
from stockade.docker_api.versions import NEWEST, Version
from stockade.docker_api.wire import Gone, Wire
from stockade.errors import BadValue, RuntimeFailed, StockadeError
from stockade.model.connection import Body, Hijack

HEAD_SIZE = 64 << 10
BODY_SIZE = 8 << 20
"""Of a JSON body; archives never pass here."""
HEAD_LIMIT = 20.0
"""Seconds from a request's first byte to the end of its header."""
BODY_LIMIT = 30.0
IDLE_LIMIT = 600.0
LINGER_LIMIT = 2.0
MAX_CONNECTIONS = 4096
_BACKLOG = 1024
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = logging.getLogger(__name__)
T = TypeVar("T")


class Request:
    """One request, and the ways to answer it other than with an Answer."""

    def __init__(self, connection: Connection, head: h11.Request, found: Found, query: Query) -> None:
        self.method = head.method.decode("ascii")
        self.route = found.route
        self.version: Version = found.version
        self.name = found.name
        self.query = query
        self.content = b""
        """The body, where the route reads it."""
        self._head = head
        self._connection = connection

    def header(self, name: bytes) -> bytes | None:
        """A header by its name in lower case."""
        return next((value for key, value in self._head.headers if key == name), None)

    def decode(self, kind: type[T]) -> T:
        """The JSON body, checked against its type: each of its fields served, or refused by name."""
        return decode(self.content, kind)

    async def body(self) -> Body:
        """The body on its way to a program that reads it; the connection ends with this answer."""
        return await self._connection.give_body(self._head)

    async def only_waits(self) -> None:
        """Read a small body to its end; from here on the answer ends when its client leaves."""
        await self._connection.only_waits()

    async def start(self, kind: str = JSON) -> Stream:
        """Begin an answer that grows; it ends with the handler."""
        await self._connection.send_head(200, [(b"Content-Type", kind.encode())])
        return Stream(self._connection)

    async def give(self, kind: str, headers: tuple[tuple[str, str], ...] = ()) -> int:
        """Begin an answer and give the connection away: whoever is given the descriptor writes the rest and closes."""
        fields = [
            (b"Content-Type", kind.encode()),
            *((key.encode(), value.encode("latin-1")) for key, value in headers),
        ]
        return await self._connection.give(200, fields)

    async def hijack(self, kind: str, *, framed: bool) -> Hijack:
        """Take the connection over for a stream in both directions, with or without `Upgrade` (api: ContainerAttach).

        `kind` is told to a client that upgrades; the other form says raw-stream whatever follows, as Docker does.
        """
        upgrade = self.header(b"upgrade") is not None
        return await self._connection.hijack(kind if upgrade else "application/vnd.docker.raw-stream", upgrade, framed)

    async def switch(self, headers: tuple[tuple[str, str], ...]) -> Hijack:
        """Take the connection over for another protocol, with 101 and these headers (RFC 9110, section 7.8)."""
        return await self._connection.switch(headers)


class Stream:
    """An answer that grows."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def write(self, data: bytes) -> None:
        """Say some more of it."""
        await self._connection.send_data(data)


class Connection:
    """One client, request after request."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.waits = False
        """Whether what runs for it may be cancelled: nothing, or a handler that only waits."""
        self._server = server
        self._wire = Wire(sock)
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_SIZE)
        self._method = b""
        self._gone = False
        self._taken = False
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve until the client leaves, is given away, or breaks the protocol."""
        self._task = asyncio.current_task()
        try:
            while await self._exchange():
                self._http.start_next_cycle()
        except (Gone, TimeoutError):
            pass
        except asyncio.CancelledError:
            if not self._gone:
                raise
        finally:
            self._wire.close()

    # One request -------------------------------------------------------------------------------------------------

    async def _exchange(self) -> bool:
        """Read one request and answer it; whether another may follow."""
        try:
            head = await self._read_head()
        except h11.RemoteProtocolError as error:
            await self._protest(error)
            return False
        if head is None:
            return False
        with self._server.working():
            await self._answer(head)
        if self._taken or self._gone:
            return False
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            return True
        await self._wire.linger(LINGER_LIMIT)
        return False

    async def _answer(self, head: h11.Request) -> None:
        try:
            request = await self._prepare(head)
        except h11.RemoteProtocolError as error:
            await self._protest(error)
            return
        except StockadeError as error:
            await self._drop_body()
            await self._send(failure(error))
            return
        answer = await self._handle(request)
        if self._taken or self._gone:
            return
        if answer is not None:
            await self._send(answer)
        elif self._http.our_state is h11.SEND_BODY:
            await self._wire.write(self._http.send(h11.EndOfMessage()) or b"")

    async def _prepare(self, head: h11.Request) -> Request:
        path, _, text = head.target.decode("ascii").partition("?")
        found = self._server.router.find(head.method.decode("ascii"), path)
        request = Request(self, head, found, Query(text, found.route.parameters))
        if found.route.body != "stream":
            request.content = await self._read_body()
            if found.route.body == "json" and request.content:
                _check_kind(request.header(b"content-type"))
        return request

    async def _handle(self, request: Request) -> Answer | None:
        """Run the handler with an ear on the client; whatever it raises becomes an answer."""
        if request.route.body != "stream":
            self._wire.watch(self._client_left)
        self.waits = request.route.waits
        try:
            return await request.route.handler(request)
        except Gone:
            raise
        except StockadeError as error:
            return self._failed(failure(error))
        except Exception as error:
            log.exception("%s %s failed", request.method, request.route.pattern)
            return self._failed(failure(RuntimeFailed(f"internal error: {type(error).__name__}: {error}")))
        finally:
            self.waits = True
            if not self._taken:
                self._wire.unwatch()

    async def only_waits(self) -> None:
        """What runs for this client is for nobody else: it ends when the client leaves."""
        await self._read_body()
        self.waits = True
        self._wire.watch(self._client_left)

    def _failed(self, answer: Answer) -> Answer | None:
        """An error that comes when the answer has begun cannot be said: the connection is cut, so that it shows."""
        if self._taken:
            return None
        if self._http.our_state is h11.SEND_RESPONSE:
            return answer
        raise Gone("the answer broke off")

    def _client_left(self) -> None:
        self._gone = True
        if self.waits and self._task:
            self._task.cancel()

    # Reading -----------------------------------------------------------------------------------------------------

    async def _read_head(self) -> h11.Request | None:
        self.waits = True
        event = self._http.next_event()
        if event is h11.NEED_DATA:
            async with asyncio.timeout(IDLE_LIMIT):
                self._http.receive_data(await self._wire.read())
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                async with asyncio.timeout(HEAD_LIMIT):
                    while event is h11.NEED_DATA:
                        self._http.receive_data(await self._wire.read())
                        event = self._http.next_event()
        if not isinstance(event, h11.Request):
            return None
        self._method = event.method
        return event

    async def _read_body(self) -> bytes:
        """The rest of a request whose body is small; `100 Continue` is said where the client waits for it."""
        parts = []
        size = 0
        async with asyncio.timeout(BODY_LIMIT):
            while not isinstance(event := self._http.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    await self._go_on()
                    self._http.receive_data(await self._wire.read())
                elif isinstance(event, h11.Data):
                    parts.append(bytes(event.data))
                    size += len(event.data)
                    if size > BODY_SIZE:
                        raise BadValue(f"the request's body is larger than {BODY_SIZE >> 20} MiB")
                else:
                    raise Gone("the client left in the middle of its request")
        return b"".join(parts)

    async def _drop_body(self) -> None:
        """Read past a small body that nobody wants, so that the connection lives on; a large one ends it."""
        if self._http.they_are_waiting_for_100_continue or self._http.their_state is not h11.SEND_BODY:
            return
        try:
            await self._read_body()
        except (StockadeError, h11.RemoteProtocolError, TimeoutError):
            return

    async def _go_on(self) -> None:
        if self._http.they_are_waiting_for_100_continue:
            await self._wire.write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")

    # Writing -----------------------------------------------------------------------------------------------------

    async def send_head(self, status: int, fields: list[tuple[bytes, bytes]]) -> None:
        """Send an answer's header; with a request that is not read to its end the connection ends too."""
        if self._http.their_state is h11.SEND_BODY:
            fields.append((b"Connection", b"close"))
        await self._wire.write(self._http.send(self._response(status, fields)) or b"")

    async def send_data(self, data: bytes) -> None:
        """Send a part of an answer's body."""
        if data and not self._gone:
            await self._wire.write(self._http.send(h11.Data(data=data)) or b"")

    async def _send(self, answer: Answer) -> None:
        fields = [(key.encode(), value.encode("latin-1")) for key, value in answer.headers]
        if answer.status not in (204, 304):
            if answer.body or answer.kind != JSON:
                fields.append((b"Content-Type", answer.kind.encode()))
            fields.append((b"Content-Length", str(len(answer.body)).encode()))
        if self._http.their_state in (h11.SEND_BODY, h11.ERROR):
            fields.append((b"Connection", b"close"))
        sent = [self._http.send(self._response(answer.status, fields)) or b""]
        if answer.body and not self._head_only():
            sent.append(self._http.send(h11.Data(data=answer.body)) or b"")
        sent.append(self._http.send(h11.EndOfMessage()) or b"")
        await self._wire.write(b"".join(sent))

    def _head_only(self) -> bool:
        return self._method == b"HEAD"

    def _response(self, status: int, fields: list[tuple[bytes, bytes]]) -> h11.Response:
        return h11.Response(
            status_code=status,
            headers=[*self._server.common_fields(), *fields],
            reason=REASONS.get(status, "").encode(),
        )

    async def _protest(self, error: h11.RemoteProtocolError) -> None:
        """Answer what is not HTTP, if it can still be answered, and end the connection."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        said = failure(BadValue(f"malformed request: {error}"))
        answer = said._replace(status=error.error_status_hint)
        if self._http.their_state is not h11.ERROR:
            return
        await self._send(answer)
        await self._wire.linger(LINGER_LIMIT)

    # Giving away -------------------------------------------------------------------------------------------------

    async def give_body(self, head: h11.Request) -> Body:
        """The request's body for another program; h11 reads no more of this connection."""
        await self._go_on()
        early = self._rest()
        return Body(self._wire.duplicate(), _framing(head), early)

    async def give(self, status: int, fields: list[tuple[bytes, bytes]]) -> int:
        """Send a header that says nothing of a length, and part with the connection."""
        lines = [f"HTTP/1.1 {status} {REASONS[status]}".encode()]
        lines += [key + b": " + value for key, value in (*self._server.common_fields(), *fields)]
        await self._part(b"\r\n".join([*lines, b"Connection: close", b"", b""]))
        return self._wire.detach()

    async def hijack(self, kind: str, upgrade: bool, framed: bool) -> Hijack:
        """Docker's two forms of taking a connection over."""
        status = "101 UPGRADED" if upgrade else "200 OK"
        more = "Connection: Upgrade\r\nUpgrade: tcp\r\n" if upgrade else ""
        return await self._take(f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{more}\r\n", framed)

    async def switch(self, headers: tuple[tuple[str, str], ...]) -> Hijack:
        """The general form."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return await self._take(f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n", framed=False)

    async def _take(self, head: str, framed: bool) -> Hijack:
        await self._part(head.encode("latin-1"))
        early = self._rest()
        return Hijack(self._wire.detach(), early, framed)

    async def _part(self, head: bytes) -> None:
        self._wire.unwatch()
        if self._gone:
            raise Gone("the client hung up")
        await self._wire.write(head)
        self._taken = True

    def _rest(self) -> bytes:
        """What was read of the connection and not used."""
        rest = self._http.trailing_data[0] + bytes(self._wire.ahead)
        self._wire.ahead.clear()
        return rest


def _framing(head: h11.Request) -> str:
    for key, value in head.headers:
        if key == b"transfer-encoding":
            return "chunked"
        if key == b"content-length":
            return f"length:{int(value)}"
    return "length:0"


def _check_kind(kind: bytes | None) -> None:
    named = (kind or b"").decode("latin-1")
    if named.partition(";")[0].strip().lower() != JSON:
        raise BadValue(f"unsupported Content-Type header ({named}): must be '{JSON}'")


class Working:
    """Counts what is being answered; the daemon that shall exit when idle asks."""

    def __init__(self) -> None:
        self.now = 0
        self.last = time.monotonic()

    def __enter__(self) -> None:
        self.now += 1

    def __exit__(self, *_: object) -> None:
        self.now -= 1
        self.last = time.monotonic()


class Server:
    """Listening sockets, and the connections that they brought."""

    def __init__(self, router: Router, product: str) -> None:
        self.router = router
        self._work = Working()
        self._listeners: list[socket.socket] = []
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._fixed = [
            (b"Server", product.encode()),
            (b"Api-Version", str(NEWEST).encode()),
            (b"Ostype", b"linux"),
            (b"Docker-Experimental", b"false"),
        ]
        self._date = (0, b"")

    def working(self) -> Working:
        """Says that a request is being answered, as a context."""
        return self._work

    @property
    def idle_since(self) -> float | None:
        """When the last answer ended, by the monotonic clock; None while one is being given."""
        return None if self._work.now else self._work.last

    def common_fields(self) -> list[tuple[bytes, bytes]]:
        """The header fields of every answer."""
        now = int(time.time())
        if now != self._date[0]:
            self._date = (now, formatdate(now, usegmt=True).encode())
        return [*self._fixed, (b"Date", self._date[1])]

    def listen(self, listener: socket.socket) -> None:
        """Serve a listening socket, which is the server's from here on."""
        listener.setblocking(False)
        listener.listen(_BACKLOG)
        self._listeners.append(listener)
        asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    async def close(self, limit: float = 10.0) -> None:
        """Listen no more, end what only waits, and let the rest finish for so many seconds."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.remove_reader(listener)
            listener.close()
        self._listeners.clear()
        for task, connection in self._connections.items():
            if connection.waits:
                task.cancel()
        if self._connections:
            await asyncio.wait(list(self._connections), timeout=limit)
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(64):
            if len(self._connections) >= MAX_CONNECTIONS:
                self._pause(listener)
                return
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _FULL:
                    self._pause(listener)
                return
            connection = Connection(self, sock)
            task = asyncio.get_running_loop().create_task(connection.run(), name="a client of the API")
            self._connections[task] = connection
            task.add_done_callback(self._ended)

    def _pause(self, listener: socket.socket) -> None:
        """Too many at once: those who wait to be accepted wait a little longer."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        loop.call_later(0.1, self._resume, listener)

    def _resume(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._connections[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection ended badly", exc_info=error)
