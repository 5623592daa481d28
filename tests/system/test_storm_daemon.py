"""The daemon is killed at random instants while clients make, run, ask, stop and remove: nothing is lost, nothing left.

Told are: a container that counts has no gap in its log, an exit status that was promised is there, and at the end the
census finds nothing of any container.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.census import NOTHING, Census
from support.daemon import Daemon, daemon
from support.place import place
from support.storm import Storm

pytestmark = [pytest.mark.root, pytest.mark.storm, pytest.mark.timeout(0)]
PATIENCE = 120.0
"""Seconds for one answer, on a machine that has much else to do while the daemon dies every second."""
COUNT = "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.01; done"


class Api(http.client.HTTPConnection):
    """One request a connection: the daemon may die at any moment."""

    def __init__(self, path: str) -> None:
        super().__init__("daemon", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self._path)


@pytest.fixture
def box() -> Iterator[Daemon]:
    with place() as made, daemon(made) as found:
        found.load()
        yield found


def ask(box: Daemon, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Status and answer; 0: the daemon was not there, or died on the way."""
    api = Api(str(box.socket))
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        api.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = api.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text.strip() else None
    except (OSError, http.client.HTTPException, json.JSONDecodeError):
        return 0, None
    finally:
        api.close()


class Client(threading.Thread):
    """Makes containers, lets them end, and remembers each status that it must find."""

    def __init__(self, box: Daemon, number: int, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.box, self.number, self.over = box, number, over
        self.rounds = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        chance = random.Random(self.number)
        while not self.over.is_set():
            name = f"w{self.number}x{self.rounds}"
            self.rounds += 1
            with contextlib.suppress(TimeoutError):
                self.round(name, chance)
            self.insist("DELETE", f"/containers/{name}?force=1", (200, 204, 404))

    def round(self, name: str, chance: random.Random) -> None:
        code = chance.randrange(1, 100)
        body = {"Image": "box:1", "Cmd": ["sh", "-c", f"sleep 0.0{chance.randrange(10)}; exit {code}"]}
        self.insist("POST", f"/containers/create?name={name}", (201, 409), body)
        self.insist("POST", f"/containers/{name}/start", (204, 304))
        if chance.random() < 0.3:
            self.insist("POST", f"/containers/{name}/stop?t=1", (204, 304))
            return
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            status, found = ask(self.box, "GET", f"/containers/{name}/json")
            state = found["State"] if status == 200 else {}
            if state.get("Status") == "exited":
                if state["ExitCode"] != code:
                    self.wrong.append(f"{name}: {state} instead of {code}")
                return
            # A start that was undone with the daemon is asked for again.
            if state.get("Status") == "created":
                self.insist("POST", f"/containers/{name}/start", (204, 304))
            time.sleep(0.02)
        self.wrong.append(f"{name} never ended: {state}")

    def insist(self, method: str, path: str, good: tuple[int, ...], body: object = None) -> None:
        """Ask until there is an answer."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            status, found = ask(self.box, method, path, body)
            if status in good:
                return
            if status:
                self.wrong.append(f"{method} {path}: {status} {found}")
                return
            time.sleep(0.05)
        self.wrong.append(f"{method} {path}: no answer")


def test_killed_at_random_instants(box: Daemon, record_property: Callable[[str, object], None]) -> None:
    box.docker("run", "--rm", "box:1", "true")
    census = Census(box)
    box.run("--name", "counts", "box:1", "sh", "-c", COUNT)
    over = threading.Event()
    clients = [Client(box, number, over) for number in range(4)]
    for client in clients:
        client.start()
    chance, storm = random.Random(), Storm(12, 100)
    while storm.lasts():
        time.sleep(chance.uniform(0.0, 0.8))
        box.restart(signal.SIGKILL)
        storm.strikes += 1
        census.learn()
    over.set()
    for client in clients:
        client.join(300)
    assert not any(client.is_alive() for client in clients)
    assert [one for client in clients for one in client.wrong] == []
    assert box.inspect("counts", "{{json .State.Status}}") == "running"
    lines = box.said("logs", "counts").splitlines()
    first = int(lines[0].split()[1])
    assert lines == [f"line {first + number}" for number in range(len(lines))]
    census.learn()
    box.clear()
    assert census.left() == []
    rounds = sum(client.rounds for client in clients)
    said = f"{storm.strikes}, {rounds} containers of four clients, each status as promised"
    record_property("kills of the daemon", f"{said}, {len(lines)} lines of one log in order, {NOTHING}")
