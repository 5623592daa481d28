"""`python -m bench [SUBJECT…]`: measure the subjects, all by default, and write docs/bench.*."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

from bench import report
from bench.figures import Context, Figure, Unavailable

# In the order of the table. Each is a module of this package.
SUBJECTS = (
    "command",
    "embedded",
    "shim",
    "idle",
    "beside",
    "logs",
    "layer",
    "engine",
    "engine_many",
    "network",
    "transfer",
)
TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests"))  # the cell that daemons of others live in is the tests'


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"of {', '.join(SUBJECTS)}; default: all")
    parser.add_argument("--turns", type=int, default=40, help="times that each contestant is timed")
    parser.add_argument("--output", type=Path, default=TOP / "docs")
    options = parser.parse_args()
    chosen = options.subjects or list(SUBJECTS)
    figures: list[Figure] = []
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="stockade-bench-") as scratch:
        context = Context(Path(sys.executable).parent, Path(scratch), options.turns)
        for name in chosen:
            try:
                found = importlib.import_module(f"bench.{name}").measure(context)
            except Unavailable as why:
                missing[name] = str(why)
                print(f"{name}: not measured: {why}", flush=True)
                continue
            figures += found
            for figure in found:
                print(report.row(figure), flush=True)
    if figures:
        report.write(options.output, figures, missing)
    missed = [figure.name for figure in figures if figure.met is False]
    print(f"bench: {len(figures)} figures, goals missed: {', '.join(missed) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
