"""A directory of an image: what each of its layers has there, as an overlay of the layers would show it.

Layers are somebody's archives: paths in them are gone down name by name, and no link is followed. They are not written
to any more, so that what was looked at stays so.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from stockade.errors import BadValue

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE = "trusted.overlay.opaque"


def directories(layers: Sequence[str], path: str) -> tuple[str, ...]:
    """The directories that make up the one at `path`, topmost first.

    Args:
        layers: topmost first.
        path: relative, without `.` and `..`.

    Raises:
        BadValue: there is none, or a link or file lies there.
    """
    found: list[str] = []
    for layer in layers:
        here, below = _look(layer, path, covered=bool(found))
        if here:
            found.append(f"{layer}/{path}")
        if not below:
            break
    if not found:
        raise BadValue(f"cannot mount subpath {path!r} of an image: it has no such directory")
    return tuple(found)


def _look(layer: str, path: str, *, covered: bool) -> tuple[bool, bool]:
    """Whether a layer has the directory, and whether what is below it shows through."""
    below = True
    here = os.open(layer, _DIRECTORY)
    try:
        for name in path.split("/"):
            try:
                kind = os.stat(name, dir_fd=here, follow_symlinks=False)
            except FileNotFoundError:
                return False, below
            if not stat.S_ISDIR(kind.st_mode):
                if not covered and not (stat.S_ISCHR(kind.st_mode) and kind.st_rdev == 0):
                    raise BadValue(
                        f"cannot mount subpath {path!r} of an image: {name!r} is no directory",
                        hint="the path must be a directory in the image, and no symbolic link may lie on it",
                    )
                return False, False
            there = os.open(name, _DIRECTORY, dir_fd=here)
            os.close(here)
            here = there
            below = below and not _is_opaque(here)
        return True, below
    finally:
        os.close(here)


def _is_opaque(directory: int) -> bool:
    try:
        return os.getxattr(directory, _OPAQUE) == b"y"
    except OSError:
        return False
