"""Files in and out of a running sandbox, by a descriptor of its root.

What lies below is hostile: every path is resolved by the kernel within that root (openat2(2), RESOLVE_IN_ROOT), and
only regular files are read or written.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat

from stockade.errors import BadValue, NotFound, Refused, RuntimeFailed, StockadeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

_OPENAT2 = 437
_IN_ROOT, _NO_MAGIC_LINKS = 0x10, 0x02
_CHUNK = 1 << 20


def read(root: int, path: str, limit: int) -> bytes:
    """The content of a file of at most `limit` bytes."""
    descriptor = _regular(_open(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), path)
    with open(descriptor, "rb", buffering=0) as file:
        parts, left = [], limit + 1
        while left > 0 and (part := file.read(min(_CHUNK, left))):
            parts.append(part)
            left -= len(part)
    if left == 0:
        raise BadValue(f"{path} has more than {limit} bytes", hint="limit=… allows more")
    return b"".join(parts)


def write(root: int, path: str, content: bytes | IO[bytes], owner: tuple[int, int], mode: int = 0o644) -> None:
    """Write a file, whole, and the directories that it needs, as `owner` (ids of the host)."""
    parent, _, name = path.rstrip("/").rpartition("/")
    if not name or name in (".", ".."):
        raise BadValue(f"{path!r} does not name a file")
    directory = _make(root, parent, owner)
    try:
        # Not through a link that is there already: the last part is what the caller named.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
        descriptor = _regular(_open(directory, name, flags, mode, shown=path), path)
    finally:
        os.close(directory)
    with open(descriptor, "wb", buffering=0) as file:
        try:
            os.truncate(descriptor, 0)
            os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            if isinstance(content, bytes | bytearray | memoryview):
                _put(file, content)
            else:
                while part := content.read(_CHUNK):
                    _put(file, part)
        except OSError as error:
            raise _condition(error, path) from error


def _put(file: IO[bytes], data: bytes | bytearray | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _make(root: int, path: str, owner: tuple[int, int]) -> int:
    """A descriptor of a directory, made with its parents where it is missing."""
    try:
        return _open(root, path or "/", os.O_DIRECTORY | os.O_RDONLY)
    except NotFound:
        parent, _, name = path.rstrip("/").rpartition("/")
    if not name:
        return _open(root, parent or "/", os.O_DIRECTORY | os.O_RDONLY)
    above = _make(root, parent, owner)
    try:
        try:
            os.mkdir(name, 0o755, dir_fd=above)
            os.chown(name, *owner, dir_fd=above, follow_symlinks=False)
        except FileExistsError:
            # A dangling link, or a program inside was faster.
            pass
        return _open(root, path, os.O_DIRECTORY | os.O_RDONLY)
    except OSError as error:
        raise _condition(error, path) from error
    finally:
        os.close(above)


def _regular(descriptor: int, path: str) -> int:
    """The descriptor, which is closed if it is not that of a regular file."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refused(f"{path} is not a regular file")
    return descriptor


def _open(root: int, path: str, flags: int, mode: int = 0, shown: str = "") -> int:
    # struct open_how: flags, mode, resolve.
    how = (ctypes.c_uint64 * 3)(flags | os.O_CLOEXEC, mode if flags & os.O_CREAT else 0, _IN_ROOT | _NO_MAGIC_LINKS)
    if "\0" in path:
        raise BadValue(f"{path!r} cannot name a file")
    found: int = _LIBC.syscall(_OPENAT2, root, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
    if found < 0:
        number = ctypes.get_errno()
        raise _condition(OSError(number, os.strerror(number)), shown or path)
    return found


def _condition(error: OSError, path: str) -> StockadeError:
    kinds: dict[int, type[StockadeError]] = {
        errno.ENOENT: NotFound,
        errno.ENOTDIR: NotFound,
        errno.ELOOP: Refused,
        errno.EISDIR: Refused,
        errno.ENXIO: Refused,
        errno.EACCES: Refused,
    }
    return kinds.get(error.errno or 0, RuntimeFailed)(f"{path} in the sandbox: {error.strerror}")


_LIBC = ctypes.CDLL(None, use_errno=True)
