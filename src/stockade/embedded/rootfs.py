"""Root file systems given by path: a directory as it stands, or a tar archive unpacked once and found by its digest.

Unpacked archives keep their ids as they are, beneath the data directory, which is 0700. Nothing evicts them yet.
"""

from __future__ import annotations

import json
import os
import stat

from stockade.errors import BadValue, NotFound, Refused
from stockade.host import layer, locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.host.paths import Paths


def find(paths: Paths, program: str, source: str) -> str:
    """The directory to stand on for a directory or an archive (tar, plain or compressed by gzip or zstd).

    Args:
        program: `stockade-layer`.

    Raises:
        NotFound, BadValue, Refused, RuntimeFailed: it is no such thing, or cannot be used.
    """
    if not paths.root:
        raise Refused(
            "a root file system of its own is not served for an ordinary user yet",
            hint="be root, or use the view of this machine: `stockade do`",
        )
    try:
        path = os.path.realpath(source, strict=True)
        found = os.stat(path)
    except OSError as error:
        raise NotFound(f"cannot use {source}: {error.strerror}") from error
    if stat.S_ISDIR(found.st_mode):
        if path == "/":
            raise Refused(
                "/ as a root file system would show every secret of this machine",
                hint="`stockade do` shows the public part of it",
            )
        if set(",:\\\n").intersection(path):
            raise BadValue(f"{path} cannot be a layer: its name has one of , : \\", hint="give it a plain name")
        return path
    if not stat.S_ISREG(found.st_mode):
        raise BadValue(f"{source} is neither a directory nor an archive")
    return _unpacked(paths, program, path, found)


def _unpacked(paths: Paths, program: str, path: str, found: os.stat_result) -> str:
    """The directory that an archive was unpacked into, now or earlier."""
    import hashlib

    top = f"{paths.data}/rootfs"
    # Who looks into a file again must see a change: as make(1), but to the nanosecond.
    seen = f"{path}\0{found.st_dev}\0{found.st_ino}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ctime_ns}"
    entry = f"{top}/seen-{hashlib.sha256(os.fsencode(seen)).hexdigest()[:32]}"
    known = _read(top, entry)
    if known is not None:
        return known
    os.makedirs(top, 0o700, exist_ok=True)
    with locks.held(f"{top}/lock"):
        known = _read(top, entry)
        if known is not None:
            return known
        for name in os.listdir(top):
            if name.startswith("new-"):
                layer.call(program, "remove", f"{top}/{name}")
        fresh = f"{top}/new-{os.getpid()}"
        os.mkdir(fresh, 0o755)
        try:
            answer = layer.call(program, "unpack", "--input", path, fresh)[-1]
            directory = f"{top}/{answer['diff_id'].replace(':', '-')}"
            if os.path.isdir(directory):
                layer.call(program, "remove", fresh)
            else:
                os.rename(fresh, directory)
        except BaseException:
            layer.call(program, "remove", fresh)
            raise
        locks.replace(entry, json.dumps({"directory": os.path.basename(directory), "archive": path}))
    return directory


def _read(top: str, entry: str) -> str | None:
    try:
        with open(entry, encoding="utf-8") as file:
            directory = f"{top}/{json.load(file)['directory']}"
    except FileNotFoundError:
        return None
    return directory if os.path.isdir(directory) else None
