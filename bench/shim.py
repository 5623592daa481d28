"""A shim's price: from `start` to its address, alone and among a hundred with an idle container each.

`python -m bench.shim` prints the figures as JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import OURS, Context, Figure, Sample, sample, take_turns
from bench.shims import PROGRAM, config, memory, peer, stage
from stockade.runtime.shim import launch

MANY = 100
# After this an idle shim has given back what it can.
REST = 1.0


def measure(context: Context) -> list[Figure]:
    with stage(context) as (shim, root):
        starting = take_turns({OURS: lambda: start(shim, context, root)}, context.turns)
    with stage(context) as (shim, root):
        shim.run("alone", config(root, "sleep", "100000"))
        time.sleep(REST)
        alone = memory(shim.pid("alone"))
        names = ["alone", *(f"c{number}" for number in range(1, MANY))]
        for name in names[1:]:
            shim.run(name, config(root, "sleep", "100000"))
        time.sleep(REST)
        shares = [memory(shim.pid(name)) for name in names]
    return [
        Figure(
            "shim: start to address",
            "ms",
            starting,
            at_most=1.5,
            note="by the hand of our engine: process started to address read",
        ),
        Figure("PSS of an idle container's shim, alone", "KiB", {OURS: sample([alone])}, at_most=600),
        Figure(f"PSS of an idle container's shim, each of {MANY}", "KiB", {OURS: sample(shares)}, at_most=200),
    ]


_numbers = itertools.count(1)


def start(shim: peer.Shim, context: Context, root: Path) -> float:
    """One shim from its start to its address, milliseconds; told to go afterwards."""
    name = f"s{next(_numbers)}"
    bundle = shim.bundle(name)
    bundle.mkdir(parents=True)
    (bundle / "config.json").write_text(json.dumps(config(root, "true")))
    begun = time.perf_counter()
    address = launch(str(context.programs / PROGRAM), str(bundle), name, "bench", str(shim.place.run))
    spent = time.perf_counter() - begun
    connection = shim.connect(address)
    connection.call("Shutdown", {1: name})
    connection.close()
    return spent * 1000


def main() -> int:
    programs = Path(os.environ.get("STOCKADE_BIN_DIR") or Path(sys.executable).parent)
    with tempfile.TemporaryDirectory(prefix="stockade-bench-") as scratch:
        figures = measure(Context(programs, Path(scratch), 40))

    def row(one: Sample) -> dict[str, float]:
        return {"median": one.median, "low": one.low, "high": one.high, "count": one.count}

    print(json.dumps({figure.name: {"unit": figure.unit, **row(figure.samples[OURS])} for figure in figures}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
