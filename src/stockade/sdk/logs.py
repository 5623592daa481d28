"""A container's log: Docker's json-file as the shim writes it, rotated to `.1`, `.2`, …

It is read by `stockade-logs`; what a workload printed does not pass through Python.
"""

from __future__ import annotations

import os
import sys
import time
from typing import NamedTuple

from stockade.errors import BadValue
from stockade.model import parse_duration
from stockade.runtime import shim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PROGRAM = "stockade-logs"


class View(NamedTuple):
    """What of a log is to be shown, and how."""

    until_exit: str = ""
    """The bundle of a container that lives: go on until it ends."""
    tail: int | None = None
    since: str = ""
    """A moment in UTC, as `parse_moment` gives it."""
    until: str = ""
    timestamps: bool = False
    json: bool = False
    """The entries as they are kept: an object a line."""

    def words(self) -> list[str]:
        """The reader's options."""
        return [
            *(("--follow", "--until-exit", self.until_exit) if self.until_exit else ()),
            *(("--tail", str(self.tail)) if self.tail is not None else ()),
            *(("--since", self.since) if self.since else ()),
            *(("--until", self.until) if self.until else ()),
            *(("--timestamps",) if self.timestamps and not self.json else ()),
            *(("--json",) if self.json else ()),
        ]


def show(path: str, view: View) -> NoReturn:
    """Become the reader of the log at `path`: standard output and error are the container's."""
    program = shim.program(PROGRAM)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(program, [PROGRAM, *view.words(), "--", path])


def parse_moment(text: str, now: float | None = None) -> str:
    """Read a moment, `2026-01-31T12:00:00Z`, or how long ago, `10m`, as a moment in UTC."""
    from datetime import UTC, datetime

    if "T" not in text and "-" not in text:
        moment = datetime.fromtimestamp((time.time() if now is None else now) - parse_duration(text), UTC)
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise BadValue(f"{text!r} is no moment", hint="2026-01-31T12:00:00Z, or how long ago: 10m") from None
        # A moment without a zone is meant where the caller is.
        moment = moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
