"""What a measurement yields, and how contestants take turns."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

OURS = "stockade"


class Unavailable(Exception):
    """A subject cannot be measured here; the text says what is missing."""


class Failed(Exception):
    """A contestant did not do what was timed."""


@dataclass(frozen=True, slots=True)
class Context:
    """Where the programs are, a private directory, and how many turns each contestant takes."""

    programs: Path
    scratch: Path
    turns: int


@dataclass(frozen=True, slots=True)
class Sample:
    median: float
    low: float  # 10 %
    high: float  # 90 %
    count: int


@dataclass(frozen=True, slots=True)
class Figure:
    """One subject: a sample for ours and for each peer. A goal bounds a ratio to `peer`, or the value itself."""

    name: str
    unit: str
    samples: Mapping[str, Sample]
    peer: str | None = None
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    @property
    def value(self) -> float:
        """The ratio to the peer, else ours."""
        ours = self.samples[OURS].median
        return ours / self.samples[self.peer].median if self.peer else ours

    @property
    def met(self) -> bool | None:
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least

    @property
    def goal(self) -> str:
        bound = self.at_most if self.at_most is not None else self.at_least
        if bound is None:
            return ""
        sign = "≤" if self.at_most is not None else "≥"
        return f"{sign} {bound:g}" + (f"× {self.peer}" if self.peer else f" {self.unit}")


def sample(values: Sequence[float]) -> Sample:
    ordered = sorted(values)
    return Sample(
        statistics.median(ordered), ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10], len(ordered)
    )


def one(value: float) -> Sample:
    return Sample(value, value, value, 1)


def take_turns(contestants: Mapping[str, Callable[[], float]], turns: int) -> dict[str, Sample]:
    """Call each contestant `turns` times, in an order that moves on by one each time; values as they return."""
    names = list(contestants)
    values: dict[str, list[float]] = {name: [] for name in names}
    for name in names:  # warms caches, and fails before the long run does
        contestants[name]()
    for turn in range(turns):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            values[name].append(contestants[name]())
    return {name: sample(found) for name, found in values.items()}


@dataclass(slots=True)
class Program:
    """A command to time from its start to its end, in milliseconds; its status must be the expected one."""

    argv: Sequence[str]
    expected: int = 0
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    cleanup: Callable[[], None] | None = None

    def __call__(self) -> float:
        actions = [(os.POSIX_SPAWN_OPEN, n, "/dev/null", os.O_RDWR, 0) for n in (0, 1)]
        begun = time.perf_counter()
        pid = os.posix_spawnp(self.argv[0], list(self.argv), dict(self.environment), file_actions=actions)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        spent = time.perf_counter() - begun
        if status != self.expected:
            raise Failed(f"{' '.join(self.argv)}: status {status}, expected {self.expected}")
        if self.cleanup:
            self.cleanup()
        return spent * 1000
