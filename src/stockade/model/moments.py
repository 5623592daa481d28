"""Moments as texts: RFC 3339, nanoseconds since the epoch. `model` does not import it: datetime is slow to come."""

from __future__ import annotations

from datetime import UTC, datetime

_SECOND = 1_000_000_000


def rfc3339(nanoseconds: int) -> str:
    """A moment in UTC with as many digits of a second as it needs, as Go's RFC3339Nano."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{text}{fraction}Z"


def nanoseconds(text: str) -> int:
    """The moment that a text means; 0 where it is none, has no zone, or lies before 1970."""
    stamp, dot, rest = text.partition(".")
    fraction = ""
    if dot:
        fraction = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        stamp += rest[len(fraction) :]
    try:
        found = datetime.fromisoformat(stamp)
    except ValueError:
        return 0
    if found.tzinfo is None or found.year < 1970:
        return 0
    return int(found.timestamp()) * _SECOND + int(f"{fraction:0<9}"[:9])
