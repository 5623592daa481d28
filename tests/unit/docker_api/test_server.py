"""The server on a real socket with a table of its own: torn and hostile requests, hijacks, clients that leave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stockade.docker_api import server as module
from stockade.docker_api.answers import Answer, encode, json
from stockade.docker_api.query import served
from stockade.docker_api.router import Route, Router
from stockade.docker_api.server import Request, Server
from stockade.errors import Conflict


class Desk:
    """The handlers, and what they saw."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        self.cancelled = threading.Event()
        self.finished = threading.Event()

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/hello", self.hello, served("a", "f", refused={"no": "it is not wanted"})),
            Route("HEAD", "/hello", self.hello),
            Route("GET", "/things/{name}/json", self.named),
            Route("POST", "/echo", self.echo, body="json"),
            Route("GET", "/wait", self.wait, waits=True),
            Route("POST", "/work", self.work),
            Route("GET", "/drip", self.drip, waits=True),
            Route("POST", "/attach", self.attach),
            Route("POST", "/exec", self.attach, body="json"),
            Route("POST", "/body", self.body, body="stream"),
            Route("POST", "/unread", self.unread, body="stream"),
            Route("GET", "/give", self.give),
            Route("GET", "/fails", self.fails),
            Route("GET", "/breaks", self.breaks, waits=True),
        ]

    async def hello(self, request: Request) -> Answer:
        return json({"a": request.query.text("a"), "version": str(request.version)})

    async def named(self, request: Request) -> Answer:
        return json(request.name)

    async def echo(self, request: Request) -> Answer:
        return json({"size": len(request.content)})

    async def wait(self, request: Request) -> Answer:
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        raise AssertionError

    async def work(self, request: Request) -> Answer:
        await asyncio.sleep(0.3)
        self.finished.set()
        return Answer(204)

    async def drip(self, request: Request) -> None:
        stream = await request.start()
        for number in range(3):
            await stream.write(encode(number))

    async def attach(self, request: Request) -> None:
        taken = await request.hijack("application/vnd.docker.multiplexed-stream", framed=True)
        self.seen.append(os.get_blocking(taken.descriptor))
        with socket.socket(fileno=taken.descriptor) as sock:
            sock.sendall(b"early:" + taken.early + b";")
            await asyncio.to_thread(_repeat, sock)

    async def body(self, request: Request) -> Answer:
        given = await request.body()
        self.seen.append(given.framing)
        length = int(given.framing.partition(":")[2] or 0)
        with socket.socket(fileno=given.descriptor) as sock:
            data = given.early + await asyncio.to_thread(_exactly, sock, length - len(given.early))
        return json({"got": len(data)})

    async def unread(self, request: Request) -> Answer:
        raise Conflict("not now")

    async def give(self, request: Request) -> None:
        descriptor = await request.give("application/x-tar", (("X-More", "1"),))
        with socket.socket(fileno=descriptor) as sock:
            sock.sendall(b"the rest")

    async def fails(self, request: Request) -> Answer:
        raise ZeroDivisionError

    async def breaks(self, request: Request) -> None:
        await (await request.start()).write(b"begun")
        raise Conflict("too late")


def _repeat(sock: socket.socket) -> None:
    while data := sock.recv(1024):
        sock.sendall(data.upper())
    sock.shutdown(socket.SHUT_WR)


def _exactly(sock: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        found += sock.recv(length - len(found))
    return found


class Running:
    """A server in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.desk = Desk()
        self.path = str(path / "api.sock")
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))
        self._thread.start()
        assert self._ready.wait(5)

    async def _main(self) -> None:
        server = Server(Router(self.desk.routes()), "Test/1 (linux)")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        server.listen(listener)
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._stop.wait()
        await server.close(limit=2)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(5)
        sock.connect(self.path)
        return sock

    def say(self, text: bytes) -> bytes:
        """Everything that the server answers until it, or we, end."""
        with self.connect() as sock:
            sock.sendall(text)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            return rest_of(sock)


def rest_of(sock: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(65536):
            found += data
    return found


def until(sock: socket.socket, mark: bytes) -> bytes:
    found = b""
    while mark not in found:
        data = sock.recv(65536)
        assert data, found
        found += data
    return found


@pytest.fixture(name="running")
def _running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.close()


GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("target", "status", "words"),
    [
        (b"hello?a=b%20c", b"200", b'"a":"b c"'),
        (b"v1.41/hello", b"200", b'"version":"1.41"'),
        (b"hello", b"200", b'"version":"1.56"'),
        (b"v1.21/hello", b"400", b"client version 1.21 is too old. Minimum supported API version is 1.24"),
        (b"v1.99/hello", b"400", b"client version 1.99 is too new. Maximum supported API version is 1.56"),
        (b"v2.0/hello", b"400", b"too new"),
        (b"nowhere", b"404", b'"message":"page not found"'),
        (b"hello?strange=1", b"400", b"unknown parameter 'strange'"),
        (b"hello?strange=0&no=", b"200", b"version"),
        (b"hello?no=1", b"400", b"parameter no=1: it is not wanted"),
        (b"things/registry.example/box:1/json", b"200", b'"registry.example/box:1"'),
        (b"things//slash/json", b"200", b'"slash"'),
        (b"things/a%2Fb/json", b"200", b'"a/b"'),
        (b"fails", b"500", b"ZeroDivisionError"),
    ],
)
def test_answers(running: Running, target: bytes, status: bytes, words: bytes) -> None:
    said = running.say(GET % target)
    assert said.split(b" ", 2)[1] == status
    assert words in said
    assert b"Api-Version: 1.56" in said


def test_one_connection_serves_many_also_sent_at_once(running: Running) -> None:
    said = running.say(GET % b"hello" + GET % b"nowhere" + GET % b"hello?a=3")
    assert said.count(b"HTTP/1.1 200 OK") == 2
    assert said.count(b"HTTP/1.1 404 Not Found") == 1


def test_a_request_may_come_byte_by_byte(running: Running) -> None:
    with running.connect() as sock:
        for byte in b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}":
            sock.sendall(bytes([byte]))
        assert b'{"size":2}' in until(sock, b"}")


def test_head_has_no_body(running: Running) -> None:
    said = running.say(b"HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n")
    assert said.endswith(b"\r\n\r\n")
    assert b"Content-Length: " in said


def test_chunked_body_and_continue(running: Running) -> None:
    with running.connect() as sock:
        sock.sendall(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        assert until(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        sock.sendall(b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")
        assert b'{"size":2}' in until(sock, b"}")


@pytest.mark.parametrize(
    "text",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /hello HTTP/1.1\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: x\r\nX: \0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    ],
)
def test_what_is_no_http_is_a_400(running: Running, text: bytes) -> None:
    said = running.say(text)
    assert said.split(b" ")[1] == b"400", said
    assert b'"message":"malformed request' in said


def test_a_huge_header_is_refused(running: Running) -> None:
    said = running.say(b"GET /hello HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (module.HEAD_SIZE + 1))
    assert said.split(b" ")[1] == b"431"


def test_a_huge_body_is_refused(running: Running) -> None:
    size = module.BODY_SIZE + 1
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % size
    with running.connect() as sock:
        sock.sendall(head)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(b" " * size)
        assert b"larger than 8 MiB" in until(sock, b"}")


def test_a_slow_client_is_given_up(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_LIMIT", 0.2)
    with running.connect() as sock:
        sock.sendall(b"GET /hel")
        assert sock.recv(100) == b""


def test_a_body_of_another_kind_is_refused(running: Running) -> None:
    said = running.say(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\n{}")
    assert b"unsupported Content-Type header (text/plain): must be 'application/json'" in said


@pytest.mark.parametrize("upgrade", [True, False])
@pytest.mark.parametrize("glued", [b"", b"glued"])
def test_hijack(running: Running, upgrade: bool, glued: bytes) -> None:
    more = b"Connection: Upgrade\r\nUpgrade: tcp\r\n" if upgrade else b""
    with running.connect() as sock:
        sock.sendall(b"POST /attach HTTP/1.1\r\nHost: x\r\n" + more + b"\r\n" + glued)
        said = until(sock, b";")
        assert said.startswith(b"HTTP/1.1 101 UPGRADED\r\n" if upgrade else b"HTTP/1.1 200 OK\r\n")
        kind = b"multiplexed" if upgrade else b"raw"
        assert b"Content-Type: application/vnd.docker.%s-stream\r\n" % kind in said
        sock.sendall(b"more")
        sock.shutdown(socket.SHUT_WR)
        rest = said.partition(b"\r\n\r\n")[2] + rest_of(sock)
        assert rest == b"early:%s;MORE" % glued
    assert running.desk.seen == [True], "the descriptor is in blocking mode"


def test_hijack_after_a_body_with_input_glued_to_it(running: Running) -> None:
    with running.connect() as sock:
        sock.sendall(
            b"POST /exec HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
            b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n{}input"
        )
        assert until(sock, b";").endswith(b"\r\n\r\nearly:input;")


def test_a_body_goes_by_descriptor(running: Running) -> None:
    size = 300_000
    said = running.say(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
    assert b'{"got":300000}' in said
    assert b"Connection: close" in said
    assert running.desk.seen == [f"length:{size}"]


def test_an_unread_body_costs_no_answer(running: Running) -> None:
    said = running.say(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)
    assert b'{"message":"not now","condition":"Conflict"}' in said


def test_an_answer_goes_by_descriptor(running: Running) -> None:
    said = running.say(GET % b"give")
    assert said.endswith(b"\r\n\r\nthe rest")
    assert b"Connection: close\r\n" in said
    assert b"X-More: 1\r\n" in said


def test_an_answer_grows_in_chunks(running: Running) -> None:
    said = running.say(GET % b"drip")
    assert b"Transfer-Encoding: chunked" in said
    assert said.endswith(b"2\r\n0\n\r\n2\r\n1\n\r\n2\r\n2\n\r\n0\r\n\r\n")


def test_an_answer_that_breaks_off_shows_it(running: Running) -> None:
    said = running.say(GET % b"breaks")
    assert b"begun" in said
    assert not said.endswith(b"0\r\n\r\n")


def test_a_client_that_leaves_ends_what_waits(running: Running) -> None:
    with running.connect() as sock:
        sock.sendall(GET % b"wait")
        time.sleep(0.1)
        assert not running.desk.cancelled.is_set()
    assert running.desk.cancelled.wait(2)


def test_a_client_that_only_ended_its_half_still_waits(running: Running) -> None:
    with running.connect() as sock:
        sock.sendall(GET % b"wait")
        sock.shutdown(socket.SHUT_WR)
        assert not running.desk.cancelled.wait(0.8)
    assert running.desk.cancelled.wait(2)


def test_a_client_that_leaves_does_not_end_work(running: Running) -> None:
    with running.connect() as sock:
        sock.sendall(b"POST /work HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.05)
    assert running.desk.finished.wait(2)


def test_a_get_costs_little(running: Running) -> None:
    with running.connect() as sock:
        begun = time.monotonic()
        for _ in range(500):
            sock.sendall(GET % b"v1.41/hello")
            until(sock, b"}\n")
        each = (time.monotonic() - begun) / 500
    assert each < 0.005, f"{each * 1000:.2f} ms a request"
