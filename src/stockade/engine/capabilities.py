"""Which capabilities a container has, by what was asked to be added and dropped. Pure; words and rules are Docker's."""

from __future__ import annotations

from collections.abc import Iterable

from stockade.engine.records import Security
from stockade.errors import BadValue
from stockade.runtime import spec

_ALL = "ALL"


def granted(security: Security) -> tuple[str, ...]:
    """The names of a container's capabilities.

    Raises:
        BadValue: a name that Linux does not have.
    """
    if security.privileged:
        return spec.ALL_CAPABILITIES
    add, drop = _named(security.cap_add, "CapAdd"), _named(security.cap_drop, "CapDrop")
    if _ALL in drop:
        held: set[str] = set()
    elif _ALL in add:
        held = set(spec.ALL_CAPABILITIES)
    else:
        held = set(spec.USUAL_CAPABILITIES)
    if _ALL in add:
        held = set(spec.ALL_CAPABILITIES)
    return tuple(sorted((held | add - {_ALL}) - (drop - {_ALL})))


def _named(words: Iterable[str], field: str) -> set[str]:
    found = set()
    for word in words:
        name = word.upper()
        if name != _ALL and not name.startswith("CAP_"):
            name = f"CAP_{name}"
        if name != _ALL and name not in spec.ALL_CAPABILITIES:
            raise BadValue(f'invalid {field}: unknown capability: "{name}"')
        found.add(name)
    return found
