"""The daemon is killed at random points while containers start, run, log, exec and stop: nothing is lost nor left."""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import place as places
from support.daemon import IMAGE, Daemon, daemon

pytestmark = [pytest.mark.root, pytest.mark.storm, pytest.mark.timeout(0)]

SECONDS = float(os.environ.get("STOCKADE_SOAK_SECONDS", "15"))
COUNT = "i=0; while true; do i=$((i+1)); echo $i; sleep 0.01; done"


@pytest.fixture
def docker() -> Iterator[Daemon]:
    with places.place() as place, daemon(place) as made:
        made.load()
        yield made


class Clients:
    """People at work. What a request answers while the daemon dies is nobody's promise; what is there afterwards is."""

    def __init__(self, docker: Daemon) -> None:
        self._docker = docker
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(2)]
        self.execs = 0
        self.wrong: list[str] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(120)

    def _work(self, worker: int) -> None:
        number = worker
        while not self._over.is_set():
            number += 2
            code = number % 100
            line = f"echo {number}; exit {code}"
            self._docker.docker("run", "-d", "--name", f"short-{number}", IMAGE, "sh", "-c", line, check=False)
            done = self._docker.docker("exec", "counter", "sh", "-c", f"echo {number}; exit {code}", check=False)
            self._judge(number, code, done)
            self._docker.docker("run", "-d", "--name", f"long-{number}", IMAGE, "sleep", "1000", check=False)
            self._docker.docker("stop", "-t", "0", f"long-{number}", check=False)

    def _judge(self, number: int, code: int, done: subprocess.CompletedProcess[str]) -> None:
        """Without a word, 255 is docker's own when nobody answers its question for the code; 126 was never started."""
        right = (done.returncode, done.stdout) == (code, f"{number}\n")
        self.execs += right
        if not right and not done.stderr and done.returncode not in (126, 255):
            self.wrong.append(f"exec {number}: {done.returncode} {done.stdout!r}")


def test_random_kills(docker: Daemon) -> None:
    counter = docker.run("--name", "counter", "--log-opt", "max-size=100m", IMAGE, "sh", "-c", COUNT)
    clients = Clients(docker)
    clients.start()
    kills = 0
    try:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            time.sleep(random.uniform(0.02, 0.8))
            docker.restart()
            kills += 1
    finally:
        clients.stop()
    assert docker.inspect(counter, "{{json .State.Running}}") is True
    numbers = [int(line) for line in docker.said("logs", counter).splitlines()]
    assert numbers == list(range(1, len(numbers) + 1)), "a line is missing or twice"
    assert clients.wrong == []
    ends = check_ends(docker)
    print(f"{kills} kills, {len(numbers)} lines, {clients.execs} execs, {ends} containers")
    assert kills >= 3
    check_exec_records(docker, counter)
    ids = docker.said("ps", "-aq").split()
    docker.docker("rm", "-f", *ids, timeout=300)
    engine = docker.place.data / "engine"
    assert not list(engine.iterdir())
    assert docker.process is not None
    assert len(list(Path(f"/proc/{docker.process.pid}/fd").iterdir())) < 40


def check_ends(docker: Daemon) -> int:
    """Every container is where its story leads; how many there are."""
    deadline = time.monotonic() + 60
    while True:
        ids = docker.said("ps", "-aq", "--no-trunc").split()
        found = json.loads(docker.docker("inspect", *ids).stdout)
        moving = [one["Name"] for one in found if "/short-" in one["Name"] and one["State"]["Running"]]
        if not moving or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert not moving
    for one in found:
        kind, _, number = one["Name"].strip("/").partition("-")
        state = one["State"]
        if kind == "short" and state["Status"] != "created":
            assert (state["Status"], state["ExitCode"]) == ("exited", int(number) % 100), one["Name"]
            assert docker.said("logs", one["Id"]) == number
        if kind == "long" and state["Status"] == "exited":
            assert state["ExitCode"] in (137, 143), one["Name"]
    return len(found)


def check_exec_records(docker: Daemon, counter: str) -> None:
    """Nobody is said to run who does not."""
    deadline = time.monotonic() + 20
    while docker.inspect(counter, "{{json .ExecIDs}}") and time.monotonic() < deadline:
        time.sleep(0.2)
    known = docker.inspect(counter, "{{json .ExecIDs}}") or []
    assert isinstance(known, list)
    bundle = docker.place.data / "engine" / counter
    assert not list(bundle.glob("exit-*.json"))
    # What was created and never started, because its client's daemon died in between, is all that may be left.
    assert len(known) <= 40
