"""Wants the host's password hashes, by the front door and by the known side doors."""

import errno
import os
from collections.abc import Callable


def front_door() -> str:
    with open("/etc/shadow", encoding="utf-8") as file:
        return file.readline()


def first_process() -> str:
    with open("/proc/1/root/etc/shadow", encoding="utf-8") as file:
        return file.readline()


def above_the_root() -> str:
    os.chroot("/usr")
    with open("../" * 12 + "etc/shadow", encoding="utf-8") as file:
        return file.readline()


def the_disk() -> str:
    os.mknod("/tmp/disk", 0o60600, os.makedev(254, 0))
    with open("/tmp/disk", "rb") as file:
        return repr(file.read(16))


def attempt(name: str, door: Callable[[], str]) -> bool:
    """Whether the door opened; prints what the kernel said."""
    try:
        found = door()
    except OSError as error:
        print(f"{name}: {errno.errorcode.get(error.errno or 0, '?')}")
        return False
    print(f"{name}: OPEN, {len(found)} characters")
    return True


opened = [
    attempt("/etc/shadow", front_door),
    attempt("/proc/1/root/etc/shadow", first_process),
    attempt("the host's disk", the_disk),
    attempt("chroot and ../..", above_the_root),
]
raise SystemExit(any(opened))
