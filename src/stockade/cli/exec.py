"""`exec`: one more program in a container that runs."""

from __future__ import annotations

import os
from typing import cast

from stockade.cli import foreground
from stockade.cli.table import Args, Command, Option
from stockade.embedded import environment
from stockade.errors import BadValue, Conflict, StockadeError
from stockade.model import Capabilities, Process, Reason
from stockade.runtime import shim
from stockade.runtime.attach import Attachment, Streams
from stockade.runtime.blocking import Channel, Pending, run
from stockade.runtime.task import NO_STDIO
from stockade.sdk import accounts, containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from stockade.model import Exit
    from stockade.runtime.task import Task
    from stockade.sdk.containers import Found


def main(args: Args) -> int:
    """Run a program beside the container's own; its exit status is ours."""
    found = containers.find(args.rest[0])
    if not found.alive:
        raise Conflict(f"container {found.record.name} is not running, it is {found.status}")
    if args["tty"] and not os.isatty(0):
        raise BadValue("--tty needs a terminal as standard input", hint="leave --tty away")
    identity = f"x{os.urandom(6).hex()}"
    with foreground.Signals() as signals, containers.connect(found) as task:
        try:
            run(task.exec(identity, _process(args, found), NO_STDIO._replace(terminal=args["tty"])))
            end = _see_through(task, identity, args, signals)
        except foreground.Interrupted as interrupted:
            return 128 + interrupted.number
        finally:
            _tidy(task, identity)
    return end.status


def _see_through(task: Task, identity: str, args: Args, signals: foreground.Signals) -> Exit:
    terminal = args["tty"]
    foreground.flush()
    streams = Streams(0 if args["interactive"] or terminal else None, 1, None if terminal else 2)
    attachment = Attachment(shim.attach_address(task.bundle), task.id, streams, identity)
    with foreground.raw_terminal(terminal), signals.kept():
        wait = run(task.begin_wait(identity))
        pid = run(task.start(identity))
        front = foreground.Foreground(task, cast(Pending, wait), attachment, signals, pid)
        front.exec_id = identity
        front.wait(terminal)
        end = run(task.end(wait, identity, foreground.DRAIN))
    if front.killed_by and end.reason is Reason.SIGNALED:
        return end._replace(status=128 + front.killed_by)
    return end


def _tidy(task: Task, identity: str) -> None:
    """Take the record away; a program that still runs (we were interrupted) is ended first."""
    assert isinstance(task.channel, Channel)
    for act in (lambda: task.kill(9, identity), lambda: task.delete(identity)):
        try:
            run(act())
        except StockadeError:
            # It has ended, or was never added.
            continue
    try:
        os.unlink(f"{task.bundle}/exit-{identity}.json")
    except FileNotFoundError:
        return


def _process(args: Args, found: Found) -> Process:
    """The container's own process, but for what the options say."""
    own = containers.process_of(found)
    user: dict[str, Any] = own["user"]
    env = dict(word.split("=", 1) for word in own.get("env", []) if "=" in word)
    account = accounts.Account(user["uid"], user["gid"], tuple(user.get("additionalGids", ())))
    if args["user"]:
        account = accounts.resolve(args["user"], _rootfs(found))
        env["HOME"] = account.home
    if args["tty"]:
        env["TERM"] = os.environ.get("TERM", "xterm")
    env |= environment.given(args["env"], os.environ)
    return Process(
        args=tuple(args.rest[1:]),
        env=tuple(f"{name}={value}" for name, value in env.items()),
        cwd=args["workdir"] or own["cwd"],
        uid=account.uid,
        gid=account.gid,
        groups=account.groups,
        terminal=args["tty"],
        size=foreground.window_size() if args["tty"] else None,
        capabilities=Capabilities(tuple(own.get("capabilities", {}).get("bounding", ()))),
        no_new_privileges=bool(own.get("noNewPrivileges")),
    )


def _rootfs(found: Found) -> str:
    """The root directory as the container sees it now, for looking up names."""
    return f"/proc/{found.pid}/root"


COMMANDS = {
    "exec": Command(
        name="exec",
        summary="run one more program in a running container",
        operands="NAME CMD…",
        least=2,
        most=None,
        trailing=True,
        completes="container",
        run=main,
        options=(
            Option("--interactive", "pass standard input on", "-i"),
            Option("--tty", "give it a terminal", "-t"),
            Option("--env", "set a variable; NAME alone passes yours on", "-e", "NAME=VALUE", many=True),
            Option("--workdir", "where it starts, inside", "-w", "DIR"),
            Option("--user", "who it is inside, by name or number", "-u", "USER[:GROUP]"),
        ),
        examples=(
            ("stockade exec -it web sh", "a shell in it"),
            ("stockade exec -u nobody web id", "as another user"),
        ),
    )
}
