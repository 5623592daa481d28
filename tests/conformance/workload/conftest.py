"""The walls that the workload suite runs against, and the root file system that its programs live in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import programs, roots
from support.oci import OciWall
from support.place import Place
from support.shim import ShimWall
from support.wall import Refused, Result, Running, Wall, Work, finish, read_until

PROGRAMS = Path(__file__).parent / "programs"
pytestmark = pytest.mark.root

Run = Callable[..., Result]
Start = Callable[..., Running]


@pytest.fixture(scope="session")
def root() -> Path:
    """Debian with C, Python, Perl, Java and node, shared read-only."""
    return roots.languages()


FOREIGN = ("runc", "crun", "io.containerd.runc.v2")
"""Other people's programs behind our shim: the boundary is the standard's."""
SAMPLE = ("test_exit", "test_stdio")
"""What `make test` runs over them; `make judge` runs everything."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        call = getattr(item, "callspec", None)
        foreign = call is not None and call.params.get("wall") in FOREIGN
        if foreign and item.path.parent == PROGRAMS.parent and item.path.stem not in SAMPLE:
            item.add_marker(pytest.mark.judge)


@pytest.fixture(params=["oci", "oci-userns", "shim", *FOREIGN])
def wall(request: pytest.FixtureRequest, place: Place) -> Iterator[Wall]:
    """The native wall as each of its callers drives it, and other people's.

    STOCKADE_TEST_OCI names another command: the suite's proof.
    """
    made: OciWall | ShimWall
    shim = programs.program("containerd-shim-stockade-v2")
    if request.param == "shim":
        made = ShimWall("shim", place, shim)
    elif request.param in FOREIGN:
        made = ShimWall(request.param, place, shim, request.param)
    else:
        program = Path(os.environ.get("STOCKADE_TEST_OCI") or programs.program("stockade-oci"))
        made = OciWall(request.param, place, program, user_namespace=request.param == "oci-userns")
    yield made
    made.end()


@pytest.fixture
def start(wall: Wall, root: Path) -> Start:
    def begin(*argv: str, **more: Any) -> Running:
        binds = {"/programs": PROGRAMS, **more.pop("binds", {})}
        return wall.start(Work(argv=argv, root=root, binds=binds, **more))

    return begin


@pytest.fixture
def run(start: Start) -> Run:
    def whole(*argv: str, data: bytes | None = None, timeout: float = 60, **more: Any) -> Result:
        try:
            running = start(*argv, **more)
        except Refused as refused:
            return refused.result
        return finish(running, data, timeout)

    return whole


@pytest.fixture
def start_sleeping(start: Start) -> Run:
    """Run programs beside the first one of a container."""
    running = start("sh", "-c", "echo up; sleep 1000")
    read_until(running, "up")
    return running.execute


@pytest.fixture(scope="session")
def classes(root: Path) -> Path:
    """The suite's Java program, compiled by the root's compiler."""
    output = programs.TOP / "build" / "classes"
    source = PROGRAMS / "Work.java"
    compiled = output / "Work.class"
    if not compiled.is_file() or compiled.stat().st_mtime < source.stat().st_mtime:
        output.mkdir(parents=True, exist_ok=True)
        words = f"""
            mount -t proc proc {root}/proc && mount --bind {PROGRAMS} {root}/programs
            mount --bind {output} {root}/classes
            exec chroot {root} javac -encoding UTF-8 -d /classes /programs/Work.java"""
        subprocess.run(["unshare", "-mpf", "--propagation", "private", "sh", "-c", words], check=True)
    return output
