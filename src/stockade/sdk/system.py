"""What this machine offers to each wall, found out by looking and, where looking does not tell, by trying."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from typing import NamedTuple

from stockade.errors import StockadeError, Unsupported
from stockade.host import paths
from stockade.runtime import shim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = (
    shim.PROGRAM,
    "stockade-oci",
    "stockade-layer",
    "stockade-logs",
    "stockade-fetch",
    "stockade-net",
    "stockade-websocket",
    "stockade-init",
)
_CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "io", "devices", "freezer", "hugetlb")
# seccomp's actions that the default filter and its peers use (seccomp(2)).
_ACTIONS = ("errno", "kill_process", "log", "user_notif")


class Finding(NamedTuple):
    """One thing that a wall needs or can use."""

    topic: str
    what: str
    ok: bool
    found: str = ""
    needed: bool = False
    """Whether the native wall does not work without it."""
    remedy: str = ""


def programs() -> dict[str, str]:
    """Our programs, and where they lie; empty: nowhere."""
    found = {}
    for name in PROGRAMS:
        try:
            found[name] = shim.program(name)
        except Unsupported:
            found[name] = ""
    return found


def check() -> list[Finding]:
    """Look at this machine, as this user. Leaves nothing behind."""
    return [*_ours(), *_namespaces(), *_mounts(), *_cgroups(), *_seccomp(), *_users(), *_walls(), *_networks()]


def _ours() -> Iterator[Finding]:
    topic = "stockade"
    for name, path in programs().items():
        yield Finding(topic, name, bool(path), path, True, "`make setup` in a checkout, or install the wheel")


def _namespaces() -> Iterator[Finding]:
    topic = "native wall: namespaces"
    for kind in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"):
        needed = kind != "time"
        there = os.path.exists(f"/proc/self/ns/{kind}")
        yield Finding(topic, kind, there, "", needed, f"a kernel with CONFIG_{_config_of(kind)}=y")
    most = _read("/proc/sys/user/max_user_namespaces")
    yield Finding(
        topic,
        "user namespaces allowed",
        most != "0",
        f"{most} at most",
        True,
        "sysctl -w user.max_user_namespaces=65536",
    )
    if os.geteuid() != 0:
        yield _unprivileged(topic)


def _unprivileged(topic: str) -> Finding:
    from stockade.runtime.probe import user_namespace

    trouble = user_namespace()
    remedies = [
        f"sysctl -w {name}"
        for name, value in (
            ("kernel.unprivileged_userns_clone=1", _read("/proc/sys/kernel/unprivileged_userns_clone")),
            (
                "kernel.apparmor_restrict_unprivileged_userns=0",
                _flip("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            ),
        )
        if value == "0"
    ]
    return Finding(
        topic, "made by an ordinary user", not trouble, trouble, True, " and ".join(remedies) or "run as root"
    )


def _mounts() -> Iterator[Finding]:
    topic = "native wall: file systems"
    known = {line.split()[-1] for line in _read("/proc/filesystems").splitlines()}
    for name in ("overlay", "proc", "sysfs", "tmpfs", "devpts", "mqueue"):
        yield Finding(topic, name, name in known, "", name != "mqueue", f"modprobe {name}")
    if os.geteuid() != 0:
        yield Finding(topic, "id-mapped mounts", True, "not needed by an ordinary user")
        return
    from stockade.runtime.probe import idmapped_mount, overlay_over_idmapped

    data = _existing(paths.find(os.environ).data)
    for what, directory in (("temporary directory", "/tmp"), ("data directory", data)):
        trouble = idmapped_mount(directory)
        kind = _file_system(directory)
        yield Finding(
            topic,
            f"id-mapped mounts, {what}",
            not trouble,
            trouble or kind,
            what == "data directory",
            "Linux 5.12 for ext4 and xfs, 6.3 for tmpfs; or put the data directory elsewhere",
        )
    trouble = overlay_over_idmapped(data)
    yield Finding(topic, "overlay over id-mapped layers", not trouble, trouble, True, "Linux 5.19")


def _cgroups() -> Iterator[Finding]:
    topic = "native wall: limits"
    unified = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    v1 = {line.split()[0] for line in _read("/proc/cgroups").splitlines()[1:] if line and line.split()[1] != "0"}
    hybrid = os.path.exists("/sys/fs/cgroup/unified/cgroup.controllers")
    layout = "v2" if unified else "hybrid" if hybrid else "v1" if v1 else "none"
    yield Finding(topic, "cgroup layout", layout != "none", layout, False, "mount -t cgroup2 cgroup2 /sys/fs/cgroup")
    v2 = set(
        _read("/sys/fs/cgroup/cgroup.controllers" if unified else "/sys/fs/cgroup/unified/cgroup.controllers").split()
    )
    if unified:
        # v2 has these without a controller: an eBPF program and cgroup.freeze.
        v2 |= {"devices", "freezer"}
    for name in _CONTROLLERS:
        there = name in v2 or (name if name != "io" else "blkio") in v1
        where = "v2" if name in v2 else "v1" if there else ""
        needed = name in ("cpu", "memory", "pids")
        yield Finding(
            topic,
            f"controller {name}",
            there,
            where,
            needed,
            f"boot with cgroup_enable={name}, or a kernel that has it",
        )
    yield _writable_cgroup(topic, unified)
    swap = os.path.exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes") or "memory" in v2
    yield Finding(topic, "swap limited with memory", swap, "", False, "boot with swapaccount=1")


def _writable_cgroup(topic: str, unified: bool) -> Finding:
    if os.geteuid() == 0:
        directory = "/sys/fs/cgroup" if unified else "/sys/fs/cgroup/pids"
    else:
        own = next((line[3:] for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::")), "")
        directory = f"/sys/fs/cgroup{own}" if unified else "/sys/fs/cgroup/unified"
    ok = os.access(directory, os.W_OK) and os.access(f"{directory}/cgroup.procs", os.W_OK)
    remedy = (
        "start it by `systemd-run --user --scope -p Delegate=yes`, or as root"
        if os.geteuid()
        else "remount cgroups writable"
    )
    return Finding(topic, "cgroup granted to this user", ok, directory, os.geteuid() == 0, remedy)


def _networks() -> Iterator[Finding]:
    """What networks need, and the host's own rules that keep packets from those that are in use."""
    topic = "networks"
    path = shutil.which("nft", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") or ""
    yield Finding(topic, "nft", bool(path), path, False, "apt install nftables")
    try:
        with socket.socket(socket.AF_UNIX) as daemon:
            # It is not started for this: without it nobody says which networks are in use.
            daemon.connect(f"{paths.find(os.environ).run}/stockade.sock")
        from stockade.sdk.client import Client

        blocks = Client().blocks()
    except (OSError, StockadeError):
        return
    for one in blocks:
        yield Finding(topic, f"network {one['Network']}", False, one["Sentence"], False, one["Command"])


def _seccomp() -> Iterator[Finding]:
    topic = "native wall: system calls"
    actions = _read("/proc/sys/kernel/seccomp/actions_avail").split()
    for name in _ACTIONS:
        needed = name == "errno"
        yield Finding(topic, f"seccomp {name}", name in actions, "", needed, "a kernel with CONFIG_SECCOMP_FILTER=y")
    modules = _read("/sys/kernel/security/lsm")
    yield Finding(topic, "AppArmor", "apparmor" in modules, modules, False, "boot with lsm=…,apparmor; optional")


def _users() -> Iterator[Finding]:
    topic = "native wall: users"
    if os.geteuid() == 0:
        ranges = [line for line in _read("/etc/subuid").splitlines() if line.startswith("stockade:")]
        yield Finding(topic, "id ranges reserved", True, ", ".join(ranges) or "at the first start")
        return
    for name in ("newuidmap", "newgidmap"):
        path = _which(name)
        yield Finding(topic, name, bool(path), path, False, "apt install uidmap; without it a container has one id")
    import pwd

    who = {str(os.getuid())}
    with contextlib.suppress(KeyError):
        who.add(pwd.getpwuid(os.getuid()).pw_name)
    for file in ("/etc/subuid", "/etc/subgid"):
        own = [line for line in _read(file).splitlines() if line.partition(":")[0] in who]
        remedy = f"usermod --add-{'subuids' if file.endswith('uid') else 'subgids'} 100000-165535 {min(who)}"
        yield Finding(topic, f"range in {file}", bool(own), ", ".join(own), False, remedy)


def _walls() -> Iterator[Finding]:
    topic = "walls to come"
    yield Finding(
        topic, "sentry: seccomp user notification", "user_notif" in _read("/proc/sys/kernel/seccomp/actions_avail")
    )
    yield Finding(topic, "sentry: system call user dispatch", _at_least(5, 11), os.uname().release, False, "Linux 5.11")
    kvm = os.access("/dev/kvm", os.R_OK | os.W_OK)
    there = os.path.exists("/dev/kvm")
    remedy = (
        "usermod -aG kvm $USER"
        if there
        else "enable virtualization in the firmware, or nested virtualization of the host"
    )
    yield Finding(topic, "vm: /dev/kvm", kvm, "" if kvm else "no access" if there else "not there", False, remedy)
    linux = _which("linux.uml") or _which("linux")
    yield Finding(topic, "uml: a Linux kernel as a program", bool(linux), linux, False, "apt install user-mode-linux")


def _config_of(kind: str) -> str:
    return {"mnt": "NAMESPACES", "cgroup": "CGROUPS"}.get(kind, f"{kind.upper()}_NS")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _flip(path: str) -> str:
    """The value of a switch that forbids, as one that allows."""
    return {"1": "0", "0": "1"}.get(_read(path), "")


def _which(name: str) -> str:
    paths = (f"{directory}/{name}" for directory in (*os.get_exec_path(), "/usr/sbin", "/sbin"))
    return next((path for path in paths if os.access(path, os.X_OK)), "")


def _existing(path: str) -> str:
    """The nearest directory upwards that exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _file_system(directory: str) -> str:
    """The type of the file system that a directory is on (proc_pid_mountinfo(5))."""
    best = ("", "")
    for line in _read("/proc/self/mountinfo").splitlines():
        words = line.split(" ")
        point, kind = words[4], words[words.index("-") + 1]
        if directory == point or directory.startswith(point.rstrip("/") + "/"):
            best = max(best, (point, kind), key=lambda one: len(one[0]))
    return best[1]


def _at_least(major: int, minor: int) -> bool:
    numbers = os.uname().release.split(".")
    return (int(numbers[0]), int(numbers[1])) >= (major, minor)
