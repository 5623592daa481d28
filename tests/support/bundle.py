"""OCI bundles of the tests' own writing: an independent hand, so that an error of the product's writer shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.wall import Work

USER_BASE, USER_COUNT = 1_000_000, 65_536
MASKED = ("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
          "/proc/sched_debug", "/proc/scsi", "/sys/firmware")  # fmt: skip
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
MOUNTS: list[dict[str, Any]] = [
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
     "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
     "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
     "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]},
]  # fmt: skip


def process(work: Work) -> dict[str, Any]:
    user: dict[str, Any] = {"uid": work.uid, "gid": work.gid, "additionalGids": list(work.groups)}
    if work.umask is not None:
        user["umask"] = work.umask
    held = [] if work.uid else list(work.capabilities)
    made: dict[str, Any] = {
        "terminal": work.terminal,
        "user": user,
        "args": list(work.argv),
        "env": [f"{key}={value}" for key, value in work.env.items()],
        "cwd": work.cwd,
        "noNewPrivileges": True,
        "capabilities": {"bounding": list(work.capabilities), "effective": held, "permitted": held},
        "rlimits": [{"type": f"RLIMIT_{k.upper()}", "soft": v, "hard": v} for k, v in work.rlimits.items()],
    }
    if work.terminal:
        made["consoleSize"] = {"height": work.size[0], "width": work.size[1]}
    return made


def config(work: Work, user_namespace: bool) -> dict[str, Any]:
    names = ["pid", "network", "ipc", "uts", "mount", "cgroup"] + (["user"] if user_namespace else [])
    linux: dict[str, Any] = {
        "namespaces": [{"type": name} for name in names],
        "maskedPaths": list(MASKED),
        "readonlyPaths": list(READ_ONLY),
        "resources": resources(work),
    }
    if user_namespace:
        mapping = [{"containerID": 0, "hostID": USER_BASE, "size": USER_COUNT}]
        linux |= {"uidMappings": mapping, "gidMappings": mapping}
    binds = [
        {"destination": to, "type": "bind", "source": str(source), "options": ["rbind", "ro", "nosuid", "nodev"]}
        for to, source in work.binds.items()
    ]
    return {
        "ociVersion": "1.0.2",
        "process": process(work),
        "root": {"path": str(work.root), "readonly": True},
        "hostname": work.hostname,
        "mounts": [*MOUNTS, *binds],
        "linux": linux,
    }


def resources(work: Work) -> dict[str, Any]:
    made: dict[str, Any] = {"devices": [{"allow": False, "access": "rwm"}]}
    if work.memory is not None:
        made["memory"] = {"limit": work.memory, "swap": work.memory}
    if work.pids is not None:
        made["pids"] = {"limit": work.pids}
    if work.cpus is not None:
        made["cpu"] = {"period": 100_000, "quota": int(work.cpus * 100_000)}
    return made


def write(directory: Path, document: dict[str, Any]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(document))
    return directory
