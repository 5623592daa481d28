"""Log throughput of one container: lines of 100 bytes into a json-file, by our shim and by dockerd.

Both write to memory. Timed from the program's start to its end, which comes when its last byte was taken; that every
line arrived is checked.
"""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import time
from pathlib import Path

from bench.containers import Fleet
from bench.figures import OURS, Context, Figure, Unavailable, take_turns
from conformance.peers.cell import Cell, cell
from stockade.runtime.blocking import run
from stockade.runtime.task import Stdio
from support.patience import eventually

LINES = 1_000_000
LINE = "x" * 99
SCRIPT = f"/bin/busybox yes {LINE} | /bin/busybox head -n {LINES}"
MEGABYTES = LINES * 100 / 1e6


def count(path: Path) -> int:
    """Lines in a log, whose chunks may be many."""
    with path.open("rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))


def check(who: str, found: int) -> None:
    if found != LINES:
        raise Unavailable(f"{who} logged {found} lines of {LINES}")


def ours(context: Context, memory: Path) -> float:
    """Megabytes of the program's output a second."""
    fleet = Fleet(context, f"logs{time.monotonic_ns()}")
    path = memory / "ours.log"
    target = f"json-file://{path}?max-size={1 << 30}&max-file=1"
    try:
        begun = time.perf_counter()
        task = fleet.start("sh", "-c", SCRIPT, stdio=Stdio(stdout=target, stderr=target))
        end = run(task.wait(timeout=120))
        spent = time.perf_counter() - begun
    finally:
        fleet.end()
    if end.status != 0:
        raise Unavailable(f"the program ended with {end.status}")
    check(OURS, count(path))
    path.unlink()
    return MEGABYTES / spent


def docker(inside: Cell, socket: str) -> float:
    """The same from docker's own times of start and end, so that its client and networks do not count."""
    base = ["docker", "-H", socket]
    flags = ["--network=none", "--log-driver=json-file", "--log-opt=max-size=1g", "--ulimit=nofile=1024:1024"]
    name = inside.ok(*base, "run", "--detach", *flags, "bench", "/bin/busybox", "sh", "-c", SCRIPT).strip()
    status = inside.ok(*base, "wait", name).strip()
    form = "{{.State.StartedAt}} {{.State.FinishedAt}} {{.LogPath}}"
    start, end, path = inside.ok(*base, "inspect", "--format", form, name).split()
    if status != "0":
        raise Unavailable(f"docker's container ended with {status}")
    deadline = time.monotonic() + 20
    reader = ["sh", "-c", f"wc -l < {path}"]
    while int(inside.ok(*reader)) < LINES and time.monotonic() < deadline:
        time.sleep(0.1)
    check("docker", int(inside.ok(*reader)))
    inside.ok(*base, "rm", name)
    return MEGABYTES / (moment(end) - moment(start))


def moment(text: str) -> float:
    return datetime.datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00").timestamp()


def measure(context: Context) -> list[Figure]:
    if os.geteuid() != 0:
        raise Unavailable("needs root")
    if not shutil.which("dockerd"):
        raise Unavailable("dockerd is not installed")
    memory = context.scratch / "memory"
    memory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", memory], check=True)
    try:
        with cell() as inside:
            socket = start_docker(inside, memory)
            contestants = {OURS: lambda: ours(context, memory), "docker": lambda: docker(inside, socket)}
            samples = take_turns(contestants, max(3, context.turns // 10))
    finally:
        subprocess.run(["umount", "-l", memory], check=True)
    return [Figure("log throughput, json-file", "MB/s", samples, peer="docker", at_least=3)]


def start_docker(inside: Cell, memory: Path) -> str:
    """dockerd in the cell, its data in memory; the address of its socket."""
    socket = f"unix://{inside.top}/docker.sock"
    inside.daemon(
        "dockerd", "--host", socket, "--data-root", str(memory / "docker"), "--exec-root", str(inside.top / "exec"),
        "--pidfile", str(inside.top / "docker.pid"), "--iptables=false", "--bridge=none", "--storage-driver=vfs",
        "--cgroup-parent", inside.tag,
    )  # fmt: skip
    eventually(lambda: inside("docker", "-H", socket, "version").code == 0, "dockerd answers", 60)
    inside.ok("docker", "-H", socket, "import", str(inside.archive()), "bench")
    return socket
