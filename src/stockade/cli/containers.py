"""`ps`, `kill` and `rm`."""

from __future__ import annotations

import time

from stockade.cli.screen import as_json, out, rows
from stockade.cli.table import Args, Command, Option
from stockade.errors import NotFound, StockadeError, exit_code
from stockade.sdk import containers
from stockade.sdk.containers import Found

_SHORTEST = 60


def ps(args: Args) -> int:
    """List containers."""
    found = [one for one in containers.listing() if args["all"] or one.alive]
    if args["format"] == "json":
        as_json([one.plain() for one in found])
    elif args["format"] == "names":
        for one in found:
            out(one.record.name)
    elif args["quiet"]:
        for one in found:
            out(one.record.id)
    else:
        rows(("NAME", "IMAGE", "COMMAND", "CREATED", "STATUS"), [_row(one) for one in found])
    return 0


def kill(args: Args) -> int:
    """Send a signal to containers."""
    number = containers.parse_signal(args["signal"])
    return _each(args.rest, lambda found: containers.send_signal(found, number), missing_is_fine=False)


def rm(args: Args) -> int:
    """Remove containers."""
    return _each(args.rest, lambda found: containers.remove(found, args["force"]), missing_is_fine=args["force"])


def _each(words: list[str], act: _Act, missing_is_fine: bool) -> int:
    """Act on each container; one that cannot be does not keep the others from it."""
    from stockade.cli import complain

    code = 0
    for word in words:
        try:
            act(containers.find(word))
            out(word)
        except NotFound as error:
            if not missing_is_fine:
                complain(error.message, error.hint)
                code = exit_code(error)
        except StockadeError as error:
            complain(error.message, error.hint)
            code = exit_code(error)
    return code


def _row(found: Found) -> tuple[str, str, str, str, str]:
    record = found.record
    command = " ".join(record.argv)
    image = record.image or ("(this machine)" if record.kind in ("do", "sdk") else "")
    shown = command if len(command) <= 40 else command[:39] + "…"
    return record.name, image, shown, f"{_age(time.time() - record.created)} ago", _status(found)


def _status(found: Found) -> str:
    if found.end is None:
        return found.status
    reason = found.end.reason.value
    why = "" if reason in ("Exited", "Signaled") else f", {reason}"
    return f"{found.status} ({found.end.status}{why})"


def _age(seconds: float) -> str:
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // size)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{max(0, int(seconds))} s"


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    _Act = Callable[[Found], None]

COMMANDS = {
    "ps": Command(
        name="ps",
        summary="list containers",
        operands="",
        run=ps,
        options=(
            Option("--all", "those that have ended too", "-a"),
            Option("--quiet", "only the ids", "-q"),
            Option(
                "--format",
                "`json` for programs, `names` for scripts",
                metavar="FORMAT",
                default="table",
                completes=("table", "json", "names"),
            ),
        ),
        examples=(
            ("stockade ps", "what runs now"),
            ("stockade ps --all --format json | jq '.[] | {name, exit}'", "how everything ended"),
        ),
    ),
    "kill": Command(
        name="kill",
        summary="send a signal to containers",
        operands="NAME…",
        least=1,
        most=None,
        completes="container",
        run=kill,
        options=(Option("--signal", "which signal, by name or number", "-s", "SIGNAL", default="KILL"),),
        examples=(("stockade kill -s TERM web", "ask a container to end"),),
    ),
    "rm": Command(
        name="rm",
        summary="remove containers and what they wrote",
        operands="NAME…",
        least=1,
        most=None,
        completes="container",
        run=rm,
        options=(Option("--force", "kill one that runs; one that is not there is no failure", "-f"),),
        examples=(("stockade rm -f web", "end it and remove it"),),
    ),
}
