"""`exec` and `attach`: from a terminal into a container that runs."""

from __future__ import annotations

import os

from stockade.cli import foreground, front
from stockade.cli.run import subject
from stockade.cli.screen import out
from stockade.cli.table import Args, Command, Option
from stockade.embedded import environment
from stockade.errors import BadValue, Conflict
from stockade.runtime.attach import Attachment, Streams
from stockade.sdk.client import Client

_KEYS = Option("--detach-keys", "keys that leave it to itself (ctrl-p,ctrl-q)", "", "KEYS")


def execute(args: Args) -> int:
    """Run a program beside the container's own; its exit status is ours."""
    if args["tty"] and not args["detach"] and not os.isatty(0):
        raise BadValue("--tty needs a terminal as standard input", hint="leave --tty away")
    try:
        with foreground.Signals() as signals:
            return _execute(args, signals)
    except foreground.Interrupted as interrupted:
        return 128 + interrupted.number


def _execute(args: Args, signals: foreground.Signals) -> int:
    client, terminal = Client(), args["tty"]
    container = client.container(args.rest[0])
    identity = container.exec_create(
        args.rest[1:],
        env=environment.given(args["env"], os.environ),
        workdir=args["workdir"] or "",
        user=args["user"] or "",
        tty=terminal,
        stdin=args["interactive"],
        attached=not args["detach"],
        privileged=args["privileged"],
    )
    target = f"/exec/{identity}"
    if args["detach"]:
        client.call("POST", f"{target}/start", {"Detach": True, "Tty": terminal})
        return 0
    foreground.flush()
    prepared = client.call("POST", f"/stockade/v1{target}/prepare")
    streams = Streams(0 if args["interactive"] else None, 1, None if terminal else 2)
    keys = args["detach-keys"] or ""
    attachment = Attachment(prepared["AttachSocket"], container.id, streams, identity, keys)

    def pid() -> int:
        return int(client.call("GET", f"{target}/json")["Pid"])

    def kill(signal: str) -> None:
        client.call("POST", f"/stockade/v1{target}/kill?signal={signal}")

    def resize(rows: int, columns: int) -> None:
        client.call("POST", f"{target}/resize?h={rows}&w={columns}")

    with foreground.raw_terminal(terminal), signals.kept():
        size = list(foreground.window_size()) if terminal else None
        client.call("POST", f"{target}/start", {"Detach": True, "Tty": terminal, "ConsoleSize": size})
        outcome = front.watch(front.Subject(kill, resize, pid), attachment, signals, terminal)
    if outcome.detached:
        return 0
    if outcome.status is None:
        return int(client.call("GET", f"{target}/json")["ExitCode"] or 0)
    return outcome.status


def attach(args: Args) -> int:
    """Take a running container to the foreground."""
    client = Client()
    container = client.container(args.rest[0])
    if container.status != "running":
        raise Conflict(f"container {container.name} is not running, it is {container.status}")
    config = container.attributes["Config"]
    terminal = bool(config["Tty"]) and os.isatty(0)
    own = client.call("GET", f"/stockade/v1/containers/{container.id}")
    stdin = 0 if config["OpenStdin"] and not args["no-stdin"] else None
    with foreground.Signals() as signals:
        foreground.flush()
        streams = Streams(stdin, 1, None if config["Tty"] else 2)
        attachment = Attachment(own["AttachSocket"], container.id, streams, detach_keys=args["detach-keys"] or "")
        with foreground.raw_terminal(terminal and stdin is not None), signals.kept():
            one = subject(client, container)
            if terminal:
                one.resize(*foreground.window_size())
            outcome = front.watch(one, attachment, signals, terminal)
    if outcome.detached:
        out("")
        return 0
    return container.wait().status if outcome.status is None else outcome.status


COMMANDS = {
    "exec": Command(
        name="exec",
        summary="run one more program in a running container",
        operands="NAME CMD…",
        least=2,
        most=None,
        trailing=True,
        completes="container",
        run=execute,
        options=(
            Option("--interactive", "pass standard input on", "-i"),
            Option("--tty", "give it a terminal", "-t"),
            Option("--detach", "leave it in the background", "-d"),
            Option("--env", "set a variable; NAME alone passes yours on", "-e", "NAME=VALUE", many=True),
            Option("--workdir", "where it starts, inside", "-w", "DIR"),
            Option("--user", "who it is inside, by name or number", "-u", "USER[:GROUP]"),
            Option("--privileged", "with every capability"),
            _KEYS,
        ),
        examples=(
            ("stockade exec -it web sh", "a shell in it"),
            ("stockade exec -u nobody web id", "as another user"),
        ),
    ),
    "attach": Command(
        name="attach",
        summary="take a running container to the foreground",
        operands="NAME",
        least=1,
        most=1,
        completes="container",
        run=attach,
        options=(Option("--no-stdin", "only look"), _KEYS),
        examples=(("stockade attach web", "ctrl-p, ctrl-q leave it to itself"),),
    ),
}
