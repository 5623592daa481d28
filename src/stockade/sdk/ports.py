"""Ports that are published, in docker's words: `8080:80`, `127.0.0.1:8080:80/udp`, `[::1]:53:53`, `80`."""

from __future__ import annotations

from stockade.errors import BadValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def bindings(words: Iterable[str]) -> Mapping[str, list[dict[str, str]]]:
    """Docker's PortBindings.

    Raises:
        BadValue: a word is none.
    """
    found: dict[str, list[dict[str, str]]] = {}
    for word in words:
        address, host, inside, protocol = _parts(word)
        first, last = _range(word, inside)
        outside = _range(word, host) if host else None
        side_by_side = outside is not None and outside[1] - outside[0] == last - first
        if outside is not None and not side_by_side and first != last:
            raise BadValue(f"--publish {word!r}: the ranges differ in length")
        for number in range(first, last + 1):
            place = host
            if outside is not None and side_by_side:
                place = str(outside[0] + number - first)
            found.setdefault(f"{number}/{protocol}", []).append({"HostIp": address, "HostPort": place})
    return found


def _parts(word: str) -> tuple[str, str, str, str]:
    """Address, port of the host, port of the container, protocol."""
    rest, _, protocol = word.partition("/")
    rest, _, inside = rest.rpartition(":")
    address, host = "", rest
    if rest.startswith("["):
        address, bracket, host = rest[1:].partition("]")
        if not bracket or not host.startswith(":"):
            raise BadValue(f"--publish {word!r}: an IPv6 address is written [ADDRESS]:PORT:PORT")
        host = host[1:]
    elif ":" in rest:
        address, _, host = rest.rpartition(":")
    return address, host, inside, protocol or "tcp"


def _range(word: str, text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if first.isdecimal() and (last.isdecimal() or not dash):
        low, high = int(first), int(last or first)
        if 0 < low <= high < 1 << 16:
            return low, high
    raise BadValue(f"--publish {word!r} is no port", hint="8080:80, 127.0.0.1:8080:80/udp, 80")
