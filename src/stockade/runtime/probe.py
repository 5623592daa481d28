"""What only trying can tell about the kernel.

Each trial is a process of its own, in namespaces of its own; it prints what went wrong (nothing: it works) and leaves
nothing behind.
"""

from __future__ import annotations

import contextlib
import os
import sys

from stockade.errors import StockadeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NEWNS, _NEWUSER = 0x20000, 0x10000000
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_CLONE_TREE, _EMPTY_PATH, _F_EMPTY_PATH = 1, 0x1000, 4
_ATTR_IDMAP = 0x100000
_PRIVATE = 1 << 18 | 1 << 14
_IDS = "0 1879048192 65536"


def user_namespace() -> str:
    """Whether this user can make a user namespace with mounts of its own; empty: yes, else why not."""
    return _try("user")


def idmapped_mount(directory: str) -> str:
    """Whether the file system of a directory can be mounted with ids mapped; empty: yes, else why not."""
    return _try("idmap", directory)


def overlay_over_idmapped(directory: str) -> str:
    """Whether overlay takes an id-mapped layer from there; empty: yes, else why not."""
    return _try("overlay", directory)


def _try(trial: str, *arguments: str) -> str:
    from stockade.runtime.shim import run_to_end

    source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    words = [sys.executable, "-c", _BOOT, source, trial, *arguments]
    try:
        status, output, complaint = run_to_end(words)
    except StockadeError as error:
        return error.message
    return output.strip() or ("" if status == 0 else complaint.splitlines()[-1] if complaint else f"status {status}")


_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from stockade.runtime.probe import _main; _main(sys.argv[2:])"


def _main(words: list[str]) -> None:
    trials: dict[str, Callable[..., None]] = {"user": _user, "idmap": _idmap, "overlay": _overlay}
    try:
        trials[words[0]](*words[1:])
    except OSError as error:
        print(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)


def _user() -> None:
    _call("unshare", _NEWUSER | _NEWNS)


def _idmap(directory: str) -> None:
    os.close(_idmapped(directory))


def _overlay(directory: str) -> None:
    import tempfile

    _call("unshare", _NEWNS)
    _call("mount", None, b"/", None, _PRIVATE, None)
    with tempfile.TemporaryDirectory(prefix=".probe-", dir=directory) as place:
        for name in ("lower", "seen", "upper", "work", "root"):
            os.mkdir(f"{place}/{name}")
        mount = _idmapped(f"{place}/lower")
        _syscall(_MOVE_MOUNT, mount, b"", -100, f"{place}/seen".encode(), _F_EMPTY_PATH)
        os.close(mount)
        options = f"lowerdir={place}/seen,upperdir={place}/upper,workdir={place}/work"
        with contextlib.ExitStack() as stack:
            stack.callback(_call, "umount2", f"{place}/seen".encode(), 2)
            _call("mount", b"overlay", f"{place}/root".encode(), b"overlay", 0, options.encode())
            stack.callback(_call, "umount2", f"{place}/root".encode(), 2)


def _idmapped(directory: str) -> int:
    """A detached mount of a directory with mapped ids."""
    import ctypes

    users = _namespace()
    try:
        mount = _syscall(_OPEN_TREE, -100, directory.encode(), _CLONE_TREE | os.O_CLOEXEC)
        # struct mount_attr: attr_set, attr_clr, propagation, userns_fd.
        attributes = (ctypes.c_uint64 * 4)(_ATTR_IDMAP, 0, 0, users)
        try:
            _syscall(_MOUNT_SETATTR, mount, b"", _EMPTY_PATH, ctypes.byref(attributes), ctypes.sizeof(attributes))
        except OSError:
            os.close(mount)
            raise
        return mount
    finally:
        os.close(users)


def _namespace() -> int:
    """A descriptor of a user namespace that maps a range. Forks: this process has one thread."""
    ready, entered = os.pipe()
    go, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(done)
        with contextlib.suppress(OSError):
            _call("unshare", _NEWUSER)
            os.write(entered, b"1")
            os.read(go, 1)
        os._exit(0)
    os.close(entered)
    os.close(go)
    try:
        if not os.read(ready, 1):
            raise OSError(1, "no user namespace can be made")
        for file in ("uid_map", "gid_map"):
            with open(f"/proc/{pid}/{file}", "w", encoding="ascii") as maps:
                maps.write(_IDS)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(done)
        os.close(ready)
        os.waitpid(pid, 0)


def _syscall(number: int, *arguments: object) -> int:
    return _call("syscall", number, *arguments)


def _call(name: str, *arguments: object) -> int:
    import ctypes

    found: int = getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments)
    if found < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return found
