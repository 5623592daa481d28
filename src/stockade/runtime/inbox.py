"""What a loop reads goes through one piece of memory of its thread's, whatever it is read from.

A read that brings 64 KiB of its own (an asyncio transport: 256) and cuts them to what came takes them from the top of
the heap each time. What is allocated meanwhile lies behind them, so that the heap creeps upwards, some hundred bytes a
container, though nothing is kept.
"""

from __future__ import annotations

import mmap
import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

SIZE = 64 << 10


class _Own(threading.local):
    def __init__(self) -> None:
        # Pages that nothing was read into cost nothing.
        self.room = memoryview(mmap.mmap(-1, SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


_own = _Own()


def room() -> memoryview:
    """This thread's; what is in it is gone with the next read of anybody's."""
    return _own.room


def receive(sock: socket.socket, flags: int) -> bytes:
    """What a socket has; see recv(2)."""
    found = _own.room
    return bytes(found[: sock.recv_into(found, SIZE, flags)])


def read(descriptor: int, limit: int) -> bytes:
    """What a descriptor has, so many bytes and SIZE at most; see read(2)."""
    found = _own.room
    return bytes(found[: os.readv(descriptor, [found[:limit]])])
