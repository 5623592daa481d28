"""After `stockade do`: what the command used, how it ended, what it changed, and what becomes of that.

Everything here goes to standard error or the terminal: standard output is the command's.
"""

from __future__ import annotations

import json
import os
from typing import NamedTuple

from stockade.cli.foreground import undisturbed
from stockade.cli.screen import note
from stockade.embedded import changes, delegation, policy
from stockade.errors import Refused
from stockade.model import Reason, render_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.cli.table import Args
    from stockade.embedded.changes import Change, Changes, Plan, Step
    from stockade.embedded.records import Record
    from stockade.embedded.session import Session
    from stockade.host.layer import Tool
    from stockade.model import Exit, Limits

# So many changed paths are named, and so many lines of differences shown.
NAMED = 8
SHOWN = 2000


class Report(NamedTuple):
    """One run."""

    end: Exit
    times: dict[str, float]
    total: float
    """Seconds from the command line's reading to the end."""


class Wishes(NamedTuple):
    """What the caller wants to become of the changes."""

    apply: bool = False
    yes: bool = False
    include: tuple[str, ...] = ()
    skip_refused: bool = False
    keep: str = ""
    outside: tuple[str, ...] = ()
    """What else is applied to, besides the caller's directory."""


def wishes(args: Args) -> Wishes:
    """As the options say."""
    outside = tuple(dict.fromkeys(policy.resolve(path) for path in args["apply-outside"]))
    apply = args["apply"] or bool(outside)
    return Wishes(apply, args["yes"], args["include"], args["skip-refused"], args["keep"] or "", outside)


def tell_mode(session: Session) -> None:
    """Which ids and limits hold: what `--verbose` shows."""
    claim, request = session.claim, session.request
    limits = ", ".join(f"{name} {value}" for name, value in request.limits._asdict().items() if value not in (None, ""))
    note(f"stockade: container {claim.record.id}, {session.paths.mode} mode")
    note(
        f"stockade: ids: {claim.ids.how}; "
        + ", ".join(f"{one.container}… is {one.host}…, {one.size}" for one in claim.ids.uid)
    )
    able = delegation.controllers(session.paths)
    note(f"stockade: limits: {limits or 'none'}" + ("" if able else " (no cgroup is delegated to this user)"))


def tell(session: Session, report: Report, changed: Changes, stats: bool) -> None:
    """Say what ended it, what it used and what it changed."""
    lines = reasons(report.end, session.request.limits)
    lines += _figures(report) if stats else []
    lines += summary(changed, session.claim.record.cwd)
    for line in lines:
        note(f"stockade: {line}")


def tell_program(session: Session, report: Report, changed: Changes) -> None:
    """The same for a program: one line of JSON."""
    note(json.dumps(_plain(session, report, changed)))


def reasons(end: Exit, limits: Limits) -> list[str]:
    """What ended it, where that was not the command itself."""
    found = []
    if end.reason is Reason.TIMED_OUT:
        found.append(f"killed at its time limit of {limits.time:g} s" if limits.time else "killed at its time limit")
    elif end.reason is Reason.OOM_KILLED:
        most = f" of {render_size(limits.memory)}" if limits.memory else ""
        found.append(f"killed at its memory limit{most}")
    elif end.reason is Reason.SHIM_DIED:
        found.append(f"its shim died, and the container with it: {end.message}".rstrip(": "))
    elif end.oom_kills:
        found.append(f"{end.oom_kills} of its processes were killed at the memory limit")
    if end.pids_refused:
        found.append(f"{end.pids_refused} forks were refused at its limit of {limits.pids} processes")
    return found


def settle(session: Session, status: int, changed: Changes, wanted: Wishes) -> str:
    """Keep, apply or discard; what to say of it."""
    record = session.claim.record
    if wanted.keep:
        session.keep(wanted.keep)
        return f"kept; `stockade do --continue {wanted.keep} CMD` goes on, with --apply and no CMD it is applied"
    if wanted.apply and (changed.inside or (wanted.outside and changed.outside)):
        apply(session.tool, session.claim.directory, record, wanted, status)
        return ""
    return "discarded; --apply takes them, --keep NAME keeps them" if changed.inside and not record.kept else ""


def summary(changed: Changes, cwd: str) -> list[str]:
    """What changed, in a line for the caller's directory, one for elsewhere, and some names."""
    found = []
    if changed.inside:
        found.append(f"changed in {changes.printable(cwd)}: {_count(changed.inside)}")
        marks = {"added": "+", "modified": "~", "deleted": "-"}
        for change in changed.inside[:NAMED]:
            found.append(f"  {marks[change.kind]} {changes.printable(change.path[len(cwd) :].lstrip('/'))}")
        if len(changed.inside) > NAMED:
            found.append(f"  … and {len(changed.inside) - NAMED} more")
    if changed.outside:
        tops = sorted({"/".join(change.path.split("/")[:3]) for change in changed.outside})
        places = f"{', '.join(tops[:4])}{'…' if len(tops) > 4 else ''}"
        found.append(f"changed elsewhere, gone with the view: {_count(changed.outside)} ({changes.printable(places)})")
    return found


def can_ask() -> bool:
    """Whether there is a terminal to ask on."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY))
    except OSError:
        return False
    return True


def apply(tool: Tool, directory: str, record: Record, wanted: Wishes, status: int) -> bool:
    """Show what applying would do, ask, do it: directory by directory, each of them wholly or not at all.

    Returns:
        Whether it was done.

    Raises:
        Refused: something is refused and the rest was not asked for; nothing was changed.
    """
    targets = [changes.given(directory, record)] if record.cwd else []
    targets += [found for path in wanted.outside if (found := changes.outside(directory, record, path))]
    plans = [changes.plan(tool, target, record.since) for target in targets]
    plans = [plan for plan in plans if plan.steps]
    if not plans:
        note("stockade: nothing to apply")
        return False
    for plan in plans:
        if wanted.outside:
            note(f"In {changes.printable(plan.target.path)}:")
        _show(plan)
    refused = [step for plan in plans for step in plan.steps if step.refused]
    if wanted.yes:
        if status:
            note(f"stockade: not applied: the command failed with {status}")
            return False
        include, skip = wanted.include, wanted.skip_refused
    else:
        include = _ask_apart(plans, wanted)
        if not _ask(_question(plans, len(refused), status)):
            note("stockade: not applied")
            return False
        skip = wanted.skip_refused or bool(refused)
    if refused and not skip:
        raise Refused(
            f"{len(refused)} changes are refused, so nothing was applied; "
            f"{changes.printable(refused[0].path)}: {refused[0].refused}",
            hint="--skip-refused applies the rest",
        )
    for plan in plans:
        with undisturbed():
            done = changes.apply(tool, directory, plan, include, skip)
        left = f", left out {done['left_out']}" if done["left_out"] else ""
        where = f" to {changes.printable(plan.target.path)}" if wanted.outside else ""
        note(f"stockade: applied {done['applied']}{where}{left}")
    return True


def _question(plans: list[Plan], refused: int, status: int) -> str:
    question = f"Apply to {' and '.join(changes.printable(plan.target.path) for plan in plans)}"
    question += f", leaving out the {refused} refused" if refused else ""
    return question + (f" (the command failed with {status})?" if status else "?")


def _show(plan: Plan) -> None:
    """The steps, then the differences of text files; git's and what starts by itself apart; what is refused with its
    reason.
    """
    normal = [step for step in plan.steps if step.group == "normal" and not step.refused]
    for step in normal:
        note(f"{_mark(step)} {changes.printable(step.path)}")
    _show_differences(plan, normal)
    for group, title in (("git", "Belongs to git"), ("startup", "Starts by itself, or is run by tools")):
        members = [step for step in plan.steps if step.group == group and not step.refused]
        if members:
            note(f"{title}, left out unless you say otherwise:")
            for step in members:
                note(f"  {_mark(step)} {changes.printable(step.path)}")
    for step in plan.steps:
        if step.refused:
            note(f"refused: {changes.printable(step.path)}: {step.refused}")
    if plan.truncated:
        note("(too many to list them all)")


def _show_differences(plan: Plan, steps: list[Step]) -> None:
    budget = SHOWN
    for step in steps:
        if step.type != "file" or step.action not in ("add", "replace", "delete") or budget <= 0:
            continue
        for line in changes.difference(plan.target.upper, plan.target.path, step):
            budget -= 1
            note(line)
            if budget <= 0:
                note(f"  (more than {SHOWN} lines: the rest is not shown)")
                break


def _ask_apart(plans: list[Plan], wanted: Wishes) -> tuple[str, ...]:
    """Which of the classes that are left out are wanted."""
    found = list(wanted.include)
    for group, title in (("git", "what belongs to git"), ("startup", "what starts by itself")):
        if group not in found and any(plan.counts[group] for plan in plans) and _ask(f"Apply also {title}?"):
            found.append(group)
    return tuple(found)


def _ask(question: str) -> bool:
    """A question on the terminal, whatever standard input is; only y or yes is yes."""
    terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        os.write(terminal, f"{question} [y/N] ".encode())
        return os.read(terminal, 1024).strip().lower() in (b"y", b"yes")
    finally:
        os.close(terminal)


def _mark(step: Step) -> str:
    return {"add": "+", "replace": "~", "delete": "-", "mode": "m"}[step.action]


def _count(found: tuple[Change, ...]) -> str:
    kinds = [change.kind for change in found]
    parts = [f"{kinds.count(kind)} {kind}" for kind in ("added", "modified", "deleted") if kind in kinds]
    return ", ".join(parts)


def _figures(report: Report) -> list[str]:
    usage = report.end.usage
    used = []
    if usage.cpu is not None:
        used.append(f"{usage.cpu:.3f} s of processor time")
    if usage.memory_peak is not None:
        used.append(f"{render_size(usage.memory_peak)} of memory at most")
    steps = ", ".join(f"{name} {seconds * 1000:.1f}" for name, seconds in report.times.items())
    return [f"used {', '.join(used) or 'what no cgroup counted'}", f"took {report.total * 1000:.1f} ms: {steps}"]


def _plain(session: Session, report: Report, changed: Changes) -> dict[str, object]:
    end, record = report.end, session.claim.record
    return {
        "id": record.id,
        "mode": session.paths.mode,
        "ids": record.ids,
        "exit": {
            **end._asdict(),
            "reason": end.reason.value,
            "usage": end.usage._asdict(),
            "steps": end.steps._asdict(),
        },
        "limits": session.request.limits._asdict(),
        "times": {**report.times, "total": report.total},
        "directory": record.cwd,
        "changes": {
            "inside": [change._asdict() for change in changed.inside],
            "outside": [change._asdict() for change in changed.outside],
            "truncated": changed.truncated,
        },
    }
