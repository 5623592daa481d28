"""Help texts, read from the commands' tables."""

from __future__ import annotations

import shutil
import textwrap

from stockade import __version__
from stockade.cli import COMMANDS, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.cli.table import Command, Option

_START = """\
Start here:
  stockade do -- ./configure        run a command on a view of this machine; keep, apply or discard its changes
  stockade run --rm ./rootfs sh     run a program in a root file system: a directory or a tar archive
  stockade system check             what this machine offers, what is missing, how to get it"""


def overview() -> str:
    """`stockade --help`."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{load(name).summary}" for name in COMMANDS]
    return "\n".join(
        [
            f"stockade {__version__}: run code you do not trust, behind a wall you choose.",
            "",
            "Usage: stockade [--debug] COMMAND …",
            "",
            *lines,
            "",
            _START,
            "",
            "Exit codes: the program's own; 125 Stockade failed, 126 it cannot be executed, 127 it was not found,",
            "128+n signal n ended it.",
        ]
    )


def page(command: Command) -> str:
    """`stockade COMMAND --help`."""
    options = " [OPTIONS]" if command.options else ""
    usage = f"stockade {command.name}{options} {command.operands}".rstrip()
    parts = [f"Usage: {usage}", "", command.summary[:1].upper() + command.summary[1:] + "."]
    if command.about:
        parts += ["", *textwrap.wrap(command.about, _width())]
    if command.examples:
        parts += ["", "Examples:"]
        for line, meaning in command.examples:
            parts += [f"  # {meaning}", f"  {line}"]
    headings = dict.fromkeys(option.heading for option in command.options)
    for heading in headings:
        parts += ["", f"{heading or 'Options'}:"]
        parts += [line for option in command.options if option.heading == heading for line in _option(option)]
    return "\n".join(parts)


def _option(option: Option) -> list[str]:
    left = f"  {option.short + ', ' if option.short else '    '}{option.name}"
    left += f" {option.metavar}" if option.metavar else ""
    wrapped = textwrap.wrap(option.help + (" (may be repeated)" if option.many else ""), max(30, _width() - 32))
    if len(left) > 30:
        return [left, *(f"{'':32}{line}" for line in wrapped)]
    return [f"{left:32}{wrapped[0]}", *(f"{'':32}{line}" for line in wrapped[1:])]


def _width() -> int:
    return min(shutil.get_terminal_size((100, 24)).columns, 110)
