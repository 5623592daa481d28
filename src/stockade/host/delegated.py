"""Where containers' cgroups lie: on a host that systemd runs, in a unit that it hands over whole; else at /stockade.

With cgroup v2 every cgroup has one writer, and systemd is that of all but what it delegates (systemd.resource-control
(5), Delegate=). It delegates services and scopes, not slices, and only while there is a process in them; so ours is a
service alone in a slice of its own, with a process that sleeps. It is asked for once a boot, by `systemctl`, which
speaks to process 1 itself and needs no message bus. Everything below it is made and removed by the file system, and
systemd is not asked again. The daemon's own unit would not do: systemd below 254 starts a service's process at the top
of its cgroup, where none may be as long as the containers of the one before lie below.
"""

from __future__ import annotations

import os

from stockade.errors import Unavailable
from stockade.runtime import shim

UNIT = "stockade-containers.service"
SLICE = "stockade.slice"
_MOUNT = "/sys/fs/cgroup"
_BOOTED = "/run/systemd/system"  # sd_booted(3)
_PATIENCE = 60.0
_NOT_LOADED = 5  # of systemctl: there is no such unit (LSB's "program is not installed")
_PROPERTIES = ("Delegate=yes", "TasksMax=infinity", "OOMPolicy=continue", "TimeoutStopSec=15")
_KEEPER, _SHIMS = "keeper", "shims"
_COMMAND = (
    f"cd {_MOUNT}/{SLICE}/{UNIT} && mkdir -p {_SHIMS} {_KEEPER} && echo 0 >{_KEEPER}/cgroup.procs"
    " && { sleep infinity & }"
)
"""This and the properties as in packaging/systemd/stockade-containers.service."""


def booted() -> bool:
    """Whether systemd runs this host."""
    return os.path.isdir(_BOOTED)


def served() -> bool:
    """Whether systemd is to be asked for a cgroup: it runs this host, and version 2 alone is mounted."""
    return booted() and os.path.exists(f"{_MOUNT}/cgroup.controllers")


def parent() -> str:
    """The cgroup that all containers lie in, as `linux.cgroupsPath` would name it."""
    return f"/{SLICE}/{UNIT}" if served() else "/stockade"


def directory() -> str:
    """The directory of `parent` in the hierarchy of version 2."""
    return f"{_MOUNT}{parent()}"


def shims() -> str:
    """The directory of the cgroup that shims are born in; empty: wherever their caller is."""
    return f"{directory()}/{_SHIMS}" if served() else ""


def missing() -> bool:
    """Whether systemd has yet to be asked in this boot, or somebody has stopped the unit."""
    if not served():
        return False
    try:
        with open(f"{directory()}/{_KEEPER}/cgroup.procs", encoding="ascii") as file:
            return not file.read(1)
    except OSError:
        return True


def ask() -> None:
    """Have systemd start the unit: the installed one, else one that lasts until it is stopped. Idempotent; waits.

    Raises:
        Unavailable: it does not, for the reason that it gave.
    """
    status, complaint = systemctl("start", UNIT)
    if status == _NOT_LOADED:
        words = ["--quiet", f"--unit={UNIT}", f"--slice={SLICE}", "--service-type=forking", "--collect"]
        words += ["--description=Stockade's containers", *(f"--property={one}" for one in _PROPERTIES)]
        status, complaint = _run("systemd-run", *words, "/bin/sh", "-c", _COMMAND)
    # Of several that ask at once one is first, and the others need not care.
    if not os.path.isdir(directory()):
        raise Unavailable(
            f"systemd gives no cgroup for containers: {complaint or f'{UNIT} has none at {directory()}'}",
            hint=f"systemctl status {UNIT}",
        )


def stop() -> None:
    """Have systemd take the unit and its slice away, unless somebody is in there. Idempotent."""
    if served() and os.path.isdir(directory()) and not any(map(_populated, os.listdir(directory()))):
        systemctl("stop", UNIT, SLICE)


def _populated(name: str) -> bool:
    """Whether that is the cgroup of somebody who does something."""
    try:
        with open(f"{directory()}/{name}/cgroup.events", encoding="ascii") as file:
            return name != _KEEPER and "populated 1" in file.read()
    except (FileNotFoundError, NotADirectoryError):
        return False


def systemctl(*words: str) -> tuple[int, str]:
    """`systemctl` to its end: its status and its last sentence."""
    return _run("systemctl", *words)


def _run(name: str, *words: str) -> tuple[int, str]:
    import shutil

    program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/bin:/bin")
    if program is None:
        return 127, f"{name} is not installed"
    status, _, complaint = shim.run_to_end([program, "--no-ask-password", *words], patience=_PATIENCE)
    return status, complaint.rpartition("\n")[2]
