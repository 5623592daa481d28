"""What there is to know of a container: `inspect`, `logs`, `top`, `stats`, `diff`, `events`."""

from __future__ import annotations

import time

from stockade.cli import answers
from stockade.cli.answers import FILTER
from stockade.cli.options import positive
from stockade.cli.screen import as_line, out, rows
from stockade.cli.table import Args, Command, Option
from stockade.errors import Conflict, NotFound, exit_code
from stockade.model import render_size
from stockade.sdk import logs as logreader
from stockade.sdk.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KINDS = ("C", "A", "D")
_ALIVE = ("running", "paused", "restarting", "created")


def inspect(args: Args) -> int:
    """Show everything that is known of containers and images."""
    from stockade.cli import complain

    client, found, code = Client(), [], 0
    for word in args.rest:
        try:
            found.append(_look(client, word, args["type"]))
        except NotFound as error:
            complain(error.message, error.hint)
            code = exit_code(error)
    answers.objects(args["format"], found)
    return code


def _look(client: Client, word: str, kind: str | None) -> Any:
    if kind != "image":
        try:
            return client.container(word).attributes
        except NotFound:
            if kind == "container":
                raise
    try:
        return client.image(word).attributes
    except NotFound as error:
        raise error if kind else NotFound(f"no container and no image is called {word!r}") from error


def logs(args: Args) -> int:
    """Become the program that reads them."""
    client = Client()
    container = client.container(args.rest[0])
    own = client.call("GET", f"/stockade/v1/containers/{container.id}")
    if not own.get("LogPath"):
        raise Conflict(f"container {container.name} keeps no log", hint="--log-driver json-file keeps one")
    view = logreader.View(
        until_exit=own["Directory"] if args["follow"] and container.status in _ALIVE else "",
        tail=args["tail"],
        since=args["since"] or "",
        until=args["until"] or "",
        timestamps=args["timestamps"],
        json=args["format"] == "json",
    )
    logreader.show(own["LogPath"], view)


def _tail(text: str) -> int | None:
    return None if text == "all" else positive(text)


def top(args: Args) -> int:
    """Show a container's processes."""
    said = Client().container(args.rest[0]).top(" ".join(args.rest[1:]))
    rows(said["Titles"], said["Processes"])
    return 0


def diff(args: Args) -> int:
    """Show what a container changed in its file system."""
    found = [{"Type": _KINDS[one["Kind"]], "Path": one["Path"]} for one in Client().container(args.rest[0]).changes()]
    if args["format"] == "table":
        for one in found:
            out(f"{one['Type']} {answers.printable_line(one['Path'])}")
    else:
        answers.listing(args["format"], found, (), lambda one: ())
    return 0


def stats(args: Args) -> int:
    """Show what containers use, again and again unless told once."""
    client = Client()
    while True:
        names = args.rest or [one["Id"] for one in client.containers()]
        before = {name: client.container(name).stats() for name in names}
        time.sleep(1)
        found = [_usage(before[name], client.container(name).stats()) for name in names]
        if not args["no-stream"] and args["format"] == "table":
            out("\033[H\033[2J")
        titles = ("NAME", "CPU %", "MEMORY", "LIMIT", "PIDS")
        answers.listing(args["format"], found, titles, lambda one: [one[name] for name in _USAGE])
        if args["no-stream"]:
            return 0


_USAGE = ("Name", "CPUPerc", "MemUsage", "MemLimit", "PIDs")


def _usage(before: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    used = now["cpu_stats"]["cpu_usage"]["total_usage"] - before["cpu_stats"]["cpu_usage"]["total_usage"]
    whole = now["cpu_stats"].get("system_cpu_usage", 0) - before["cpu_stats"].get("system_cpu_usage", 0)
    share = used / whole * now["cpu_stats"].get("online_cpus", 1) * 100 if whole > 0 else 0.0
    memory = now.get("memory_stats") or {}
    cache = (memory.get("stats") or {}).get("inactive_file", (memory.get("stats") or {}).get("total_inactive_file", 0))
    return {
        "ID": now["id"][:12],
        "Name": now["name"].removeprefix("/"),
        "CPUPerc": f"{share:.2f}%",
        "MemUsage": render_size(max(0, memory.get("usage", 0) - cache)),
        "MemLimit": render_size(memory.get("limit", 0)),
        "PIDs": str((now.get("pids_stats") or {}).get("current", 0)),
    }


def events(args: Args) -> int:
    """Show what happens, as it happens."""
    from datetime import UTC, datetime

    client = Client()
    wanted = answers.filters(args["filter"])
    for one in client.events(since=args["since"] or "", until=args["until"] or "", filters=wanted):
        if args["format"] == "json":
            out(as_line(one))
        elif args["format"] != "table":
            answers.listing(args["format"], [one], (), lambda _: ())
        else:
            stamp = datetime.fromtimestamp(one["time"], UTC).isoformat().replace("+00:00", "Z")
            said = ", ".join(f"{name}={value}" for name, value in one["Actor"]["Attributes"].items())
            out(answers.printable_line(f"{stamp} {one['Type']} {one['Action']} {one['Actor']['ID']} ({said})"))
        _flush()
    return 0


def _flush() -> None:
    import sys

    sys.stdout.flush()


COMMANDS = {
    "inspect": Command(
        name="inspect",
        summary="show everything that is known of containers and images",
        operands="NAME…",
        least=1,
        most=None,
        completes="container",
        run=inspect,
        options=(
            answers.FORMAT,
            Option("--type", "only that kind", "", "KIND", completes=("container", "image")),
        ),
        examples=(("stockade inspect --format '{{.State.Status}}' web", "one field of it"),),
    ),
    "logs": Command(
        name="logs",
        summary="show what a container printed",
        operands="NAME",
        least=1,
        most=1,
        completes="container",
        run=logs,
        options=(
            Option("--follow", "go on as it prints more", "-f"),
            Option("--tail", "only so many last lines", "-n", "NUMBER", _tail),
            Option("--since", "from then on: RFC 3339, or 10m for ten minutes ago", "", "TIME", logreader.parse_moment),
            Option("--until", "up to then", "", "TIME", logreader.parse_moment),
            Option("--timestamps", "when each line was printed", "-t"),
            Option("--format", "`json`: an object a line", "", "FORMAT", default="text", completes=("text", "json")),
        ),
        examples=(("stockade logs -f --tail 10 web", "the last lines, and what comes"),),
    ),
    "top": Command(
        name="top",
        summary="show a container's processes",
        operands="NAME [PS OPTIONS…]",
        least=1,
        most=None,
        trailing=True,
        completes="container",
        run=top,
        examples=(("stockade top web -o pid,comm", "two columns of ps"),),
    ),
    "stats": Command(
        name="stats",
        summary="show what containers use",
        operands="[NAME…]",
        most=None,
        completes="container",
        run=stats,
        options=(Option("--no-stream", "once"), answers.FORMAT),
        examples=(("stockade stats --no-stream", "once, for every one that runs"),),
    ),
    "diff": Command(
        name="diff",
        summary="show what a container changed in its file system",
        operands="NAME",
        least=1,
        most=1,
        completes="container",
        run=diff,
        options=(answers.FORMAT,),
        about="C is changed, A added, D deleted.",
        examples=(("stockade diff web", "what it changed"),),
    ),
    "events": Command(
        name="events",
        summary="show what happens, as it happens",
        operands="",
        run=events,
        options=(
            Option("--since", "from then on", "", "TIME"),
            Option("--until", "up to then, and end", "", "TIME"),
            FILTER,
            answers.FORMAT,
        ),
        examples=(("stockade events --filter event=die --format json", "every end, for a program"),),
    ),
}
