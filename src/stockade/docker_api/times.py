"""Moments and durations as Docker writes them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

NEVER = "0001-01-01T00:00:00Z"
_STEPS = (
    (60, 1, "seconds"),
    (3600, 60, "minutes"),
    (48 * 3600, 3600, "hours"),
    (14 * 86400, 86400, "days"),
    (60 * 86400, 7 * 86400, "weeks"),
    (730 * 86400, 30 * 86400, "months"),
)


def moment(nanoseconds: int) -> str:
    """RFC 3339 with as many digits as count (Go's RFC3339Nano); 0: Go's zero time."""
    if not nanoseconds:
        return NEVER
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:09d}".rstrip("0").rstrip(".") + "Z" if rest else f"{text}Z"


def nanoseconds(text: str) -> int:
    """The moment that an RFC 3339 text means; 0 where it is none."""
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
    return int(found.timestamp()) * 1_000_000_000 + int(f"{fraction:0<9}"[:9])


def human(seconds: float) -> str:
    """A duration as `docker ps` says it: `About a minute`, `3 weeks`."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if 60 <= whole < 120:
        return "About a minute"
    if whole >= 3600 and int(seconds / 3600 + 0.5) == 1:
        return "About an hour"
    for below, unit, name in _STEPS:
        if whole < below:
            return f"{int(seconds / unit + 0.5) if name == 'hours' else whole // unit} {name}"
    return f"{whole // (365 * 86400)} years"
