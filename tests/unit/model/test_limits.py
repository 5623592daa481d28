"""How people write limits."""

from __future__ import annotations

import pytest

from stockade.errors import BadValue
from stockade.model import check_name, parse_cpus, parse_duration, parse_size, render_duration, render_size


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("0", 0), ("512", 512), ("1k", 1024), ("64m", 64 << 20), ("1.5g", 3 << 29), ("2GiB", 2 << 30), ("3 MB", 3 << 20)],
)
def test_sizes(text: str, bytes_: int) -> None:
    assert parse_size(text) == bytes_


@pytest.mark.parametrize("text", ["", "-1", "m", "1x", "1mm", "0x10", "1e9", "∞"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(BadValue) as caught:
        parse_size(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5.0), ("0.25", 0.25), ("30s", 30.0), ("1m30s", 90.0), ("500ms", 0.5), ("1h0.5m", 3630.0), ("10us", 1e-5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-5", "5 m", "1d", "1.2.3", "1s5"])
def test_no_durations(text: str) -> None:
    with pytest.raises(BadValue):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "x", "1e9"])
def test_no_number_of_processors(text: str) -> None:
    with pytest.raises(BadValue):
        parse_cpus(text)


def test_durations_are_written_for_go() -> None:
    assert render_duration(1.5) == "1500000us"


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (200 << 20, "200 MiB")])
def test_sizes_for_readers(count: int, text: str) -> None:
    assert render_size(count) == text


@pytest.mark.parametrize("name", ["", "-a", ".a", "a/b", "a b", "a" * 129, "é", "a\n"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(BadValue):
        check_name(name)


def test_a_name() -> None:
    assert check_name("web-1.test_2") == "web-1.test_2"
