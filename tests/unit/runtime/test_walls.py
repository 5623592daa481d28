"""The table of walls: names and paths, and what CreateTask is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from stockade.errors import BadValue
from stockade.runtime import walls, wire
from stockade.runtime.walls import Kind


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in PATH with programs of these names."""
    for name in ("crun", "containerd-shim-kata-v2", "own"):
        (tmp_path / name).touch(mode=0o755)
    (tmp_path / "plain").touch(mode=0o644)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_names_are_found_in_the_path(programs: Path) -> None:
    assert walls.find("crun") == ("crun", Kind.OCI, f"{programs}/crun")
    assert walls.find("io.containerd.kata.v2") == (
        "io.containerd.kata.v2",
        Kind.SHIM,
        f"{programs}/containerd-shim-kata-v2",
    )


def test_a_path_says_by_its_name_what_it_speaks(programs: Path) -> None:
    assert walls.find(f"{programs}/own").kind is Kind.OCI
    assert walls.find(f"{programs}/containerd-shim-kata-v2").kind is Kind.SHIM


@pytest.mark.parametrize("name", ["", "own", "sh", "crun/", "io.containerd.nosuch.v2", "/no/such", "plain", "../crun"])
def test_what_is_no_wall_is_refused_in_dockers_words(programs: Path, name: str) -> None:
    with pytest.raises(BadValue, match=f"^unknown or invalid runtime name: {name}"):
        walls.find(name)


def test_a_file_that_cannot_be_executed_is_none(programs: Path) -> None:
    with pytest.raises(BadValue):
        walls.find(f"{programs}/plain")


def test_the_options_name_the_program(programs: Path) -> None:
    options = walls.find("crun").options
    assert options is not None
    assert options["type_url"] == "containerd.runc.v1.Options"
    table = {"o": (("binary_name", 6, "string", False),)}
    assert wire.decode("o", options["value"], table) == {"binary_name": f"{programs}/crun"}
    assert walls.Wall(walls.NATIVE, Kind.NATIVE, "/x").options is None


def test_the_native_wall_is_listed_first() -> None:
    assert walls.installed()[0].name == walls.NATIVE
