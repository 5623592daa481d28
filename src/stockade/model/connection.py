"""A client's connection, or what it sends, on its way to a program that reads and writes it: no byte passes here."""

from __future__ import annotations

from typing import NamedTuple


class Body(NamedTuple):
    """What is still to be read of a request."""

    descriptor: int
    framing: str = "raw"
    """`raw` (to its end), `chunked` or `length:N` (RFC 9112, section 6)."""
    early: bytes = b""
    """What was already read of it, framing included."""


class Hijack(NamedTuple):
    """A connection that is no longer the server's. Whoever is given one closes it."""

    descriptor: int
    early: bytes = b""
    """What the client sent together with its request."""
    framed: bool = True
    """Whether output carries Docker's stream headers (api: ContainerAttach, "Stream format")."""
