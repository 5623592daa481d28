"""Moments and durations as Docker writes them. Pure."""

from __future__ import annotations

from stockade.model.moments import nanoseconds, rfc3339

__all__ = ["NEVER", "human", "moment", "nanoseconds"]

NEVER = "0001-01-01T00:00:00Z"
_STEPS = (
    (60, 1, "seconds"),
    (3600, 60, "minutes"),
    (48 * 3600, 3600, "hours"),
    (14 * 86400, 86400, "days"),
    (60 * 86400, 7 * 86400, "weeks"),
    (730 * 86400, 30 * 86400, "months"),
)


def moment(at: int) -> str:
    """A time in nanoseconds as Docker writes it; 0: Go's zero time."""
    if not at:
        return NEVER
    return rfc3339(at)


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
