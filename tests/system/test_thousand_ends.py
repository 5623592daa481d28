"""A thousand containers on one bridge, each with a port of the host: the last is reached, and the next is refused."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import pytest

from support import place as places
from support import reach
from support.api import ask, create, must, remove
from support.census import Census
from support.daemon import Daemon, daemon
from support.patience import awaited

pytestmark = [pytest.mark.root, pytest.mark.judge]
COUNT = 1000
FIRST_PORT = 20_000
AMONG = 50


def begin(docker: Daemon, number: int) -> tuple[str, float]:
    """A container that says its number; how long its creation and start took, in milliseconds."""
    begun = time.perf_counter()
    identity = create(
        docker, "sh", "-c", reach.server(f"n{number}"), NetworkMode="many",
        PortBindings={"80/tcp": [{"HostPort": str(FIRST_PORT + number)}]},
    )  # fmt: skip
    must(docker, "POST", f"/containers/{identity}/start")
    return identity, (time.perf_counter() - begun) * 1000


def is_reached(docker: Daemon, number: int) -> bool:
    return reach.said(docker, FIRST_PORT + number) == f"n{number}"


def test_a_thousand_ends_of_one_bridge(record_property: Callable[[str, object], None]) -> None:
    with places.place() as place, daemon(place) as docker:
        docker.load()
        census = Census(docker)
        must(docker, "POST", "/networks/create", {"Name": "many"})
        begun = [begin(docker, number) for number in range(COUNT)]
        for number in (0, COUNT // 2, COUNT - 1):
            assert awaited(partial(is_reached, docker, number), 10)
        one_more = create(docker, "true", NetworkMode="many")
        status, said = ask(docker, "POST", f"/containers/{one_more}/start")
        assert (status, "1000 ends" in said["message"]) == (409, True), (status, said)
        remove(docker, one_more)
        for identity, _ in begun:
            remove(docker, identity)
        must(docker, "DELETE", "/networks/many")
        assert census.left() == []
    early, late = (statistics.median(spent for _, spent in part) for part in (begun[:AMONG], begun[-AMONG:]))
    record_property("create and start with a port", f"{early:.1f} ms among the first, {late:.1f} ms among the last")
    assert late < 3 * early, "the thousandth costs as much as the first"
