"""How lists and objects of the daemon are shown: a table, `json`, or a template of Docker's kind."""

from __future__ import annotations

import json
import time

from stockade.cli import template
from stockade.cli.screen import as_json, as_line, out, printable, rows
from stockade.cli.table import Option

_UNITS = (("year", 31536000), ("month", 2592000), ("week", 604800), ("day", 86400), ("hour", 3600), ("minute", 60))

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

FORMAT = Option(
    "--format", "json, or a template: '{{.Names}}', 'table {{.ID}}\\t{{.Names}}'", "", "FORMAT", default="table"
)
SHOWN = FORMAT._replace(help="json, or a template: '{{.Id}}', '{{json .State}}'", short="-f")
"""The same where whole objects are shown, and nothing is filtered."""
FILTER = Option("--filter", "show only these, as status=exited, label=x", "-f", "NAME=VALUE", many=True)


def listing(
    wish: str, found: Sequence[dict[str, Any]], titles: Sequence[str], row: Callable[[dict[str, Any]], Sequence[str]]
) -> None:
    """Show a list.

    Args:
        found: what templates and `json` see, one mapping a line.
        titles: of the table; `row` makes its lines.
    """
    if wish == "table":
        rows(titles, [row(one) for one in found])
    elif wish == "json":
        for one in found:
            out(as_line(one))
    else:
        head, rest = ("table ", wish[6:]) if wish.startswith("table ") else ("", wish)
        nodes = template.parse(rest)
        lines = [template.render(nodes, one) for one in found]
        if head:
            cells = [line.split("\t") for line in (template.titles(nodes), *lines)]
            rows(cells[0], cells[1:])
        else:
            for line in lines:
                out(printable_line(line))


def objects(wish: str, found: Sequence[Any]) -> None:
    """Show whole objects, as `inspect` does."""
    if wish in ("table", ""):
        as_json(list(found))
    elif wish == "json":
        out(json.dumps(list(found), ensure_ascii=False))
    else:
        nodes = template.parse(wish)
        for one in found:
            out(template.render(nodes, one))


def filters(words: Sequence[str]) -> dict[str, list[str]]:
    """`--filter` as the daemon takes it."""
    from stockade.errors import BadValue

    found: dict[str, list[str]] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise BadValue(f"--filter {word!r} is not NAME=VALUE", hint="--filter status=exited")
        found.setdefault(name, []).append(value)
    return found


def printable_line(text: str) -> str:
    """A line whose names others chose: tabs stay, other control characters do not reach the terminal."""
    return "\t".join(map(printable, text.split("\t")))


def moment(seconds: float) -> str:
    """That moment as a date (RFC 3339), in this machine's zone."""
    from datetime import datetime

    return datetime.fromtimestamp(seconds).astimezone().isoformat()


def age(seconds: float) -> str:
    """`5 minutes ago`, for a moment in seconds since the epoch."""
    passed = max(0.0, time.time() - seconds)
    for unit, length in _UNITS:
        count = int(passed // length)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return f"{int(passed)} second{'s' if int(passed) != 1 else ''} ago"
