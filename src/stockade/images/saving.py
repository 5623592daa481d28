"""An archive that is Docker's and an OCI layout at once, as `docker save` writes it since its version 25. Pure.

blobs/sha256/HEX    configurations, manifests, layers, each once
manifest.json       Docker's list: configuration, tags and layers of each image
index.json          the OCI layout's, oci-layout beside it
repositories        for readers before 2016
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from stockade.registry.references import Reference

from . import documents
from .documents import FULL_NAME, INDEX, MANIFEST, REF_NAME
from .filters import nanoseconds
from .values import Image

_LAYOUT = {"imageLayoutVersion": "1.0.0"}


class Chosen(NamedTuple):
    """An image to be written, and the names that it gets there."""

    image: Image
    names: tuple[Reference, ...]


def members(chosen: Sequence[Chosen], path_of: Callable[[str], str], size_of: Callable[[str], int | None]) -> list[Any]:
    """The members of the archive for `stockade-layer send`: `{"name","file"|"text","mode","mtime"}`.

    Args:
        path_of: where a blob lies.
        size_of: its size; None: it is not here.
    """
    blobs: dict[str, int] = {}
    entries: list[dict[str, Any]] = []
    for one in chosen:
        created = nanoseconds(one.image.config.created) // 10**9
        top, wanted = _top(one.image, size_of)
        for digest in wanted:
            blobs.setdefault(digest, created)
        entries += [top | {"annotations": note} for note in _notes(one.names)] or [top]
    found = [_file(digest, path_of(digest), mtime) for digest, mtime in sorted(blobs.items())]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    found += [_text("index.json", index), _text("manifest.json", [_archived(one) for one in chosen])]
    found += [_text("oci-layout", _LAYOUT)]
    repositories = _repositories(chosen)
    return found + ([_text("repositories", repositories)] if repositories else [])


def _top(image: Image, size_of: Callable[[str], int | None]) -> tuple[dict[str, Any], Iterable[str]]:
    """The entry of index.json and the blobs below it: the index that the image came in, if all of that is here."""
    kept = image.kept
    if kept.index and not kept.partial and all(size_of(digest) is not None for digest in kept.blobs):
        return {"mediaType": INDEX, "digest": kept.index, "size": size_of(kept.index)}, kept.blobs
    own = (kept.id, kept.manifest, *(layer.digest for layer in kept.layers))
    kind = kept.manifest_type or MANIFEST
    return {"mediaType": kind, "digest": kept.manifest, "size": kept.manifest_size}, own


def _notes(names: Iterable[Reference]) -> list[dict[str, str]]:
    return [{FULL_NAME: str(name), REF_NAME: name.tag} for name in names if name.tag]


def _archived(one: Chosen) -> dict[str, Any]:
    return {
        "Config": _place(one.image.id),
        "RepoTags": [name.familiar for name in one.names if name.tag] or None,
        "Layers": [_place(layer.digest) for layer in one.image.layers],
        "LayerSources": {
            layer.diff_id: {"mediaType": layer.media_type, "size": layer.size, "digest": layer.digest}
            for layer in one.image.layers
        },
    }


def _repositories(chosen: Sequence[Chosen]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for one in chosen:
        for name in one.names:
            if name.tag and one.image.layers:
                last = one.image.layers[-1].digest.removeprefix("sha256:")
                found.setdefault(name.familiar_name, {})[name.tag] = last
    return found


def _place(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _file(digest: str, path: str, mtime: int) -> dict[str, Any]:
    return {"name": _place(digest), "file": path, "mode": 0o644, "mtime": mtime}


def _text(name: str, document: object) -> dict[str, Any]:
    return {"name": name, "text": documents.encode(document).decode(), "mode": 0o644, "mtime": 0}
