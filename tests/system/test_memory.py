"""What the daemon keeps of a container that is gone: nothing. Over thousands of them see test_storm_engine."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import counted
from support.api import ask, begin, create, must, remove
from support.daemon import Daemon, daemon
from support.patience import eventually
from support.place import place

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
TURNS, STRETCHES = 40, 10


@pytest.fixture(scope="module")
def docker() -> Iterator[Daemon]:
    here = os.environ.get("PYTHONPATH", "")
    with place() as made, daemon(made) as found:
        found.stop()
        found.module = "support.counted"
        found.start(PYTHONPATH=f"{Path(counted.__file__).parent.parent}:{here}")
        found.load()
        yield found


def count(docker: Daemon) -> dict[str, int]:
    """What lives in the daemon, once it rests."""
    assert docker.process is not None
    told = docker.place.run / counted.FILE
    told.unlink(missing_ok=True)
    time.sleep(0.5)  # copies of records, programs that remove trees
    docker.process.send_signal(signal.SIGUSR2)
    eventually(told.exists, "the daemon counts", patience=30)
    found: dict[str, int] = json.loads(told.read_text())
    return found


def life(docker: Daemon, network: str) -> None:
    """One container with whatever the daemon does for one."""
    ports = {"ExposedPorts": {"80/tcp": {}}, "PortBindings": {"80/tcp": [{}]}} if network == "bridge" else {}
    identity = create(docker, "sleep", "1000", NetworkMode=network, Memory=64 << 20, **ports)
    must(docker, "POST", f"/containers/{identity}/start")
    made = must(docker, "POST", f"/containers/{identity}/exec", {"Cmd": ["true"]})
    must(docker, "POST", f"/exec/{made['Id']}/start", {"Detach": True})
    must(docker, "GET", f"/containers/{identity}/json?size=1")
    must(docker, "GET", f"/containers/{identity}/stats?stream=0&one-shot=1")
    must(docker, "GET", f"/containers/{identity}/top")
    must(docker, "POST", f"/containers/{identity}/pause")
    must(docker, "POST", f"/containers/{identity}/unpause")
    must(docker, "POST", f"/containers/{identity}/rename?name=other{identity[:8]}")
    must(docker, "POST", f"/containers/{identity}/restart?t=0")
    must(docker, "POST", f"/containers/{identity}/stop?t=0")
    must(docker, "POST", f"/containers/{identity}/wait")
    remove(docker, identity)
    assert ask(docker, "POST", f"/containers/{identity}/start")[0] == 404


@pytest.mark.parametrize("network", ["none", "bridge"])
def test_of_a_container_that_is_gone_nothing_is_kept(docker: Daemon, network: str) -> None:
    """No object of any type; and once Python's own lists of free ones are full, no piece of memory either."""
    for _ in range(10):
        life(docker, network)
    before = count(docker)
    for _ in range(STRETCHES):
        for _ in range(TURNS):
            life(docker, network)
        after = count(docker)
        more = {kind: after[kind] - before.get(kind, 0) for kind in after}
        before = after
        pieces = more.pop(counted.PIECES)
        assert {kind: number for kind, number in more.items() if number >= TURNS // 2} == {}
        if pieces < TURNS:
            return
    pytest.fail(f"each container leaves a piece of memory: the last {TURNS} left {pieces}")


def test_what_is_kept_is_seen(docker: Daemon) -> None:
    """The counting itself: containers that are there are found, by type and in pieces."""
    before = count(docker)
    made = [begin(docker, "sleep", "1000") for _ in range(5)]
    after = count(docker)
    assert after["stockade.engine.container.Container"] == before.get("stockade.engine.container.Container", 0) + 5
    assert after[counted.PIECES] > before[counted.PIECES] + 5
    for identity in made:
        remove(docker, identity)
