"""Fixtures of every folder of tests. Folders by purpose:

unit/         pure decisions, no process started          contract/     one suite for every implementation of a port
conformance/  other people's rules and our workload suite  system/       the real programs, daemons that drive them
security/     published escapes and hostile input
"""

from __future__ import annotations

import contextlib
import os
import tracemalloc  # noqa: F401  pytest's hook imports it at a moment when a collection may call the hook again
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import programs
from support.home import Home, home
from support.place import Place, place
from support.table import pytest_configure

__all__ = ["pytest_configure"]


@pytest.fixture(scope="session")
def bin_dir() -> Path:
    """The directory of the programs under test."""
    return programs.directory()


def _parents_of_ours() -> list[Path]:
    mount = Path("/sys/fs/cgroup")
    return [*mount.glob("stockade"), *mount.glob("*/stockade")]


@pytest.fixture(scope="session", autouse=True)
def _parents() -> Iterator[None]:
    """The cgroups that all containers of ours lie in stay between two of them; they go when the last test has ended."""
    before = {path.parent for path in _parents_of_ours()}
    yield
    for parent in _parents_of_ours():
        if parent.parent not in before:
            # Not empty: a container of somebody else's began meanwhile.
            with contextlib.suppress(OSError):
                parent.rmdir()


@pytest.fixture(name="place")
def _place() -> Iterator[Place]:
    with place() as made:
        yield made


@pytest.fixture(name="home", scope="module")
def _home(bin_dir: Path) -> Iterator[Home]:
    with home(bin_dir) as made:
        yield made


@pytest.fixture(scope="session")
def soak_seconds() -> float:
    """How long a storm lasts: a sample unless `make soak` says otherwise."""
    return float(os.environ.get("STOCKADE_SOAK_SECONDS", "4"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `root` are skipped by name where the machine gives no root."""
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root"))
