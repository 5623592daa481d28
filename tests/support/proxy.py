"""A forward proxy of a test's own: CONNECT and whole addresses (RFC 9112, 3.2.2); it leads where a test says."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from support.netns import Netns
from support.server import accept, end, listening

_PIECE = 64 << 10


@dataclass(slots=True)
class Proxy:
    """What leads, and what it was asked."""

    ns: Netns
    listener: socket.socket
    leads: Mapping[str, int]
    """`host:port` → a port of the namespace's loopback."""
    user: str = ""
    """`name:password` that it wants."""
    asked: list[str] = field(default_factory=list)
    """Methods and authorities."""

    @property
    def url(self) -> str:
        port = self.listener.getsockname()[1]
        return f"http://{self.user}{'@' if self.user else ''}127.0.0.1:{port}"

    def converse(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError, ValueError, EOFError):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                if not (byte := peer.recv(1)):
                    return
                head += byte
            first, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ")
            authority = target if method == "CONNECT" else urlsplit(target).netloc
            self.asked.append(f"{method} {authority}")
            wanted = "Basic " + base64.b64encode(self.user.encode()).decode()
            if self.user and f"proxy-authorization: {wanted}".lower() not in [line.lower() for line in lines]:
                peer.sendall(b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            if authority not in self.leads:
                peer.sendall(b"HTTP/1.1 502 Nowhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            with self.ns.connect("127.0.0.1", self.leads[authority], 60) as there:
                if method == "CONNECT":
                    peer.sendall(b"HTTP/1.1 200 Led\r\n\r\n")
                else:
                    path = target.removeprefix(f"http://{authority}") or "/"
                    kept = [line for line in lines if not line.lower().startswith(("proxy-", "connection:"))]
                    there.sendall(
                        "\r\n".join([f"{method} {path} HTTP/1.1", "Connection: close", *kept]).encode("latin-1")
                    )
                back = threading.Thread(target=_pass, args=(there, peer), daemon=True)
                back.start()
                _pass(peer, there)
                back.join()


def _pass(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(_PIECE):
            other.sendall(data)
    with contextlib.suppress(OSError):
        other.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def proxy(ns: Netns, leads: Mapping[str, int], user: str = "") -> Iterator[Proxy]:
    """One on a free port of the namespace's loopback."""
    listener = listening(ns)
    made = Proxy(ns, listener, leads, user)
    accept(listener, made.converse)
    try:
        yield made
    finally:
        end(listener)
