"""Detach keys as Docker's clients write them: `ctrl-p,ctrl-q`. Pure."""

from __future__ import annotations

from stockade.errors import BadValue

DEFAULT = "\x10\x11"
"""ctrl-p, ctrl-q."""
# ctrl-@ is 0, ctrl-a 1 … ctrl-_ 31 (ascii(7)); DEL is a word of its own.
_NAMED = {f"ctrl-{chr(code + 64).lower()}": chr(code) for code in range(32)} | {"DEL": "\x7f"}


def parse(text: str, what: str = "detach") -> str:
    """The characters that detach a terminal's client; empty text: the usual ones.

    Raises:
        BadValue: in Docker's words; an exec's are `escape` keys.
    """
    if not text:
        return DEFAULT
    found = []
    for key in text.split(","):
        if len(key) == 1 and key.isascii():
            found.append(key)
        elif key in _NAMED:
            found.append(_NAMED[key])
        else:
            raise BadValue(f"Invalid {what} keys ({text}) provided")
    return "".join(found)
