"""The public face."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import stockade
from stockade import sdk
from stockade.errors import BadValue
from stockade.sdk import logs
from stockade.sdk.running import words


def test_the_names_are_the_same_in_both_places() -> None:
    assert sorted(stockade.__all__) == sorted(sdk.__all__)
    assert all(getattr(stockade, name) is getattr(sdk, name) for name in sdk.__all__)


def test_neither_asyncio_nor_anything_foreign_is_imported() -> None:
    code = "import sys; from stockade import Sandbox; import stockade.cli.do; print(*sys.modules)"
    source = str(Path(stockade.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": source}
    )
    heavy = {
        "asyncio",
        "subprocess",
        "argparse",
        "dataclasses",
        "inspect",
        "ctypes",
        "msgspec",
        "google.protobuf",
        "logging",
    }
    assert not heavy.intersection(done.stdout.split())


@pytest.mark.parametrize("args", ["ls -l", ""])
def test_a_command_is_a_list(args: str) -> None:
    with pytest.raises(BadValue):
        words(args)


def test_words_may_be_paths() -> None:
    assert words(["a", Path("b")]) == ("a", "b")  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000Z"),
        ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00.000000Z"),
        ("10m", "1970-01-01T00:10:00.000000Z"),
        ("90", "1970-01-01T00:18:30.000000Z"),
    ],
)
def test_moments(text: str, moment: str) -> None:
    assert logs.parse_moment(text, now=1200.0) == moment


def test_no_moment() -> None:
    with pytest.raises(BadValue):
        logs.parse_moment("2026-13-01")
