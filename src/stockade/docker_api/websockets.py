"""The opening of a websocket (RFC 6455, section 4.2), and the program that carries it on: no byte passes here later."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import socket
from typing import TYPE_CHECKING

from stockade.docker_api.answers import Answer, error_body, json
from stockade.errors import BadValue
from stockade.host import spawn
from stockade.model.connection import Hijack
from stockade.runtime import shim

if TYPE_CHECKING:
    from stockade.docker_api.server import Request

PROGRAM = "stockade-websocket"
_VERSION = "13"
_SALT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Of every server, as the RFC says."""
_KEY = 16
_CLIENT, _STREAM = 3, 4
"""The descriptors that the program knows them by."""


def opening(request: Request) -> tuple[tuple[str, str], ...] | Answer:
    """The headers that accept a client's websocket, or the answer that tells it the version.

    Raises:
        BadValue: it asks for no websocket.
    """
    if "websocket" not in _words(request, b"upgrade") or "upgrade" not in _words(request, b"connection"):
        raise BadValue("this is for websockets: Upgrade: websocket and Connection: Upgrade are missing")
    if _words(request, b"sec-websocket-version") != [_VERSION]:
        body = error_body(BadValue(f"websockets of version {_VERSION} are served, no other"))
        return json(body, 426)._replace(headers=(("Sec-WebSocket-Version", _VERSION),))
    key = (request.header(b"sec-websocket-key") or b"").strip()
    try:
        is_key = len(base64.b64decode(key, validate=True)) == _KEY
    except binascii.Error:
        is_key = False
    if not is_key:
        raise BadValue("Sec-WebSocket-Key is not 16 bytes in base64")
    accepted = base64.b64encode(hashlib.sha1(key + _SALT, usedforsecurity=False).digest()).decode()
    headers = (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accepted))
    offered = (request.header(b"sec-websocket-protocol") or b"").decode("latin-1").split(",")
    if len(offered) == 1 and (name := offered[0].strip()):
        # Whatever it is called, it is this one: browsers hang up on a server that leaves it out.
        return (*headers, ("Sec-WebSocket-Protocol", name))
    return headers


def carry(client: Hijack, *, text: bool) -> Hijack:
    """Have a program speak the protocol with a client; what is returned carries the bare bytes. Takes `client` over.

    Raises:
        Unavailable: it cannot be started.
    """
    ours, theirs = socket.socketpair()
    early = os.memfd_create("early", os.MFD_CLOEXEC)
    try:
        os.write(early, client.early)
        os.lseek(early, 0, os.SEEK_SET)
        words = [shim.program(PROGRAM), *(["--text"] if text else [])]
        spawn.start(words, {0: early, _CLIENT: client.descriptor, _STREAM: theirs.fileno()})
    except BaseException:
        ours.close()
        raise
    finally:
        os.close(early)
        os.close(client.descriptor)
        theirs.close()
    return Hijack(ours.detach(), framed=False)


def _words(request: Request, name: bytes) -> list[str]:
    """The words of a header that is a list, in lower case."""
    words = (request.header(name) or b"").decode("latin-1").lower().split(",")
    return [word.strip() for word in words]
