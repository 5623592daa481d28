"""Real containerds drive our shim: Debian's 1.6, and 2.4 built from its Go module in the judge tier."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.containerd import image
from conformance.containerd.engine import Containerd
from support.place import place
from support.programs import newest_containerd, tool


def _debian() -> Path:
    return tool("containerd").parent


@pytest.fixture(scope="module", params=["debian", pytest.param("newest", marks=pytest.mark.judge)])
def engine(request: pytest.FixtureRequest, bin_dir: Path) -> Iterator[Containerd]:
    programs = _debian() if request.param == "debian" else newest_containerd()
    with place() as made:
        engine = Containerd(made, programs, bin_dir)
        engine.start()
        try:
            engine.ctr("images", "import", str(image.archive(made.top / "image.tar")))
            yield engine
            left = engine.ctr("containers", "ls", "-q").stdout.decode().split()
            for container in left:
                engine.remove(container)
        finally:
            engine.stop()
        engine.remove_parents()


@pytest.fixture
def container(request: pytest.FixtureRequest, engine: Containerd) -> Iterator[str]:
    """The id of a container that is gone at the end, whatever the test did."""
    name = engine.place.name(request.node.originalname.removeprefix("test_")[:40].replace("_", "-"))
    yield name
    engine.remove(name)
