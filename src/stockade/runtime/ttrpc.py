"""ttrpc, the client's half of one connection, without I/O: requests to bytes, bytes to replies, in any order.

A frame is a header of ten bytes (length, stream, type, flags) and a protobuf message. Streams of a client are odd and
rise.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from stockade.errors import (
    BadValue,
    Conflict,
    NotFound,
    ProtocolBroken,
    Refused,
    RuntimeFailed,
    StockadeError,
    TimedOut,
    Unavailable,
    Unsupported,
)
from stockade.runtime import wire

_HEADER = struct.Struct(">IIBB")
_REQUEST, _RESPONSE = 1, 2
LIMIT = 4 << 20
"""Bytes of a frame, as all of ttrpc's implementations have it."""

# gRPC's status codes → our conditions; every other is RuntimeFailed.
_CONDITIONS: dict[int, type[StockadeError]] = {
    3: BadValue,
    4: TimedOut,
    5: NotFound,
    6: Conflict,
    7: Refused,
    9: Conflict,
    12: Unsupported,
    14: Unavailable,
}


class Reply(NamedTuple):
    """What came back on a stream: the answer's bytes, or why there is none."""

    stream: int
    payload: bytes
    error: StockadeError | None


class Connection:
    """The state of one connection."""

    def __init__(self) -> None:
        self._stream = -1
        self._buffer = bytearray()

    def request(self, service: str, method: str, payload: bytes) -> tuple[int, bytes]:
        """The stream of a new request, and its frame.

        Raises:
            BadValue: the request is larger than the protocol allows.
        """
        self._stream += 2
        body = wire.encode("ttrpc.Request", {"service": service, "method": method, "payload": payload})
        if len(body) > LIMIT:
            raise BadValue(f"the request {method} has {len(body)} bytes, {LIMIT} at most can be sent")
        return self._stream, _HEADER.pack(len(body), self._stream, _REQUEST, 0) + body

    def feed(self, data: bytes | memoryview) -> list[Reply]:
        """Take what the peer sent; return the replies that are whole now.

        Raises:
            ProtocolBroken: the connection is of no more use.
        """
        self._buffer += data
        replies = []
        while len(self._buffer) >= _HEADER.size:
            size, stream, kind, _ = _HEADER.unpack_from(self._buffer)
            if size > LIMIT or kind != _RESPONSE:
                raise ProtocolBroken(f"the shim sent a frame of type {kind} with {size} bytes")
            end = _HEADER.size + size
            if len(self._buffer) < end:
                break
            replies.append(_reply(stream, bytes(self._buffer[_HEADER.size : end])))
            del self._buffer[:end]
        return replies


def _reply(stream: int, body: bytes) -> Reply:
    response = wire.decode("ttrpc.Response", body)
    status = response["status"]
    if status is None or status["code"] == 0:
        return Reply(stream, response["payload"], None)
    condition = _CONDITIONS.get(status["code"], RuntimeFailed)
    return Reply(stream, b"", condition(status["message"] or f"the shim failed with code {status['code']}"))
