"""What is said of images: their history, and how much of their files others share. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .values import Image, Line

MISSING = "<missing>"


def history(image: Image, names: Sequence[str]) -> list[Line]:
    """The lines of `docker history`, the newest first."""
    sizes = iter(image.kept.sizes)
    lines = [
        Line(MISSING, one.created, one.created_by, 0 if one.empty_layer else next(sizes, 0), one.comment, ())
        for one in image.config.history
    ]
    # Layers that no line of history speaks of.
    lines += [Line(MISSING, image.config.created, "", size, "", ()) for size in sizes]
    lines.reverse()
    if lines:
        lines[0] = lines[0]._replace(id=image.id, tags=tuple(names))
    return lines


def shared(images: Sequence[Image]) -> dict[str, tuple[int, int]]:
    """By image: bytes of its files, and those of them that lie in layers of other images too."""
    users = Counter(chain for image in images for chain in image.chains)
    return {
        image.id: (image.size, sum(size for chain, size in zip(image.chains, image.kept.sizes, strict=True)
                                   if users[chain] > 1))
        for image in images
    }  # fmt: skip
