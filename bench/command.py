"""The OCI command beside Debian's crun and runc: `run true` and `exec true` of one and the same bundle.

Everything happens in a private mount namespace with the v2 hierarchy taken away, because Debian's crun refuses a
host that has v1 and v2 side by side; all contestants see the same.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench import bundles
from bench.figures import OURS, Context, Figure, Program, Sample, Unavailable, take_turns

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
    state = context.scratch / "state"
    ours = str(context.programs / "stockade-oci")
    contestants: dict[str, Program] = {}
    for name, program, bundle in [
        (OURS, ours, plain),
        ("mapped", ours, mapped),
        *[(name, path, plain) for name, path in peers().items()],
    ]:
        words = [program, "--root", str(state / name), "run", "--bundle", str(bundle), f"bench-{os.getpid()}-{name}"]
        contestants[name] = Program(words, cleanup=lambda: time.sleep(pause))
    return take_turns(contestants, context.turns if not pause else context.turns // 2)


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
        mapped = samples.pop("mapped")
        add(f"run true, {label}", samples, 0.4)
        add(
            f"run true in a user namespace, {label}",
            {**samples, OURS: mapped},
            0.5,
            "its programs on an id-mapped mount; the peers without a user namespace",
        )
    add("exec true", executions(context), 0.4)
    return found


if __name__ == "__main__":
    programs, scratch, turns = sys.argv[1:]
    print(json.dumps(inside(Context(Path(programs), Path(scratch), int(turns)))))
