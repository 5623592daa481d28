"""Sees when somebody takes our table away (`nft flush ruleset`, a restart of nftables), and has it put back."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator

from stockade.errors import StockadeError
from stockade.networks.firewall import TABLE

_NETFILTER = 12
_GROUP = 7
"""NFNLGRP_NFTABLES of linux/netfilter/nfnetlink.h."""
_SUBSYSTEM = 10
# NFT_MSG_DELTABLE, DELCHAIN, DELRULE of linux/netfilter/nf_tables.h.
_DELETIONS = frozenset({2, 5, 8})
_NEW_TABLE = 0
_NAME = 1
"""NFTA_TABLE_NAME, and the attribute of the same number of a chain or rule that names its table."""
_SETTLED = 0.1
_AGAIN = 1.0
_BUFFER = 1 << 20

log = logging.getLogger(__name__)


class Monitor:
    """One netlink socket, read when something is there."""

    def __init__(self, restore: Callable[[], Awaitable[None]]) -> None:
        self._restore = restore
        self._socket: socket.socket | None = None
        self._work: asyncio.Task[None] | None = None
        self._gone = False
        """Whether our table, or something of it, was taken away and not put back since."""

    def start(self) -> None:
        """Watch from now on. Idempotent."""
        if self._socket is None:
            made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            made.bind((0, 1 << (_GROUP - 1)))
            self._socket = made
            asyncio.get_running_loop().add_reader(made, self._readable)

    def _read(self) -> None:
        """A table that is replaced is deleted and made in one transaction: what was said last counts."""
        assert self._socket is not None
        while True:
            try:
                text = self._socket.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._gone = True
                continue
            for kind in ours(text):
                self._gone = kind != _NEW_TABLE

    def _readable(self) -> None:
        self._read()
        if self._gone and (self._work is None or self._work.done()):
            self._work = asyncio.create_task(self._mend(), name="put the table back")

    async def _mend(self) -> None:
        await asyncio.sleep(_SETTLED)
        while self._gone:
            try:
                await self._restore()
                self._read()
            except StockadeError as error:
                log.error("the table cannot be put back: %s", error)
                await asyncio.sleep(_AGAIN)

    def close(self) -> None:
        """Watch no more."""
        if self._work is not None:
            self._work.cancel()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None


def ours(text: bytes) -> Iterator[int]:
    """The kinds of those messages that make or delete our table, or delete something of it, in their order."""
    at = 0
    while at + 16 <= len(text):
        length, kind = struct.unpack_from("=IH", text, at)
        if length < 16:
            return
        known = kind >> 8 == _SUBSYSTEM and (kind & 0xFF in _DELETIONS or kind & 0xFF == _NEW_TABLE)
        if known and _table_of(text[at + 20 : at + length]) == TABLE:
            yield kind & 0xFF
        at += (length + 3) & ~3


def _table_of(attributes: bytes) -> str:
    at = 0
    while at + 4 <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, at)
        if length < 4:
            break
        if kind & 0x3FFF == _NAME:
            return attributes[at + 4 : at + length].rstrip(b"\0").decode(errors="replace")
        at += (length + 3) & ~3
    return ""
