"""The table of crashes: what a successor made of each step of each verb at which the process before it was killed.

A test of one point says so by `point`, first without a result; the page is written beside the one that STOCKADE_TABLE
names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.dated import heading

MOMENTS = ("before", "between", "after")
PROPERTY = "crash"
FAILED = "**failed**"


def point(verb: str, step: str, moment: str, found: str = FAILED) -> tuple[str, str, str, str]:
    """What the successor made of a crash at one point.

    Args:
        step: begins with its number.
        moment: before the act, between it and its record, or after both.
    """
    assert moment in MOMENTS
    return verb, step, moment, found


class Crashes:
    """A plug-in of pytest's that hears of every test and writes the page at the end."""

    def __init__(self, page: Path) -> None:
        self.page = page
        self.heading = list(heading())
        self.found: dict[tuple[str, str], dict[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name == PROPERTY and isinstance(value, (tuple, list)):
                verb, step, moment, found = value
                cells = self.found.setdefault((verb, step), {})
                cells[moment] = FAILED if report.failed else found

    def lines(self) -> Iterator[str]:
        count = sum(len(cells) for cells in self.found.values())
        yield "# The engine, killed at every step"
        yield ""
        yield from self.heading
        yield ""
        yield f"{count} points: SIGKILL before a step, between its act and the record of it, and after both."
        yield "A new engine is started on what is there: the cell says what it made of it. Nothing stayed unfinished;"
        yield "once all was removed no process, mount, cgroup, directory, blob or range of ids of it was left."
        yield ""
        yield f"| verb | step | {' | '.join(MOMENTS)} |"
        yield "|---|---|---|---|---|"
        before = ""
        for (verb, step), cells in sorted(self.found.items()):  # tests run in any order
            row = " | ".join(cells.get(moment, "") for moment in MOMENTS)
            yield f"| {f'`{verb}`' if verb != before else ''} | {step} | {row} |"
            before = verb

    def pytest_sessionfinish(self) -> None:
        if self.found:
            self.page.write_text("\n".join(self.lines()) + "\n")
