"""What one more idle container costs the machine: by our shim and by containerd's own with runc, under one containerd.

The same configuration, root file system and static program on both sides; they take turns in batches. MemAvailable
counts what no process's share shows: kernel objects, page tables, the daemon's own growth, which both pay alike.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

from bench import bundles
from bench.containers import memory_available, settle
from bench.figures import OURS, Context, Failed, Figure, Unavailable, take_turns
from conformance.containerd.engine import RUNTIME, Containerd
from support.place import place

COUNT = 50
TURNS = 3
PEER = "io.containerd.runc.v2"


def measure(context: Context) -> list[Figure]:
    if os.geteuid() != 0:
        raise Unavailable("needs root")
    found = shutil.which("containerd")
    if not found or not shutil.which("runc"):
        raise Unavailable("containerd and runc are not installed")
    with place() as made:
        engine = Containerd(made, Path(found).parent, context.programs)
        engine.start()
        try:
            contestants = {
                OURS: lambda: lost(context, engine, RUNTIME),
                "containerd": lambda: lost(context, engine, PEER),
            }
            samples = take_turns(contestants, TURNS)
        finally:
            engine.stop()
        engine.remove_parents()
    return [
        Figure(
            "MemAvailable lost per idle container",
            "KiB",
            samples,
            peer="containerd",
            at_most=1,
            note=f"{COUNT} at once, all under Debian's containerd 1.6; the peer is its shim with runc",
        )
    ]


def at_rest() -> int:
    """MemAvailable once it no longer moves: what the batch before gave back, the kernel frees over many seconds."""
    deadline = time.monotonic() + 40
    last = memory_available()
    while time.monotonic() < deadline:
        settle(4)
        now = memory_available()
        if abs(now - last) < 1 << 20:
            break
        last = now
    return last


def lost(context: Context, engine: Containerd, runtime: str) -> float:
    """KiB a container, by a batch that is started, seen to run and removed."""
    document = bundles.config(context, user_namespace=False)
    document["process"]["args"] = ["/bin/busybox", "sleep", "100000"]
    names = [engine.place.name(f"{runtime.split('.')[2]}{number}") for number in range(COUNT)]
    path = context.scratch / "beside.json"
    before = at_rest()
    try:
        for name in names:
            document["linux"]["cgroupsPath"] = f"/{engine.place.tag}/{name}"
            path.write_text(json.dumps(document))
            engine.ctr("run", "--detach", "--runtime", runtime, "--config", str(path), name)
        found = (before - at_rest()) / COUNT / 1024
        lines = [line.split() for line in engine.ctr("tasks", "ls").stdout.decode().splitlines()[1:]]
        alive = sum(words[0] in names and words[2] == "RUNNING" for words in lines)
        if alive != COUNT:
            raise Failed(f"{alive} of {COUNT} containers of {runtime} run")
        return found
    finally:
        for name in names:
            engine.remove(name)
        time.sleep(1)


__all__ = ["measure"]
