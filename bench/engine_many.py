"""Many containers and much data in an engine: two hundred started, a thousand listed, a big image, a follower of logs.

What the daemon itself costs is read from /proc: its memory, and the processor time that it took while logs went by.
"""

from __future__ import annotations

import io
import os
import tarfile
import time
from pathlib import Path

from bench.engines import IMAGE, Engines, engines
from bench.figures import OURS, Context, Failed, Figure, Sample, Unavailable, one, take_turns
from bench.shims import memory
from bench.wire import Client
from support.images import TestImage

STARTED = 200
KEPT = 100
LISTED = 1000
LIMIT_MB = 300
FOLLOWED = 10.0
"""Seconds."""
RATE = 1000
"""Lines a second. The speaker says every hundredth of a second what is due by the clock, so that none are left out."""
SPEAKER = f"""
now() {{ read up _ </proc/uptime; now=${{up%.*}}${{up#*.}}; }}
now; begun=$now; said=0
while :; do
  now; due=$(((now - begun) * {RATE // 100}))
  while [ $said -lt $due ]; do said=$((said + 1)); echo $said; done
  sleep 0.01
done
"""


def measure(context: Context) -> list[Figure]:
    with engines() as found:
        return [
            *logs(found),
            *idle(found),
            *listing(context, found),
            loading(context, found),
        ]


def idle(found: Engines) -> list[Figure]:
    """Two hundred started one after the other by one client; then a hundred of them, and what the daemon holds."""
    client = found.clients()[OURS]
    made: list[str] = []
    try:
        begun = time.perf_counter()
        for _ in range(STARTED):
            made.append(client.create(IMAGE, "sleep", "100000"))
            client.start(made[-1])
        spent = time.perf_counter() - begun
        running = sum(one["State"] == "running" for one in client("GET", "/containers/json"))
        if running != STARTED:
            raise Failed(f"{running} of {STARTED} containers run")
        for identity in made[KEPT:]:
            client.remove(identity)
        time.sleep(2)
        share, resident = memory(_daemon(found)), _resident(_daemon(found))
    finally:
        for identity in made:
            client("DELETE", f"/containers/{identity}?force=1", expected=(204, 404))
    return [
        Figure(f"{STARTED} idle containers created and started", "s", {OURS: one(spent)}, at_most=3, note="one client"),
        Figure(
            f"the daemon's memory, {KEPT} containers run", "MB", {OURS: one(share / 1024)}, at_most=60,
            note=f"PSS; resident {resident / 1024:.0f} MB",
        ),
    ]  # fmt: skip


def _daemon(found: Engines) -> int:
    process = found.ours.process
    if process is None:
        raise Unavailable("the daemon is not running")
    return process.pid


def _resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))


def listing(context: Context, found: Engines) -> list[Figure]:
    """A thousand that were created; docker has as many."""
    clients = found.clients()
    for client in clients.values():
        for _ in range(LISTED):
            client.create(IMAGE, "sleep", "1")
    target = "/containers/json?all=1"
    samples = take_turns({who: Lister(client, target) for who, client in clients.items()}, context.turns)
    for client in clients.values():
        for each in client("GET", target):
            client.remove(each["Id"])
    ours = {OURS: samples[OURS]}
    return [
        Figure(f"containers/json of {LISTED}", "ms", samples, peer="docker", at_most=1),
        Figure("… of itself", "ms", ours, at_most=30),
    ]


class Lister:
    """The list of one engine, which has them all."""

    def __init__(self, client: Client, target: str) -> None:
        self.client, self.target = client, target
        if (count := len(client("GET", target))) < LISTED:
            raise Failed(f"{count} containers are listed, not {LISTED}")

    def __call__(self) -> float:
        return self.client.timed("GET", self.target)


def loading(context: Context, found: Engines) -> Figure:
    """`docker load` of files of this machine's /usr, to the exit; removed after each."""
    archive = big(context)
    samples = take_turns({who: Loader(found, who, archive) for who in (OURS, "docker")}, max(3, context.turns // 10))
    size = archive.stat().st_size / 1e6
    return Figure("load an image", "ms", samples, peer="docker", at_most=0.5, note=f"{size:.0f} MB, three layers")


class Loader:
    """`docker load` to one engine."""

    def __init__(self, found: Engines, who: str, archive: Path) -> None:
        self.load = found.docker(who, "load", "-q", "-i", str(archive))
        self.remove = found.docker(who, "rmi", "big:1")

    def __call__(self) -> float:
        os.sync()
        spent = self.load()
        self.remove()
        return spent


def big(context: Context) -> Path:
    """A docker-archive of three layers with files of /usr in them."""
    path = context.scratch / "big.tar"
    if not path.exists():
        files = (file for file in sorted(Path("/usr/lib").rglob("*")) if file.is_file() and not file.is_symlink())
        layers = []
        for _ in range(3):
            out, size = io.BytesIO(), 0
            with tarfile.open(fileobj=out, mode="w") as tar:
                while size < LIMIT_MB * 1_000_000 // 3:
                    file = next(files)
                    tar.add(file, arcname=str(file)[1:], recursive=False)
                    size += file.stat().st_size
            layers.append(out.getvalue())
        path.write_bytes(TestImage(tuple(layers), {"Cmd": ["sh"]}).docker_archive("big:1"))
    return path


def logs(found: Engines) -> list[Figure]:
    """Processor time of the daemon while one client follows RATE lines a second, beyond what it takes idle."""
    client = found.clients()[OURS]
    identity = client.create(IMAGE, "sh", "-c", SPEAKER)
    client.start(identity)
    pid = _daemon(found)
    follow = found.docker(OURS, "logs", "-f", "--tail", "0", identity)
    out = Path(found.inside.top) / "followed"
    try:
        time.sleep(1)
        idle = _spent(pid, FOLLOWED)
        actions = [(os.POSIX_SPAWN_OPEN, 1, str(out), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)]
        child = os.posix_spawnp(follow.argv[0], list(follow.argv), dict(follow.environment), file_actions=actions)
        try:
            time.sleep(1)
            before = out.stat().st_size
            busy = _spent(pid, FOLLOWED)
            lines = _followed(out, before)
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
    finally:
        client.remove(identity)
    if lines < FOLLOWED * RATE * 0.98:
        raise Failed(f"{lines} lines were followed in {FOLLOWED:.0f} s, not {RATE} a second")
    note = f"{lines / FOLLOWED:.0f} lines a second, none lost; without a follower {idle * 1000:.0f} ms"
    value: dict[str, Sample] = {OURS: one(max(0.0, busy - idle) * 1000)}
    return [Figure(f"logs -f: the daemon's processor time in {FOLLOWED:.0f} s", "ms", value, at_most=20, note=note)]


def _followed(out: Path, before: int) -> int:
    """The whole lines that came behind a place; their numbers say that none is missing."""
    with out.open("rb") as file:
        file.seek(before)
        whole = file.read().split(b"\n")[1:-1]
    if whole != [b"%d" % number for number in range(int(whole[0]), int(whole[0]) + len(whole))]:
        raise Failed("lines were lost on their way to the follower")
    return len(whole)


def _spent(pid: int, seconds: float) -> float:
    """Processor seconds of a process over so many seconds."""

    def now() -> float:
        fields = Path(f"/proc/{pid}/schedstat").read_text().split()
        return int(fields[0]) / 1e9

    begun = now()
    time.sleep(seconds)
    return now() - begun
