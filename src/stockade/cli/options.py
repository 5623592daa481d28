"""Options that several commands share."""

from __future__ import annotations

from stockade.cli.table import Args, Option
from stockade.errors import BadValue
from stockade.model import Limits, parse_cpus, parse_duration, parse_size

FORMAT = Option("--format", "`json` for programs", metavar="FORMAT", default="table", completes=("table", "json"))


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise BadValue(f"{text!r} is not a whole number of at least 1")
    return int(text)


LIMITS = (
    Option("--memory", "memory it may use, as 256m", "-m", "SIZE", parse_size, heading="Limits"),
    Option("--memory-swap", "memory and swap together (default: no swap)", "", "SIZE", parse_size, heading="Limits"),
    Option("--cpus", "processors' worth of time, as 1.5", "", "NUMBER", parse_cpus, heading="Limits"),
    Option("--cpu-shares", "weight against others (usual: 1024)", "-c", "NUMBER", positive, heading="Limits"),
    Option("--cpuset-cpus", "processors it may run on, as 0-3,7", "", "LIST", heading="Limits"),
    Option("--pids-limit", "processes and threads at most", "", "NUMBER", positive, heading="Limits"),
    Option(
        "--time-limit",
        "kill everything inside after this long, as 30s",
        "",
        "DURATION",
        parse_duration,
        heading="Limits",
    ),
)


def limits_from(args: Args, default: Limits = Limits()) -> Limits:  # noqa: B008 (immutable)
    """The limits that `LIMITS` asked for, over a default."""
    given = {
        "memory": args["memory"],
        "memory_swap": args["memory-swap"],
        "cpus": args["cpus"],
        "cpu_shares": args["cpu-shares"],
        "cpuset": args["cpuset-cpus"],
        "pids": args["pids-limit"],
        "time": args["time-limit"],
    }
    return default._replace(**{name: value for name, value in given.items() if value is not None})
