"""Volumes: made, listed, shown, removed."""

from __future__ import annotations

from stockade.cli import answers
from stockade.cli.answers import FILTER
from stockade.cli.screen import agreed, note, out
from stockade.cli.table import Args, Command, Option
from stockade.errors import BadValue, NotFound, Refused, StockadeError, exit_code
from stockade.model import render_size
from stockade.sdk.client import Client


def create(args: Args) -> int:
    """Make a volume; print its name."""
    made = Client().create_volume(
        args.rest[0] if args.rest else "",
        driver=args["driver"],
        labels=_pairs("--label", args["label"]),
        options=_pairs("--opt", args["opt"]),
    )
    out(made["Name"])
    return 0


def _pairs(option: str, words: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or (option == "--opt" and not equals):
            raise BadValue(f"{option} {word!r} is not NAME=VALUE", hint=f"{option} type=tmpfs")
        found[name] = value
    return found


def ls(args: Args) -> int:
    """List volumes."""
    found = Client().volumes(filters=answers.filters(args["filter"]))
    if args["quiet"]:
        for one in found:
            out(one["Name"])
        return 0
    answers.listing(args["format"], found, ("DRIVER", "VOLUME NAME"), lambda one: [one["Driver"], one["Name"]])
    return 0


def inspect(args: Args) -> int:
    """Show volumes whole."""
    client = Client()
    answers.objects(args["format"], [client.volume(name) for name in args.rest])
    return 0


def rm(args: Args) -> int:
    """Remove volumes."""
    from stockade.cli import complain

    code, client = 0, Client()
    for name in args.rest:
        try:
            client.remove_volume(name)
            out(name)
        except StockadeError as error:
            if not (args["force"] and isinstance(error, NotFound)):
                complain(error.message, error.hint)
                code = exit_code(error)
    return code


def prune(args: Args) -> int:
    """Remove volumes that no container uses."""
    which = "every volume" if args["all"] else "every volume without a name"
    if not args["force"] and not agreed(f"This removes {which} that no container uses. Go on? [y/N] "):
        raise Refused("nothing was removed")
    filters = answers.filters(args["filter"])
    if args["all"]:
        filters["all"] = ["true"]
    said = Client().prune_volumes(filters)
    for name in said["VolumesDeleted"]:
        out(name)
    note(f"freed {render_size(said['SpaceReclaimed'])}")
    return 0


_FORCE = Option("--force", "mind nothing missing", "-f")

COMMANDS = {
    "volume create": Command(
        name="volume create",
        summary="make a volume: a directory that outlives the containers which mount it",
        operands="[NAME]",
        most=1,
        run=create,
        options=(
            Option("--driver", "local: there is no other", "-d", "DRIVER", default="local"),
            Option("--label", "something to find it by", "-l", "NAME[=VALUE]", many=True),
            Option("--opt", "what is mounted there: type, o and device of mount(8)", "-o", "NAME=VALUE", many=True),
        ),
        examples=(
            ("stockade volume create data", "an empty one; `-v data:/data` makes it, too"),
            ("stockade volume create -o type=tmpfs -o device=tmpfs -o o=size=64m scratch", "in memory"),
        ),
    ),
    "volume ls": Command(
        name="volume ls",
        summary="list volumes",
        operands="",
        run=ls,
        options=(Option("--quiet", "only the names", "-q"), FILTER, answers.FORMAT),
        examples=(("stockade volume ls -f dangling=true", "those that no container uses"),),
    ),
    "volume inspect": Command(
        name="volume inspect",
        summary="show volumes whole: where they lie, their labels and options",
        operands="NAME…",
        least=1,
        most=None,
        completes="volume",
        run=inspect,
        options=(answers.SHOWN,),
        examples=(("stockade volume inspect --format '{{.Mountpoint}}' data", "its directory"),),
    ),
    "volume rm": Command(
        name="volume rm",
        summary="remove volumes that no container uses, with all that is in them",
        operands="NAME…",
        least=1,
        most=None,
        completes="volume",
        run=rm,
        options=(_FORCE,),
        examples=(("stockade volume rm data", "and what is in it"),),
    ),
    "volume prune": Command(
        name="volume prune",
        summary="remove volumes that no container uses and nobody named",
        operands="",
        run=prune,
        options=(
            Option("--all", "also those that somebody named", "-a"),
            Option("--force", "do not ask", "-f"),
            FILTER,
        ),
        examples=(("stockade volume prune -a -f", "everything that is not in use"),),
    ),
}
