"""`run`: a program in a root file system of its own."""

from __future__ import annotations

import os
from typing import cast

from stockade.cli import foreground
from stockade.cli.options import LIMITS, limits_from
from stockade.cli.screen import out
from stockade.cli.table import Args, Command, Option
from stockade.embedded import delegation, environment, policy, rootfs
from stockade.embedded.session import Request, Session
from stockade.embedded.view import Bind
from stockade.errors import BadValue, Unsupported
from stockade.host import paths
from stockade.model import Capabilities, Exit, Limits, Process, Reason, check_name
from stockade.runtime import shim, spec
from stockade.runtime.blocking import Pending, World, run
from stockade.sdk import accounts

_PIDS = 4096


def main(args: Args) -> int:
    """Run a program, and see it through or leave it to itself."""
    if args["detach"]:
        if args["rm"]:
            raise Unsupported(
                "--detach with --rm is not served without a daemon", hint="`stockade rm NAME` when it has ended"
            )
        if args["interactive"] or args["tty"]:
            raise Unsupported("--detach with --interactive or --tty is not served yet", hint="leave them away")
    if args["tty"] and not os.isatty(0):
        raise BadValue("--tty needs a terminal as standard input", hint="leave --tty away")
    with foreground.Signals() as signals:
        try:
            return _run(args, signals)
        except foreground.Interrupted as interrupted:
            return 128 + interrupted.number


def _run(args: Args, signals: foreground.Signals) -> int:
    where = paths.find(os.environ)
    request = _request(args, where)
    session = run(Session.open(World(), where, request))
    ours = True
    try:
        if args["detach"]:
            run(session.start())
            name = session.claim.record.name
            session.release()
            ours = False
            out(name)
            return 0
        end = _see_through(session, args, signals)
        run(session.finish())
        if not args["rm"]:
            session.release()
            ours = False
        return end.status
    finally:
        if ours:
            run(session.close())


def _see_through(session: Session, args: Args, signals: foreground.Signals) -> Exit:
    terminal = args["tty"]
    foreground.flush()
    stdin = 0 if args["interactive"] or terminal else None
    attachment = run(session.attach(stdin, 1, None if terminal else 2))
    with foreground.raw_terminal(terminal), signals.kept():
        pid = run(session.start())
        front = foreground.Foreground(session.task, cast(Pending, session.pending), attachment, signals, pid)
        front.wait(terminal)
        end = run(session.wait(foreground.DRAIN))
    if front.killed_by and end.reason is Reason.SIGNALED:
        return end._replace(status=128 + front.killed_by)
    return end


def _request(args: Args, where: paths.Paths) -> Request:
    source, *words = args.rest
    directory = rootfs.find(where, shim.program("stockade-layer"), source)
    limits = delegation.held(where, limits_from(args), Limits(pids=_PIDS))
    account = accounts.resolve(args["user"], directory)
    env = {"PATH": environment.PATH, "HOME": account.home}
    if args["tty"]:
        env["TERM"] = os.environ.get("TERM", "xterm")
    for file in args["env-file"]:
        env |= environment.from_file(file)
    env |= environment.given(args["env"], os.environ)
    process = Process(
        args=tuple(words),
        env=tuple(f"{name}={value}" for name, value in env.items()),
        cwd=_workdir(args["workdir"]),
        uid=account.uid,
        gid=account.gid,
        groups=account.groups,
        terminal=args["tty"],
        size=foreground.window_size() if args["tty"] else None,
        capabilities=Capabilities(capabilities(args["cap-add"], args["cap-drop"])),
        no_new_privileges=False,
    )
    return Request(
        process=process,
        limits=limits,
        kind="run",
        name=check_name(args["name"]) if args["name"] else "",
        hostname=args["hostname"] or args["name"] or "stockade",
        binds=tuple(_bind(text) for text in args["volume"]),
        rootfs=directory,
        detached=not args["rm"],
        logged=not args["rm"],
        adjust=lambda bundle: bundle._replace(readonly=args["read-only"]),
        image=source,
    )


def capabilities(add: tuple[str, ...], drop: tuple[str, ...]) -> tuple[str, ...]:
    """The usual capabilities, less and more some; ALL is every one.

    Raises:
        BadValue: a name that no kernel knows.
    """
    add, drop = tuple(map(_capability, add)), tuple(map(_capability, drop))
    held = set() if "ALL" in drop else set(spec.USUAL_CAPABILITIES)
    if "ALL" in add:
        held = set(spec.ALL_CAPABILITIES)
    return tuple(sorted((held | set(add) - {"ALL"}) - (set(drop) - {"ALL"})))


def _capability(text: str) -> str:
    name = text.upper()
    if name == "ALL":
        return name
    name = f"CAP_{name.removeprefix('CAP_')}"
    if name not in spec.ALL_CAPABILITIES:
        raise BadValue(f"{text!r} is no capability", hint="as NET_RAW; capabilities(7) lists them")
    return name


def _workdir(text: str | None) -> str:
    if text and not text.startswith("/"):
        raise BadValue(f"--workdir {text!r} is not absolute", hint="a path inside, as /srv")
    return text or "/"


def _bind(text: str) -> Bind:
    words = text.split(":")
    if len(words) not in (2, 3) or not words[0] or words[1][:1] != "/" or words[2:] not in ([], ["ro"], ["rw"]):
        raise BadValue(f"--volume {text!r} is not SOURCE:DESTINATION[:ro]", hint="--volume ./data:/data:ro")
    source = policy.resolve(words[0])
    found = os.stat(source)
    return Bind(source, os.path.normpath(words[1]), words[2:] == ["ro"], found.st_uid, found.st_gid)


COMMANDS = {
    "run": Command(
        name="run",
        summary="run a program in a root file system of its own: a directory or a tar archive",
        operands="ROOTFS CMD…",
        least=2,
        most=None,
        trailing=True,
        completes="file",
        run=main,
        about=(
            "ROOTFS is never changed: the program writes to a layer of its own, which lasts as long as the container. "
            "An archive (plain, gzip or zstd) is unpacked once and found again by its digest. The program has its own "
            "user namespace, so that root inside is nobody outside, and no network. Without --rm the container stays "
            "after its end, for `logs` and `ps --all`, until `stockade rm`."
        ),
        examples=(
            ("stockade run --rm ./debian python3 -c 'print(6*7)'", "run one command and leave nothing"),
            ("stockade run --rm -it alpine.tar.gz sh", "a shell in an archive's root file system"),
            (
                "stockade run -d --name job --memory 256m --time-limit 1h ./debian ./train",
                "in the background, with limits",
            ),
        ),
        options=(
            Option("--interactive", "pass standard input on", "-i"),
            Option("--tty", "give it a terminal", "-t"),
            Option("--detach", "leave it in the background and print its name", "-d"),
            Option("--rm", "remove it when it ends, also when this command is killed"),
            Option("--name", "what to call it", metavar="NAME"),
            Option("--env", "set a variable; NAME alone passes yours on", "-e", "NAME=VALUE", many=True),
            Option("--env-file", "set the variables of a file", metavar="FILE", many=True, completes="file"),
            Option("--workdir", "where it starts, inside", "-w", "DIR"),
            Option("--user", "who it is inside, by name or number", "-u", "USER[:GROUP]", default="0"),
            Option("--hostname", "the host name inside", metavar="NAME"),
            Option("--volume", "show a directory or file of this machine", "-v", "SRC:DST[:ro]", many=True),
            Option("--read-only", "let it not change its root file system"),
            Option("--cap-add", "grant a capability", metavar="NAME", many=True),
            Option("--cap-drop", "take a capability away; ALL takes every one", metavar="NAME", many=True),
            *LIMITS,
        ),
    )
}
