"""What goes to the screen: results to standard output, notes to standard error; tables or JSON."""

from __future__ import annotations

import json
import os
import sys

from stockade.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def out(text: str) -> None:
    """A line of the result."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """A line beside the result."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def as_json(value: Any) -> None:
    """The result for a program."""
    out(json.dumps(value, indent=2, ensure_ascii=False))


def rows(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """A table; control characters of names that others chose do not reach the terminal."""
    cells = [tuple(titles), *(tuple(map(printable, line)) for line in lines)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(titles))]
    for line in cells:
        out("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def printable(text: str) -> str:
    """The text with whatever is not printable escaped."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogateescape").decode() for one in text
    )


def as_line(value: Any) -> str:
    """A value as one line of JSON."""
    return json.dumps(value, ensure_ascii=False)


def agreed(question: str) -> bool:
    """Ask before something is removed.

    Raises:
        Refused: there is nobody to ask.
    """
    if not os.isatty(0):
        raise Refused("this asks before it removes, and standard input is no terminal", hint="--force does not ask")
    return input(question).strip().lower() in ("y", "yes")
