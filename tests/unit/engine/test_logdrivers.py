"""Log drivers and their options, in Docker's words."""

from __future__ import annotations

import pytest

from stockade.engine import logdrivers
from stockade.engine.records import LogConfig
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
        (LogConfig("local", {"compress": "true"}), "unknown log opt 'compress' for local log driver"),
        (LogConfig("none", {"max-size": "1k"}), "unknown log opt 'max-size' for none log driver"),
        (LogConfig("local", {"max-file": "0"}), "max-file cannot be less than 1"),
        (LogConfig("local", {"max-size": "much"}), "much"),
    ],
)
def test_what_means_nothing(log: LogConfig, words: str) -> None:
    with pytest.raises(BadValue, match=words):
        logdrivers.target("/a", log)
