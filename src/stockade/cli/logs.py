"""`logs`: what a container printed."""

from __future__ import annotations

import sys

from stockade.cli.options import positive
from stockade.cli.screen import as_line
from stockade.cli.table import Args, Command, Option
from stockade.embedded.session import LOG
from stockade.errors import NotFound
from stockade.sdk import containers, logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from stockade.sdk.logs import Entry


def main(args: Args) -> int:
    """Print a container's log; what it wrote to standard error goes there."""
    found = containers.find(args.rest[0])
    path = f"{found.directory}/{LOG}"
    if found.record.kind != "run":
        raise NotFound(f"container {found.record.name} keeps no log: its output went to whoever started it")
    kept = list(logs.history(path)) if args["tail"] or not args["follow"] else []
    if args["follow"]:
        entries = logs.follow(path, lambda: not containers.look(found.directory, found.record).alive)
    else:
        entries = iter(kept)
    for entry in _chosen(entries, kept, args):
        _write(entry, args)
    return 0


def _chosen(entries: Iterator[Entry], kept: list[Entry], args: Args) -> Iterator[Entry]:
    """The last lines, or those since a moment."""
    since = args["since"] or ""
    skip = max(0, len(kept) - args["tail"]) if args["tail"] else 0
    for number, entry in enumerate(entries):
        if number >= skip and entry.time[:26] >= since:
            yield entry


def _write(entry: Entry, args: Args) -> None:
    stream = sys.stderr.buffer if entry.stream == "stderr" else sys.stdout.buffer
    if args["format"] == "json":
        sys.stdout.write(as_line(entry._asdict()) + "\n")
        sys.stdout.flush()
        return
    stamp = f"{entry.time} " if args["timestamps"] else ""
    stream.write((stamp + entry.text).encode("utf-8", "surrogateescape"))
    stream.flush()


COMMANDS = {
    "logs": Command(
        name="logs",
        summary="show what a container printed",
        operands="NAME",
        least=1,
        most=1,
        completes="container",
        run=main,
        options=(
            Option("--follow", "go on until it ends", "-f"),
            Option("--tail", "only the last lines", "-n", "NUMBER", positive),
            Option("--since", "only what came after a moment, or the last so long", "", "WHEN", logs.parse_since),
            Option("--timestamps", "with the time of each line", "-t"),
            Option(
                "--format",
                "`json`: an object a line",
                metavar="FORMAT",
                default="text",
                completes=("text", "json"),
            ),
        ),
        examples=(
            ("stockade logs -f --tail 20 job", "the last lines, and what comes"),
            ("stockade logs --since 10m -t job", "what it printed in the last ten minutes"),
        ),
    )
}
