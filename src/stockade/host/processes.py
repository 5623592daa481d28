"""A process, told apart from one that later has its pid: by when it began, and in which boot."""

from __future__ import annotations

import os
from typing import NamedTuple


class Owner(NamedTuple):
    """Whose end is the end of something."""

    pid: int
    start: int
    """Field 22 of /proc/PID/stat, in clock ticks since the boot."""
    boot: str

    def alive(self) -> bool:
        """Whether that very process still exists."""
        return self.boot == boot_id() and start_time(self.pid) == self.start


def myself() -> Owner:
    """This process."""
    pid = os.getpid()
    return Owner(pid, start_time(pid), boot_id())


def start_time(pid: int) -> int:
    """When a process began; 0 if there is none with this pid, or only its corpse (a zombie)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            words = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if words[0] in (b"Z", b"X") else int(words[19])


def boot_id() -> str:
    """What the kernel calls this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
