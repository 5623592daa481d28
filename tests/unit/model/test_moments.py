"""Moments there and back."""

from __future__ import annotations

import pytest

from stockade.model.moments import nanoseconds, rfc3339

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (SECOND, "1970-01-01T00:00:01Z"),
        (SECOND // 2, "1970-01-01T00:00:00.5Z"),
        (SECOND + 2, "1970-01-01T00:00:01.000000002Z"),
        (1795272914110317190, "2026-11-21T14:55:14.11031719Z"),
    ],
)
def test_there_and_back(at: int, text: str) -> None:
    assert (rfc3339(at), nanoseconds(text)) == (text, at)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", 0),
        ("2026-11-21", 0),
        ("2026-11-21T14:55:14", 0),
        ("0001-01-01T00:00:00Z", 0),
        ("tomorrow", 0),
        ("1970-01-01T02:00:01.25+02:00", SECOND + SECOND // 4),
        ("2026-11-21T14:55:14.110317190Z", 1795272914110317190),
    ],
)
def test_what_a_text_means(text: str, found: int) -> None:
    assert nanoseconds(text) == found
