"""Where a container's output goes: the drivers of Docker that keep it in files, and `none`. Pure.

Both are Docker's json-file on disk, written and rotated by the shim. `local` differs in what it keeps by default, and
in that its files are nobody else's business: no path of it is told by inspect.
"""

from __future__ import annotations

import urllib.parse
from typing import NamedTuple

from stockade.engine.records import LogConfig
from stockade.errors import BadValue
from stockade.model.limits import parse_size

NAME = "log.json"


class Driver(NamedTuple):
    """What is kept unless something else is asked for."""

    size: int
    """Bytes of a file."""
    files: int


DRIVERS = {"json-file": Driver(10 << 20, 3), "local": Driver(20 << 20, 5)}
OPTIONS = ("max-size", "max-file")
NONE = "none"


def names() -> tuple[str, ...]:
    """What `--log-driver` may be."""
    return (*DRIVERS, NONE)


def keeps(log: LogConfig) -> bool:
    """Whether what was printed can be read again."""
    return log.driver in DRIVERS


def target(directory: str, log: LogConfig) -> str:
    """The shim's word for a log; empty: it keeps none.

    Raises:
        BadValue: a driver or an option that means nothing.
    """
    if log.driver not in names():
        raise BadValue(f"logger: no log driver named '{log.driver}' is registered", hint=", ".join(names()))
    known = OPTIONS if keeps(log) else ()
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
