"""Changes as Docker lists them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from stockade.model.layers import Change

MODIFIED, ADDED, DELETED = 0, 1, 2
_KINDS = {"modified": MODIFIED, "added": ADDED, "deleted": DELETED}


class Row(NamedTuple):
    """A line of `stockade-layer changes`."""

    path: str
    kind: str


def changes_of(rows: Sequence[Row]) -> list[Change]:
    """By path, each with the directories on its way, which Docker counts as modified."""
    found = {row.path: _KINDS[row.kind] for row in rows}
    for row in rows:
        for parent in _parents(row.path):
            found.setdefault(parent, MODIFIED)
    return [Change(path, kind) for path, kind in sorted(found.items())]


def _parents(path: str) -> Iterable[str]:
    """Of `/a/b/c`: `/a/b`, `/a`."""
    while (path := path.rpartition("/")[0]) != "":
        yield path
