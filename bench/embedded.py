"""`stockade do true` as a person types it, what of it is Rust's, and what `import stockade` costs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from bench.figures import OURS, Context, Figure, Program, Unavailable, one, sample, take_turns


def measure(context: Context) -> list[Figure]:
    command = context.programs / "stockade"
    if not command.is_file():
        raise Unavailable("the command is not installed")
    home = context.scratch / "home"
    home.mkdir()
    environment = {
        **os.environ,
        "STOCKADE_RUN_DIR": str(home / "run"),
        "STOCKADE_DATA_DIR": str(home / "data"),
    }
    project = context.scratch / "project"
    project.mkdir()
    here = os.getcwd()
    os.chdir(project)
    try:
        contestants = {OURS: Program([str(command), "do", "--", "true"], environment=environment)}
        whole = take_turns(contestants, context.turns)
    finally:
        os.chdir(here)
    python = str(context.programs / "python")
    empty = Program([python, "-c", "pass"])
    importing = Program([python, "-c", "import stockade.sdk"])
    loaded = take_turns({"bare": empty, OURS: importing}, context.turns)
    return [
        Figure("stockade do true", "ms", whole, at_most=80, note="no daemon; from the shell to the exit"),
        rust(context, environment),
        Figure(
            "import stockade",
            "ms",
            {OURS: one(loaded[OURS].median - loaded["bare"].median)},
            at_most=60,
            note="beyond an empty Python",
        ),
        packages(),
    ]


def rust(context: Context, environment: dict[str, str]) -> Figure:
    """The sum of the steps that `do` reports as Rust's."""
    words = [str(context.programs / "stockade"), "do", "--timings", "--", "true"]
    found = []
    for _ in range(max(5, context.turns // 4)):
        done = subprocess.run(
            words, cwd=context.scratch / "project", env=environment, capture_output=True, text=True, check=True
        )
        match = re.search(r"rust\D+([\d.]+) ms", done.stderr)
        if match is None:
            raise Unavailable(f"`do --timings` does not say what Rust took: {done.stderr!r}")
        found.append(float(match[1]))
    return Figure("of which Rust", "ms", {OURS: sample(found)}, at_most=10)


def packages() -> Figure:
    """How many distributions of PyPI an installation brings."""
    project = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text())["project"]
    needed: list[str] = project["dependencies"]
    return Figure("packages of PyPI", "", {OURS: one(len(needed))}, at_most=2, note=", ".join(needed))


if __name__ == "__main__":
    sys.exit("run `python -m bench embedded`")
