"""`logs`: what a container printed."""

from __future__ import annotations

from stockade.cli.options import positive
from stockade.cli.table import Args, Command, Option
from stockade.embedded.session import LOG
from stockade.errors import NotFound
from stockade.sdk import containers, logs


def main(args: Args) -> int:
    """Print a container's log; what it wrote to standard error goes there."""
    found = containers.find(args.rest[0])
    if found.record.kind != "run":
        raise NotFound(f"container {found.record.name} keeps no log: its output went to whoever started it")
    view = logs.View(
        until_exit=found.bundle if args["follow"] and found.alive else "",
        tail=args["tail"],
        since=args["since"] or "",
        timestamps=args["timestamps"],
        json=args["format"] == "json",
    )
    logs.show(f"{found.directory}/{LOG}", view)


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
