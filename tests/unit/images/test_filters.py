"""Docker's filters of images."""

from __future__ import annotations

import pytest

from stockade.errors import BadValue
from stockade.images import filters
from stockade.images.filters import Facts
from stockade.images.values import Image, ImageConfig, Kept

NOW = 1_800_000_000 * 10**9


def facts(*names: str, **config: object) -> Facts:
    kept = Kept("sha256:" + "a" * 64, "", (), 0, 0, 0)
    return Facts(Image(kept, ImageConfig(**config), ()), names)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, True),
        ({"dangling": ["true"]}, False),
        ({"dangling": ["0"]}, True),
        ({"label": ["a"]}, True),
        ({"label": ["a=1", "b"]}, False),
        ({"label!": ["b"]}, True),
        ({"reference": ["x*"]}, True),
        ({"reference": ["*:1"]}, True),
        ({"reference": ["y", "x:[0-9]"]}, True),
        ({"reference": ["?"]}, True),
        ({"reference": ["x/*"]}, False),
        ({"until": ["24h"]}, True),
        ({"until": ["2020-01-01"]}, False),
        ({"until": ["1700000000"]}, True),
        ({"before": ["later"]}, True),
        ({"since": ["later"]}, False),
    ],
)
def test_each_filter(given: dict[str, list[str]], kept: bool) -> None:
    one = facts("docker.io/library/x:1", labels={"a": "1"}, created="2023-01-01T00:00:00.5Z")
    assert filters.keeps(given, one, lambda _: NOW, NOW) is kept


def test_times() -> None:
    assert filters.nanoseconds("1970-01-01T00:00:01.000000002Z") == 10**9 + 2
    assert filters.nanoseconds("1970-01-01T02:00:00+02:00") == 0
    assert filters.nanoseconds("0001-01-01T00:00:00Z") < 0


def test_what_is_none() -> None:
    with pytest.raises(BadValue, match="invalid filter 'foo'"):
        filters.check({"foo": ["1"]}, filters.OF_LIST)
    with pytest.raises(BadValue, match="invalid filter 'dangling="):
        filters.flag("dangling", ["maybe"])
    with pytest.raises(BadValue, match="is not a duration"):
        filters.moment("soon", NOW)


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ([], ["java:8", "java:9", "box:8"]),
        (["java"], ["java:8", "java:9"]),
        (["java:8"], ["java:8"]),
        (["*:8"], ["java:8", "box:8"]),
        (["j*:9", "box"], ["java:9", "box:8"]),
    ],
)
def test_only_the_names_that_are_asked_for(words: list[str], left: list[str]) -> None:
    """An image with several names is listed by those alone that the filter is about."""
    assert filters.named({"reference": words}, ["java:8", "java:9", "box:8"]) == left
