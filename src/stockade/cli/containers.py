"""`ps` and the verbs of a container's life.

What `do` and SDK sandboxes run is listed too, and answers to kill and rm: it needs no daemon, and is found on disk.
"""

from __future__ import annotations

import os

from stockade.cli import answers
from stockade.cli.answers import FILTER
from stockade.cli.options import LIMITS, limits_from
from stockade.cli.screen import out
from stockade.cli.table import Args, Command, Option
from stockade.errors import NotFound, StockadeError, exit_code
from stockade.host import paths
from stockade.sdk import containers, ondemand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from stockade.sdk.client import Client, Container
    from stockade.sdk.containers import Found

_SHORT = 12


def ps(args: Args) -> int:
    """List containers."""
    wish = "{{.Names}}" if args["format"] == "names" else args["format"]
    found = [*_of_the_daemon(args), *([] if args["filter"] else _without_daemon(args["all"]))]
    if args["quiet"]:
        for one in found:
            out(one["ID"])
        return 0
    titles = ("ID", "NAME", "IMAGE", "COMMAND", "CREATED", "STATUS")
    answers.listing(wish, found, titles, lambda one: [one[name] for name in _COLUMNS])
    return 0


_COLUMNS = ("ID", "Names", "Image", "Command", "RunningFor", "Status")


def _of_the_daemon(args: Args) -> list[dict[str, Any]]:
    """The daemon's containers as docker's templates name their fields; a daemon that never ran has none."""
    where = paths.find(os.environ)
    if not where.root or not (os.path.exists(f"{where.data}/store.db") or os.path.exists(ondemand.socket_path(where))):
        return []
    wanted = answers.filters(args["filter"])
    return [
        _summary(one, args["no-trunc"]) for one in _client().containers(all=bool(args["all"] or wanted), filters=wanted)
    ]


def _summary(one: dict[str, Any], whole: bool) -> dict[str, Any]:
    command = str(one["Command"])
    return {
        "ID": one["Id"] if whole else one["Id"][:_SHORT],
        "Names": ",".join(name.removeprefix("/") for name in one["Names"]),
        "Image": one["Image"],
        "Command": command if whole or len(command) <= 40 else command[:39] + "…",
        "CreatedAt": one["Created"],
        "RunningFor": answers.age(one["Created"]),
        "State": one["State"],
        "Status": one["Status"],
        "Labels": one.get("Labels") or {},
        "Ports": "",
    }


def _without_daemon(everything: bool) -> list[dict[str, Any]]:
    return [
        {
            "ID": found.record.id,
            "Names": found.record.name,
            "Image": found.record.image or "(this machine)",
            "Command": " ".join(found.record.argv)[:40],
            "CreatedAt": int(found.record.created),
            "RunningFor": answers.age(found.record.created),
            "State": found.status,
            "Status": found.status,
            "Labels": {},
            "Ports": "",
        }
        for found in containers.listing()
        if everything or found.alive
    ]


def start(args: Args) -> int:
    """Start containers."""
    return _each(args.rest, lambda one: one.start())


def stop(args: Args) -> int:
    """Stop containers."""
    return _each(args.rest, lambda one: one.stop(args["time"], args["signal"] or ""))


def restart(args: Args) -> int:
    """Stop containers and start them again."""
    return _each(args.rest, lambda one: one.restart(args["time"], args["signal"] or ""))


def pause(args: Args) -> int:
    """Freeze containers."""
    return _each(args.rest, lambda one: one.pause())


def unpause(args: Args) -> int:
    """Let frozen containers go on."""
    return _each(args.rest, lambda one: one.unpause())


def kill(args: Args) -> int:
    """Send a signal to containers."""
    number = containers.parse_signal(args["signal"])
    return _each(args.rest, lambda one: one.kill(str(number)), lambda found: containers.send_signal(found, number))


def rm(args: Args) -> int:
    """Remove containers."""
    force = args["force"]
    return _each(
        args.rest,
        lambda one: one.remove(force=force, volumes=args["volumes"]),
        lambda found: containers.remove(found, force),
        missing_is_fine=force,
    )


def wait(args: Args) -> int:
    """Print the exit status of each container once it has ended."""
    return _each(args.rest, lambda one: str(one.wait().status))


def rename(args: Args) -> int:
    """Give a container another name."""
    _client().container(args.rest[0]).rename(args.rest[1])
    return 0


def update(args: Args) -> int:
    """Change what containers may use."""
    return _each(args.rest, lambda one: _told(one.update(limits_from(args), args["restart"] or "")))


def _told(warnings: Sequence[str]) -> None:
    from stockade.cli.screen import note

    for warning in warnings:
        note(f"stockade: warning: {warning}")


def _client() -> Client:
    from stockade.sdk.client import Client

    return Client()


def _each(
    words: Sequence[str],
    act: Callable[[Container], str | None],
    without_daemon: Callable[[Found], object] | None = None,
    *,
    missing_is_fine: bool = False,
) -> int:
    """Act on each container; one that cannot be does not keep the others from it."""
    from stockade.cli import complain

    code = 0
    for word in words:
        try:
            out(_act(word, act, without_daemon) or word)
        except NotFound as error:
            if not missing_is_fine:
                complain(error.message, error.hint)
                code = exit_code(error)
        except StockadeError as error:
            complain(error.message, error.hint)
            code = exit_code(error)
    return code


def _act(
    word: str, act: Callable[[Container], str | None], without_daemon: Callable[[Found], object] | None
) -> str | None:
    """Act on what is without a daemon if there is such, else on the daemon's."""
    if without_daemon is not None:
        try:
            found = containers.find(word)
        except NotFound:
            if not paths.find(os.environ).root:
                raise
        else:
            without_daemon(found)
            return None
    return act(_client().container(word))


_TIME = Option("--time", "seconds until it is killed when it does not end", "-t", "SECONDS", int)
_SIGNAL = Option("--signal", "what asks it to end, in place of its own", "-s", "SIGNAL")


def _verb(
    name: str, summary: str, run: Callable[[Args], int], options: tuple[Option, ...] = (), example: str = ""
) -> Command:
    return Command(
        name=name,
        summary=summary,
        operands="NAME…",
        least=1,
        most=None,
        completes="container",
        run=run,
        options=options,
        examples=((example, summary),) if example else (),
    )


COMMANDS = {
    "ps": Command(
        name="ps",
        summary="list containers",
        operands="",
        run=ps,
        options=(
            Option("--all", "also those that ended", "-a"),
            Option("--quiet", "only the ids", "-q"),
            Option("--no-trunc", "ids and commands whole"),
            FILTER,
            Option("--format", "json, names, or a template: '{{.Names}}'", metavar="FORMAT", default="table"),
        ),
        examples=(
            ("stockade ps --all", "everything that was not removed"),
            ("stockade ps --format '{{.Names}}: {{.Status}}'", "in words of your own"),
        ),
    ),
    "start": _verb("start", "start containers that were made or have ended", start, example="stockade start web"),
    "stop": _verb("stop", "ask containers to end, then kill them", stop, (_TIME, _SIGNAL), "stockade stop -t 3 web"),
    "restart": _verb(
        "restart",
        "stop containers and start them again",
        restart,
        (_TIME, _SIGNAL),
        example="stockade restart -t 3 web",
    ),
    "pause": _verb("pause", "freeze containers", pause, example="stockade pause web"),
    "unpause": _verb("unpause", "let frozen containers go on", unpause, example="stockade unpause web"),
    "kill": _verb(
        "kill",
        "send a signal to containers",
        kill,
        (Option("--signal", "name or number", "-s", "SIGNAL", default="KILL"),),
        "stockade kill -s HUP web",
    ),
    "rm": _verb(
        "rm",
        "remove containers",
        rm,
        (
            Option("--force", "kill what runs, and mind nothing missing", "-f"),
            Option("--volumes", "and the volumes that nobody named", "-v"),
        ),
        "stockade rm -f web",
    ),
    "wait": _verb("wait", "wait for containers to end and print their exit status", wait, example="stockade wait job"),
    "rename": Command(
        name="rename",
        summary="give a container another name",
        operands="NAME NEW",
        least=2,
        most=2,
        completes="container",
        run=rename,
        examples=(("stockade rename web old-web", "another name, the same container"),),
    ),
    "update": _verb(
        "update",
        "change what containers may use while they live",
        update,
        (*LIMITS, Option("--restart", "start it again: no, always, unless-stopped, on-failure[:TIMES]", "", "POLICY")),
        "stockade update --memory 1g web",
    ),
}
