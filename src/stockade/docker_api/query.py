"""The parameters of a request line: each one declared by its route, served or refused; none is passed over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from stockade.errors import BadValue

_FALSE = frozenset({"", "0", "no", "false", "none"})
MAX_PARAMETERS = 256


class Parameters(NamedTuple):
    """Which parameters a route knows."""

    served: frozenset[str] = frozenset()
    refused: Mapping[str, str] = {}
    """Name → why not; the parameter may still have its empty or false value."""
    neutral: frozenset[str] = frozenset()
    """Known, and without a meaning for this engine whatever the value."""
    all: bool = False
    """Whether every parameter is let in, because the route refuses whatever is asked of it."""


def served(*names: str, refused: Mapping[str, str] | None = None, neutral: tuple[str, ...] = ()) -> Parameters:
    """The parameters of a route."""
    return Parameters(frozenset(names), refused or {}, frozenset(neutral))


class Query:
    """The parameters of one request."""

    def __init__(self, text: str, known: Parameters) -> None:
        self._values: dict[str, list[str]] = {}
        if text:
            try:
                pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS, errors="strict")
            except (ValueError, UnicodeDecodeError) as error:
                raise BadValue(f"malformed query: {error}") from None
            for name, value in pairs:
                self._values.setdefault(name, []).append(value)
            if not known.all:
                self._check(known)

    def text(self, name: str, default: str = "") -> str:
        """The first value of a parameter."""
        values = self._values.get(name)
        return values[0] if values else default

    def texts(self, name: str) -> tuple[str, ...]:
        """All values of a parameter."""
        return tuple(self._values.get(name, ()))

    def flag(self, name: str, default: bool = False) -> bool:
        """A truth, read as Docker reads it: empty, 0, no, false and none are false, all else is true."""
        values = self._values.get(name)
        return values[0].strip().lower() not in _FALSE if values else default

    def number(self, name: str) -> int | None:
        """A whole number, or None where the parameter is missing or empty."""
        text = self.text(name)
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise BadValue(f'strconv.Atoi: parsing "{text}": invalid syntax') from None

    def unsigned(self, name: str, what: str) -> int:
        """A whole number that must be there, below 2**32."""
        text = self.text(name)
        if not text.isascii() or not text.isdigit():
            raise BadValue(f'invalid {what} "{text}": invalid syntax')
        if int(text) >= 1 << 32:
            raise BadValue(f'invalid {what} "{text}": value out of range')
        return int(text)

    def time(self, name: str) -> float | None:
        """Seconds since the epoch, with a fraction; None where the parameter is missing, empty or 0."""
        text = self.text(name)
        try:
            value = float(text) if text else 0.0
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise BadValue(f'invalid {name}: "{text}" is not a number of seconds')
        return value or None

    def filters(self) -> Filters:
        """The parameter `filters`: {name: [value, …]}, or Docker's old {name: {value: true, …}}."""
        return parse_filters(self.text("filters"))

    def _check(self, known: Parameters) -> None:
        for name, values in self._values.items():
            if name in known.served or name in known.neutral or all(v.strip().lower() in _FALSE for v in values):
                continue
            why = known.refused.get(name)
            if why is not None:
                raise BadValue(f"parameter {name}={values[0]}: {why}")
            raise BadValue(f"unknown parameter {name!r} with the value {values[0]!r}")


Filters = dict[str, tuple[str, ...]]


def parse_filters(text: str) -> Filters:
    """Read Docker's filters."""
    if not text:
        return {}
    try:
        found: Any = msgspec.json.decode(text)
        if not isinstance(found, dict):
            raise TypeError
        return {name: _filter_values(values) for name, values in found.items()}
    except (msgspec.DecodeError, TypeError):
        raise BadValue("invalid filter") from None


def _filter_values(values: object) -> tuple[str, ...]:
    if isinstance(values, dict) and all(isinstance(set_, bool) for set_ in values.values()):
        return tuple(value for value, set_ in values.items() if set_)
    if isinstance(values, list) and all(isinstance(value, str) for value in values):
        return tuple(values)
    raise TypeError


def truth(text: str, name: str) -> bool:
    """A filter's value as a truth.

    Raises:
        BadValue: it is neither true nor false.
    """
    if text.lower() not in ("1", "t", "true", "0", "f", "false"):
        raise BadValue(f"invalid filter '{name}=[{text}]'")
    return text.lower() in ("1", "t", "true")


def only(filters: Filters, known: frozenset[str]) -> None:
    """Refuse a filter that a verb does not know, in Docker's words."""
    for name in filters:
        if name not in known:
            raise BadValue(f"invalid filter '{name}'")
