"""Containers on a bridge with a published port: how soon they run, and what passes through; beside Docker as it comes.

Each engine has a network namespace of its own. What passes is measured by iperf3 and by a stream of single bytes, both
run in the containers' own network namespaces, so that nothing but the network differs.
"""

from __future__ import annotations

import concurrent.futures
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.engine import starter
from bench.engines import IMAGE, Engines, engines
from bench.figures import OURS, Context, Figure, Unavailable, take_turns
from bench.wire import Client

_TOGETHER = 8
_SECONDS = 2
_ECHOES = 2000
# A server of single bytes, and its client, which prints the median of the round trips in microseconds.
_ECHO = """
import socket, statistics, sys, time
if sys.argv[1] == "serve":
    with socket.create_server(("0.0.0.0", 80)) as server:
        print("ready", flush=True)
        end, _ = server.accept()
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := end.recv(1):
            end.sendall(data)
else:
    with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as end:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        took = []
        for _ in range(int(sys.argv[3])):
            begun = time.perf_counter()
            end.sendall(b"x")
            end.recv(1)
            took.append(time.perf_counter() - begun)
        print(statistics.median(took) * 1e6)
"""


def measure(context: Context) -> list[Figure]:
    if not shutil.which("iperf3"):
        raise Unavailable("iperf3 is not installed")
    with engines(networks=True) as found:
        return [*starts(context, found), *runs(context, found), *passes(context, found)]


def starts(context: Context, found: Engines) -> list[Figure]:
    """POST create sent → start answered, with a bridge and a published port."""
    clients = found.clients()
    alone = take_turns(
        {who: starter(client, client.publish) for who, client in clients.items()}, max(context.turns, 20)
    )
    together = take_turns({who: _at_once(client.path) for who, client in clients.items()}, context.turns // 2)
    return [
        Figure("create and start, bridge and published port", "ms", alone, peer="docker", at_most=0.06),
        Figure(f"… {_TOGETHER} at a time, each", "ms", together, peer="docker", at_most=0.06),
    ]


def _at_once(path: str) -> Callable[[], float]:
    def one(_: int) -> str:
        client = Client(path)
        try:
            identity = client.publish(IMAGE, "sleep", "1000")
            client.start(identity)
            return identity
        finally:
            client.close()

    def once() -> float:
        with concurrent.futures.ThreadPoolExecutor(_TOGETHER) as room:
            begun = time.perf_counter()
            made = list(room.map(one, range(_TOGETHER)))
            spent = (time.perf_counter() - begun) * 1000 / _TOGETHER
        client = Client(path)
        for identity in made:
            client.remove(identity)
        client.close()
        return spent

    return once


def runs(context: Context, found: Engines) -> list[Figure]:
    """`docker run --rm` as everybody writes it: on the default bridge."""
    programs: dict[str, Callable[[], float]] = {
        who: found.docker(who, "run", "--rm", IMAGE, "true") for who in (OURS, "docker")
    }
    samples = take_turns(programs, context.turns)
    return [Figure("docker run --rm on the default bridge", "ms", samples, peer="docker", at_most=0.25)]


def passes(context: Context, found: Engines) -> list[Figure]:
    """Ten turns, one after the other, between two containers and through a published port."""
    assert found.ours.ns is not None
    inner = found.inside.command()
    # Docker's pids are those of its cell.
    prefixes = {OURS: [], "docker": inner}
    outside = {OURS: [*found.ours.ns.words([])], "docker": inner}
    pairs = {who: _Pair(client, prefixes[who]) for who, client in found.clients().items()}
    try:
        turns = max(10, context.turns // 2)
        rows: list[tuple[str, str, dict[str, Callable[[], float]], dict[str, float]]] = [
            (
                "throughput between containers", "Gbit/s",
                {w: p.throughput for w, p in pairs.items()}, {"at_least": 0.95},
            ),
            ("round trip between containers", "µs", {w: p.latency for w, p in pairs.items()}, {"at_most": 1.05}),
            (
                "throughput through a published port", "Gbit/s",
                {w: _through(p, outside[w], p.flood) for w, p in pairs.items()}, {"at_least": 0.95},
            ),
            (
                "round trip through a published port", "µs",
                {w: _through(p, outside[w], p.echo) for w, p in pairs.items()}, {"at_most": 1.05},
            ),
        ]  # fmt: skip
        return [
            Figure(name, unit, take_turns(calls, turns), peer="docker", **goal)  # type: ignore[arg-type]
            for name, unit, calls, goal in rows
        ]
    finally:
        for pair in pairs.values():
            pair.close()


def _through(pair: _Pair, outside: list[str], measure: Callable[[list[str], str, int], float]) -> Callable[[], float]:
    """From the machine of the engine itself, by one of its own addresses."""
    return lambda: measure(outside, pair.host(outside), pair.port)


class _Pair:
    """Two containers on the default bridge of one engine; the second one's port 80 is published."""

    def __init__(self, client: Client, prefix: list[str]) -> None:
        self._client = client
        self._names = [client.publish(IMAGE, "sleep", "1000") for _ in range(2)]
        for name in self._names:
            client.start(name)
        one, two = (client("GET", f"/containers/{name}/json") for name in self._names)
        self._first, self._second = (
            [*prefix, "nsenter", f"--net=/proc/{found['State']['Pid']}/ns/net", "--"] for found in (one, two)
        )
        self._address = _address(two)
        self.port = int(two["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])

    def close(self) -> None:
        for name in self._names:
            self._client.remove(name)

    def host(self, outside: list[str]) -> str:
        """The gateway's address is the host's own, and no loopback."""
        said = _inside(outside, ["ip", "-j", "-4", "route", "get", self._address])
        return str(json.loads(said)[0]["prefsrc"])

    def throughput(self) -> float:
        return self.flood(self._first, self._address, 80)

    def latency(self) -> float:
        return self.echo(self._first, self._address, 80)

    def flood(self, client: list[str], address: str, port: int) -> float:
        """Gigabits a second."""
        words = ["iperf3", "--server", "--one-off", "--port", "80", "--forceflush"]
        with _serving(self._second, words, "Server listening"):
            said = _inside(client, ["iperf3", "-J", "-c", address, "-p", str(port), "-t", str(_SECONDS)])
        return float(json.loads(said)["end"]["sum_received"]["bits_per_second"]) / 1e9

    def echo(self, client: list[str], address: str, port: int) -> float:
        """The median of so many round trips, in microseconds."""
        with _serving(self._second, [sys.executable, "-c", _ECHO, "serve"], "ready"):
            return float(_inside(client, [sys.executable, "-c", _ECHO, address, str(port), str(_ECHOES)]))


def _address(inspected: dict[str, Any]) -> str:
    return str(inspected["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])


def _inside(place: list[str], words: list[str]) -> str:
    """A command at a place, which is a prefix of command lines; what it printed."""
    return subprocess.run([*place, *words], capture_output=True, text=True, timeout=60, check=True).stdout


class _serving:
    """A server in a container's network namespace, there when it says so and gone when its one client is."""

    def __init__(self, place: list[str], words: list[str], ready: str) -> None:
        self._words = [*place, *words]
        self._ready = ready

    def __enter__(self) -> None:
        self._process = subprocess.Popen(self._words, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if self._ready in line:
                return
        raise Unavailable(f"{self._words} did not begin to serve")

    def __exit__(self, *_: object) -> None:
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
