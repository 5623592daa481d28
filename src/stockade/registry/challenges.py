"""What a registry wants before it answers: the header WWW-Authenticate (RFC 9110, 11.6.1). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

_MAX = 16
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PIECE = re.compile(
    rf'\s*(?:(?P<name>{_WORD})\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"]*))|(?P<scheme>{_WORD}))\s*,?'
)


class Challenge(NamedTuple):
    """One way to be let in."""

    scheme: str
    """In lower case: `basic`, `bearer`…"""
    words: Mapping[str, str]
    """`realm`, `service`, `scope`…"""


def parse(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Read the challenges of an answer, of which a header may hold several; what cannot be read ends its header."""
    found: list[tuple[str, dict[str, str]]] = []
    for text in headers:
        at = 0
        while at < len(text) and len(found) < _MAX and (piece := _PIECE.match(text, at)) and piece.end() > at:
            at = piece.end()
            if piece["scheme"]:
                found.append((piece["scheme"].lower(), {}))
            elif found:
                value = re.sub(r"\\(.)", r"\1", piece["quoted"]) if piece["quoted"] is not None else piece["plain"]
                found[-1][1][piece["name"].lower()] = value
    return tuple(Challenge(scheme, words) for scheme, words in found)
