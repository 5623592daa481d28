"""Where a container's output goes: the drivers of Docker that keep it in files, and `none`. Pure.

Both are Docker's json-file on disk, written and rotated by the shim. `local` differs in what it keeps by default, and
in that its files are nobody else's business: no path of it is told by inspect.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable, Mapping
from typing import NamedTuple

from stockade.engine.records import LogConfig, Wanted
from stockade.errors import BadValue
from stockade.model.limits import parse_size

NAME = "log.json"


class Driver(NamedTuple):
    """What is kept unless something else is asked for."""

    size: int
    """Bytes of a file."""
    files: int


DRIVERS = {"json-file": Driver(10 << 20, 3), "local": Driver(20 << 20, 5)}
OPTIONS = {
    "json-file": ("max-size", "max-file", "labels", "labels-regex", "env", "env-regex"),
    "local": ("max-size", "max-file"),
}
_MOST_ATTRIBUTES = 16 << 10
"""Bytes, as JSON, as each entry has them."""
_LONGEST_PATTERN = 256
NONE = "none"


def names() -> tuple[str, ...]:
    """What `--log-driver` may be."""
    return (*DRIVERS, NONE)


def keeps(log: LogConfig) -> bool:
    """Whether what was printed can be read again."""
    return log.driver in DRIVERS


def target_of(wanted: Wanted, directory: str) -> str:
    """The shim's word for a container's log, with the labels and variables that each entry is to have.

    Raises:
        BadValue: a driver or an option that means nothing.
    """
    found = target(directory, wanted.log)
    attributes = _attributes(wanted) if found else {}
    if not attributes:
        return found
    text = json.dumps(attributes, sort_keys=True)
    if len(text) > _MOST_ATTRIBUTES:
        raise BadValue(f"labels and env of the log take {len(text)} bytes of each entry, more than {_MOST_ATTRIBUTES}")
    return f"{found}&attrs={urllib.parse.quote(text, safe='')}"


def _attributes(wanted: Wanted) -> dict[str, str]:
    """Docker's extra attributes (`docker logs --details`): variables win over labels of the same name."""
    options = wanted.log.options
    variables = {name: value for name, sign, value in (word.partition("=") for word in wanted.env) if sign}
    return {**_chosen(options, "labels", wanted.labels), **_chosen(options, "env", variables)}


def _chosen(options: Mapping[str, str], key: str, known: Mapping[str, str]) -> dict[str, str]:
    names = set(options.get(key, "").split(","))
    fits = _pattern(key, options.get(f"{key}-regex", ""))
    return {name: value for name, value in known.items() if name in names or fits(name)}


def _pattern(key: str, text: str) -> Callable[[str], bool]:
    if not text:
        return lambda name: False
    try:
        if len(text) > _LONGEST_PATTERN:
            raise ValueError(f"it has {len(text)} characters")
        found = re.compile(text)
    except (re.error, ValueError, RecursionError) as error:
        raise BadValue(f"invalid log opt '{key}-regex': {error}") from None
    return lambda name: found.search(name) is not None


def target(directory: str, log: LogConfig) -> str:
    """The same without them; empty: it keeps none.

    Raises:
        BadValue: a driver or an option that means nothing.
    """
    if log.driver not in names():
        raise BadValue(f"logger: no log driver named '{log.driver}' is registered", hint=", ".join(names()))
    known = OPTIONS.get(log.driver, ())
    unknown = sorted(set(log.options) - set(known))
    if log.driver == "local" and log.options.get("compress", "").lower() in ("false", "0"):
        unknown.remove("compress")
    if unknown:
        raise BadValue(f"unknown log opt '{unknown[0]}' for {log.driver} log driver", hint=", ".join(known))
    if not keeps(log):
        return ""
    usual = DRIVERS[log.driver]
    size = parse_size(log.options["max-size"]) if "max-size" in log.options else usual.size
    count = log.options.get("max-file", str(usual.files))
    if not count.isdecimal() or int(count) < 1:
        raise BadValue("max-file cannot be less than 1")
    return f"json-file://{urllib.parse.quote(directory)}/{NAME}?max-size={size}&max-file={int(count)}"
