"""The runtimes that a test of this folder can ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.oci.harness import ORACLES, Runtime, oracle
from support.place import Place


def _runtime(name: str, bin_dir: Path, place: Place) -> Runtime:
    argv = (str(bin_dir / "stockade-oci"),) if name == "ours" else oracle(name)
    return Runtime(name, argv, place)


@pytest.fixture
def ours(bin_dir: Path, place: Place) -> Iterator[Runtime]:
    """Our command alone: what callers of runc do not know of."""
    yield from _cleared("ours", bin_dir, place)


def _cleared(name: str, bin_dir: Path, place: Place) -> Iterator[Runtime]:
    made = _runtime(name, bin_dir, place)
    yield made
    made.clear()


@pytest.fixture(params=["ours", *ORACLES])
def runtime(request: pytest.FixtureRequest, bin_dir: Path, place: Place) -> Iterator[Runtime]:
    """Ours, runc and crun: what is the same of all."""
    yield from _cleared(request.param, bin_dir, place)


@pytest.fixture(params=["ours", "runc"])
def like_runc(request: pytest.FixtureRequest, bin_dir: Path, place: Place) -> Iterator[Runtime]:
    """Ours and runc: where crun's words or codes differ, or 1.8 does not have it."""
    yield from _cleared(request.param, bin_dir, place)


@pytest.fixture(params=["ours", "crun"])
def like_crun(request: pytest.FixtureRequest, bin_dir: Path, place: Place) -> Iterator[Runtime]:
    """Ours and crun: what runc 1.1 does otherwise."""
    yield from _cleared(request.param, bin_dir, place)
