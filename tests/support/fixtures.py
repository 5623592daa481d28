"""Fixtures that several modules take: `_place = fixtures.place` makes one a module's own, under the fixture's name."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemon, stocked
from support.place import Place
from support.place import place as place_of_tests


@pytest.fixture(name="place", scope="module")
def place() -> Iterator[Place]:
    """One place for all tests of a module: the view's cached tree is made once."""
    with place_of_tests() as made:
        yield made


@pytest.fixture(name="project")
def project(place: Place) -> Path:
    """An empty directory, as the caller's."""
    path = place.top / f"project-{secrets.token_hex(3)}"
    path.mkdir()
    return path


@pytest.fixture(name="docker", scope="module")
def docker() -> Iterator[Daemon]:
    """One daemon with an image for all tests of a module, to be asked by the docker CLI."""
    with stocked() as made:
        yield made


@pytest.fixture(name="client")
def client(docker: Daemon) -> Iterator[Any]:
    """docker-py, unmodified, at that daemon; what is left of a test goes with it."""
    library: Any = pytest.importorskip("docker")
    made = library.DockerClient(base_url=f"unix://{docker.socket}")
    try:
        yield made
        docker.clear()
        made.networks.prune()
    finally:
        made.close()
