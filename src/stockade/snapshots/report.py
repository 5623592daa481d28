"""Changes as Docker lists them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from stockade.model.layers import Change

MODIFIED, ADDED, DELETED = 0, 1, 2
_KINDS = {"modified": MODIFIED, "added": ADDED, "deleted": DELETED}


class Row(NamedTuple):
    """A line of `stockade-layer changes`."""

    path: str
    kind: str


def changes_of(rows: Iterable[Row]) -> list[Change]:
    """By path, each with the directories on its way, which Docker counts as modified."""
    found = {row.path: _KINDS[row.kind] for row in rows}
    for path in list(found):
        at = path.rfind("/")
        while at > 0:
            path = path[:at]
            if path in found:
                break
            found[path] = MODIFIED
            at = path.rfind("/")
    return [Change(path, kind) for path, kind in sorted(found.items())]
