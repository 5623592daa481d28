"""A cpio archive as the kernel unpacks it for its first root file system (initramfs: the "newc" format)."""

from __future__ import annotations

import stat
from pathlib import Path

ALIGNMENT = 4


class Archive:
    """Entries in the order in which they were added; all belong to root."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._inode = 0
        self._folders: set[str] = set()

    def folder(self, name: str, mode: int = 0o755) -> None:
        """Add a folder, after those that contain it."""
        if not name or name in self._folders:
            return
        self.folder(name.rpartition("/")[0])
        self._folders.add(name)
        self._entry(name, stat.S_IFDIR | mode, b"")

    def file(self, name: str, content: bytes, mode: int = 0o644) -> None:
        self.folder(name.rpartition("/")[0])
        self._entry(name, stat.S_IFREG | mode, content)

    def program(self, name: str, source: Path) -> None:
        self.file(name, source.read_bytes(), 0o755)

    def link(self, name: str, target: str) -> None:
        self.folder(name.rpartition("/")[0])
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def tree(self, name: str, source: Path, leave: tuple[str, ...] = ()) -> None:
        """Add a folder with what is in it, links as links, but for what is called as one of `leave`."""
        self.folder(name)
        for entry in sorted(source.iterdir()):
            inside = f"{name}/{entry.name}"
            if entry.name in leave:
                continue
            if entry.is_symlink():
                self.link(inside, str(entry.readlink()))
            elif entry.is_dir():
                self.tree(inside, entry, leave)
            else:
                self.file(inside, entry.read_bytes(), stat.S_IMODE(entry.stat().st_mode))

    def finish(self) -> bytes:
        self._entry("TRAILER!!!", 0, b"")
        return bytes(self._bytes)

    def _entry(self, name: str, mode: int, content: bytes) -> None:
        self._inode += 1
        # Number, mode, owner, group, links, time, size, device and node numbers, length of the name, checksum.
        fields = (self._inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        self._bytes += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        self._pad()
        self._bytes += content
        self._pad()

    def _pad(self) -> None:
        self._bytes += b"\0" * (-len(self._bytes) % ALIGNMENT)
