"""`cp`: archives that the daemon gives and takes, packed and unpacked here by the rules of docker cp.

What comes out of a container is hostile: no member leads outside of where it is put, no device is made, no owner and
no setuid bit is set. The rules are our own: the filters of `tarfile` are missing in Debian 12's Python.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import threading

from stockade.errors import BadValue, NotFound, Refused, StockadeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from stockade.sdk.client import Container


def side(text: str) -> tuple[str, str] | None:
    """Container and path of `NAME:PATH`; None for a path of this machine (`./a:b` is one)."""
    name, colon, path = text.partition(":")
    return (name, path or "/") if colon and name and "/" not in name and name != "." else None


def out_of(container: Container, path: str, target: str) -> None:
    """Copy a file or directory out of a container."""
    if target == "-":
        container.get_archive(path, 1)
        return
    into_directory = os.path.isdir(target)
    if not into_directory and target.endswith("/"):
        raise NotFound(f"there is no directory {target}")
    parent = os.path.dirname(os.path.abspath(target))
    if not os.path.isdir(parent):
        raise NotFound(f"there is no directory {parent}")
    with tempfile.TemporaryDirectory(prefix=".stockade-cp-", dir=target if into_directory else parent) as beside:
        _through_pipe(lambda writer: container.get_archive(path, writer), lambda reader: _unpack(reader, beside))
        for name in os.listdir(beside):
            if path.endswith("/.") and os.path.isdir(f"{beside}/{name}"):
                shutil.copytree(f"{beside}/{name}", target, symlinks=True, dirs_exist_ok=True)
            else:
                _put(f"{beside}/{name}", f"{target.rstrip('/')}/{name}" if into_directory else target)


def into(container: Container, path: str, source: str) -> None:
    """Copy a file or directory into a container; `path` is a directory there, or the new name in one."""
    if source == "-":
        container.put_archive(path, 0)
        return
    if not os.path.lexists(source):
        raise NotFound(f"there is no {source}")
    directory, name = path, os.path.basename(os.path.abspath(source))
    if not _is_directory(container, path):
        if path.endswith("/"):
            raise NotFound(f"there is no directory {path} in {container.name}")
        directory, name = os.path.split(path)
        if os.path.isdir(source) and _exists(container, path):
            raise BadValue(f"{path} in {container.name} is a file, {source} a directory")
    elif source.endswith("/."):
        name = "."
    _through_pipe(
        lambda writer: _pack(source, name, writer), lambda reader: container.put_archive(directory or "/", reader)
    )


def _is_directory(container: Container, path: str) -> bool:
    stat = _stat(container, path)
    # Go's FileMode: the highest bit is a directory's.
    return stat is not None and bool(stat["mode"] >> 31 & 1)


def _exists(container: Container, path: str) -> bool:
    return _stat(container, path) is not None


def _stat(container: Container, path: str) -> dict[str, int] | None:
    try:
        found: dict[str, int] = container.stat(path)
    except NotFound:
        return None
    return found


def _pack(source: str, name: str, writer: int) -> None:
    with open(writer, "wb", closefd=False) as file, tarfile.open(fileobj=file, mode="w|") as archive:
        archive.add(source.removesuffix("/.") if name == "." else source, name)


def _unpack(reader: int, directory: str) -> None:
    """Unpack into a new directory. There are no links while files are written, so none can be written through."""
    links: dict[str, str] = {}
    directories: list[tuple[str, float]] = []
    try:
        with open(reader, "rb", closefd=False) as file, tarfile.open(fileobj=file, mode="r|") as archive:
            archive.extraction_filter = lambda member, _: member
            for member in archive:
                place = f"{directory}/{_beneath(member.name)}"
                target = member.linkname if member.issym() else links.get(f"{directory}/{_beneath(member.linkname)}")
                if target is not None:
                    os.makedirs(os.path.dirname(place), exist_ok=True)
                    links[place] = target
                    continue
                if member.isdir():
                    directories.append((place, member.mtime))
                archive.extract(_tame(member), directory, set_attrs=not member.islnk())
        for place, target in links.items():
            os.symlink(target, place)
        for place, modified in reversed(directories):
            os.utime(place, (modified, modified))
    except (tarfile.TarError, ValueError, FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise Refused(f"what the container gave is not unpacked: {error}") from error
    top = os.path.realpath(directory)
    for place, target in links.items():
        if os.path.commonpath((top, os.path.realpath(place))) != top:
            raise Refused(f"{os.path.relpath(place, directory)} leads out of what is copied, to {target}")


def _beneath(name: str) -> str:
    name = os.path.normpath(name.lstrip("/"))
    if name.split("/")[0] == "..":
        raise Refused(f"the container gave {name}, which leads outside")
    return name


def _tame(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A file, directory or second name as it may lie on this machine: the caller's, writable by nobody else."""
    if not (member.isreg() or member.isdir() or member.islnk()):
        raise Refused(f"the container gave {member.name}, which is no file, directory or link")
    member.name = _beneath(member.name)
    member.linkname = _beneath(member.linkname)
    member.uid, member.gid, member.uname, member.gname = os.geteuid(), os.getegid(), "", ""
    member.mode = member.mode & 0o755 | (0o700 if member.isdir() else 0o600)
    return member


def _put(source: str, target: str) -> None:
    """Move to where it belongs; a directory becomes one with that which is there."""
    if os.path.isdir(source) and not os.path.islink(source):
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        os.replace(source, target)


def _through_pipe(write: Callable[[int], None], read: Callable[[int], None]) -> None:
    """Run both ends of a pipe; the first failure counts."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    failures: list[StockadeError | OSError] = []

    def writing() -> None:
        try:
            write(writer)
        except (StockadeError, OSError) as error:
            failures.append(error)
        finally:
            os.close(writer)

    thread = threading.Thread(target=writing)
    thread.start()
    try:
        read(reader)
    except StockadeError:
        if not any(isinstance(one, StockadeError) for one in failures):
            raise
    finally:
        os.close(reader)
        thread.join()
    for failure in failures:
        if not isinstance(failure, BrokenPipeError):
            raise failure
