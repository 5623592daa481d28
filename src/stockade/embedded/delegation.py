"""Which limits can be held here: all of them for root, for an ordinary user those of a cgroup delegated to it."""

from __future__ import annotations

import os

from stockade.errors import Unsupported
from stockade.model import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.host.paths import Paths

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
    own = _own_cgroup()
    if own is None or not os.access(f"{own}/cgroup.subtree_control", os.W_OK) or not os.access(own, os.W_OK):
        return frozenset()
    with open(f"{own}/cgroup.controllers", encoding="ascii") as file:
        return frozenset(file.read().split()).intersection(_CONTROLLERS.values())


def _own_cgroup() -> str | None:
    """The directory of this process' cgroup, where version 2 alone is mounted."""
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        return None
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            if line.startswith("0::/"):
                return f"/sys/fs/cgroup{line[3:].rstrip()}"
    return None
