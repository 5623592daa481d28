"""What a container is made of, in the words of the runtime-spec."""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

from stockade.errors import BadValue

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")


class Phase(Enum):
    """Where a container or process is in its life; the values are containerd's (process.proto)."""

    UNKNOWN = 0
    CREATED = 1
    RUNNING = 2
    STOPPED = 3
    PAUSED = 4
    PAUSING = 5


IDLE_PHASES = frozenset({Phase.UNKNOWN, Phase.STOPPED})


class IdMap(NamedTuple):
    """One line of a user namespace's map (user_namespaces(7))."""

    container: int
    host: int
    size: int


class RootfsMount(NamedTuple):
    """One entry of CreateTask's `rootfs`: the shim mounts them in this order, in the container's namespace alone."""

    kind: str
    source: str
    target: str = ""
    options: tuple[str, ...] = ()


class Mount(NamedTuple):
    """One entry of config.json's `mounts` (config.md, "Mounts")."""

    destination: str
    kind: str
    source: str
    options: tuple[str, ...] = ()
    uids: tuple[IdMap, ...] = ()
    gids: tuple[IdMap, ...] = ()


class Namespace(NamedTuple):
    """A namespace that is made anew (no path) or joined."""

    kind: str
    """As `network` (config-linux.md, "Namespaces")."""
    path: str = ""


class Rlimit(NamedTuple):
    """A limit of setrlimit(2); kind as `RLIMIT_NOFILE`."""

    kind: str
    soft: int
    hard: int


class Capabilities(NamedTuple):
    """What a process may do as root inside: the bounding set, and what it starts with; names as `CAP_CHOWN`."""

    bounding: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Process(NamedTuple):
    """A program to be run in a container (config.md, "Process")."""

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    """`NAME=value` each."""
    cwd: str = "/"
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    umask: int | None = None
    terminal: bool = False
    size: tuple[int, int] | None = None
    """Rows and columns of the terminal."""
    capabilities: Capabilities = Capabilities()
    no_new_privileges: bool = True
    rlimits: tuple[Rlimit, ...] = ()
    oom_score_adj: int | None = None


def check_name(name: str) -> str:
    """Return a container's name or id as it is, or refuse it: it becomes a directory and a cgroup."""
    if not _NAME.fullmatch(name):
        raise BadValue(
            f"{name!r} cannot name a container",
            hint="letters, digits, '_', '.' and '-', the first a letter or digit, at most 128",
        )
    return name
