"""What a container changed, and the ways of it: shown, kept, applied to the caller's directory, or discarded.

Everything in an upper directory was written by a program that nobody trusts. It is never followed through a link,
nothing of it is run, and what of it reaches a terminal has its control characters escaped. Nothing but
`stockade-layer apply` writes to the caller's directory: it refuses set-user-id bits, devices, file capabilities, ways
out of the directory and files that the host changed since the start, and keeps a journal, so that a cut is finished
or undone (`recover`, from the sweep).
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import NamedTuple

from stockade.errors import Refused

from . import policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stockade.host.layer import Tool

    from .records import Record
    from .view import Layer

# A difference is shown for text files up to this size, in bytes, and cut after so many lines.
LARGEST_SHOWN = 256 * 1024
LINES_SHOWN = 400


class Change(NamedTuple):
    """One path that is not as it was."""

    path: str
    """As the container saw it."""
    kind: str
    """`added`, `modified` or `deleted`."""
    type: str
    size: int


class Target(NamedTuple):
    """A directory of the host that changes can be applied to."""

    path: str
    upper: str
    """Where the container's changes of it lie."""
    uid: int
    gid: int
    """Whose is what is written there."""


class Changes(NamedTuple):
    """What changed; the lists are cut at the number asked for, the counts are not."""

    inside: tuple[Change, ...]
    """Beneath the caller's directory."""
    outside: tuple[Change, ...]
    counts: dict[str, int]
    """`added`, `modified`, `deleted`, `bytes`."""
    truncated: bool


NONE = Changes((), (), {"added": 0, "modified": 0, "deleted": 0, "bytes": 0}, False)


class Step(NamedTuple):
    """One thing that applying would do."""

    path: str
    """Relative to the directory that is applied to."""
    action: str
    type: str
    size: int
    group: str
    """`normal`, `git` or `startup`: the last two are left out unless they are asked for."""
    refused: str | None


class Plan(NamedTuple):
    """What applying would do; `token` proves that it is still the same when it is done."""

    target: Target
    since: str
    steps: tuple[Step, ...]
    token: str
    counts: dict[str, int]
    truncated: bool


def look(tool: Tool, directory: str, parts: Iterable[Layer], tree: str, given: str, maximum: int = 10000) -> Changes:
    """Ask what the overlays of an ended container hold."""
    words = ["changes", "--max", str(maximum), *tool.marks]
    for part in parts:
        words += ["--upper", f"{directory}/layers/{part.name}/upper", *_lowers(part, tree), "--at", part.mountpoint]
    for hidden in _mount_points(given):
        words += ["--hide", hidden]
    answer = tool.call_somehow(*words)
    summary = answer.pop()["summary"]
    found = [Change(_path(line), line["kind"], line["type"], line.get("size", 0)) for line in answer]
    inside = tuple(
        change for change in found if given and (change.path == given or change.path.startswith(f"{given}/"))
    )
    outside = tuple(change for change in found if change not in set(inside))
    counts = {name: summary[name] for name in ("added", "modified", "deleted", "bytes")}
    return Changes(inside, outside, counts, summary["truncated"])


def given(directory: str, record: Record) -> Target:
    """The caller's directory."""
    return Target(record.cwd, f"{directory}/layers/given/upper", record.cwd_uid, record.cwd_gid)


def outside(directory: str, record: Record, path: str) -> Target | None:
    """Another directory of the host that the view showed as it is; None: nothing in it was changed.

    Root inside is root outside there, as nothing of the host's own directories is mapped.

    Raises:
        Refused: it cannot be applied to, whatever was changed.
    """
    top = policy.shown_beneath(path, record.cwd)
    upper = f"{directory}/layers/{top}/upper"
    for name in ("", *path.split("/")[2:]):
        upper = f"{upper}/{name}" if name else upper
        try:
            found = os.lstat(upper)
        except FileNotFoundError:
            return None
        if not stat.S_ISDIR(found.st_mode) or _opaque(upper):
            shown = upper.partition("/upper")[2]
            raise Refused(
                f"/{top}{shown} itself was removed or replaced in the view, so nothing can be applied to {path}",
                hint="apply to the directory that it lies in",
            )
    return Target(path, upper, 0, 0)


def plan(tool: Tool, target: Target, since: str) -> Plan:
    """Ask what applying the container's changes to a directory would do.

    Args:
        since: the record's clock: what the host changed later stays as it is.
    """
    answer = tool.start("apply", "plan", *tool.marks, *_apply_words(target, since), mapped=True).lines(refusals=True)
    last = answer.pop()
    steps = tuple(
        Step(_path(line), line["action"], line["type"], line.get("size", 0), line["class"], line["refused"])
        for line in answer
    )
    counts = {name: last[name] for name in ("add", "replace", "delete", "mode", "bytes", "refused", "git", "startup")}
    return Plan(target, since, steps, last["plan"], counts, last["truncated"])


def apply(tool: Tool, directory: str, agreed: Plan, include: tuple[str, ...], skip_refused: bool) -> dict[str, int]:
    """Do what `agreed` says, and only that; journaled in the container's directory.

    Raises:
        Refused: something is refused, or the plan is no longer that one; nothing was changed.
    """
    words = ["apply", "run", *tool.marks, *_apply_words(agreed.target, agreed.since), "--plan", agreed.token]
    words += ["--journal", journal(directory)]
    if include:
        words += ["--include", ",".join(include)]
    if skip_refused:
        words.append("--skip-refused")
    if os.geteuid() == 0:
        words += ["--uid", str(agreed.target.uid), "--gid", str(agreed.target.gid)]
    answer: dict[str, int] = tool.call(*words, mapped=True)[-1]
    return answer


def recover(tool: Tool, directory: str) -> str:
    """Finish or undo an application that was cut; `finished`, `undone` or `nothing`."""
    if not os.path.exists(journal(directory)):
        return "nothing"
    outcome: str = tool.call("apply", "recover", journal(directory), mapped=True)[-1]["outcome"]
    return outcome


def journal(directory: str) -> str:
    """Where an application of this container's changes is journaled."""
    return f"{directory}/apply.journal"


def difference(upper: str, target: str, step: Step) -> Iterator[str]:
    """A unified difference of one file for people to read: bounded, escaped; one line that says why where none can be
    shown.
    """
    old = b"" if step.action == "add" else _read_beneath(target, step.path)
    new = b"" if step.action == "delete" else _read_beneath(upper, step.path)
    if old is None or new is None:
        yield f"  (larger than {LARGEST_SHOWN // 1024} KiB, or no plain file)"
        return
    if b"\0" in old or b"\0" in new:
        yield f"  (binary, {len(old)} → {len(new)} bytes)"
        return
    import difflib

    name = printable(step.path)
    before, after = ([printable(line) for line in side.decode(errors="replace").splitlines()] for side in (old, new))
    lines = difflib.unified_diff(before, after, f"before/{name}", f"after/{name}", lineterm="", n=2)
    for number, line in enumerate(lines):
        if number >= LINES_SHOWN:
            yield "  (cut here)"
            return
        yield line


def printable(text: str) -> str:
    """`text` without anything that a terminal would obey or show in another place."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\t" else one.encode("unicode_escape").decode() for one in text)


def _read_beneath(top: str, path: str) -> bytes | None:
    """A plain file beneath `top`, reached through no link; None if it is none or too large."""
    folder = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *parents, name = path.split("/")
        for parent in parents:
            inner = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            return None
        with open(os.open(name, flags, dir_fd=folder), "rb") as file:
            content = file.read(LARGEST_SHOWN + 1)
        return content if len(content) <= LARGEST_SHOWN else None
    except OSError:
        return None
    finally:
        os.close(folder)


def _apply_words(target: Target, since: str) -> list[str]:
    return ["--upper", target.upper, "--dir", target.path, "--since", since]


def _opaque(upper: str) -> bool:
    """Whether overlay hides what lies beneath this directory."""
    for name in ("trusted.overlay.opaque", "user.overlay.opaque"):
        with contextlib.suppress(OSError):
            if os.getxattr(upper, name, follow_symlinks=False) == b"y":
                return True
    return False


def _lowers(part: Layer, tree: str) -> list[str]:
    if part.name == "given":
        return ["--lower", part.lower]
    cached = ["--lower", tree if part.mountpoint == "/" else f"{tree}{part.mountpoint}"]
    return [*cached, "--lower", part.lower] if part.lower else cached


def _mount_points(given: str) -> list[str]:
    """What the runtime made so that it could mount there."""
    found = ["/dev", "/proc", "/sys"]
    while len(given) > 1:
        found.append(given)
        given = os.path.dirname(given)
    return found


def _path(line: dict[str, object]) -> str:
    """A path of the answer; one that is not UTF-8 comes in hex beside it."""
    raw = line.get("raw")
    return os.fsdecode(bytes.fromhex(raw)) if isinstance(raw, str) else str(line["path"])
