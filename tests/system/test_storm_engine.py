"""The engine over a long day: lifecycles, hundreds at once, followers of logs, clients that vanish, a shim that stops.

After each of them the daemon holds what it held before: directories, ids, cgroups, mounts, processes, records of the
store, descriptors. The kills of the daemon itself are in test_storm_daemon.py and test_engine_storm.py.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.api import ask, begin, create, must, remove
from support.census import NOTHING, Census, resident
from support.daemon import IMAGE, Daemon, stocked
from support.storm import LONG

pytestmark = [pytest.mark.root, pytest.mark.storm, pytest.mark.timeout(0)]
Record = Callable[[str, object], None]
COUNT = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done"


@pytest.fixture(scope="module")
def docker() -> Iterator[Daemon]:
    with stocked() as made:
        # What is made once and stays: unpacked layers, pooled threads, programs that were read.
        life(made, 0)
        yield made


def life(docker: Daemon, number: int) -> None:
    """One container from its creation to its removal; each is asked something else on the way."""
    code = number % 50
    identity = create(docker, "sh", "-c", f"echo {number}; sleep 0.02; exit {code}")
    must(docker, "POST", f"/containers/{identity}/start")
    match number % 5:
        case 0:
            status, made = ask(docker, "POST", f"/containers/{identity}/exec", {"Cmd": ["true"]})
            if status == 201:  # it may have ended before, and before the start too
                ask(docker, "POST", f"/exec/{made['Id']}/start", {"Detach": True})
        case 1:
            must(docker, "GET", f"/containers/{identity}/json?size=1")
        case 2:
            ask(docker, "POST", f"/containers/{identity}/stop?t=0")
        case 3:
            ask(docker, "GET", f"/containers/{identity}/stats?stream=0&one-shot=1")
    ended = must(docker, "POST", f"/containers/{identity}/wait")
    assert ended["StatusCode"] in ((code, 137, 143) if number % 5 == 2 else (code,)), (number, ended)
    remove(docker, identity)


def test_lifecycles(docker: Daemon, record_property: Record) -> None:
    """The daemon's memory is flat: once it is warm, less than a quarter of a KiB a container."""
    count, warm = (2000, 1500) if LONG else (30, 10)
    for number in range(warm):
        life(docker, number)
    census, begun = Census(docker), time.monotonic()
    sizes: list[int] = []
    for number in range(count):
        if number % 10 == 0:
            census.learn()
            sizes.append(resident(docker))
        life(docker, number)
    spent, first, grown = time.monotonic() - begun, sizes[0], rise(sizes)
    assert census.left() == []
    record_property(
        "lifecycles",
        f"{count} in {spent:.0f} s, the daemon's memory {first / 1024:.1f} MB and {grown:+d} KiB, {NOTHING}",
    )
    assert grown < 512, f"{grown} KiB more after {count} containers: {sizes}"


def rise(sizes: list[int]) -> int:
    """By how much a line through the sizes rises: one that was measured at a busy moment does not count much."""
    return round(statistics.linear_regression(range(len(sizes)), sizes).slope * len(sizes))


def test_hundreds_at_once(docker: Daemon, record_property: Record) -> None:
    count = 500 if LONG else 20
    census = Census(docker)
    made: list[str] = []
    try:
        begun = time.monotonic()
        for _ in range(count):
            made.append(begin(docker, "sleep", "100000"))
        spent = time.monotonic() - begun
        census.learn()
        running = {one["Id"] for one in must(docker, "GET", "/containers/json")}
        assert set(made) <= running
        memory = resident(docker)
        docker.restart(signal.SIGKILL)
        again = {one["Id"] for one in must(docker, "GET", "/containers/json")}
        assert set(made) <= again, "a container is lost to a new daemon"
        last = docker.docker("exec", made[-1], "echo", "here")
        assert last.stdout == "here\n"
    finally:
        census.learn()
        for identity in made:
            ask(docker, "DELETE", f"/containers/{identity}?force=1")
    assert census.left() == []
    record_property("at once", f"{count} started in {spent:.1f} s, the daemon with them {memory / 1024:.1f} MB")


def test_many_clients_at_once(docker: Daemon, record_property: Record) -> None:
    """Twenty who start, enter, stop and remove side by side: each gets what it would get alone."""
    rounds = 20 if LONG else 2
    wrong: list[str] = []
    census = Census(docker)

    def work(number: int) -> None:
        for turn in range(rounds):
            code = (number + turn) % 90 + 1
            identity = begin(docker, "sh", "-c", f"echo {code}; sleep 0.1; exit {code}")
            ended = must(docker, "POST", f"/containers/{identity}/wait")
            if ended["StatusCode"] != code:
                wrong.append(f"{identity}: {ended} instead of {code}")
            if docker.said("logs", identity) != str(code):
                wrong.append(f"{identity}: its log is not {code}")
            census.learn()
            remove(docker, identity)

    begun = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(work, range(20)))
    spent = time.monotonic() - begun
    assert wrong == []
    assert census.left() == []
    record_property("clients side by side", f"20, {20 * rounds} containers in {spent:.1f} s")


def test_followers_of_logs(docker: Daemon, record_property: Record) -> None:
    """Every follower sees every line; those that vanish leave nothing."""
    count, seconds = (100, 30) if LONG else (8, 2)
    identity = begin(docker, "sh", "-c", COUNT)
    census = Census(docker)
    followers: list[subprocess.Popen[bytes]] = []
    seen: list[list[bytes]] = []
    try:
        for number in range(count):
            with (docker.place.top / f"follower{number}").open("wb") as out:
                words = docker.words("logs", "-f", identity)
                followers.append(subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out))
        time.sleep(seconds)
        for one in followers[::2]:
            one.kill()
        must(docker, "POST", f"/containers/{identity}/stop?t=0")
        for one in followers[1::2]:
            assert one.wait(60) == 0
        seen = [(docker.place.top / f"follower{number}").read_bytes().splitlines() for number in range(1, count, 2)]
        lines = docker.docker("logs", identity).stdout.encode().splitlines()
        assert all(one == lines for one in seen), [len(one) for one in seen]
        assert lines == [str(number).encode() for number in range(len(lines))]
    finally:
        for one in followers:
            one.kill()
            one.wait()
    remove(docker, identity)
    assert census.left() == []
    record_property("logs -f", f"{count} followers, {len(lines)} lines each, half of them vanished")


def vanish(docker: Daemon, identity: str, made: str, dice: random.Random) -> None:
    """Ask for something that streams, read a little of it or nothing, and be gone."""
    streams = [
        ("GET", f"/containers/{identity}/logs?follow=1&stdout=1", ""),
        ("GET", f"/containers/{identity}/stats", ""),
        ("GET", "/events", ""),
        ("POST", f"/containers/{identity}/attach?stream=1&stdout=1&stderr=1", ""),
        ("POST", f"/containers/{identity}/wait", ""),
        ("GET", f"/containers/{identity}/export", ""),
        ("GET", f"/images/{IMAGE}/get", ""),
        ("POST", f"/exec/{made}/start", '{"Detach":false,"Tty":false}'),
        ("POST", "/images/load", "x" * 4096),
    ]
    method, target, body = dice.choice(streams)
    length = len(body) if not body.startswith("x") else 1 << 20  # the rest never comes
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.settimeout(10)
        client.connect(str(docker.socket))
        head = f"{method} {target} HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {length}\r\n\r\n"
        client.sendall((head + body).encode()[: dice.choice((10, 60, 1 << 20))])
        if dice.random() < 0.7:
            client.settimeout(dice.random() * 0.2 + 0.01)
            client.recv(dice.choice((1, 200, 65536)))


def test_clients_that_vanish(docker: Daemon, soak_seconds: float, record_property: Record) -> None:
    dice = random.Random(int(os.environ.get("STOCKADE_STORM_SEED", "0")) or None)
    identity = begin(docker, "sh", "-c", COUNT)
    for _ in range(5):
        vanish(docker, identity, "nothing", dice)
    time.sleep(1)
    census, vanished = Census(docker), 0
    until = time.monotonic() + min(soak_seconds, 120)
    while time.monotonic() < until:
        made = must(docker, "POST", f"/containers/{identity}/exec", {"Cmd": ["sleep", "0.1"], "AttachStdout": True})[
            "Id"
        ]
        for _ in range(5):
            vanish(docker, identity, made, dice)
            vanished += 1
        ask(docker, "POST", f"/exec/{made}/start", {"Detach": True})
    # Execs of a container that runs are remembered for those who ask for their status.
    left = [line for line in census.left() if not line.startswith("record exec ")]
    assert left == []
    assert must(docker, "GET", f"/containers/{identity}/json")["State"]["Running"] is True
    remove(docker, identity)
    record_property("clients that vanished", vanished)


def shim_of(docker: Daemon, identity: str) -> int:
    """The pid of a container's shim, which is the parent of its first process."""
    pid = must(docker, "GET", f"/containers/{identity}/json")["State"]["Pid"]
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_shim_that_stands_still(docker: Daemon, record_property: Record) -> None:
    """SIGSTOP: who asks for its container waits; nobody else does, a new daemon neither; then it goes on."""
    stands, other = (begin(docker, "sh", "-c", COUNT) for _ in range(2))
    shim = shim_of(docker, stands)

    def ordinary() -> float:
        begun = time.monotonic()
        assert docker.docker("exec", other, "echo", "here").stdout == "here\n"
        life(docker, 5)
        return time.monotonic() - begun

    before = max(ordinary() for _ in range(3))
    slow: list[float] = []
    try:
        os.kill(shim, signal.SIGSTOP)
        waiting = threading.Thread(target=ask, args=(docker, "POST", f"/containers/{stands}/stop?t=0"))
        waiting.start()
        for number in range(6):
            if number == 3:
                docker.restart(signal.SIGKILL)
            slow.append(ordinary())
        assert {stands, other} <= {one["Id"] for one in must(docker, "GET", "/containers/json?all=1")}
    finally:
        os.kill(shim, signal.SIGCONT)
    waiting.join(60)
    must(docker, "POST", f"/containers/{stands}/stop?t=0")
    assert must(docker, "GET", f"/containers/{stands}/json")["State"]["Status"] == "exited"
    numbers = docker.said("logs", stands).splitlines()
    assert numbers == [str(number) for number in range(len(numbers))]
    for identity in (stands, other):
        remove(docker, identity)
    said = f"exec and a life of its neighbours: at most {before:.2f} s before, {max(slow):.2f} s meanwhile"
    record_property("a stopped shim", said)
    assert max(slow) < 4 + 4 * before, "who waits for the one that stands waits 5 s and more"
