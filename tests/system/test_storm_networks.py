"""The daemon is killed at random instants while ports are published, networks joined and left, and what ends restarts.

Told are: what runs is reached by its port and its name at every instant, also while no daemon is there; a port leads to
its container as soon as the start was answered; and at the end the census finds nothing of any container or network.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support import reach
from support.api import ask, begin, create, must, remove
from support.census import NOTHING, Census, resident
from support.daemon import IMAGE, Daemon, stocked
from support.patience import awaited
from support.storm import LONG, SECONDS, Storm

pytestmark = [pytest.mark.root, pytest.mark.storm, pytest.mark.timeout(0)]
Record = Callable[[str, object], None]
PATIENCE = 120.0
"""Seconds for one answer, on a machine that has much else to do while the daemon dies every second."""
NETWORKS = ("one", "two", "six")
LIFECYCLES = 10_000
# Fails three times, then serves; its layer counts.
STUMBLES = "n=$(cat /n 2>/dev/null || echo 0); echo $((n+1)) > /n; [ $n -lt 3 ] && exit 3; "


@pytest.fixture
def docker() -> Iterator[Daemon]:
    with stocked() as made:
        yield made


class Client(threading.Thread):
    """Makes containers with networks and ports, and remembers what was not as promised."""

    def __init__(self, docker: Daemon, number: int, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.docker, self.number, self.over = docker, number, over
        self.chance = random.Random(number)
        self.port = 9000 + number
        self.rounds = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        while not self.over.is_set():
            name = f"{type(self).__name__.lower()}{self.number}x{self.rounds}"
            self.rounds += 1
            self.round(name)
            self.insist("DELETE", f"/containers/{name}?force=1", (200, 204, 404))

    def round(self, name: str) -> None:
        raise NotImplementedError

    def make(self, name: str, network: str, command: str, **host: object) -> None:
        """Make and start it; its port is the same in every round, so that one that is not given back is missed."""
        bindings = {"80/tcp": [{"HostPort": str(self.port)}]}
        body = {
            "Image": IMAGE,
            "Cmd": ["sh", "-c", command],
            "HostConfig": {"NetworkMode": network, "PortBindings": bindings, **host},
        }
        self.insist("POST", f"/containers/create?name={name}", (201, 409), body)
        self.insist("POST", f"/containers/{name}/start", (204, 304))

    def insist(self, method: str, path: str, good: tuple[int, ...], body: object = None) -> int:
        """Ask until there is an answer; its status."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            status, found = ask(self.docker, method, path, body)
            if status in good:
                return status
            if status:
                self.wrong.append(f"{method} {path}: {status} {found}")
                return status
            time.sleep(0.05)
        self.wrong.append(f"{method} {path}: no answer")
        return 0

    def reached(self, name: str, patience: float = 20) -> None:
        """Its port leads to it."""
        if not awaited(lambda: reach.said(self.docker, self.port) == name, patience):
            state = ask(self.docker, "GET", f"/containers/{name}/json")
            self.wrong.append(f"{name} is not reached by {self.port}: {state}")

    def state(self, name: str) -> dict[str, Any]:
        """What inspect says, once it says something."""
        found: dict[str, Any] = {}

        def look() -> bool:
            status, answer = ask(self.docker, "GET", f"/containers/{name}/json")
            found.update(answer if status == 200 else {})
            return status == 200

        if not awaited(look, PATIENCE):
            self.wrong.append(f"{name} cannot be inspected")
        return found


class Publisher(Client):
    """Publishes a port, on a network of the round's own now and then; what is stopped, killed or restarted too."""

    def round(self, name: str) -> None:
        network = self.chance.choice(("bridge", *NETWORKS, f"of-{name}"))
        if network not in (*NETWORKS, "bridge"):
            self.insist("POST", "/networks/create", (201, 409), {"Name": network})
        self.make(name, network, reach.server(name))
        self.reached(name)
        what = self.chance.random()
        if what < 0.3:
            self.insist("POST", f"/containers/{name}/restart?t=0", (204, 304))
            self.reached(name)
        elif what < 0.5:
            self.insist("POST", f"/containers/{name}/stop?t=0", (204, 304))
            if reach.said(self.docker, self.port, 1):
                self.wrong.append(f"{name} was stopped, and somebody answers at {self.port}")
            self.insist("POST", f"/containers/{name}/start", (204, 304))
            self.reached(name)
        if network.startswith("of-"):
            self.insist("DELETE", f"/containers/{name}?force=1", (204, 404))
            self.insist("DELETE", f"/networks/{network}", (204, 404))


class Mover(Client):
    """Joins and leaves networks while it runs: its name is known where it is, and its port leads to it throughout."""

    def round(self, name: str) -> None:
        self.make(name, "one", reach.server(name))
        self.reached(name)
        for _ in range(4):
            network = self.chance.choice(("two", "six"))
            body = {"Container": name, "EndpointConfig": {"Aliases": [f"also-{name}"]}}
            # Who asks again after a crash may be told that it is so already.
            self.insist("POST", f"/networks/{network}/connect", (200, 403), body)
            address = self.there(name, network)
            self.known(network, (f"also-{name}", name), (address,))
            self.reached(name)
            self.insist("POST", f"/networks/{network}/disconnect", (200, 403), {"Container": name})
            if network in self.state(name).get("NetworkSettings", {}).get("Networks", {}):
                self.wrong.append(f"{name} left {network} and is there")
            self.known(network, (name,), ())
        self.reached(name)

    def there(self, name: str, network: str) -> str:
        found = self.state(name).get("NetworkSettings", {}).get("Networks", {}).get(network)
        if found is None:
            self.wrong.append(f"{name} joined {network} and is not there")
        return str(found["IPAddress"]) if found else ""

    def known(self, network: str, names: tuple[str, ...], wanted: tuple[str, ...]) -> None:
        """What its neighbour there hears of it."""
        pid, resolver = PEERS[network]
        for name in names:
            if not awaited(lambda name=name: reach.addresses(pid, resolver, name) == wanted, 10):  # type: ignore[misc]
                found = reach.addresses(pid, resolver, name)
                self.wrong.append(f"{name} on {network} is {found} instead of {wanted}")


class Stumbler(Client):
    """Ends three times, is killed once, and each time its policy has it back with its port."""

    def round(self, name: str) -> None:
        policy = self.chance.choice(("always", "unless-stopped", "on-failure"))
        network = self.chance.choice(("bridge", *NETWORKS))
        self.make(name, network, STUMBLES + reach.server(name), RestartPolicy={"Name": policy})
        self.reached(name, PATIENCE)
        before = self.state(name)
        pid = before.get("State", {}).get("Pid", 0)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

            def again() -> bool:
                return self.state(name).get("State", {}).get("Pid", 0) not in (0, pid)

            if not awaited(again, PATIENCE):
                self.wrong.append(f"{name} was killed and never came back")
        self.reached(name, PATIENCE)


PEERS: dict[str, tuple[int, str]] = {}
"""Network → a process in a container there that stays, and the address of its resolver."""


def stays(docker: Daemon) -> dict[str, int]:
    """A container on each network, with a port; name → its process."""
    found = {}
    for number, network in enumerate(NETWORKS):
        must(docker, "POST", "/networks/create", {"Name": network, "EnableIPv6": network == "six"})
        name = f"stays-{network}"
        words = ("--name", name, "--network", network, "-p", f"{8000 + number}:80")
        docker.run(*words, IMAGE, "sh", "-c", reach.server(name))
        state = must(docker, "GET", f"/containers/{name}/json")
        found[name] = state["State"]["Pid"]
        PEERS[network] = (found[name], state["NetworkSettings"]["Networks"][network]["Gateway"])
        assert awaited(lambda at=8000 + number, name=name: reach.said(docker, at) == name, 10)  # type: ignore[misc]
    return found


def stand(docker: Daemon) -> list[str]:
    """What is wrong with those that stay, at this very instant."""
    wrong = []
    for number, network in enumerate(NETWORKS):
        name = f"stays-{network}"
        pid, resolver = PEERS[network]
        if reach.said(docker, 8000 + number, 10) != name:
            wrong.append(f"{name} is not reached by its port")
        if reach.addresses(pid, resolver, name, 10) == ():
            wrong.append(f"{name} is not known")
    return wrong


def test_killed_at_random_instants_of_networks(docker: Daemon, record_property: Record) -> None:
    # Forwarding of IPv6 stays switched on from the first network that has it.
    must(docker, "POST", "/networks/create", {"Name": "six", "EnableIPv6": True})
    must(docker, "DELETE", "/networks/six")
    census = Census(docker)
    stayed, over = stays(docker), threading.Event()
    kinds = (Publisher, Publisher, Mover, Mover, Stumbler)
    clients = [kind(docker, number, over) for number, kind in enumerate(kinds)]
    for client in clients:
        client.start()
    chance, storm = random.Random(), Storm(8, 600)
    wrong: list[str] = []
    while storm.lasts() and not wrong:
        time.sleep(chance.uniform(0.0, 0.8))
        docker.stop(signal.SIGKILL)
        wrong += stand(docker)
        if chance.random() < 0.1:
            os.kill(reach.serving(docker), signal.SIGKILL)
        docker.start()
        storm.strikes += 1
        census.learn()
    over.set()
    for client in clients:
        client.join(300)
    wrong += [one for client in clients for one in client.wrong]
    assert wrong == [], "\n".join(wrong)
    assert not any(client.is_alive() for client in clients)
    assert stand(docker) == []
    assert {name: must(docker, "GET", f"/containers/{name}/json")["State"]["Pid"] for name in stayed} == stayed
    census.learn()
    docker.clear()
    docker.docker("network", "prune", "-f")
    left = census.left()
    assert left == [], "\n".join(left)
    rounds = ", ".join(f"{sum(one.rounds for one in clients if type(one) is kind)} of a {kind.__name__.lower()}"
                       for kind in dict.fromkeys(kinds))  # fmt: skip
    record_property(
        "kills of the daemon in ports, connects and restarts",
        f"{storm.strikes}, rounds: {rounds}, what stays reached by name and port at each of them, {NOTHING}",
    )


def life(docker: Daemon, number: int) -> None:
    """One container with a network and a port; every fiftieth is asked something by it."""
    host = {"NetworkMode": "lives", "PortBindings": {"80/tcp": [{"HostPort": str(7000 + number % 7)}]}}
    if number % 50 == 0:
        identity = begin(docker, "sh", "-c", reach.server(f"n{number}"), **host)
        assert awaited(lambda: reach.said(docker, 7000 + number % 7) == f"n{number}", 10)
    else:
        identity = create(docker, "true", **host)
        must(docker, "POST", f"/containers/{identity}/start")
        assert must(docker, "POST", f"/containers/{identity}/wait")["StatusCode"] == 0
    remove(docker, identity)


def test_lifecycles_with_a_port(docker: Daemon, record_property: Record) -> None:
    """The memory of the daemon and of what serves names and ports is flat."""
    count, warm = (LIFECYCLES, 500) if LONG else (30, 10)
    census = Census(docker)
    must(docker, "POST", "/networks/create", {"Name": "lives"})
    for number in range(warm):
        life(docker, number)
    pid, begun = reach.serving(docker), time.monotonic()
    first, first_serve = resident(docker), reach.private(pid)
    until = begun + max(SECONDS, 1200)
    done = 0
    while done < count and (not LONG or time.monotonic() < until):
        if done % 10 == 0:
            census.learn()
        life(docker, done)
        done += 1
    spent, grown = time.monotonic() - begun, resident(docker) - first
    grown_serve = reach.private(pid) - first_serve
    must(docker, "DELETE", "/networks/lives")
    assert census.left() == []
    record_property(
        "lifecycles with a network and a port",
        f"{done} in {spent:.0f} s, the daemon's memory {first / 1024:.1f} MB and {grown:+d} KiB, that of "
        f"stockade-net serve {first_serve / 1024:.1f} MB and {grown_serve:+d} KiB, {NOTHING}",
    )
    assert grown < (3072 if LONG else 1024), f"{grown} KiB more after {done} containers"
    assert grown_serve < 256, f"{grown_serve} KiB more in stockade-net serve after {done} containers"
