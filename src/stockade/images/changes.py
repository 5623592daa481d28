"""Dockerfile instructions that change an image's configuration, as `commit --change` and `import --change` take them.

The words are those of Docker's reference of the Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL,
ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR. Pure: the configuration's JSON object goes in and comes out.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Sequence
from typing import Any

from stockade.errors import BadValue
from stockade.model import parse_duration

_SHELL = ("/bin/sh", "-c")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_VARIABLE = re.compile(r"\\\$|\$(?:\{([A-Za-z_]\w*)(?::([-+])([^}]*))?\}|([A-Za-z_]\w*))")

Config = dict[str, Any]


def apply(config: Config, lines: Sequence[str]) -> Config:
    """The configuration (`config` of an image's) after these instructions.

    Raises:
        BadValue: with Docker's words.
    """
    found, commanded = dict(config), False
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        verb = word.upper()
        act = _VERBS.get(verb)
        if act is None:
            raise BadValue(f"{verb or repr(line)} is not a valid change command")
        rest = rest.strip()
        if not rest:
            raise BadValue(f"{verb} requires at least one argument")
        act(found, rest)
        commanded = commanded or verb == "CMD"
        if verb == "ENTRYPOINT" and not commanded:
            # What the old entry point was given means nothing to the new one.
            found.pop("Cmd", None)
    return found


def split(text: str) -> list[str]:
    """Words as the Dockerfile has them: quotes keep spaces in, a backslash takes the meaning from what follows."""
    words: list[str] = []
    word, quote, begun = "", "", False
    letters = iter(text)
    for letter in letters:
        if quote:
            if letter == quote:
                quote = ""
            elif letter == "\\" and quote == '"':
                word += next(letters, "")
            else:
                word += letter
        elif letter in "'\"":
            quote, begun = letter, True
        elif letter == "\\":
            word, begun = word + next(letters, ""), True
        elif letter.isspace():
            if begun:
                words.append(word)
            word, begun = "", False
        else:
            word, begun = word + letter, True
    if quote:
        raise BadValue(f"unexpected end of statement while looking for matching {quote}: {text}")
    return [*words, word] if begun else words


def _command(config: Config, rest: str) -> list[str]:
    listed = _json_list(rest)
    return listed if listed is not None else [*(config.get("Shell") or _SHELL), rest]


def _json_list(rest: str) -> list[str] | None:
    if not rest.startswith("["):
        return None
    try:
        found = json.loads(rest)
    except ValueError:
        return None
    return found if isinstance(found, list) and all(isinstance(word, str) for word in found) else None


def _cmd(config: Config, rest: str) -> None:
    config["Cmd"] = _command(config, rest)


def _entrypoint(config: Config, rest: str) -> None:
    config["Entrypoint"] = _command(config, rest)


def _pairs(verb: str, rest: str) -> list[tuple[str, str]]:
    words = split(rest)
    if "=" not in words[0]:
        if len(words) < 2:
            raise BadValue(f"{verb} must have two arguments")
        return [(words[0], rest.split(None, 1)[1])]
    found = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise BadValue(f"Syntax error - can't find = in {word!r}. Must be of the form: name=value")
        if not key:
            raise BadValue(f"{verb} names can not be blank")
        found.append((key, value))
    return found


def _env(config: Config, rest: str) -> None:
    env = list(config.get("Env") or ())
    known = dict(one.partition("=")[::2] for one in env)
    for key, value in _pairs("ENV", _expand(rest, known)):
        line = f"{key}={value}"
        at = next((number for number, one in enumerate(env) if one.partition("=")[0] == key), None)
        if at is None:
            env.append(line)
        else:
            env[at] = line
    config["Env"] = env


def _label(config: Config, rest: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **dict(_pairs("LABEL", rest))}


def _expose(config: Config, rest: str) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for word in split(rest):
        found = _PORT.fullmatch(word)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if found is None or not 0 < first <= last < 65536:
            raise BadValue(f"invalid containerPort: {word}")
        ports |= {f"{port}/{(found[3] or 'tcp').lower()}": {} for port in range(first, last + 1)}
    config["ExposedPorts"] = ports


def _user(config: Config, rest: str) -> None:
    if len(rest.split()) != 1:
        raise BadValue("USER requires exactly one argument")
    config["User"] = rest


def _volume(config: Config, rest: str) -> None:
    words = _json_list(rest) or split(rest)
    if not all(word.strip() for word in words):
        raise BadValue("VOLUME specified can not be an empty string")
    config["Volumes"] = {**(config.get("Volumes") or {}), **{word: {} for word in words}}


def _workdir(config: Config, rest: str) -> None:
    config["WorkingDir"] = posixpath.normpath(posixpath.join("/", config.get("WorkingDir") or "/", rest))


def _stop_signal(config: Config, rest: str) -> None:
    if len(rest.split()) != 1:
        raise BadValue("STOPSIGNAL requires exactly one argument")
    config["StopSignal"] = rest


def _on_build(config: Config, rest: str) -> None:
    trigger = rest.split(maxsplit=1)[0].upper()
    if trigger == "ONBUILD":
        raise BadValue("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("MAINTAINER", "FROM"):
        raise BadValue(f"{trigger} isn't allowed as an ONBUILD trigger")
    config["OnBuild"] = [*(config.get("OnBuild") or ()), rest]


def _shell(config: Config, rest: str) -> None:
    listed = _json_list(rest)
    if not listed:
        raise BadValue("SHELL requires the arguments to be in JSON form")
    config["Shell"] = listed


_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}


def _health(config: Config, rest: str) -> None:
    check: dict[str, Any] = {}
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        key, _, value = flag[2:].partition("=")
        rest = rest.strip()
        if key in _TIMES:
            check[_TIMES[key]] = round(parse_duration(value) * 1e9)
        elif key == "retries" and value.isdigit():
            check["Retries"] = int(value)
        else:
            raise BadValue(f"unknown flag: --{key}")
    kind, _, line = rest.partition(" ")
    if kind.upper() == "NONE":
        if line.strip() or check:
            raise BadValue("HEALTHCHECK NONE takes no arguments")
        config["Healthcheck"] = {"Test": ["NONE"]}
    elif kind.upper() == "CMD" and line.strip():
        listed = _json_list(line.strip())
        test = ["CMD-SHELL", line.strip()] if listed is None else ["CMD", *listed]
        config["Healthcheck"] = {"Test": test, **check}
    else:
        raise BadValue(f"unknown type {kind!r} in HEALTHCHECK (try CMD)")


def _expand(text: str, known: dict[str, str]) -> str:
    """Variables that stand in the environment already."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "\\$":
            return "\\$"
        name = found[1] or found[4]
        if found[2] == "-":
            return known.get(name) or found[3]
        if found[2] == "+":
            return found[3] if known.get(name) else ""
        return known.get(name, "")

    return _VARIABLE.sub(value, text)


_VERBS: dict[str, Callable[[Config, str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _health,
    "LABEL": _label,
    "ONBUILD": _on_build,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
