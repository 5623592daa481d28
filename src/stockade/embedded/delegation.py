"""Which limits can be held here: all of them for root, for an ordinary user those of a cgroup delegated to it."""

from __future__ import annotations

import os

from stockade.errors import Unsupported
from stockade.host import delegated
from stockade.model import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.host.paths import Paths

_MOUNT = "/sys/fs/cgroup"
# The limit's name in `Limits` → the controller that holds it. The time limit needs none: the shim holds it.
_CONTROLLERS = {
    "memory": "memory",
    "memory_swap": "memory",
    "cpus": "cpu",
    "cpu_shares": "cpu",
    "cpuset": "cpuset",
    "pids": "pids",
}


def held(paths: Paths, asked: Limits, wished: Limits) -> Limits:
    """The limits that will hold.

    Args:
        asked: what the caller asked for by name; what of it cannot be held is refused.
        wished: our defaults where the caller asked for nothing; left out where they cannot be held.

    Raises:
        Unsupported: a limit was asked for that nobody can hold here.
    """
    able = controllers(paths)
    found = asked
    for name, controller in _CONTROLLERS.items():
        value = getattr(asked, name)
        if value not in (None, "") and controller not in able:
            raise Unsupported(
                f"the limit {name.replace('_', ' ')} cannot be held: no cgroup with the controller {controller} is "
                f"delegated to user {paths.uid}",
                hint="be root, or use `systemd-run --user --scope -p Delegate=yes`; a time limit works always",
            )
        if value in (None, "") and controller in able:
            found = found._replace(**{name: getattr(wished, name)})
    if found.time is None:
        found = found._replace(time=wished.time)
    return found


def controllers(paths: Paths) -> frozenset[str]:
    """The controllers that this caller can hold limits with."""
    if paths.root:
        return frozenset(_CONTROLLERS.values())
    parent = _parent()
    if parent is None:
        return frozenset()
    able = _words(f"{parent}/cgroup.subtree_control")
    # A cgroup with processes of its own hands nothing more on (cgroups(7), "no internal processes").
    if os.access(f"{parent}/cgroup.subtree_control", os.W_OK) and not _words(f"{parent}/cgroup.procs"):
        able |= _words(f"{parent}/cgroup.controllers")
    return able.intersection(_CONTROLLERS.values())


def cgroup(paths: Paths, identity: str) -> str:
    """A container's `linux.cgroupsPath`: an ordinary user's lies beside the caller's own, where that may be made.

    Raises:
        Unavailable: systemd runs this host and gives root no cgroup for containers.
    """
    if paths.root:
        if delegated.missing():
            delegated.ask()
        return f"{delegated.parent()}/{identity}"
    return "" if _parent() is None else f"stockade-{identity}"


def _parent() -> str | None:
    """The cgroup that this process' own is in, where version 2 alone is mounted and it is delegated to this user.

    Its cgroup.procs must be writable too: it is the common ancestor's that lets a process be moved (cgroups(7)).
    """
    own = _own_cgroup()
    if own is None or own == _MOUNT:
        return None
    parent = os.path.dirname(own)
    return parent if os.access(parent, os.W_OK) and os.access(f"{parent}/cgroup.procs", os.W_OK) else None


def _words(path: str) -> frozenset[str]:
    with open(path, encoding="ascii") as file:
        return frozenset(file.read().split())


def _own_cgroup() -> str | None:
    """The directory of this process' cgroup, where version 2 alone is mounted."""
    if not os.path.exists(f"{_MOUNT}/cgroup.controllers"):
        return None
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            if line.startswith("0::/"):
                return f"{_MOUNT}{line[3:].rstrip()}".rstrip("/")
    return None
