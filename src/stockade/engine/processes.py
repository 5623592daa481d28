"""What process an exec or a probe is: the container's own, as its bundle says, with what was asked of it. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from stockade.errors import CommandNotExecutable, CommandNotFound, RuntimeFailed, StockadeError
from stockade.runtime.spec import ALL_CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from stockade.engine.requests import ExecConfig
    from stockade.engine.users import Identity


class _Config(msgspec.Struct):
    """What is read of a config.json; the rest, most of which is the filter's, is passed over."""

    process: dict[str, Any]


def of_bundle(directory: str) -> dict[str, Any]:
    """The `process` object of a container's config.json."""
    with open(f"{directory}/config.json", "rb") as file:
        return msgspec.json.decode(file.read(), type=_Config).process


def added(own: dict[str, Any], config: ExecConfig, who: Identity | None, size: tuple[int, int]) -> dict[str, Any]:
    """The `process` object of an added process (config.md, "Process").

    Args:
        own: the container's.
        who: None: the container's user.
        size: rows and columns of its terminal; zero: whatever.
    """
    found = {
        **own,
        "args": list(config.command),
        "terminal": config.tty,
        "cwd": config.workdir or own.get("cwd") or "/",
    }
    found.pop("consoleSize", None)
    if config.tty and all(size):
        found["consoleSize"] = {"height": size[0], "width": size[1]}
    if who is not None:
        found["user"] = {
            **own.get("user", {}), "uid": who.uid, "gid": who.gid, "additionalGids": list(who.groups)
        }  # fmt: skip
    found["env"] = environment(own.get("env", ()), config.env, config.tty, own.get("terminal", False), who)
    found["capabilities"] = capabilities(own.get("capabilities") or {}, found["user"].get("uid", 0), config.privileged)
    return found


def environment(
    own: Sequence[str], given: Sequence[str], tty: bool, own_tty: bool, who: Identity | None = None
) -> list[str]:
    """The container's variables, then the given ones over them; one without `=` is taken away, as docker does.

    TERM is there with a terminal, HOME is that of whoever it runs as.
    """
    variables = dict(one.partition("=")[::2] for one in own)
    if own_tty and not tty and variables.get("TERM") == "xterm":
        del variables["TERM"]
    if tty:
        variables.setdefault("TERM", "xterm")
    if who is not None:
        variables["HOME"] = who.home
    for one in given:
        name, equals, value = one.partition("=")
        if equals:
            variables[name] = value
        else:
            variables.pop(name, None)
    return [f"{name}={value}" for name, value in variables.items()]


def capabilities(own: dict[str, Any], uid: int, privileged: bool) -> dict[str, list[str]]:
    """What it may do: as the container; root holds all of it, another user starts with the ambient ones."""
    bounding = list(ALL_CAPABILITIES) if privileged else list(own.get("bounding") or ())
    ambient = [] if privileged else list(own.get("ambient") or ())
    held = bounding if uid == 0 or privileged else ambient
    return {
        "bounding": bounding,
        "permitted": held,
        "effective": held,
        "inheritable": ambient,
        "ambient": ambient,
    }


def failure(command: Sequence[str], error: StockadeError) -> StockadeError:
    """Why an exec did not start, in the words that Docker's clients look for."""
    name = command[0] if command else ""
    begin = "OCI runtime exec failed: exec failed: unable to start container process:"
    if isinstance(error, CommandNotFound):
        reason = f"stat {name}: no such file or directory" if "/" in name else "executable file not found in $PATH"
        return CommandNotFound(f'{begin} exec: "{name}": {reason}')
    if isinstance(error, CommandNotExecutable):
        reason = "is a directory" if "directory" in error.message.lower() else "permission denied"
        return CommandNotExecutable(f'{begin} exec: "{name}": {reason}')
    return RuntimeFailed(f"{begin} {error.message}", hint=error.hint)
