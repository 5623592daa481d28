"""Names, references and signals: tables."""

from __future__ import annotations

import pytest

from stockade.engine import names, signals
from stockade.errors import BadValue, NotFound

IDS = {"abc1": 1, "abc2": 2, "def": 3}
NAMES = {"web": 3, "abc": 1}


@pytest.mark.parametrize(("word", "found"), [("abc1", 1), ("web", 3), ("/web", 3), ("d", 3), ("abc", 1), ("abc2", 2)])
def test_references(word: str, found: int) -> None:
    assert names.choose(word, IDS, NAMES) == found


@pytest.mark.parametrize(("word", "kind"), [("ab", BadValue), ("x", NotFound), ("", BadValue)])
def test_references_that_name_nothing(word: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        names.choose(word, IDS, NAMES)


@pytest.mark.parametrize("word", ["", "a", "-a", "a b", "a/b", "ä" * 3])
def test_names_that_are_none(word: str) -> None:
    with pytest.raises(BadValue, match="Invalid container name"):
        names.check_name(word)


def test_names_that_nobody_chose() -> None:
    assert names.check_name(names.new_name([]))
    assert len(names.new_id()) == 64


@pytest.mark.parametrize(
    ("word", "number"),
    [("SIGTERM", 15), ("term", 15), ("9", 9), ("SIGKILL", 9), ("RTMIN", 34), ("SIGRTMIN+3", 37), ("rtmax-1", 63)],
)
def test_signals(word: str, number: int) -> None:
    assert signals.number(word) == number


@pytest.mark.parametrize("word", ["", "0", "65", "SIGNOSUCH", "RTMIN+99", "RTMINX", "-1"])
def test_signals_that_are_none(word: str) -> None:
    with pytest.raises(BadValue, match="invalid signal"):
        signals.number(word)
