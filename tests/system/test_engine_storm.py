"""The daemon is killed at random points while containers start, run, log, exec and stop: nothing is lost nor left."""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from support.census import NOTHING, Census
from support.daemon import IMAGE, Daemon, stocked
from support.storm import KILLS, Storm

pytestmark = [pytest.mark.root, pytest.mark.storm, pytest.mark.timeout(0)]

COUNT = "i=0; while true; do i=$((i+1)); echo $i; sleep 0.01; done"


@pytest.fixture
def docker() -> Iterator[Daemon]:
    with stocked() as made:
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
            self._docker.docker("run", "-d", "--name", f"long-{number}", IMAGE, "sleep", "100000", check=False)
            self._docker.docker("stop", "-t", "0", f"long-{number}", check=False)

    def _judge(self, number: int, code: int, done: subprocess.CompletedProcess[str]) -> None:
        """Without a word, 255 is docker's own when nobody answers its question for the code; 126 was never started."""
        right = (done.returncode, done.stdout) == (code, f"{number}\n")
        self.execs += right
        if not right and not done.stderr and done.returncode not in (126, 255):
            self.wrong.append(f"exec {number}: {done.returncode} {done.stdout!r}")


def test_random_kills(docker: Daemon, record_property: Callable[[str, object], None]) -> None:
    docker.docker("run", "--rm", IMAGE, "true")
    census = Census(docker)
    counter = docker.run("--name", "counter", "--log-opt", "max-size=100m", IMAGE, "sh", "-c", COUNT)
    again = docker.run("--name", "again", "--restart", "always", IMAGE, "sh", "-c", "echo begun; sleep 0.2; exit 3")
    clients = Clients(docker)
    clients.start()
    storm = Storm(15, KILLS)
    try:
        while storm.lasts():
            time.sleep(random.uniform(0.02, 0.8))
            docker.restart()
            storm.strikes += 1
            census.learn()
    finally:
        clients.stop()
    assert docker.inspect(counter, "{{json .State.Running}}") is True
    numbers = [int(line) for line in docker.said("logs", counter).splitlines()]
    assert numbers == list(range(1, len(numbers) + 1)), "a line is missing or twice"
    assert clients.wrong == []
    ends = check_ends(docker)
    restarts = check_restarts(docker, again)
    check_exec_records(docker, counter)
    census.learn()
    ids = docker.said("ps", "-aq").split()
    docker.docker("rm", "-f", *ids, timeout=300)
    assert census.left() == []
    said = f"{storm.strikes}, {len(numbers)} lines of one log in order, {clients.execs} execs, {ends} containers"
    record_property("kills of the daemon", f"{said}, {restarts} restarts by policy, {NOTHING}")


def check_restarts(docker: Daemon, identity: str) -> int:
    """Its policy goes on: it is started again, by the last daemon too; how often it was."""
    before = docker.inspect(identity, "{{json .RestartCount}}")
    deadline = time.monotonic() + 150
    while (now := docker.inspect(identity, "{{json .RestartCount}}")) == before:
        assert time.monotonic() < deadline, docker.inspect(identity, "{{json .State}}")
        time.sleep(0.5)
    begun = docker.said("logs", identity).splitlines()
    assert isinstance(now, int)
    assert set(begun) == {"begun"}
    assert now > 0
    return now


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
        if kind == "short" and state["Status"] == "created":
            assert docker.said("logs", one["Id"]) == "", "it ran, and its end is lost"
        elif kind == "short":
            assert (state["Status"], state["ExitCode"]) == ("exited", int(number) % 100), (one["Name"], state)
            assert docker.said("logs", one["Id"]) == number
        if kind == "long" and state["Status"] == "exited":
            assert state["ExitCode"] in (137, 143), (one["Name"], state)
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
