"""What a container may use, and how people write it."""

from __future__ import annotations

import re
from typing import NamedTuple

from stockade.errors import BadValue

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b)?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:h|ms|us|m|s))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}


class Limits(NamedTuple):
    """None is no limit of its own; what the host or the caller's cgroup allows holds anyway."""

    memory: int | None = None
    """Bytes."""
    memory_swap: int | None = None
    """Bytes of memory and swap together; None with `memory` set: the same, so that nothing is swapped."""
    cpus: float | None = None
    """Processors' worth of time, as 1.5."""
    cpu_shares: int | None = None
    """Weight against others when processors are short (1024 is usual)."""
    cpuset: str = ""
    """Processors it may run on, as `0-3,7`."""
    pids: int | None = None
    """Processes and threads."""
    time: float | None = None
    """Seconds from the start until everything inside is killed."""


def parse_size(text: str) -> int:
    """Read `64m`, `1.5g`, `512` as bytes (powers of 1024, as Docker reads them)."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise BadValue(f"{text!r} is not a size", hint="a number of bytes, or one with k, m, g or t: 64m")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def parse_duration(text: str) -> float:
    """Read `30s`, `1m30s`, `500ms` or a plain number of seconds."""
    text = text.strip()
    if text.replace(".", "", 1).isdigit():
        return float(text)
    if not _DURATION.fullmatch(text):
        raise BadValue(f"{text!r} is not a duration", hint="seconds, or parts with h, m, s, ms: 1m30s")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def parse_cpus(text: str) -> float:
    """Read a number of processors, as `1.5`."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.01 <= value <= 8192:
        raise BadValue(f"{text!r} is not a number of processors", hint="0.01 at least: 0.5, 2")
    return value


def render_duration(seconds: float) -> str:
    """The Go duration of so many seconds, exact to the microsecond."""
    return f"{round(seconds * 1e6)}us"


def render_size(count: int) -> str:
    """So many bytes for a reader: `1.5 MiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
