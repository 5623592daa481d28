"""docker-py, unmodified, and a daemon of ours for it: what is left of a test goes with its client."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from support import place as places
from support.daemon import Daemon, daemon


@contextlib.contextmanager
def served() -> Iterator[Daemon]:
    """A daemon that has the image of busybox."""
    with places.place() as place, daemon(place) as made:
        made.load()
        yield made


@contextlib.contextmanager
def client(of: Daemon) -> Iterator[Any]:
    """A client of it."""
    import docker  # type: ignore[import-untyped]

    made = docker.DockerClient(base_url=f"unix://{of.socket}")
    try:
        yield made
        of.clear()
        made.networks.prune()
    finally:
        made.close()
