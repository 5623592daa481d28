"""A layer on its way from a container's changes to an image's content."""

from __future__ import annotations

from typing import NamedTuple

TAR = "application/vnd.oci.image.layer.v1.tar"


class LayerBlob(NamedTuple):
    """A layer that lies in a file, which is whoever's it is given to."""

    path: str
    digest: str
    """Of the file's bytes, `sha256:HEX`."""
    diff_id: str
    """Of the tar in it."""
    size: int
    """Bytes of the file."""
    media_type: str = TAR


class Change(NamedTuple):
    """One path that a container changed (Docker's ContainerChanges)."""

    path: str
    kind: int
    """0 modified, 1 added, 2 deleted."""
