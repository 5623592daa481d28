"""Which image of an index a machine can run (image-spec, image-index.md; Go's GOARCH and its levels). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from stockade.errors import BadValue

from .documents import Platform

_WORD = re.compile(r"[A-Za-z0-9_.-]+")
_ALIASES: Mapping[str, tuple[str, str]] = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
# What a variant that is not said means.
_USUAL = {"arm64": "v8", "arm": "v7", "amd64": "v1"}
# What runs on which architecture too, when nobody asked for one by name.
_RUNS_TOO = {"amd64": ("386",), "arm64": ("arm",)}


def parse(text: str, own: Platform) -> Platform:
    """Read `os[/architecture[/variant]]` or `architecture` as people write it.

    Raises:
        BadValue: it is none.
    """
    words = text.strip().split("/")
    if not 1 <= len(words) <= 3 or not all(_WORD.fullmatch(word) for word in words):
        raise BadValue(f"{text!r} is no platform", hint="linux/amd64, linux/arm64/v8, arm64")
    words = [word.lower() for word in words]
    if len(words) == 1 and words[0] != "linux":
        known = (*_ALIASES, "amd64", "386", "arm64", "arm", "riscv64", "ppc64le", "s390x", "loong64", "mips64le")
        if words[0] not in known:
            raise BadValue(f"{text!r} is neither a system nor an architecture that images are for")
        words = ["linux", *words]
    if len(words) == 1:
        return own
    architecture, variant = _ALIASES.get(words[1], (words[1], ""))
    return Platform(architecture, words[0], words[2] if len(words) == 3 else variant)


def preference(offered: Platform, wanted: Platform, *, exactly: bool) -> int | None:
    """How well an image fits a machine: the lower the better, None not at all.

    Args:
        exactly: whether somebody asked for this platform, so that no other architecture will do.
    """
    architecture, variant = _ALIASES.get(offered.architecture, (offered.architecture, ""))
    variant = offered.variant or variant
    if offered.os != wanted.os:
        return None
    if architecture == wanted.architecture:
        return _distance(architecture, variant, wanted.variant)
    others = () if exactly else _RUNS_TOO.get(wanted.architecture, ())
    if architecture not in others:
        return None
    distance = _distance(architecture, variant, "v8" if architecture == "arm" else "")
    return None if distance is None else 100 + distance


def _distance(architecture: str, offered: str, wanted: str) -> int | None:
    usual = _USUAL.get(architecture, "")
    offered, wanted = offered or usual, wanted or usual
    if offered == wanted:
        return 0
    levels = [re.fullmatch(r"v(\d{1,3})", one) for one in (offered, wanted)]
    if architecture not in ("arm", "amd64", "arm64") or not all(levels):
        return None
    below = int(wanted[1:]) - int(offered[1:])
    return below if below > 0 else None


def best(offers: Sequence[Platform | None], wanted: Platform, *, exactly: bool) -> int | None:
    """The number of the offer that fits best, the first of equals; an offer that says nothing fits nobody."""
    ranks = [None if one is None else preference(one, wanted, exactly=exactly) for one in offers]
    fitting = [(rank, number) for number, rank in enumerate(ranks) if rank is not None]
    return min(fitting)[1] if fitting else None


def names(offers: Sequence[Platform | None]) -> str:
    """The platforms that there are, for people."""
    found = sorted({str(one) for one in offers if one is not None and one.os != "unknown"})
    return ", ".join(found) or "platforms that it does not name"
