"""What the verbs of images share: places, programs, records; and what is told to others."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from stockade.errors import Unsupported
from stockade.host.paths import Paths
from stockade.host.tool import Program
from stockade.store import Journal, Store

from .catalog import Catalog
from .content import Content
from .documents import Platform
from .unpacking import Layers

# uname's word → the image-spec's (GOARCH).
_MACHINES: Mapping[str, Platform] = {
    "x86_64": Platform("amd64", "linux"),
    "aarch64": Platform("arm64", "linux", "v8"),
    "armv7l": Platform("arm", "linux", "v7"),
    "riscv64": Platform("riscv64", "linux"),
    "ppc64le": Platform("ppc64le", "linux"),
    "s390x": Platform("s390x", "linux"),
}


class Happened(NamedTuple):
    """Something that became of an image, in Docker's words of events."""

    action: str
    """`load`, `import`, `tag`, `untag`, `delete`, `save`, `commit`…"""
    image: str
    name: str
    """As people write it, else the id."""
    labels: Mapping[str, str]


def own_platform() -> Platform:
    """This machine's.

    Raises:
        Unsupported: images do not know it.
    """
    machine = platform.machine()
    if machine not in _MACHINES:
        raise Unsupported(f"images for {machine} are not known here")
    return _MACHINES[machine]


class Base:
    """One installation's images, as the verbs see them."""

    def __init__(self, paths: Paths, store: Store, journal: Journal) -> None:
        self.paths = paths
        self.store = store
        self.journal = journal
        self.program = Program("stockade-layer")
        self.content = Content(paths, store)
        self.layers = Layers(paths, store, self.content, self.program)
        self.catalog = Catalog(store, self.content)
        self.platform = own_platform()
        self.listeners: list[Callable[[Happened], object]] = []
        self.sweep: Callable[[], Any] = _nothing
        """Collects garbage soon."""

    def tell(self, action: str, image: str, name: str = "", labels: Mapping[str, str] | None = None) -> None:
        """Let everybody know what happened."""
        for listener in self.listeners:
            listener(Happened(action, image, name or image, labels or {}))


def _nothing() -> None:
    return None
