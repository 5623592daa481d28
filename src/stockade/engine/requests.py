"""What is asked of containers that run, or did: exec, attach, logs, commit. Values only."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class ExecConfig(Struct, frozen=True, omit_defaults=True):
    """A process to be added to a running container."""

    command: tuple[str, ...]
    user: str = ""
    """Empty: the container's."""
    env: tuple[str, ...] = ()
    """Besides the container's."""
    workdir: str = ""
    tty: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    privileged: bool = False
    detach_keys: str = ""
    console_size: tuple[int, int] = (0, 0)
    """Rows, columns."""


class ExecRecord(Struct, frozen=True, omit_defaults=True):
    """An added process and where it is."""

    id: str
    """64 hexadecimal digits."""
    container: str
    """The container's id."""
    config: ExecConfig
    running: bool = False
    pid: int = 0
    exit_code: int | None = None
    """None: it has not ended."""
    error: str = ""
    """Why it did not start."""
    created: int = 0
    """Nanoseconds since the epoch."""
    probe: bool = False
    """Whether it asks after the container's health, so that nobody but us knows of it."""


class LogOptions(Struct, frozen=True, omit_defaults=True):
    """Which lines of a container's log, and in which form."""

    follow: bool = False
    stdout: bool = True
    stderr: bool = True
    since: str = ""
    """Seconds since the epoch, with a fraction, or RFC 3339; empty: from the first."""
    until: str = ""
    tail: int = -1
    """-1: all."""
    timestamps: bool = False
    details: bool = False


class AttachOptions(Struct, frozen=True, omit_defaults=True):
    """Which streams a client wants, and what of the past."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    logs: bool = False
    stream: bool = True
    detach_keys: str = ""


class Top(Struct, frozen=True):
    """The processes of a container as ps(1) shows them."""

    titles: tuple[str, ...]
    processes: tuple[tuple[str, ...], ...]


class CommitOptions(Struct, frozen=True, omit_defaults=True):
    """How an image is made of a container."""

    reference: str = ""
    author: str = ""
    message: str = ""
    changes: tuple[str, ...] = ()
    """Dockerfile instructions."""
    pause: bool = True
    config: dict[str, Any] = field(default_factory=dict)
    """Docker's `Config` object in the body, laid over the container's."""


class PutOptions(Struct, frozen=True, omit_defaults=True):
    """How an archive is laid into a container."""

    no_overwrite_dir_non_dir: bool = False
    """Whether a directory in place of a file, or a file in place of a directory, is refused."""
    copy_uid_gid: bool = False
    """Whether owners are those of the archive (they are) or the container's user and group."""


class PathStat(Struct, frozen=True):
    """What is at a path of a container (api: X-Docker-Container-Path-Stat)."""

    name: str
    size: int
    mode: int
    """Go's fs.FileMode."""
    mtime: str
    """RFC 3339."""
    link_target: str
