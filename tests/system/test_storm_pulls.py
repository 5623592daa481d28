"""The daemon is killed at random instants of pulls, pushes and removals: an image is whole or not there.

Several clients pull images that share layers, so that pulls join, wait for another's layers and are cut in each step.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import images, registries
from support.api import ask
from support.daemon import Daemon, daemon
from support.images import TestImage
from support.place import place
from support.registries import DockerRegistry
from support.storm import Storm

pytestmark = [pytest.mark.root, pytest.mark.storm, pytest.mark.timeout(0)]
BASE = images.layer({"base": bytes(range(256)) * 2000})
KINDS = tuple(
    TestImage((BASE, *(images.layer({f"{kind}/{n}": random.Random(n + kind).randbytes(50_000)}) for n in range(6))))
    for kind in range(4)
)


# Of a daemon that was killed; and of docker-registry, which answers 500 when a tag is read while a push writes it.
_DIED = ("EOF", "Cannot connect", "connection", "daemon running", "unknown: unknown error")


@dataclass(frozen=True)
class Ground:
    docker: Daemon
    registry: DockerRegistry

    def name(self, kind: int) -> str:
        return f"{self.registry.authority}/kind{kind}:1"


@pytest.fixture(name="ground")
def _ground(bin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    monkeypatch.setenv("STOCKADE_BIN_DIR", str(bin_dir))
    with place() as made:
        monkeypatch.setenv("STOCKADE_CERTS_DIR", str(made.top / "certs"))
        with daemon(made) as docker, registries.docker_registry(made.top, docker.ns) as registry:
            for kind, image in enumerate(KINDS):
                registry.put(image, f"kind{kind}", "1")
            yield Ground(docker, registry)


class Client(threading.Thread):
    """Pulls, pushes and removes one image after the other; what a daemon that died did not answer is nothing."""

    def __init__(self, ground: Ground, number: int, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.ground, self.number, self.over = ground, number, over
        self.pulled = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        chance = random.Random(self.number)
        while not self.over.is_set():
            name = self.ground.name(chance.randrange(len(KINDS)))
            done = self.ground.docker.docker("pull", name, check=False)
            if done.returncode == 0:
                self.pulled += 1
            elif not any(word in done.stderr for word in _DIED):
                self.wrong.append(f"pull {name}: {done.stdout}{done.stderr}")
            what = chance.random()
            if what < 0.3:
                ask(self.ground.docker, "POST", f"/v1.47/images/{name.removesuffix(':1')}/push?tag=1")
            elif what < 0.8:
                ask(self.ground.docker, "DELETE", f"/v1.47/images/{name}?force=1")


def test_killed_at_random_instants_of_pulls(
    ground: Ground, record_property: Callable[[str, object], None]
) -> None:  # fmt: skip
    over = threading.Event()
    clients = [Client(ground, number, over) for number in range(3)]
    for client in clients:
        client.start()
    chance, storm = random.Random(), Storm(12, 400)
    while storm.lasts():
        time.sleep(chance.uniform(0.0, 0.7))
        ground.docker.restart(signal.SIGKILL)
        storm.strikes += 1
        whole(ground)
    over.set()
    for client in clients:
        client.join(120)
    assert [one for client in clients for one in client.wrong] == []
    whole(ground)
    for kind in range(len(KINDS)):
        ground.docker.docker("pull", "-q", ground.name(kind))
        assert ground.docker.said("inspect", "-f", "{{.Id}}", ground.name(kind)) == KINDS[kind].id
    ground.docker.docker("image", "prune", "-af")
    ground.docker.restart(signal.SIGTERM)
    assert left(ground) == []
    pulled = sum(client.pulled for client in clients)
    record_property("kills of the daemon in pulls", f"{storm.strikes}, {pulled} pulls were finished, nothing left")


def whole(ground: Ground) -> None:
    """Every image that has a name has all of its blobs, and each is what its digest says."""
    status, found = ask(ground.docker, "GET", "/v1.47/images/json")
    assert status == 200
    known = {image.id for image in KINDS}
    assert {one["Id"] for one in found} <= known
    blobs = ground.docker.place.data / "content/blobs/sha256"
    for image in KINDS:
        if image.id in {one["Id"] for one in found}:
            wanted = set(image.blobs(compress=True))
            lost = wanted - {path.name for path in blobs.iterdir()}
            # A client may have removed it meanwhile.
            if lost:
                status, _ = ask(ground.docker, "GET", f"/v1.47/images/{image.id}/json")
                assert status == 404, f"{image.id} lacks {lost}"


def left(ground: Ground) -> list[str]:
    """What is there though no image is."""
    data = ground.docker.place.data
    deadline = time.monotonic() + 30
    while True:
        found = [str(path) for path in (data / "content/ingest").iterdir()]
        found += [str(path) for path in (data / "content/blobs/sha256").iterdir()]
        found += [str(path) for path in (data / "layers").iterdir() if path.name != "0"]
        processes = ground.docker.place.processes().values()
        found += [line for line in processes if "stockade-fetch" in line or "stockade-layer" in line]
        with sqlite3.connect(f"file:{data}/store.db?mode=ro", uri=True) as store:
            found += [str(row) for row in store.execute("SELECT verb, subject FROM operations")]
        store.close()
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)
