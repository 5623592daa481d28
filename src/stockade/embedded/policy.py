"""Which directory of the host a program may be given, decided from names alone.

The current directory is put into the view with the caller's own rights, so it must be a place for work: not a
directory that holds the system or everybody's homes, and not a home itself (keys, tokens, histories). A directory
that the caller names with --workdir is meant, so a home is accepted then; the system's directories never are: the
view has them already.
"""

from __future__ import annotations

import os

from stockade.errors import Refused

from . import view

# The view has its own of these; the host's must not appear in their place. What lies beneath them is refused too.
SYSTEM = (
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
)
# These hold other people's places; a directory beneath them may be one's own.
PARENTS = ("/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var", "/var/lib", "/var/tmp")


def refusal(directory: str, homes: frozenset[str], named: bool) -> tuple[str, str] | None:
    """Why `directory` (absolute, no links in it) cannot be given, and what to do instead; None if it can.

    Args:
        homes: directories that are somebody's home.
        named: whether the caller named it, rather than happening to be there.
    """
    elsewhere = "cd to a project directory, name one with --workdir DIR, or use --no-cwd"
    for system in SYSTEM:
        if directory == system or directory.startswith(system + "/"):
            return f"{directory} belongs to the system, and the view has its own {system}", elsewhere
    if directory in homes and not named:
        return f"{directory} is a home directory: everything in it would be shown to the program", elsewhere
    if directory in PARENTS and not (directory in homes and named):
        return f"{directory} is shared by the whole system", elsewhere
    return None


def check(directory: str, named: bool) -> os.stat_result:
    """Refuse a directory that cannot be given; else say what it is.

    Raises:
        Refused: with a hint what to do instead.
    """
    try:
        found = os.stat(directory)
        if not os.path.isdir(directory):
            raise Refused(f"{directory} is not a directory")
    except OSError as error:
        raise Refused(f"cannot use {directory}: {error.strerror}") from error
    reason = refusal(directory, homes(), named)
    if reason is not None:
        raise Refused(reason[0], hint=reason[1])
    return found


def shown_beneath(directory: str, given: str) -> str:
    """Beneath which of the directories that the view shows as the host has them a directory lies: `usr`, `opt`…

    Only there is the view made of the host's own files, so that what was changed can be told and applied.

    Args:
        directory: absolute, no links in it.
        given: the caller's directory, which has a layer of its own; empty: none.

    Raises:
        Refused: nothing can be applied there.
    """
    top = directory.split("/")[1]
    if given and (directory == given or directory.startswith(f"{given}/")):
        raise Refused(f"{directory} lies in the directory that the command is given", hint="--apply applies to it")
    if top not in view.SHOWN:
        shown = ", ".join(f"/{name}" for name in view.SHOWN)
        raise Refused(
            f"nothing can be applied to {directory}: in the view it is not the machine's own, but empty or a copy",
            hint=f"only directories beneath {shown} can be given with --apply-outside",
        )
    return top


def check_outside(directory: str, given: str) -> None:
    """Refuse a directory that --apply-outside cannot be about, before anything is run.

    Raises:
        Refused: with a hint what to do instead.
    """
    if not os.path.isdir(directory):
        raise Refused(f"{directory} is not a directory", hint="give the directory that it is to be made in")
    top = shown_beneath(directory, given)
    for point in _mount_points():
        if point.startswith(f"/{top}/") and (directory == point or directory.startswith(f"{point}/")):
            raise Refused(f"nothing can be applied to {directory}: {point} is another file system, which is not shown")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise Refused(f"you may not write to {directory}, so nothing can be applied to it")


def _mount_points() -> list[str]:
    with open("/proc/self/mountinfo", "rb") as file:
        found = [line.split(b" ")[4].decode("unicode_escape").encode("latin-1") for line in file]
    return [os.fsdecode(point) for point in found]


def homes() -> frozenset[str]:
    """Everybody's home: those of passwd that are real homes, and the caller's."""
    import pwd

    found = {user.pw_dir.rstrip("/") for user in pwd.getpwall() if user.pw_uid == 0 or user.pw_uid >= 1000}
    found.add(os.environ.get("HOME", "").rstrip("/"))
    return frozenset(os.path.realpath(home) for home in found if home.startswith("/") and home != "/nonexistent")


def resolve(directory: str | None) -> str:
    """The absolute path, without links, of the directory the caller means; None: where the caller is.

    Raises:
        Refused: it is gone or cannot be reached.
    """
    try:
        return os.path.realpath(directory, strict=True) if directory is not None else os.getcwd()
    except OSError as error:
        name = directory if directory is not None else "the current directory"
        raise Refused(f"cannot use {name}: {error.strerror}") from error
