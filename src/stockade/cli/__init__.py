"""The command `stockade`: one file per command group, each a table of its options and a function.

Law: knows only sdk, and for `do` embedded; decides nothing that these do not decide; prints; turns conditions into exit
codes. Only the group that is asked for is imported. No traceback is ever shown without --debug.
"""

from __future__ import annotations

import os
import sys

from stockade.errors import BadValue, StockadeError, exit_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from stockade.cli.table import Command

# Command → the module it lies in.
COMMANDS = {
    "do": "do",
    "run": "run",
    "create": "run",
    "ps": "containers",
    "start": "containers",
    "stop": "containers",
    "restart": "containers",
    "exec": "exec",
    "attach": "exec",
    "logs": "looking",
    "kill": "containers",
    "rm": "containers",
    "wait": "containers",
    "pause": "containers",
    "unpause": "containers",
    "rename": "containers",
    "update": "containers",
    "inspect": "looking",
    "top": "looking",
    "stats": "looking",
    "diff": "looking",
    "events": "looking",
    "pull": "registries",
    "push": "registries",
    "login": "registries",
    "logout": "registries",
    "search": "registries",
    "cp": "images",
    "commit": "images",
    "export": "images",
    "images": "images",
    "load": "images",
    "save": "images",
    "import": "images",
    "tag": "images",
    "history": "images",
    "rmi": "images",
    "network create": "networks",
    "network ls": "networks",
    "network inspect": "networks",
    "network connect": "networks",
    "network disconnect": "networks",
    "network prune": "networks",
    "network rm": "networks",
    "port": "networks",
    "volume create": "volumes",
    "volume ls": "volumes",
    "volume inspect": "volumes",
    "volume rm": "volumes",
    "volume prune": "volumes",
    "info": "engine",
    "daemon": "engine",
    "system check": "system",
    "system df": "engine",
    "system prune": "engine",
    "system walls": "engine",
    "system repair": "engine",
    "system uninstall": "engine",
    "version": "system",
    "completion": "completion",
}
INTERRUPTED = 130
BROKEN_PIPE = 141
OWN_FAILURE = 125


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    debug = bool(words) and words[0] == "--debug"
    try:
        return _dispatch(words[1:] if debug else words)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left; there is nobody to tell.
        _silence()
        return BROKEN_PIPE
    except StockadeError as error:
        if debug:
            raise
        complain(error.message, error.hint)
        return exit_code(error)
    except Exception as error:
        if debug:
            raise
        words_shown = " ".join(words)
        complain(f"an unexpected {type(error).__name__}: {error}", f"`stockade --debug {words_shown}` shows where")
        return OWN_FAILURE


def leave(code: int) -> NoReturn:
    """End the process: all is done, and what the interpreter takes apart at its own end takes it milliseconds."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = BROKEN_PIPE
    os._exit(code)


def load(name: str) -> Command:
    """The table of one command."""
    from importlib import import_module

    found: dict[str, Command] = import_module(f"stockade.cli.{COMMANDS[name]}").COMMANDS
    return found[name]


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        from stockade.cli.help import overview

        print(overview())
        return 0
    if words[0] in ("-V", "--version"):
        words = ["version", *words[1:]]
    for length in (1, 2):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return _run(load(name), words[length:])
    raise _unknown(words)


def _run(command: Command, words: list[str]) -> int:
    if _asks_help(command, words):
        from stockade.cli.help import page

        print(page(command))
        return 0
    status = command.run(command.parse(words))
    sys.stdout.flush()
    return status


def _asks_help(command: Command, words: list[str]) -> bool:
    """Whether --help stands among our own words, not among those of the command that is to be run.

    So does -h, where it is nothing else: with run and create it is the host name, as with Docker.
    """
    asking = {"--help"} if command.has("-h") else {"-h", "--help"}
    return not asking.isdisjoint(command.own_words(words))


def _unknown(words: list[str]) -> BadValue:
    from difflib import get_close_matches

    members = [name for name in COMMANDS if name.startswith(f"{words[0]} ")]
    if members:
        said = " ".join(words[:2])
        return BadValue(
            f"{said!r} is not a command", hint=f"there is: {', '.join(f'stockade {one}' for one in members)}"
        )
    near = get_close_matches(words[0], [part for name in COMMANDS for part in (name, name.split()[0])], n=1)
    return BadValue(
        f"{words[0]!r} is not a command",
        hint=f"did you mean `stockade {near[0]}`?" if near else "`stockade --help` lists them",
    )


def complain(message: str, hint: str) -> None:
    """Say on standard error what went wrong."""
    try:
        sys.stdout.flush()
        print(f"stockade: {message}" + (f"\n\nhint: {hint}" if hint else ""), file=sys.stderr)
    except BrokenPipeError:
        _silence()


def _silence() -> None:
    """Keep the last flush from complaining about a closed pipe."""
    nothing = os.open("/dev/null", os.O_WRONLY)
    os.dup2(nothing, 1)
