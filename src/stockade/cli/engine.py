"""The daemon itself: what it holds and uses, what can go, and its own end."""

from __future__ import annotations

import os
import sys

from stockade.cli import answers
from stockade.cli.options import FORMAT
from stockade.cli.screen import agreed, as_json, out, rows
from stockade.cli.table import Args, Command, Option
from stockade.errors import Refused
from stockade.model import render_size
from stockade.sdk.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


def info(args: Args) -> int:
    """Show what the daemon says of itself and of this machine."""
    answers.objects(args["format"], [Client().info()])
    return 0


def usage(args: Args) -> int:
    """Show what images and containers take of the disk."""
    said = Client().disk_usage()
    images, containers = said.get("Images") or [], said.get("Containers") or []
    used = [one for one in images if one["Containers"]]
    found = [
        _line("Images", len(images), len(used), said.get("LayersSize", 0), _free(images)),
        _line(
            "Containers",
            len(containers),
            sum(one["State"] == "running" for one in containers),
            sum(one.get("SizeRw") or 0 for one in containers),
            sum(one.get("SizeRw") or 0 for one in containers if one["State"] != "running"),
        ),
    ]
    titles = ("TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE")
    answers.listing(args["format"], found, titles, lambda one: list(one.values()))
    return 0


def _free(images: list[dict[str, Any]]) -> int:
    return sum(one["Size"] - max(0, one.get("SharedSize", 0)) for one in images if not one["Containers"])


def _line(kind: str, total: int, active: int, size: int, free: int) -> dict[str, str]:
    return {
        "Type": kind,
        "TotalCount": str(total),
        "Active": str(active),
        "Size": render_size(size),
        "Reclaimable": render_size(free),
    }


def prune(args: Args) -> int:
    """Remove what nothing uses."""
    what = "stopped containers and images " + ("that no container uses" if args["all"] else "without a name")
    if not args["force"] and not agreed(f"This removes all {what}. Go on? [y/N] "):
        raise Refused("nothing was removed")
    client, wanted = Client(), answers.filters(args["filter"])
    containers = client.prune_containers(wanted)
    images = client.prune_images(wanted | ({"dangling": ["false"]} if args["all"] else {}))
    for identity in containers.get("ContainersDeleted") or []:
        out(f"deleted container: {identity}")
    for one in images.get("ImagesDeleted") or []:
        out("".join(f"{name.lower()} image: {value}" for name, value in one.items()))
    out(f"total reclaimed space: {render_size(containers['SpaceReclaimed'] + images['SpaceReclaimed'])}")
    return 0


def walls(args: Args) -> int:
    """List the walls that there are."""
    found = Client().call("GET", "/stockade/v1/walls")
    if args["format"] == "json":
        as_json(found)
    else:
        rows(("WALL", "DRIVEN BY", "PROGRAM"), [(one["Name"], one["Kind"], one["Program"]) for one in found])
    return 0


def repair(args: Args) -> int:
    """Rebuild the daemon's records from what lies beside its data."""
    del args
    _become_daemon("--repair")


def uninstall(args: Args) -> int:
    """End the daemon and everything that it runs; with --purge, remove what it keeps."""
    purge = args["purge"]
    what = "every container and image, and all that they hold" if purge else "every container that runs"
    if not args["force"] and not agreed(f"This ends {what}. Go on? [y/N] "):
        raise Refused("nothing was removed")
    _become_daemon("--uninstall", *(["--purge"] if purge else []))


def daemon(args: Args) -> int:
    """Become the daemon."""
    _become_daemon(*(f"--{name}={args[name]}" for name in ("exit-when-idle", "group") if args[name]))


def _become_daemon(*words: str) -> NoReturn:
    """What needs the store is the daemon's to do; the command line knows none of it."""
    os.execv(sys.executable, [sys.executable, "-m", "stockade.daemon", *words])


_FORCE = Option("--force", "do not ask", "-f")

COMMANDS = {
    "info": Command(
        name="info",
        summary="show what the daemon says of itself",
        operands="",
        run=info,
        options=(answers.FORMAT,),
        examples=(("stockade info --format '{{.ServerVersion}}'", "one field of it"),),
    ),
    "system df": Command(
        name="system df",
        summary="show what images and containers take of the disk",
        operands="",
        run=usage,
        options=(answers.FORMAT,),
        examples=(("stockade system df", "images and containers"),),
    ),
    "system prune": Command(
        name="system prune",
        summary="remove containers that ended and images without a name",
        operands="",
        run=prune,
        options=(Option("--all", "also images that no container uses", "-a"), _FORCE, answers.FILTER),
        examples=(("stockade system prune --all --force", "what no container uses, without a question"),),
    ),
    "system walls": Command(
        name="system walls",
        summary="list the walls that there are",
        operands="",
        run=walls,
        options=(FORMAT,),
        examples=(("stockade system walls", "native, and what else is installed"),),
    ),
    "system repair": Command(
        name="system repair",
        summary="rebuild the daemon's records from what lies beside its data",
        operands="",
        run=repair,
        examples=(("stockade system repair", "after the daemon said that its store is damaged"),),
    ),
    "system uninstall": Command(
        name="system uninstall",
        summary="end the daemon and everything that it runs",
        operands="",
        run=uninstall,
        options=(Option("--purge", "remove images, containers and reserved ids too"), _FORCE),
        examples=(("stockade system uninstall --purge", "leave nothing of it on this machine"),),
    ),
    "daemon": Command(
        name="daemon",
        summary="be the daemon, in the foreground (it is started by itself when it is needed)",
        operands="",
        run=daemon,
        options=(
            Option("--exit-when-idle", "leave after so many seconds without work", "", "SECONDS"),
            Option("--group", "let its members use the socket: by it each is root on this machine", "", "NAME"),
        ),
        about=(
            "Containers outlive the daemon; a new one finds them. "
            "Whoever may write to its socket is root on this machine."
        ),
        examples=(("stockade daemon --exit-when-idle 300", "leave after five minutes without work"),),
    ),
}
