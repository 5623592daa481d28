"""Docker's filters of images (`images --filter`, `image prune --filter`). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from stockade.errors import BadValue
from stockade.model import parse_duration
from stockade.registry.references import parse

from .values import Image

Filters = Mapping[str, Sequence[str]]
OF_LIST = frozenset({"dangling", "label", "before", "since", "until", "reference"})
OF_PRUNE = frozenset({"dangling", "label", "label!", "until"})
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d(?::\d\d(?::\d\d)?)?)(\.\d+)?(Z|[+-]\d\d:\d\d)?)?")
_TRUE, _FALSE = frozenset({"1", "true", "t"}), frozenset({"0", "false", "f"})


class Facts(NamedTuple):
    """What a filter may ask about."""

    image: Image
    names: tuple[str, ...]
    """Whole."""


def check(filters: Filters, known: frozenset[str]) -> None:
    """Refuse a filter that is none.

    Raises:
        BadValue: with Docker's words.
    """
    for key in filters:
        if key not in known:
            raise BadValue(f"invalid filter '{key}'")


def keeps(filters: Filters, facts: Facts, created_of: Callable[[str], int], now: int) -> bool:
    """Whether an image passes.

    Args:
        created_of: when the image with that name was made, for `before` and `since`.
        now: nanoseconds, which durations of `until` count back from.
    """
    created = nanoseconds(facts.image.config.created)
    labels = facts.image.config.labels
    tests = {
        "label": lambda words: all(_labelled(labels, word) for word in words),
        "label!": lambda words: not any(_labelled(labels, word) for word in words),
        "before": lambda words: all(created < created_of(word) for word in words),
        "since": lambda words: all(created > created_of(word) for word in words),
        "until": lambda words: all(created < moment(word, now) for word in words),
        "reference": lambda words: any(matches(word, name) for word in words for name in facts.names),
        "dangling": lambda words: flag("dangling", words) == (not facts.names),
    }
    return all(tests[key](words) for key, words in filters.items() if words)


def named(filters: Filters, names: Sequence[str]) -> list[str]:
    """Those of an image's names, as people write them, that a filter by reference asks for."""
    words = filters.get("reference", ())
    return [name for name in names if not words or any(matches(word, name) for word in words)]


def flag(key: str, words: Sequence[str]) -> bool:
    """The truth of a filter that takes one.

    Raises:
        BadValue: with Docker's words.
    """
    found = {word.lower() for word in words}
    if found <= _TRUE:
        return True
    if found <= _FALSE:
        return False
    raise BadValue(f"invalid filter '{key}=[{' '.join(sorted(found))}]'")


def matches(pattern: str, name: str) -> bool:
    """Whether a name is like a pattern of path.Match (Go), with or without its tag."""
    reference = parse(name)
    compiled = _glob(pattern)
    return any(compiled.fullmatch(one) for one in (reference.familiar, reference.familiar_name))


def moment(text: str, now: int) -> int:
    """A time of `until`: a date, seconds since the epoch, or a duration back from now.

    Raises:
        BadValue: it is none.
    """
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return int(float(text) * 1e9)
    if _TIME.fullmatch(text):
        return nanoseconds(text)
    return now - int(parse_duration(text) * 1e9)


def nanoseconds(text: str) -> int:
    """An RFC 3339 time, nanoseconds since the epoch; 0 for what is none."""
    found = _TIME.fullmatch(text)
    if not found:
        return 0
    day, time, fraction, zone = found.groups()
    time = {0: "00:00:00", 2: f"{time}:00:00", 5: f"{time}:00"}.get(len(time or ""), time)
    try:
        at = datetime.fromisoformat(f"{day}T{time}{'+00:00' if zone in (None, 'Z') else zone}")
    except ValueError:
        return 0
    whole = int((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    return whole * 10**9 + int(((fraction or ".")[1:10]).ljust(9, "0"))


def _labelled(labels: Mapping[str, str], word: str) -> bool:
    key, equals, value = word.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _glob(pattern: str) -> re.Pattern[str]:
    found, number = "", 0
    while number < len(pattern):
        letter = pattern[number]
        end = pattern.find("]", number + 2)
        if letter == "[" and end > 0:
            inside = pattern[number + 1 : end].replace("\\", r"\\")
            found += f"[{inside}]"
            number = end
        elif letter == "\\" and number + 1 < len(pattern):
            number += 1
            found += re.escape(pattern[number])
        else:
            found += {"*": "[^/]*", "?": "[^/]"}.get(letter) or re.escape(letter)
        number += 1
    try:
        return re.compile(found)
    except re.error as error:
        raise BadValue(f"invalid filter 'reference={pattern}': syntax error in pattern") from error
