"""`stockade do true` as a person types it, what of it is Rust's, and what `import stockade` costs."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

from bench.figures import OURS, Context, Failed, Figure, Program, Unavailable, one, sample, take_turns
from stockade.embedded.session import Request, Session
from stockade.host.paths import find, make
from stockade.model import Process
from stockade.runtime.blocking import World, run


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
    importing = Program([python, "-c", "from stockade import Sandbox"])
    loaded = take_turns({"bare": empty, OURS: importing}, context.turns)
    return [
        Figure("stockade do true", "ms", whole, at_most=80, note="no daemon; from the shell to the exit"),
        rust(context, environment),
        Figure(
            "import stockade",
            "ms",
            {OURS: one(loaded[OURS].median - loaded["bare"].median)},
            at_most=60,
            note="with Sandbox, beyond an empty Python; names are imported when they are asked for",
        ),
        packages(),
    ]


def rust(context: Context, environment: dict[str, str]) -> Figure:
    """The steps of `do` that wait for Rust: launching the shim, create, start, delete; `true` itself is in none."""
    paths = find(environment)
    make(paths)
    request = Request(Process(("true",), ("PATH=/usr/bin:/bin",)))
    found = []
    for _ in range(max(5, context.turns)):
        session = run(Session.open(World(), paths, request))
        try:
            run(session.start())
            status = run(session.wait()).status
            run(session.finish())
        finally:
            run(session.close())
        if status != 0:
            raise Failed(f"`true` ended with {status}")
        found.append(sum(session.times[step] for step in ("shim", "create", "start", "finish")) * 1000)
    return Figure("of which Rust", "ms", {OURS: sample(found)}, at_most=10, note="launch, create, start, delete")


def packages() -> Figure:
    """How many distributions of PyPI an installation brings."""
    project = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text())["project"]
    needed: list[str] = project["dependencies"]
    return Figure("packages of PyPI", "", {OURS: one(len(needed))}, at_most=2, note=", ".join(needed))


if __name__ == "__main__":
    sys.exit("run `python -m bench embedded`")
