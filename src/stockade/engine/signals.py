"""Signals by name or number, as people write them. Pure."""

from __future__ import annotations

import signal

from stockade.errors import BadValue


def number(word: str) -> int:
    """The number of `SIGTERM`, `term` or `15`; realtime ones as `RTMIN+3`.

    Raises:
        BadValue: Linux has no such signal.
    """
    name = word.upper().removeprefix("SIG")
    if name.isdecimal() and name.isascii():
        if 0 < int(name) <= 64:
            return int(name)
    else:
        for base in ("RTMIN", "RTMAX"):
            rest = name.removeprefix(base)
            if rest != name and (not rest or (rest[0] in "+-" and rest[1:].isdecimal())):
                found = int(signal.Signals[f"SIG{base}"]) + int(rest or 0)
                if signal.SIGRTMIN <= found <= signal.SIGRTMAX:
                    return found
        if f"SIG{name}" in signal.Signals.__members__:
            return int(signal.Signals[f"SIG{name}"])
    raise BadValue(f"invalid signal: {word}")
