"""Registries: images fetched and sent, who the caller is there, what they offer."""

from __future__ import annotations

import os
import sys

from stockade.cli import answers
from stockade.cli.options import positive
from stockade.cli.screen import as_line, note, out, printable
from stockade.cli.table import Args, Command, Option
from stockade.errors import BadValue, NotFound
from stockade.sdk import credentials
from stockade.sdk.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_HUB = credentials.HUB
_WIDTH = 80


def pull(args: Args) -> int:
    """Fetch an image."""
    reference = args.rest[0]
    lines = Client().pull(reference, platform=args["platform"] or "", all_tags=args["all-tags"])
    _tell(lines, args)
    if args["quiet"]:
        out(reference)
    return 0


def push(args: Args) -> int:
    """Send an image."""
    _tell(Client().push(args.rest[0], all_tags=args["all-tags"], platform=args["platform"] or ""), args)
    if args["quiet"]:
        out(args.rest[0])
    return 0


def bring(client: Client, reference: str, *, anew: bool, platform: str = "", quiet: bool = False) -> None:
    """Have an image here, for a container that is to be made; how it comes is told on standard error.

    Args:
        anew: ask for it also where it is here.
        platform: as `linux/arm64`; empty: this machine's.
        quiet: tell nothing.

    Raises:
        NotFound: no registry has it.
    """
    if not anew and not platform:
        try:
            client.image(reference)
            return
        except NotFound:
            if reference.startswith("sha256:"):
                raise
            if not quiet:
                note(f"stockade: {reference} is not here: it is pulled")
    screen = Screen()
    try:
        for said in client.pull(reference, platform=platform):
            if not quiet:
                screen.show(said)
    finally:
        screen.close()


def _tell(lines: Iterator[dict[str, Any]], args: Args) -> None:
    """Show progress as it was wished: bars, lines, JSON or nothing."""
    screen = None if args["quiet"] or args["format"] == "json" else Screen(sys.stdout)
    try:
        for said in lines:
            if args["format"] == "json":
                out(as_line(said))
                sys.stdout.flush()
            elif screen is not None:
                screen.show(said)
    finally:
        if screen is not None:
            screen.close()


class Screen:
    """Progress on a terminal: a line a layer, which changes in place. Elsewhere: each new state of a layer once."""

    def __init__(self, stream: Any = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._in_place = self._stream.isatty()
        self._lines: dict[str, int] = {}
        self._states: dict[str, str] = {}

    def show(self, said: dict[str, Any]) -> None:
        """One thing that the daemon said."""
        status = printable(str(said.get("status") or said.get("stream") or "").rstrip("\n"))
        name = printable(str(said.get("id") or ""))
        if not status:
            return
        if not name:
            self.close()
            self._write(f"{status}\n")
        elif self._in_place:
            self._replace(name, f"{name}: {status} {printable(str(said.get('progress') or ''))}".rstrip())
        elif self._states.get(name) != status:
            self._states[name] = status
            self._write(f"{name}: {status}\n")

    def close(self) -> None:
        """What stands there stays."""
        self._lines.clear()

    def _replace(self, name: str, text: str) -> None:
        # A terminal may not know how wide it is.
        text = text[: (os.get_terminal_size(self._stream.fileno()).columns or _WIDTH) - 1]
        if name not in self._lines:
            self._lines[name] = len(self._lines)
            self._write(f"{text}\n")
            return
        up = len(self._lines) - self._lines[name]
        self._write(f"\033[{up}A\r\033[K{text}\033[{up}B\r")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def login(args: Args) -> int:
    """Try a name and a password with a registry, and keep them."""
    registry = args.rest[0] if args.rest else _HUB
    username = args["username"] or _asked("Username: ")
    tried = Client().login(registry, username, _password(args))
    place = credentials.store(registry, tried)
    out("Login succeeded")
    if place == credentials.path():
        note(f"stockade: the password is kept in {place} as plain text")
    return 0


def _password(args: Args) -> str:
    if args["password"] is not None and args["password-stdin"]:
        raise BadValue("--password and --password-stdin contradict each other")
    if args["password-stdin"]:
        return sys.stdin.readline().rstrip("\r\n")
    if args["password"] is not None:
        return str(args["password"])
    if not sys.stdin.isatty():
        raise BadValue("there is no terminal to ask for a password", hint="--password-stdin")
    import getpass

    return getpass.getpass("Password: ")


def _asked(question: str) -> str:
    if not sys.stdin.isatty():
        raise BadValue("there is no terminal to ask for a name", hint="--username NAME")
    found = input(question).strip()
    if not found:
        raise BadValue("a name is needed")
    return found


def logout(args: Args) -> int:
    """Forget who the caller is to a registry."""
    registry = args.rest[0] if args.rest else _HUB
    known = credentials.erase(registry)
    out(f"Removed login credentials for {registry}" if known else f"Not logged in to {registry}")
    return 0


def search(args: Args) -> int:
    """Ask a registry what it has."""
    found = [
        {
            "Name": one["name"],
            "Description": one["description"] if args["no-trunc"] else one["description"][:45],
            "StarCount": str(one["star_count"]),
            "IsOfficial": "[OK]" if one["is_official"] else "",
        }
        for one in Client().search(args.rest[0], limit=args["limit"], filters=answers.filters(args["filter"]))
    ]
    titles = ("NAME", "DESCRIPTION", "STARS", "OFFICIAL")
    answers.listing(args["format"], found, titles, lambda one: list(one.values()))
    return 0


_FORMAT = Option("--format", "json: what the daemon says of its progress, an object a line", "", "FORMAT",
                 completes=("json",))  # fmt: skip
_QUIET = Option("--quiet", "no progress", "-q")

COMMANDS = {
    "pull": Command(
        name="pull",
        summary="fetch an image from a registry",
        operands="NAME[:TAG|@DIGEST]",
        least=1,
        most=1,
        completes="image",
        run=pull,
        about="A name without a registry is Docker Hub's. Which hosts serve a registry, and how they are trusted, "
        "stands in /etc/stockade/certs.d, /etc/containerd/certs.d or /etc/docker/certs.d.",
        options=(
            Option("--all-tags", "every tag of the repository", "-a"),
            Option("--platform", "another than this machine's, as linux/arm64", "", "PLATFORM"),
            _QUIET,
            _FORMAT,
        ),
        examples=(("stockade pull registry.example.com/team/app:1.4", "one image"),),
    ),
    "push": Command(
        name="push",
        summary="send an image to the registry of its name",
        operands="NAME[:TAG]",
        least=1,
        most=1,
        completes="image",
        run=push,
        options=(
            Option("--all-tags", "every tag of the repository that is here", "-a"),
            Option("--platform", "the one of an index that is to be sent, as linux/arm64", "", "PLATFORM"),
            _QUIET,
            _FORMAT,
        ),
        examples=(("stockade push registry.example.com/team/app:1.4", "`stockade tag` gave it that name"),),
    ),
    "login": Command(
        name="login",
        summary="tell who you are to a registry",
        operands="[REGISTRY]",
        most=1,
        run=login,
        about="What is accepted is kept as docker login does: in $DOCKER_CONFIG/config.json or ~/.docker/config.json, "
        "or by the credential helper that this file names.",
        options=(
            Option("--username", "who you are", "-u", "NAME"),
            Option("--password", "others may see it: better --password-stdin", "-p", "PASSWORD"),
            Option("--password-stdin", "read it from standard input"),
        ),
        examples=(("stockade login -u ann registry.example.com", "it asks for the password"),),
    ),
    "logout": Command(
        name="logout",
        summary="forget who you are to a registry",
        operands="[REGISTRY]",
        most=1,
        run=logout,
        examples=(("stockade logout registry.example.com", "docker login's too"),),
    ),
    "search": Command(
        name="search",
        summary="ask a registry what it has",
        operands="TERM",
        least=1,
        most=1,
        run=search,
        about="A term may begin with a registry's name; few have a search.",
        options=(
            Option("--limit", "how many at most", "", "NUMBER", positive, 25),
            Option("--filter", "stars=3, is-official=true", "-f", "NAME=VALUE", many=True),
            Option("--no-trunc", "whole descriptions"),
            answers.FORMAT,
        ),
        examples=(("stockade search --filter stars=10 debian", "on Docker Hub"),),
    ),
}
