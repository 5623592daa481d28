"""Whether a file system can be mounted id-mapped: tried, not told by its name or the kernel's version."""

from __future__ import annotations

import ctypes
import os
import signal

_OPEN_TREE, _MOUNT_SETATTR = 428, 442  # the same numbers on every architecture since 5.2 (syscall.tbl)
_AT_EMPTY_PATH, _OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 0x1000, 1, os.O_CLOEXEC
_MOUNT_ATTR_IDMAP = 0x0010_0000
_RANGE = b"0 1073741824 65536"
# Makes a user namespace and keeps it until somebody maps it; no module beyond ctypes is needed.
_HOLD = "import ctypes,os,sys\nif ctypes.CDLL(None).unshare(0x10000000): sys.exit(1)\nos.write(1,b'!')\nos.read(0,1)"


class _Attributes(ctypes.Structure):
    """struct mount_attr of linux/mount.h."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def id_mapped_mounts(directory: str) -> bool:
    """Whether a mount of this directory can be id-mapped. Takes some ten milliseconds, so ask once a file system."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC
    tree = libc.syscall(_OPEN_TREE, -100, ctypes.c_char_p(os.fsencode(directory)), flags)
    if tree < 0:
        return False
    try:
        namespace = _user_namespace()
        try:
            wanted = _Attributes(_MOUNT_ATTR_IDMAP, 0, 0, namespace)
            size = ctypes.c_size_t(ctypes.sizeof(wanted))
            return bool(
                libc.syscall(_MOUNT_SETATTR, tree, ctypes.c_char_p(b""), _AT_EMPTY_PATH, ctypes.byref(wanted), size)
                == 0
            )
        finally:
            os.close(namespace)
    except OSError:
        return False
    finally:
        os.close(tree)


def _user_namespace() -> int:
    """A descriptor of a mapped user namespace that nobody is in."""
    import sys

    go, own_go = os.pipe2(os.O_CLOEXEC)
    own_ready, ready = os.pipe2(os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, go, 0), (os.POSIX_SPAWN_DUP2, ready, 1)]
    try:
        pid = os.posix_spawn(
            sys.executable, [sys.executable, "-I", "-S", "-c", _HOLD], {"PATH": os.defpath}, file_actions=actions
        )
    finally:
        os.close(go)
        os.close(ready)
    try:
        if not os.read(own_ready, 1):
            raise OSError("this kernel gives no user namespace")
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{pid}/{name}", "wb", buffering=0) as file:
                file.write(_RANGE)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(own_ready)
        os.close(own_go)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
