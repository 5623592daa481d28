"""The shim's private socket (see attach), on the running loop: a stopped shim delays nobody but whoever asks it.

What is handed over is three descriptors, as with `attach.Attachment`, or a client's connection, which carries both
directions and which the shim frames as Docker does.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import termios
from typing import NamedTuple

from stockade.errors import TimedOut, Unavailable
from stockade.runtime.attach import (
    PACKET,
    ROOM,
    Connection,
    Detached,
    Ended,
    Streams,
    answered,
    happened,
    only,
    request,
    send,
)
from stockade.runtime.io import PATIENCE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_GLANCE, _GLANCES = 0.001, 100


class Door(NamedTuple):
    """Which process of which container, behind which shim's private socket."""

    path: str
    container: str
    exec_id: str = ""


class Seat:
    """A client's place at a process' streams. What was handed over may be closed here right away."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    async def receive(self) -> Ended | Detached | None:
        """The next thing that happens; None: the shim closed it (or died)."""
        try:
            packet = await asyncio.get_running_loop().sock_recv(self._socket, PACKET)
        except OSError:
            return None
        return happened(packet)

    def close(self) -> None:
        """Leave: descriptors are detached, a connection stays what it is. Idempotent."""
        self._socket.close()


async def attach(door: Door, streams: Streams | Connection, detach_keys: str = "") -> Seat:
    """Attach three descriptors, or a client's connection.

    Raises:
        Unavailable: no shim answers.
        NotFound: it has no such process.
    """
    asked, descriptors = request(door.container, streams, door.exec_id, detach_keys)
    connection = await _connect(door.path)
    try:
        await _ask(connection, door, asked, descriptors)
    except BaseException:
        connection.close()
        raise
    return Seat(connection)


async def head_was_read(descriptor: int) -> None:
    """Wait until the client has read what was written to it, or a tenth of a second.

    docker-py reads the head of an answer with a buffer and then the stream without it: what came together with the
    head is lost to it.
    """
    unread = bytearray(4)
    for _ in range(_GLANCES):
        try:
            fcntl.ioctl(descriptor, termios.TIOCOUTQ, unread)
        except OSError:
            return
        if not any(unread):
            return
        await asyncio.sleep(_GLANCE)


async def root(door: Door) -> int:
    """A descriptor of the root directory of a running container; what is below is hostile (openat2, RESOLVE_IN_ROOT).

    Raises:
        Unavailable: no shim answers.
    """
    connection = await _connect(door.path)
    try:
        _, descriptors = await _ask(connection, door, {"rootfs": {"id": door.container}}, [])
    finally:
        connection.close()
    return only(descriptors, door.container)


async def _connect(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(connection, path), PATIENCE)
    except OSError as error:
        connection.close()
        raise Unavailable(f"no shim answers at {path}: {error.strerror or error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


async def _ask(
    connection: socket.socket, door: Door, asked: dict[str, Any], descriptors: list[int]
) -> tuple[dict[str, Any], list[int]]:
    """Send a request with descriptors; return the answer and the descriptors that came with it."""
    try:
        send(connection, asked, descriptors)
        await asyncio.wait_for(_readable(connection), PATIENCE)
        packet, extra, _, _ = connection.recvmsg(PACKET, ROOM, socket.MSG_CMSG_CLOEXEC)
    except TimeoutError:
        raise TimedOut(f"the shim of {door.container} did not answer within {PATIENCE:g} s") from None
    except OSError as error:
        raise Unavailable(f"the shim of {door.container} does not answer: {error.strerror or error}") from error
    if not packet:
        raise Unavailable(f"the shim of {door.container} closed its private socket")
    return answered(packet, extra)


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connection, _wake, ready)
    try:
        await ready
    finally:
        loop.remove_reader(connection)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
