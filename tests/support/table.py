"""The dated table of one run, a row a file of tests: `make judge` and `make soak` write theirs into docs/.

A test adds figures of its own by pytest's `record_property(name, value)`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support import crashes
from support.dated import heading
from support.programs import TOP
from support.storm import LONG, SECONDS


@dataclass(slots=True)
class Row:
    """What became of the tests of one file."""

    ends: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    figures: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def line(self, name: str) -> str:
        counts = " | ".join(str(self.ends[end]) for end in ("passed", "failed", "skipped"))
        notes = "; ".join([*self.figures, *(f"**failed: {test}**" for test in self.failed)])
        return f"| {name} | {counts} | {self.seconds:.0f} | {notes} |"


class Table:
    """A plug-in of pytest's that hears of every test and writes the page at the end."""

    def __init__(self, page: Path) -> None:
        self.page = page
        self.heading = list(heading())
        self.rows: dict[str, Row] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name, _, test = report.nodeid.removeprefix("tests/").partition("::")
        row = self.rows.setdefault(name, Row())
        row.seconds += report.duration
        if report.failed:
            row.ends["failed"] += 1
            row.failed.append(test)
        elif report.skipped or report.when == "call":
            row.ends[report.outcome] += 1
        if report.when == "call":
            row.figures += [
                f"{name}: {value}" if name else str(value)
                for name, value in report.user_properties
                if name != crashes.PROPERTY
            ]

    def lines(self) -> Iterator[str]:
        name = self.page.stem
        yield f"# `make {name}{f' SOAK={SECONDS:.0f}' if LONG else ''}`"
        yield ""
        yield from self.heading
        yield ""
        yield "| tests/… | passed | failed | skipped | seconds | of it |"
        yield "|---|--:|--:|--:|--:|---|"
        yield from (row.line(name) for name, row in sorted(self.rows.items()))

    def pytest_sessionfinish(self) -> None:
        self.page.write_text("\n".join(self.lines()) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """STOCKADE_TABLE names the page, below the checkout."""
    if page := os.environ.get("STOCKADE_TABLE"):
        config.pluginmanager.register(Table(TOP / page))
        config.pluginmanager.register(crashes.Crashes((TOP / page).with_name("crashes.md")))
