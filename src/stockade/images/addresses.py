"""Archives that lie somewhere else: what an address may be, and how one comes here."""

from __future__ import annotations

import os
from typing import NamedTuple
from urllib.parse import urlsplit

from stockade.errors import BadValue

from .intake import MAX_BYTES
from .moving import Mover
from .shared import Tell
from .values import Progress


class Address(NamedTuple):
    """Where an archive may be had; nobody's digest says what it is."""

    url: str


def parse(text: str) -> Address:
    """An address of HTTP; without a scheme it is one of plain HTTP, as for Docker.

    Raises:
        BadValue: it is none, or says more than may be told to everybody.
    """
    url = text if "://" in text else f"http://{text}"
    try:
        split = urlsplit(url)
        known = split.scheme in ("http", "https") and bool(split.hostname) and (split.port or 1) > 0
    except ValueError:
        known = False
    if not known or not url.isascii() or not url.isprintable() or " " in url:
        raise BadValue(f"{text[:200]!r} is no address of an archive", hint="as https://example.com/root.tar.gz")
    if "@" in split.netloc:
        raise BadValue("an address with a password in it is not served", hint="curl … | docker import - NAME")
    return Address(url)


async def fetch(mover: Mover, address: Address, path: str, tell: Tell) -> None:
    """Bring it into a file; as much as the disk has room for.

    Raises:
        RuntimeFailed: it cannot be had; the text is the program's.
    """
    tell(Progress("", f"Downloading from {address.url}"))
    room = os.statvfs(os.path.dirname(path))
    wanted = {
        "sources": [{"url": address.url}],
        "max_bytes": min(MAX_BYTES, room.f_bavail * room.f_frsize),
        "blob": path,
    }

    def say(line: dict[str, int]) -> None:
        if "received" in line:
            tell(Progress("", "Importing", line["received"]))

    await mover.run("get", wanted, "import", say)
