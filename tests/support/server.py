"""An HTTP server that does exactly what a test says, however wrong, in a network namespace of the test's own."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from support.netns import Netns

_HEAD = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came; names of headers in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    def range(self, size: int) -> tuple[int, int] | None:
        """From and one beyond the last byte that is asked for; None: all of them."""
        said = self.headers.get("range", "")
        if not said.startswith("bytes="):
            return None
        first, _, last = said.removeprefix("bytes=").partition("-")
        return int(first), min(size, int(last) + 1) if last else size


class Connection:
    """The way back to the client, byte by byte."""

    def __init__(self, to: socket.socket) -> None:
        self.socket = to

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer; a header's underscores are hyphens."""
        said = {"content_length": str(len(body)), **headers}
        self.send(head(status, **said) + body)

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


def head(status: int, **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status} As-Told", *lines, "", ""]).encode()


Answer = Callable[[Request, Connection], None]


@dataclass(slots=True)
class Server:
    """What serves, and what was asked of it."""

    listener: socket.socket
    port: int
    answer: Answer
    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    peers: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def converse(self, peer: socket.socket) -> None:
        self.peers.append(peer)
        # Clients leave when they like, and not all speak HTTP.
        with peer, contextlib.suppress(OSError, EOFError, ValueError):
            plain = self.tls.wrap_socket(peer, server_side=True) if self.tls else peer
            with plain, plain.makefile("rb") as reader:
                while (request := _read(reader)) is not None:
                    self.requests.append(request)
                    self.answer(request, Connection(plain))

    def close(self) -> None:
        """End it; twice is once."""
        end(self.listener)
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)


def listening(ns: Netns) -> socket.socket:
    """A socket that listens at a free port of a namespace's 127.0.0.1."""
    listener = ns.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    return listener


def accept(listener: socket.socket, converse: Callable[[socket.socket], None]) -> None:
    """Have a thread for each client that comes, until the listener is ended."""

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:  # ended
                return
            threading.Thread(target=converse, args=(peer,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()


def end(listener: socket.socket) -> None:
    """Let go of a listener; twice is once."""
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def _read(reader) -> Request | None:  # type: ignore[no-untyped-def]
    lines = []
    while line := reader.readline(_HEAD).rstrip(b"\r\n"):
        lines.append(line.decode("latin-1"))
    if not lines:
        return None
    method, target, _ = lines[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if headers.get("transfer-encoding") == "chunked":
        body = b"".join(_chunks(reader))
    else:
        body = reader.read(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body)


def _chunks(reader) -> Iterator[bytes]:  # type: ignore[no-untyped-def]
    while True:
        size = reader.readline(_HEAD)
        if not size:
            raise EOFError
        data = reader.read(int(size, 16))
        reader.readline(_HEAD)
        if not data:
            return
        yield data


@contextlib.contextmanager
def server(ns: Netns, answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Serve on a free port of 127.0.0.1 until the end of the block."""
    listener = listening(ns)
    made = Server(listener, listener.getsockname()[1], answer, tls)
    accept(listener, made.converse)
    try:
        yield made
    finally:
        made.close()
