"""The OCI command beside Debian's crun and runc: `run true` and `exec true` of one and the same bundle.

Everything happens in a private mount namespace with the v2 hierarchy taken away, because Debian's crun refuses a
host that has v1 and v2 side by side; all contestants see the same.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import bundles
from bench.figures import OURS, Context, Failed, Figure, Program, Sample, Unavailable, take_turns
from stockade.model import RootfsMount
from stockade.runtime import shim
from stockade.runtime.blocking import World, run
from stockade.runtime.task import NO_STDIO, Task

HERE = "bench.command"
PAUSE = 0.05  # between runs of the second pass: an idle machine, where a grace period of the kernel shows


def peers() -> dict[str, str]:
    found = {name: path for name in ("crun", "runc") if (path := shutil.which(name))}
    if "crun" not in found:
        raise Unavailable("crun is not installed")
    return found


def measure(context: Context) -> list[Figure]:
    if os.geteuid() != 0:
        raise Unavailable("needs root")
    peers()
    script = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
    words = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", sys.executable, "-m", HERE]
    given = [str(context.programs), str(context.scratch), str(context.turns)]
    done = subprocess.run([*words, *given], stdout=subprocess.PIPE, check=True)
    figures = []
    for raw in json.loads(done.stdout):
        raw["samples"] = {who: Sample(**values) for who, values in raw["samples"].items()}
        figures.append(Figure(**raw))
    return figures


def runs(context: Context, pause: float) -> dict[str, Sample]:
    """`run true`: ours, ours with a user namespace and an id-mapped mount, and the peers."""
    plain = bundles.write(context.scratch / "plain", bundles.config(context, user_namespace=False))
    mapped = bundles.write(context.scratch / "mapped", bundles.config(context, user_namespace=True))
    mapped_root = bundles.config(context, user_namespace=True)
    mapped_root["mounts"].pop()  # the bind of its programs: here the whole root is mapped
    state = context.scratch / "state"
    ours = str(context.programs / "stockade-oci")
    contestants: dict[str, Callable[[], float]] = {"shim": lambda: by_shim(context, mapped_root, pause)}
    for name, program, bundle in [
        (OURS, ours, plain),
        ("mapped", ours, mapped),
        *[(name, path, plain) for name, path in peers().items()],
    ]:
        words = [program, "--root", str(state / name), "run", "--bundle", str(bundle), f"bench-{os.getpid()}-{name}"]
        contestants[name] = Program(words, cleanup=lambda: time.sleep(pause))
    return take_turns(contestants, context.turns if not pause else context.turns // 2)


_numbers = itertools.count(1)


def by_shim(context: Context, document: dict[str, Any], pause: float) -> float:
    """A shim from its launch to its end, `true` on an id-mapped root in between; milliseconds.

    config.json has no word for an id-mapped root, CreateTask has.
    """
    name = f"bench-{os.getpid()}-root{next(_numbers)}"
    directory = bundles.write(context.scratch / "roots" / name, document)
    (directory / "rootfs").mkdir()
    options = ("rbind", "ro", *(f"{kind}=0:{bundles.BASE}:{bundles.COUNT}" for kind in ("uidmap", "gidmap")))
    rootfs = (RootfsMount("bind", str(bundles.root(context)), "", options),)
    begun = time.perf_counter()
    address = shim.launch(str(context.programs / shim.PROGRAM), str(directory), name)
    channel = run(World().connect(address))
    task = Task(channel, name, str(directory))
    run(task.create(rootfs, NO_STDIO))
    run(task.start())
    status = run(task.wait(timeout=10)).status
    run(task.delete())
    run(task.shutdown())
    channel.close()
    spent = time.perf_counter() - begun
    if status != 0:
        raise Failed(f"`true` on an id-mapped root ended with {status}")
    time.sleep(pause)
    return spent * 1000


def executions(context: Context) -> dict[str, Sample]:
    """`exec true` in a container that each contestant made itself."""
    document = bundles.config(context, user_namespace=False)
    document["process"]["args"] = ["/bin/busybox", "sleep", "1000"]
    bundle = bundles.write(context.scratch / "sleeping", document)
    contestants: dict[str, Program] = {}
    started: list[list[str]] = []
    try:
        for name, program in [(OURS, str(context.programs / "stockade-oci")), *peers().items()]:
            base = [program, "--root", str(context.scratch / "state" / name)]
            container = f"bench-{os.getpid()}-exec-{name}"
            quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "check": True}
            started.append([*base, "delete", "--force", container])
            subprocess.run([*base, "create", "--bundle", str(bundle), container], **quiet)
            subprocess.run([*base, "start", container], **quiet)
            contestants[name] = Program([*base, "exec", container, "/bin/busybox", "true"])
        return take_turns(contestants, context.turns)
    finally:
        for words in started:
            subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def inside(context: Context) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def add(name: str, samples: dict[str, Sample], at_most: float, note: str = "") -> None:
        plain = {
            who: {"median": s.median, "low": s.low, "high": s.high, "count": s.count} for who, s in samples.items()
        }
        found.append({"name": name, "unit": "ms", "samples": plain, "peer": "crun", "at_most": at_most, "note": note})

    for pause, label in ((0.0, "back to back"), (PAUSE, "50 ms apart")):
        samples = runs(context, pause)
        mapped, root = samples.pop("mapped"), samples.pop("shim")
        add(f"run true, {label}", samples, 0.4)
        add(
            f"run true in a user namespace, {label}",
            {**samples, OURS: mapped},
            0.5,
            "the command, its programs on an id-mapped mount; the peers without a user namespace",
        )
        add(
            f"… on an id-mapped root, {label}",
            {**samples, OURS: root},
            0.5,
            "by the shim, as config.json cannot ask for it: launch, create, start, wait, delete",
        )
    add("exec true", executions(context), 0.4)
    return found


if __name__ == "__main__":
    programs, scratch, turns = sys.argv[1:]
    print(json.dumps(inside(Context(Path(programs), Path(scratch), int(turns)))))
