"""Locks between processes, and files that are replaced whole."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from stockade.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def held(path: str) -> Iterator[None]:
    """Hold `path` locked; the kernel lets go when this process ends, however it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def tried(path: str) -> Iterator[int | None]:
    """Hold `path` locked, by a descriptor that is its lock; None: somebody else does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield descriptor
    finally:
        os.close(descriptor)


def replace(path: str, text: str, synced: bool = True) -> None:
    """Put `text` at `path` so that a reader sees the old file or the new one; owner and mode stay.

    Args:
        synced: whether it must be one of the two after a crash of the machine too, not only of this process.
    """
    try:
        old = os.stat(path)
        mode, owner, group = old.st_mode & 0o7777, old.st_uid, old.st_gid
    except FileNotFoundError:
        mode, owner, group = (0o644 if path.startswith("/etc/") else 0o600), -1, -1
    beside = f"{path}{_BESIDE}{os.getpid()}"
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            if synced:
                os.fsync(descriptor)
            os.fchmod(descriptor, mode)
            if owner != -1:
                os.fchown(descriptor, owner, group)
        os.rename(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise Refused(f"cannot replace {path}: {error.strerror}") from error


def tidy(directory: str) -> None:
    """Remove what `replace` left beside the files of a directory when its process was killed; nobody may be at it.

    Raises:
        FileNotFoundError: there is no such directory.
    """
    for name in os.listdir(directory):
        _, found, pid = name.rpartition(_BESIDE)
        if found and pid.isdigit():
            os.unlink(f"{directory}/{name}")


_BESIDE = ".stockade-"


@contextlib.contextmanager
def shadow(path: str, patience: float = 15.0) -> Iterator[None]:
    """Hold `path` locked as the shadow tools lock it: `path`.lock holds the pid of its owner (lckpwdf and commonio of
    shadow).
    """
    lock, own = f"{path}.lock", f"{path}.{os.getpid()}"
    try:
        with open(own, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\0")
    except OSError as error:
        raise Refused(
            f"cannot lock {path}: {error.strerror}", hint="its directory must be writable once, to reserve ids"
        ) from error
    try:
        _link(own, lock, time.monotonic() + patience)
    finally:
        os.unlink(own)
    try:
        yield
    finally:
        os.unlink(lock)


def _link(own: str, lock: str, deadline: float) -> None:
    while True:
        try:
            os.link(own, lock)
            return
        except FileExistsError:
            if _stale(lock):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(lock)
                continue
        if time.monotonic() > deadline:
            raise Refused(f"{lock} is held by another program", hint="wait for useradd, usermod or newusers to end")
        time.sleep(0.02)


def _stale(lock: str) -> bool:
    """Whether the process that made the lock is gone."""
    try:
        with open(lock, "rb") as file:
            pid = int(file.read().strip(b"\0\n ") or b"0")
    except (FileNotFoundError, ValueError):
        return False
    return pid > 0 and not os.path.exists(f"/proc/{pid}")
