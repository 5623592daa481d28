"""config.json: what a container is, written down for the shim (runtime-spec 1.2).

Pure, but for `write` and for reading the default filter. The filter is JSON that nobody here looks into: it is spliced
into the text as it stands.
"""

from __future__ import annotations

import functools
import json
import os
from typing import NamedTuple

from stockade.model import Capabilities, IdMap, Limits, Mount, Namespace, Process, render_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

VERSION = "1.2.0"
CPU_PERIOD = 100_000
TIME_LIMIT = "dev.stockade.time-limit"
LIFELINE = "dev.stockade.lifeline"

SHORT_CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in "CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE SETGID SETPCAP SETUID SYS_CHROOT".split()
)
"""For code that nobody trusts: enough to install and build software as root of a user namespace."""
USUAL_CAPABILITIES = (*SHORT_CAPABILITIES, "CAP_AUDIT_WRITE", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETFCAP")
"""What container engines grant by default."""

ALL_CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH "
        "FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN "
        "NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT "
        "SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM"
    ).split()
)
"""Every one that Linux has (capabilities(7))."""

OWN_NAMESPACES = tuple(Namespace(kind) for kind in ("user", "mount", "pid", "network", "ipc", "uts", "cgroup"))
USUAL_MOUNTS = (
    Mount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
    Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    Mount("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    Mount("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
    Mount("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    Mount("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev", "relatime", "ro")),
)
# What of /proc and /sys speaks of the host.
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
# null, zero, full, random, urandom, tty, console, ptmx, and the pseudo terminals.
_DEVICE_NUMBERS = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, None))


class Bundle(NamedTuple):
    """A container to be written down. The defaults are those of code that nobody trusts."""

    process: Process
    uids: tuple[IdMap, ...]
    gids: tuple[IdMap, ...]
    root: str = "rootfs"
    """Where the root file system is, or is mounted by CreateTask's `rootfs`; relative to the bundle."""
    readonly: bool = False
    hostname: str = ""
    mounts: tuple[Mount, ...] = USUAL_MOUNTS
    namespaces: tuple[Namespace, ...] = OWN_NAMESPACES
    limits: Limits = Limits()
    cgroup: str = ""
    """linux.cgroupsPath; empty: the runtime's choice by the container's id."""
    lifeline: bool = False
    """Whether the container ends with the connection that created it."""
    seccomp: str | None = None
    """The filter's JSON text; None: the default one; empty: no filter."""
    masked_paths: tuple[str, ...] = MASKED_PATHS
    readonly_paths: tuple[str, ...] = READONLY_PATHS
    sysctls: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()


def write(directory: str, bundle: Bundle) -> None:
    """Write config.json into a container's directory."""
    path = f"{directory}/config.json"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(render(bundle))


def render(bundle: Bundle) -> str:
    """The text of config.json."""
    annotations = dict(bundle.annotations)
    if bundle.limits.time is not None:
        annotations[TIME_LIMIT] = render_duration(bundle.limits.time)
    if bundle.lifeline:
        annotations[LIFELINE] = "connection"
    outer = {
        "ociVersion": VERSION,
        "process": process_object(bundle.process),
        "root": {"path": bundle.root, "readonly": bundle.readonly},
        "hostname": bundle.hostname or None,
        "mounts": [mount_object(_fitting(mount, bundle.gids)) for mount in bundle.mounts],
        "annotations": annotations,
    }
    linux = {
        "uidMappings": map_objects(bundle.uids),
        "gidMappings": map_objects(bundle.gids),
        "namespaces": [
            {"type": one.kind, "path": one.path} if one.path else {"type": one.kind} for one in bundle.namespaces
        ],
        "cgroupsPath": bundle.cgroup,
        "resources": resources_object(bundle.limits),
        "sysctl": dict(bundle.sysctls),
        "maskedPaths": bundle.masked_paths,
        "readonlyPaths": bundle.readonly_paths,
    }
    seccomp = default_seccomp() if bundle.seccomp is None else bundle.seccomp
    inner = _text(linux)[:-1] + (f',"seccomp":{seccomp}' if seccomp else "") + "}"
    return f'{_text(outer)[:-1]},"linux":{inner}}}'


def process_object(process: Process) -> dict[str, Any]:
    """The `process` object of config.json (config.md, "Process")."""
    found: dict[str, Any] = {
        "terminal": process.terminal,
        "user": {"uid": process.uid, "gid": process.gid, "additionalGids": process.groups, "umask": process.umask},
        "args": process.args,
        "env": process.env,
        "cwd": process.cwd,
        "capabilities": _capability_sets(process.capabilities, process.uid == 0),
        "noNewPrivileges": process.no_new_privileges,
        "rlimits": [{"type": one.kind, "soft": one.soft, "hard": one.hard} for one in process.rlimits],
        "oomScoreAdj": process.oom_score_adj,
    }
    if process.size is not None:
        found["consoleSize"] = {"height": process.size[0], "width": process.size[1]}
    found["user"] = {name: value for name, value in found["user"].items() if value is not None}
    return {name: value for name, value in found.items() if value is not None}


def resources_object(limits: Limits, devices: bool = True) -> dict[str, Any]:
    """The `linux.resources` object of config.json (config-linux.md)."""
    found: dict[str, Any] = {"devices": DEVICE_RULES} if devices else {}
    if limits.memory is not None:
        found["memory"] = {"limit": limits.memory}
        if limits.memory_swap is not None or swap_is_counted():
            found["memory"]["swap"] = limits.memory if limits.memory_swap is None else limits.memory_swap
    cpu: dict[str, Any] = {}
    if limits.cpus is not None:
        cpu |= {"quota": round(limits.cpus * CPU_PERIOD), "period": CPU_PERIOD}
    if limits.cpu_shares is not None:
        cpu["shares"] = limits.cpu_shares
    if limits.cpuset:
        cpu["cpus"] = limits.cpuset
    if cpu:
        found["cpu"] = cpu
    if limits.pids is not None:
        found["pids"] = {"limit": limits.pids}
    return found


@functools.cache
def default_seccomp() -> str:
    """The JSON text of the default filter."""
    with open(os.path.join(os.path.dirname(__file__), "seccomp-default.json"), encoding="utf-8") as file:
        return file.read()


DEVICE_RULES: list[dict[str, Any]] = [
    {"allow": False, "access": "rwm"},
    # Making a node grants nothing: the node of a user namespace cannot be opened.
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    *(
        {"allow": True, "type": "c", "major": major, "access": "rwm"} | ({} if minor is None else {"minor": minor})
        for major, minor in _DEVICE_NUMBERS
    ),
]


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps({name: one for name, one in value.items() if one is not None}, separators=(",", ":"))


def _capability_sets(granted: Capabilities, root: bool) -> dict[str, tuple[str, ...]]:
    """As root every granted one is effective; another user starts with the ambient ones only."""
    held = granted.bounding if root else granted.ambient
    return {
        "bounding": granted.bounding,
        "permitted": held,
        "effective": held,
        "inheritable": granted.ambient,
        "ambient": granted.ambient,
    }


def map_objects(maps: tuple[IdMap, ...]) -> list[dict[str, int]]:
    return [{"containerID": one.container, "hostID": one.host, "size": one.size} for one in maps]


def mount_object(mount: Mount) -> dict[str, Any]:
    found: dict[str, Any] = {
        "destination": mount.destination,
        "type": mount.kind,
        "source": mount.source,
        "options": mount.options,
    }
    if mount.uids:
        found |= {"uidMappings": map_objects(mount.uids), "gidMappings": map_objects(mount.gids)}
    return found


def _fitting(mount: Mount, gids: tuple[IdMap, ...]) -> Mount:
    """Terminals belong to the group tty, unless the container has no such id."""
    has_tty = any(one.container <= 5 < one.container + one.size for one in gids)
    if mount.kind != "devpts" or has_tty:
        return mount
    return mount._replace(options=tuple(option for option in mount.options if option != "gid=5"))


@functools.cache
def swap_is_counted() -> bool:
    """Whether this kernel can hold memory and swap together to a limit: v2 can, v1 only when built or booted so."""
    if os.path.exists("/sys/fs/cgroup/memory"):
        return os.path.exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
    return os.path.exists("/proc/swaps")
