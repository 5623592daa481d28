"""Log drivers and their options, in Docker's words."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from stockade.engine import logdrivers
from stockade.engine.records import LogConfig, Wanted
from stockade.errors import BadValue


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (LogConfig(), "json-file:///a%20b/log.json?max-size=10485760&max-file=3"),
        (LogConfig("json-file", {"max-size": "1k", "max-file": "7"}), "json-file:///a%20b/log.json?max-size=1024&max-file=7"),
        (LogConfig("local"), "json-file:///a%20b/log.json?max-size=20971520&max-file=5"),
        (LogConfig("local", {"compress": "false"}), "json-file:///a%20b/log.json?max-size=20971520&max-file=5"),
        (LogConfig("none"), ""),
    ],
)  # fmt: skip
def test_targets(log: LogConfig, expected: str) -> None:
    assert logdrivers.target("/a b", log) == expected
    assert logdrivers.keeps(log) == bool(expected)


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (LogConfig("syslog"), "no log driver named 'syslog' is registered"),
        (LogConfig("json-file", {"odd": "1"}), "unknown log opt 'odd' for json-file log driver"),
        (LogConfig("local", {"labels": "a"}), "unknown log opt 'labels' for local log driver"),
        (LogConfig("local", {"compress": "true"}), "unknown log opt 'compress' for local log driver"),
        (LogConfig("none", {"max-size": "1k"}), "unknown log opt 'max-size' for none log driver"),
        (LogConfig("local", {"max-file": "0"}), "max-file cannot be less than 1"),
        (LogConfig("local", {"max-size": "much"}), "much"),
    ],
)
def test_what_means_nothing(log: LogConfig, words: str) -> None:
    with pytest.raises(BadValue, match=words):
        logdrivers.target("/a", log)


def wanted(**options: str) -> Wanted:
    return Wanted(
        "a" * 64, "box", 1, "busybox", "sha256:1", log=LogConfig("json-file", options),
        labels={"color": "red", "com.example.team": "a b"}, env=("SIZE=9", "SIZED=1", "NONE", "color=blue"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "attributes"),
    [
        ({}, ""),
        ({"labels": "none,such"}, ""),
        ({"labels": "color"}, '{"color": "red"}'),
        ({"labels": "color,com.example.team"}, '{"color": "red", "com.example.team": "a b"}'),
        ({"labels-regex": "^com[.]"}, '{"com.example.team": "a b"}'),
        ({"env": "SIZE,NONE"}, '{"SIZE": "9"}'),
        ({"env-regex": "^SIZE"}, '{"SIZE": "9", "SIZED": "1"}'),
        ({"labels": "color", "env": "color"}, '{"color": "blue"}'),
    ],
)
def test_what_each_entry_has(options: dict[str, str], attributes: str) -> None:
    query = logdrivers.target_of(wanted(**options), "/a").partition("?")[2]
    assert dict(parse_qsl(query)).get("attrs", "") == attributes


@pytest.mark.parametrize("options", [{"env-regex": "("}, {"labels-regex": "a" * 257}])
def test_what_no_pattern_is(options: dict[str, str]) -> None:
    with pytest.raises(BadValue, match="invalid log opt"):
        logdrivers.target_of(wanted(**options), "/a")
