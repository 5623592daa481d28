"""The configuration of an image that is made here, by commit or import. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from stockade.errors import BadValue

from . import changes, documents
from .documents import Platform

EMPTY_TAR = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
"""The diff id of a layer without entries: 1,024 zero bytes."""


class Signed(NamedTuple):
    """Who made it, when and why."""

    created: str
    """RFC 3339."""
    author: str = ""
    message: str = ""
    created_by: str = ""


def imported(platform: Platform, diff_id: str, lines: Sequence[str], signed: Signed) -> dict[str, Any]:
    """Of a root file system that came as a tar."""
    return {
        "architecture": platform.architecture,
        "os": platform.os,
        **({"variant": platform.variant} if platform.variant else {}),
        "created": signed.created,
        "comment": signed.message,
        "config": changes.apply({}, lines),
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": signed.created, "comment": signed.message}],
    }


def committed(
    base: Mapping[str, Any], config: Mapping[str, Any], platform: Platform, diff_id: str, signed: Signed
) -> dict[str, Any]:
    """Of a container: its image's with one layer more, and the configuration that the container had.

    Args:
        base: the image's, with every field; empty: there was none.
        diff_id: of what the container changed; an empty layer adds a line of history alone.
    """
    empty = diff_id == EMPTY_TAR
    line: dict[str, Any] = {"created": signed.created, "created_by": signed.created_by}
    line |= {key: value for key, value in (("author", signed.author), ("comment", signed.message)) if value}
    line |= {"empty_layer": True} if empty else {}
    rootfs = base.get("rootfs") or {}
    diff_ids = [*(rootfs.get("diff_ids") or ()), *([] if empty else [diff_id])]
    if len(diff_ids) > documents.MAX_LAYERS:
        raise BadValue("max depth exceeded")
    kept = {key: value for key, value in base.items() if key not in ("container", "container_config", "parent", "id")}
    return {
        "architecture": platform.architecture,
        "os": platform.os,
        **kept,
        "created": signed.created,
        "author": signed.author,
        "comment": signed.message,
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [*_history(base), line],
    }


def _history(base: Mapping[str, Any]) -> list[Any]:
    """The lines of an image's history, and one more for each layer that they do not speak of."""
    lines = list(base.get("history") or ())
    told = sum(not line.get("empty_layer") for line in lines)
    untold = len((base.get("rootfs") or {}).get("diff_ids") or ()) - told
    return lines + [{"created": base.get("created")} if base.get("created") else {}] * untold
