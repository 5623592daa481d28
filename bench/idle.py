"""A thousand idle containers, each with a shim of its own, on this machine: do they hold, and what does each cost?"""

from __future__ import annotations

import os
import time
from pathlib import Path

from bench.containers import Fleet, memory_available, settle
from bench.figures import OURS, Context, Figure, Unavailable, one, sample
from bench.shims import memory
from stockade.model import Phase, Process
from stockade.runtime.blocking import run

COUNT = 1000


def busy() -> float:
    """Seconds that the machine's processors worked since it came up."""
    with open("/proc/stat") as stat:
        fields = [int(word) for word in stat.readline().split()[1:]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def measure(context: Context) -> list[Figure]:
    if os.geteuid() != 0:
        raise Unavailable("needs root")
    count = int(os.environ.get("STOCKADE_BENCH_IDLE", COUNT))
    fleet = Fleet(context, "idle")
    starts = []
    settle()
    before = memory_available()
    try:
        for _ in range(count):
            begun = time.perf_counter()
            fleet.start("sleep", "100000")
            starts.append((time.perf_counter() - begun) * 1000)
        settle(2)
        each = (before - memory_available()) / count
        worked, begun = busy(), time.monotonic()
        time.sleep(10)
        share = (busy() - worked) / (time.monotonic() - begun)
        # Before anybody asks them something: the asked are not idle.
        share_of_memory = sum(memory(int((Path(task.bundle) / "shim.pid").read_text())) for task in fleet.tasks) / count
        alive = sum(run(task.state()).phase is Phase.RUNNING for task in fleet.tasks)
        last = fleet.tasks[-1]
        begun = time.perf_counter()
        run(last.exec("look", Process(("/bin/busybox", "true"))))
        run(last.start("look"))
        status = run(last.wait("look", timeout=30)).status
        look = (time.perf_counter() - begun) * 1000
        if status != 0:
            raise Unavailable(f"exec beside {count} idle containers ended with {status}")
    finally:
        fleet.end()
    note = f"first {sample(starts[:50]).median:.1f}, last {sample(starts[-50:]).median:.1f} ms"
    return [
        Figure(f"{count} idle containers that live", "", {OURS: one(alive)}, at_least=count),
        Figure("… to start one of them", "ms", {OURS: sample(starts)}, note=note),
        Figure("… processors busy while they idle", "", {OURS: one(share)}, note="of all; other load included"),
        Figure("… MemAvailable each", "KiB", {OURS: one(each / 1024)}, note="program, shim and kernel"),
        Figure("… PSS of each shim", "KiB", {OURS: one(share_of_memory)}, at_most=200),
        Figure("… exec in the last", "ms", {OURS: one(look)}),
    ]
