"""DNS as bytes: queries, what an answer says, and a server that answers what a test says."""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from support.netns import Netns

A, PTR, MX, AAAA = 1, 12, 15, 28


def name(text: str) -> bytes:
    return b"".join(bytes((len(part),)) + part.encode() for part in text.split(".") if part) + b"\0"


def query(text: str, kind: int = A, identity: int = 0x4242, edns: int = 0) -> bytes:
    extra = b"\0" + struct.pack(">HHIH", 41, edns, 0, 0) if edns else b""
    head = struct.pack(">HHHHHH", identity, 0x0100, 1, 0, 0, 1 if edns else 0)
    return head + name(text) + struct.pack(">HH", kind, 1) + extra


@dataclass(frozen=True, slots=True)
class Answer:
    identity: int
    code: int
    truncated: bool
    records: tuple[str, ...]
    size: int


def read(data: bytes) -> Answer:
    """An answer as this resolver writes them: names of records are pointers to the question."""
    identity, flags, questions, count, _, _ = struct.unpack(">HHHHHH", data[:12])
    at = 12
    if questions:
        while data[at]:
            at += data[at] + 1
        at += 5
    records = []
    for _ in range(count):
        kind, _, _, length = struct.unpack(">HHIH", data[at + 2 : at + 12])
        value = data[at + 12 : at + 12 + length]
        records.append(spell(value) if kind == PTR else str(ipaddress.ip_address(value)))
        at += 12 + length
    return Answer(identity, flags & 15, bool(flags & 0x200), tuple(records), len(data))


def spell(data: bytes) -> str:
    parts = []
    while data[0]:
        parts.append(data[1 : data[0] + 1].decode())
        data = data[data[0] + 1 :]
    return ".".join(parts)


def exchange(ns: Netns, server: str, data: bytes, timeout: float = 15) -> bytes:
    """By UDP, from a namespace."""
    with ns.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(timeout)
        asking.connect((server, 53))
        asking.send(data)
        return asking.recv(65535)


def ask(ns: Netns, server: str, text: str, kind: int = A) -> Answer:
    return read(exchange(ns, server, query(text, kind)))


def take(stream: socket.socket) -> bytes:
    """A message of a TCP connection; nothing at its end."""
    data = b""
    while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2]):
        more = stream.recv(65535)
        if not more:
            return b""
        data += more
    return data[2:]


def ask_by_tcp(ns: Netns, server: str, text: str, kind: int = A) -> Answer:
    with ns.connect(server, 53, timeout=15) as stream:
        data = query(text, kind)
        stream.sendall(len(data).to_bytes(2) + data)
        return read(take(stream))


def says(code: int = 0, addresses: tuple[str, ...] = (), flags: int = 0) -> Callable[[bytes], bytes]:
    """Makes answers to any query."""

    def answer(data: bytes) -> bytes:
        head = data[:2] + struct.pack(">HHHHH", 0x8180 | code | flags, 1, len(addresses), 0, 0)
        packed = [ipaddress.ip_address(one).packed for one in addresses]
        records = [
            b"\xc0\x0c" + struct.pack(">HHIH", A if len(one) == 4 else AAAA, 1, 60, len(one)) + one for one in packed
        ]
        end = data.index(b"\0", 12) + 5
        return head + data[12:end] + b"".join(records)

    return answer


@contextmanager
def upstream(
    ns: Netns, address: str, answer: Callable[[bytes], bytes], by_tcp: Callable[[bytes], bytes] | None = None
) -> Iterator[list[bytes]]:
    """A server of names at an address of a namespace; what it was asked."""
    asked: list[bytes] = []
    datagrams = ns.socket(kind=socket.SOCK_DGRAM)
    streams = ns.socket()
    datagrams.bind((address, 53))
    streams.bind((address, 53))
    streams.listen()

    def serve() -> None:
        with suppress(OSError):
            while True:
                data, sender = datagrams.recvfrom(65535)
                if not data:
                    return
                asked.append(data)
                reply = answer(data)
                if reply:
                    datagrams.sendto(reply, sender)

    def serve_streams() -> None:
        with suppress(OSError):
            while True:
                stream, _ = streams.accept()
                with stream:
                    stream.settimeout(5)
                    while data := take(stream):
                        asked.append(data)
                        reply = (by_tcp or answer)(data)
                        stream.sendall(len(reply).to_bytes(2) + reply)

    threads = [threading.Thread(target=one, daemon=True) for one in (serve, serve_streams)]
    for one in threads:
        one.start()
    try:
        yield asked
    finally:
        # Closing does not wake a thread that waits in the kernel; shutting down does.
        for end in (datagrams, streams):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for one in threads:
            one.join(10)
        datagrams.close()
        streams.close()
