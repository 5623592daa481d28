"""A root file system of busybox, and one shim a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.containerd import image
from contract.shim import peer
from support import bundle, programs
from support.place import Place
from support.wall import Work

Config = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def busybox_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("busybox")
    image.unpack(root)
    return root


@pytest.fixture
def config(busybox_root: Path) -> Config:
    """`config(*argv, **changes)`: a document for busybox; changes are Work's, and `annotations`."""

    def made(*argv: str, annotations: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        work = Work(argv=argv, root=busybox_root, env={"PATH": "/bin"}, **more)
        return bundle.config(work, False) | {"annotations": annotations or {}}

    return made


@pytest.fixture
def shim(place: Place) -> Iterator[peer.Shim]:
    with peer.shim(programs.program("containerd-shim-stockade-v2"), place) as made:
        yield made
