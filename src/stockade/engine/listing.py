"""What `ps` of the host says of a container's processes: its arguments and its table, by Docker's rules. Pure."""

from __future__ import annotations

import re

from stockade.errors import BadValue, RuntimeFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

USUAL = "-ef"
# A column of pids under another's name would have us mistake the lines (moby: validatePSArgs).
_RENAMED = re.compile(r"\s+(\S*)=\s*(PID\S*)", re.ASCII)
_SPACE = re.compile(r"[\t\n\f\r ]+")
_MOST_PIDS = 4096


def words(text: str, pids: Sequence[int]) -> tuple[list[str], list[str]]:
    """The arguments of ps for these processes, and those to try where it does not take both.

    Raises:
        BadValue: in Docker's words.
    """
    text = text or USUAL
    for name, title in _RENAMED.findall(text):
        if name != "pid":
            raise BadValue(f'specifying "{name}={title}" is not allowed')
    given = text.split(" ")
    return [*given, "-q" + ",".join(str(pid) for pid in pids[:_MOST_PIDS])], given


def parse(text: str, pids: Sequence[int]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Titles and lines of the processes with these pids, threads beneath them included.

    Raises:
        RuntimeFailed: there is no column PID.
    """
    lines = text.split("\n")
    titles = _fields(lines[0])
    if "PID" not in titles:
        raise RuntimeFailed("Couldn't find PID field in ps output")
    at, wanted, found, inside = titles.index("PID"), {str(pid) for pid in pids}, [], False
    for line in lines[1:]:
        fields = _fields(line)
        if len(fields) <= at:
            continue
        if fields[at] != "-":
            inside = fields[at] in wanted
        if inside:
            last = len(titles) - 1
            found.append((*fields[:last], " ".join(fields[last:])))
    return tuple(titles), tuple(found)


def _fields(line: str) -> list[str]:
    return [word for word in _SPACE.split(line) if word]
