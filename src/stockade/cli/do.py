"""`stockade do`: a command on a view of this machine, whose changes are thrown away unless somebody wants them."""

from __future__ import annotations

import os
import time
from typing import cast

from stockade.cli import aftermath, foreground
from stockade.cli.options import LIMITS, limits_from
from stockade.cli.screen import note
from stockade.cli.table import Args, Command, Option
from stockade.embedded import changes, delegation, environment, policy, records
from stockade.embedded.session import Request, Session
from stockade.embedded.view import Bind, Given
from stockade.errors import BadValue, NotFound
from stockade.host import paths
from stockade.model import Capabilities, Limits, Process, Reason
from stockade.runtime import spec
from stockade.runtime.blocking import Pending, World, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.embedded.records import Record
    from stockade.host.paths import Paths
    from stockade.model import Exit

PIDS = 4096
# What timeout(1) answers, so that scripts know it.
TIMED_OUT = 124


def main(args: Args) -> int:
    """Run the command, or see to what an earlier one left; the exit code."""
    where = paths.find(os.environ)
    if not args.rest:
        return _at_rest(args, where)
    _refuse_contradictions(args)
    try:
        with foreground.Signals() as signals:
            return _do(args, where, signals)
    except foreground.Interrupted as interrupted:
        return 128 + interrupted.number


def _at_rest(args: Args, where: Paths) -> int:
    """What is asked of earlier runs, without a command."""
    from stockade.cli import kept

    if args["kept"]:
        return kept.show(where, args["format"] == "json")
    if args["drop"]:
        return kept.drop(where, args["drop"])
    if args["continue"] and (args["apply"] or args["apply-outside"]):
        return kept.apply(where, args["continue"], aftermath.wishes(args))
    raise BadValue("`stockade do` needs a command", hint="stockade do -- make")


def _do(args: Args, where: Paths, signals: foreground.Signals) -> int:
    started = time.perf_counter()
    terminal = _wants_terminal(args)
    again = _kept_record(where, args["continue"])
    request = _request(args, where, terminal, again)
    for path in aftermath.wishes(args).outside:
        policy.check_outside(path, request.given.path if request.given else "")
    session: Session | None = None
    try:
        with foreground.undisturbed():
            session = run(Session.open(World(), where, request))
        if args["verbose"]:
            aftermath.tell_mode(session)
        end = _run(session, terminal, signals)
        run(session.finish())
        _report(args, session, end, started)
    finally:
        if session is not None:
            with foreground.undisturbed():
                run(session.close())
    return exit_code(end)


def _report(args: Args, session: Session, end: Exit, started: float) -> None:
    """What was changed, said and settled."""
    wanted, silent = aftermath.wishes(args), args["quiet"] and args["format"] != "json"
    changed = changes.NONE if silent and not wanted.apply else run(session.look())
    report = aftermath.Report(end, session.times, time.perf_counter() - started)
    if args["format"] == "json":
        aftermath.tell_program(session, report, changed)
    elif not silent:
        aftermath.tell(session, report, changed, args["stats"])
    outcome = aftermath.settle(session, exit_code(end), changed, wanted)
    if outcome and not args["quiet"] and args["format"] != "json":
        note(f"stockade: {outcome}")


def _run(session: Session, terminal: bool, signals: foreground.Signals) -> Exit:
    """Start the program and see it through; how it ended."""
    foreground.flush()
    attachment = run(session.attach(0, 1, None if terminal else 2))
    began = time.perf_counter()
    with foreground.raw_terminal(terminal), signals.kept():
        pid = run(session.start())
        front = foreground.Foreground(session.task, cast(Pending, session.pending), attachment, signals, pid)
        front.init = session.request.init
        front.wait(terminal)
        end = run(session.wait(foreground.DRAIN))
    session.times["run"] = time.perf_counter() - began - session.times["start"]
    if front.killed_by and end.reason is Reason.SIGNALED:
        return end._replace(status=128 + front.killed_by)
    return end


def exit_code(end: Exit) -> int:
    """What the shell is told: the command's own code, but for the time limit."""
    return TIMED_OUT if end.reason is Reason.TIMED_OUT else end.status


def _wants_terminal(args: Args) -> bool:
    if args["no-tty"]:
        return False
    both = os.isatty(0) and os.isatty(1)
    if args["tty"] and not both:
        raise BadValue("--tty needs a terminal as standard input and output", hint="leave --tty away")
    return both


def _refuse_contradictions(args: Args) -> None:
    for one, other in (
        ("apply", "keep"),
        ("apply-outside", "keep"),
        ("tty", "no-tty"),
        ("workdir", "no-cwd"),
        ("continue", "workdir"),
    ):
        if args[one] and args[other]:
            raise BadValue(f"--{one} and --{other} contradict each other")
    for alone in ("kept", "drop"):
        if args[alone]:
            raise BadValue(f"--{alone} runs no command")
    if args["apply"] and args["no-cwd"]:
        raise BadValue("--apply has no directory to write to with --no-cwd")
    applies = args["apply"] or args["apply-outside"]
    if applies and not args["yes"] and not aftermath.can_ask():
        raise BadValue(
            "--apply asks on the terminal, and there is none", hint="add --yes, or --keep NAME and apply it later"
        )


def _request(args: Args, where: Paths, terminal: bool, again: Record | None) -> Request:
    given = _given(args, again)
    wished = Limits(memory=_half_of_memory(), pids=PIDS)
    limits = delegation.held(where, limits_from(args), wished)
    uid, gid, home = environment.account(args["user"])
    env = environment.clean(os.environ, home, terminal)
    for file in args["env-file"]:
        env |= environment.from_file(file)
    env |= environment.given(args["env"], os.environ)
    return Request(
        process=Process(
            args=tuple(args.rest),
            env=tuple(f"{name}={value}" for name, value in env.items()),
            cwd=given.path if given else home,
            uid=uid,
            gid=gid,
            umask=None,
            terminal=terminal,
            size=foreground.window_size() if terminal else None,
            capabilities=Capabilities(spec.SHORT_CAPABILITIES),
        ),
        limits=limits,
        given=given,
        hostname=args["hostname"] or "stockade",
        binds=tuple(_bind(text) for text in args["bind"]),
        again=again,
        durable=bool(args["keep"]),
        init=not args["no-init"],
        tell=_tell if args["verbose"] or (os.isatty(2) and not args["quiet"]) else lambda _: None,
    )


def _tell(text: str) -> None:
    note(f"stockade: {text}")


def _given(args: Args, again: Record | None) -> Given | None:
    """The one directory of the caller's that the program sees."""
    if again is not None:
        return Given(again.cwd, again.cwd_uid, again.cwd_gid) if again.cwd else None
    if args["no-cwd"]:
        return None
    directory = policy.resolve(args["workdir"])
    found = policy.check(directory, named=args["workdir"] is not None)
    return Given(directory, found.st_uid, found.st_gid)


def _bind(text: str) -> Bind:
    words = text.split(":")
    if (
        len(words) not in (2, 3)
        or not words[0]
        or not words[1].startswith("/")
        or words[2:] not in ([], ["ro"], ["rw"])
    ):
        raise BadValue(f"--bind {text!r} is not SRC:DST[:ro]", hint="--bind ./data:/data:ro")
    source = policy.resolve(words[0])
    found = os.stat(source)
    return Bind(source, os.path.normpath(words[1]), words[2:] == ["ro"], found.st_uid, found.st_gid)


def _kept_record(where: Paths, name: str | None) -> Record | None:
    if not name:
        return None
    record = records.kept(where, name)
    if record is None:
        raise NotFound(f"nothing is kept as {name!r}", hint="`stockade do --kept` lists what is")
    return record


def _half_of_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _words(text: str) -> tuple[str, ...]:
    words = tuple(text.split(","))
    for word in words:
        if word not in ("git", "startup"):
            raise BadValue(f"{word!r} is neither git nor startup")
    return words


COMMANDS = {
    "do": Command(
        name="do",
        summary="run a command on a view of this machine; keep, apply or discard what it changes",
        operands="CMD…",
        run=main,
        trailing=True,
        most=None,
        about=(
            "The command sees /usr, /bin, /sbin, /lib*, /opt, what everybody may read of /etc, empty homes, and the "
            "current directory. It may change all of it, install software and be root: nothing of that reaches the "
            "machine, nor does it have a network. Afterwards its changes to the current directory can be applied; by "
            "default they are discarded. Exit code: the command's; 124 after the time limit; 125, 126, 127 if it "
            "could not be run."
        ),
        examples=(
            ("stockade do -- make test", "run a build of unknown origin; keep nothing"),
            ("stockade do --apply -- ./configure", "show what it changed here, and ask whether to take it"),
            ("stockade do --memory 256m --pids-limit 64 --time-limit 10s -- python3 script.py", "with limits"),
            ("stockade do --keep try1 -- npm install", "keep the changes apart from the machine, under a name"),
            ("stockade do --continue try1 -- npm test", "go on where they were kept"),
            ("stockade do --continue try1 --apply", "show and take what was kept"),
        ),
        options=(
            Option(
                "--workdir",
                "give this directory, not the current one",
                "-C",
                "DIR",
                completes="directory",
                heading="View",
            ),
            Option("--no-cwd", "give no directory at all", heading="View"),
            Option(
                "--bind", "show SRC at DST; writes go through, unless :ro", "", "SRC:DST", many=True, heading="View"
            ),
            Option(
                "--env", "a variable, or one of the caller's by its name", "-e", "NAME=VALUE", many=True, heading="View"
            ),
            Option("--env-file", "variables, one a line", "", "FILE", many=True, completes="file", heading="View"),
            Option("--user", "who to be, by name or number (root)", "-u", "USER[:GROUP]", heading="View"),
            Option("--hostname", "the host's name inside", "", "NAME", heading="View"),
            Option("--tty", "a terminal of its own (where there is one)", "-t", heading="View"),
            Option("--no-tty", "no terminal, even where there is one", heading="View"),
            Option("--no-init", "let the command itself be process 1", heading="View"),
            *LIMITS,
            Option("--apply", "show the changes to the directory and ask whether to make them here", heading="Changes"),
            Option(
                "--apply-outside",
                "apply also what was changed in this directory of the system's, as /usr/local",
                "",
                "DIR",
                many=True,
                completes="directory",
                heading="Changes",
            ),
            Option("--yes", "apply without asking, when the command succeeded", "-y", heading="Changes"),
            Option(
                "--include",
                "apply also what is git's, or starts by itself",
                "",
                "git,startup",
                _words,
                (),
                heading="Changes",
            ),
            Option("--skip-refused", "apply the rest where something is refused", heading="Changes"),
            Option("--keep", "keep the changes under a name", "", "NAME", heading="Changes"),
            Option(
                "--continue",
                "go on with kept changes; with --apply and no command: apply them",
                "",
                "NAME",
                heading="Changes",
            ),
            Option("--kept", "list what is kept", heading="Changes"),
            Option("--drop", "throw away what is kept under a name", "", "NAME", heading="Changes"),
            Option("--stats", "say what was used and how long each step took", heading="Report"),
            Option(
                "--format",
                "`json`: the report as one line on standard error",
                "",
                "FORMAT",
                str,
                "text",
                False,
                ("text", "json"),
                "Report",
            ),
            Option("--quiet", "no report", "-q", heading="Report"),
            Option("--verbose", "say which ids and limits are used", heading="Report"),
        ),
    )
}
