"""A container's log, as the shim writes it: Docker's json-file, one object a line, rotated to `.1`, `.2`, …

It is read here, in Python: the one place where a workload's bytes pass through it, and only for whoever asks to see
them.
"""

from __future__ import annotations

import json
import os
import time
from typing import NamedTuple

from stockade.errors import BadValue
from stockade.model import parse_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

# How often a followed log is looked at, in seconds.
_TICK = 0.1


class Entry(NamedTuple):
    """A line, or a part of a long one."""

    stream: str
    text: str
    time: str
    """RFC 3339 with nanoseconds."""


def history(path: str) -> Iterator[Entry]:
    """Everything that is kept, the oldest first."""
    for name in (*_older(path), path):
        yield from _whole(name)


def follow(path: str, over: Callable[[], bool]) -> Iterator[Entry]:
    """Everything, then what comes, until `over` says that nothing more will."""
    for name in _older(path):
        yield from _whole(name)
    position, inode = 0, 0
    while True:
        last = over()
        try:
            with open(path, "rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != inode and inode:
                    yield from _rest_of(f"{path}.1", inode, position)
                    position = 0
                inode = found.st_ino
                file.seek(position)
                yield from _entries(file)
                position = file.tell()
        except FileNotFoundError:
            pass
        if last:
            return
        time.sleep(_TICK)


def parse_since(text: str, now: float | None = None) -> str:
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
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")


def _older(path: str) -> list[str]:
    """The rotated files, the oldest first."""
    count = 1
    while os.path.exists(f"{path}.{count}"):
        count += 1
    return [f"{path}.{number}" for number in range(count - 1, 0, -1)]


def _whole(path: str) -> Iterator[Entry]:
    try:
        with open(path, "rb") as file:
            yield from _entries(file)
    except FileNotFoundError:
        # Rotated away meanwhile, or nothing was printed yet.
        return


def _rest_of(path: str, inode: int, position: int) -> Iterator[Entry]:
    """What was written to a file between the last look and its rotation."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_ino == inode:
                file.seek(position)
                yield from _entries(file)
    except FileNotFoundError:
        return


def _entries(file: IO[bytes]) -> Iterator[Entry]:
    """The whole lines from here on; a line that is being written stays for the next look."""
    while line := file.readline():
        if not line.endswith(b"\n"):
            file.seek(-len(line), os.SEEK_CUR)
            return
        try:
            raw = json.loads(line)
            yield Entry(raw["stream"], raw["log"], raw["time"])
        except (ValueError, KeyError, TypeError):
            # A disk was full: half a line. What follows is whole again.
            continue
