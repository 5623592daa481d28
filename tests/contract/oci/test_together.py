"""Callers that die in between, and callers that come at once: never a half state."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contract.oci.harness import Done, Runtime
from support.programs import tool

pytestmark = pytest.mark.root
Record = Callable[[str, object], None]


def call(runtime: Runtime, *args: str | Path) -> Done:
    """As `Runtime.__call__`, but several may run at once; what stays behind must not hold our pipes."""
    done = subprocess.run(runtime.command(*args), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return Done(done.returncode, done.stdout, done.stderr)


def at_once(count: int, runtime: Runtime, *args: str | Path) -> list[Done]:
    gate = threading.Barrier(count)

    def one(_: int) -> Done:
        gate.wait()
        log = runtime.place.top / f"log{threading.get_ident()}"
        with open(os.devnull, "w") as null:
            done = subprocess.run(
                runtime.command("--log", log, *args), stdin=subprocess.DEVNULL, stdout=null, stderr=null, timeout=60
            )
        text = log.read_text() if log.exists() else ""
        log.unlink(missing_ok=True)
        return Done(done.returncode, "", text)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@pytest.mark.parametrize("round", range(3))
def test_one_of_many_creates_wins(ours: Runtime, round: int) -> None:
    bundle, id = ours.bundle("sleep", "1000"), ours.place.name()
    done = at_once(8, ours, "create", "--bundle", bundle, id)
    assert Counter(one.code for one in done) == {0: 1, 1: 7}
    assert all("container with given ID already exists" in one.err for one in done if one.code)
    assert ours.state(id)["status"] == "created"
    ours.ok("start", id)


@pytest.mark.parametrize("round", range(5))
def test_one_of_many_gets_a_cgroup(ours: Runtime, round: int) -> None:
    """runc 1.1 lets them share and says that later ones will not; the others' failure must not touch the one inside."""
    path = f"/{ours.place.name('cgroup')}"
    bundle = ours.bundle("sleep", "1000", change=lambda document: document["linux"].update(cgroupsPath=path))
    ids = [ours.place.name(f"c{number}") for number in range(6)]
    gate = threading.Barrier(len(ids))

    def one(id: str) -> Done:
        gate.wait()
        log = ours.place.top / f"log-{id}"
        words = ours.command("--log", log, "create", "--bundle", bundle, id)
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=-3, stderr=-3, timeout=60)
        return Done(done.returncode, "", log.read_text() if log.exists() else "")

    with ThreadPoolExecutor(len(ids)) as pool:
        done = dict(zip(ids, pool.map(one, ids), strict=True))
    (winner,) = (id for id, each in done.items() if each.code == 0)
    assert all("must be the container's alone" in each.err for id, each in done.items() if id != winner), done
    assert [found["id"] for found in json.loads(ours.ok("list", "--format", "json"))] == [winner]
    ours.ok("start", winner)
    assert ours.state(winner)["status"] == "running"
    refused = ours("create", "--bundle", bundle, ids[0] if ids[0] != winner else ids[1])
    assert refused.code == 1
    assert ours.state(winner)["status"] == "running"


@pytest.mark.parametrize("round", range(3))
def test_one_of_many_starts_wins(ours: Runtime, round: int) -> None:
    id = ours.create("sleep", "1000")
    done = at_once(8, ours, "start", id)
    assert Counter(one.code for one in done) == {0: 1, 1: 7}
    assert all("cannot start an already running container" in one.err for one in done if one.code)
    assert ours.state(id)["status"] == "running"


@pytest.mark.parametrize("round", range(3))
def test_one_of_many_deletes_wins(ours: Runtime, round: int) -> None:
    id = ours.create("sleep", "1000")
    done = at_once(8, ours, "delete", id)
    assert Counter(one.code for one in done) == {0: 1, 1: 7}
    assert all("container does not exist" in one.err for one in done if one.code)
    assert ours.place.cgroups() == []
    assert os.listdir(ours.root) == []


def test_forced_deletes_all_succeed(ours: Runtime) -> None:
    id = ours.running()
    assert {one.code for one in at_once(8, ours, "delete", "--force", id)} == {0}
    assert os.listdir(ours.root) == []


def test_create_and_delete_at_once(ours: Runtime) -> None:
    bundle, id = ours.bundle("sleep", "1000"), ours.place.name()
    stop = threading.Event()
    words: set[str] = set()

    def delete() -> None:
        while not stop.is_set():
            call(ours, "delete", "--force", id)

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        for _ in range(25):
            log = ours.place.top / "create.log"
            done = ours("--log", log, "create", "--bundle", bundle, id)
            if done.code:
                words.add(done.err)
    finally:
        stop.set()
        thread.join()
    assert all("container with given ID already exists" in word for word in words), words
    ours.ok("delete", "--force", id)
    assert os.listdir(ours.root) == []
    assert ours.place.cgroups() == []


def syscalls(command: list[str], log: Path) -> int:
    """How many system calls the first process of a command makes."""
    done = subprocess.run(
        [tool("strace"), "-o", str(log), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=60,
    )
    assert done.returncode == 0, done
    return sum(1 for line in log.read_text().splitlines() if re.match(r"\w+\(", line))


def killed_at(count: int, command: list[str]) -> int:
    """Kill a command at its system call `count`."""
    inject = [str(tool("strace")), "-qq", "-o", os.devnull, "-e", f"inject=all:signal=SIGKILL:when={count}"]
    return subprocess.run(
        [*inject, *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60
    ).returncode


def points(total: int, seconds: float, step: float = 0.15) -> range:
    """As many of the points as fit into the time."""
    return range(1, total + 1, max(1, round(total * step / seconds)))


@pytest.mark.storm
@pytest.mark.timeout(0)
def test_killed_between_any_two_lines_of_create(ours: Runtime, soak_seconds: float, record_property: Record) -> None:
    bundle, id = ours.bundle("sleep", "1000"), ours.place.name()
    create = ours.command("create", "--bundle", bundle, id)
    total = syscalls(create, ours.place.top / "trace")
    ours.ok("delete", "--force", id)
    assert total > 50
    tried = points(total, max(soak_seconds, 10))
    for point in tried:
        killed_at(point, create)
        if point % 2:
            ours.ok("delete", "--force", id)
            assert ours.place.cgroups() == [], point
            assert os.listdir(ours.root) == [] if ours.root.exists() else True, point
        done = ours("create", "--bundle", bundle, id)
        if done.code:
            # The creator had told everybody before it died.
            assert "already exists" in done.err, (point, done)
        assert ours.state(id)["status"] == "created", point
        ours.ok("start", id)
        ours.ok("delete", "--force", id)
        assert ours.place.cgroups() == [], point
        assert ours.place.leftovers(10) == [], point
    record_property("stockade-oci create", f"killed at {len(tried)} of its {total} system calls, nothing left")


@pytest.mark.storm
@pytest.mark.timeout(0)
@pytest.mark.parametrize("verb", ["start", "delete"])
def test_killed_between_any_two_lines(ours: Runtime, verb: str, soak_seconds: float, record_property: Record) -> None:
    bundle, id = ours.bundle("sleep", "1000"), ours.place.name()
    command = ours.command(verb, id)
    ours.ok("create", "--bundle", bundle, id)
    total = syscalls(command, ours.place.top / "trace")
    ours.ok("delete", "--force", id)
    tried = points(total, max(soak_seconds, 5))
    for point in tried:
        ours.ok("create", "--bundle", bundle, id)
        killed_at(point, command)
        done = ours(verb, id)
        if done.code:
            assert re.search("already running|does not exist|has stopped", done.err), (point, done)
        ours.ok("delete", "--force", id)
        assert ours.place.cgroups() == [], point
        assert os.listdir(ours.root) == [], point
        assert ours.place.leftovers(10) == [], point
    record_property(f"stockade-oci {verb}", f"killed at {len(tried)} of its {total} system calls, nothing left")
