"""What a container gives is unpacked by `cp`: the archive is hostile."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from stockade.cli import copying
from stockade.errors import Refused

Member = tuple[str, bytes, dict[str, Any]]


class Giving:
    """A container whose every file is this archive."""

    def __init__(self, *members: Member) -> None:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            for name, kind, more in members:
                info = tarfile.TarInfo(name)
                info.type = kind
                data = more.pop("data", b"")
                info.size = len(data)
                for key, value in more.items():
                    setattr(info, key, value)
                archive.addfile(info, io.BytesIO(data))
        self.archive = out.getvalue()

    def get_archive(self, path: str, writer: int) -> None:
        with open(writer, "wb", closefd=False) as file:
            file.write(self.archive)


def file(name: str, data: bytes = b"text", **more: Any) -> Member:
    return name, tarfile.REGTYPE, {"data": data, **more}


def directory(name: str, **more: Any) -> Member:
    return name, tarfile.DIRTYPE, {"mode": 0o755, **more}


def link(name: str, target: str) -> Member:
    return name, tarfile.SYMTYPE, {"linkname": target}


def take(room: Path, *members: Member) -> Path:
    (room / "to").mkdir()
    copying.out_of(Giving(*members), "/d", str(room / "to"))  # type: ignore[arg-type]
    return room / "to"


def test_a_tree(tmp_path: Path) -> None:
    to = take(
        tmp_path,
        directory("d", mode=0o2555, mtime=1000),
        file("d/f", mode=0o4777, uid=7, gid=8, mtime=2000),
        ("d/hard", tarfile.LNKTYPE, {"linkname": "d/f"}),
        link("d/e/up", "../f"),
        ("d/again", tarfile.LNKTYPE, {"linkname": "d/e/up"}),
        link("d/dangling", "nowhere"),
    )
    found = (to / "d/f").stat()
    assert (found.st_mode & 0o7777, found.st_uid, found.st_mtime) == (0o755, os.geteuid(), 2000)
    assert (to / "d/hard").read_text() == "text"
    assert ((to / "d").stat().st_mode & 0o7777, (to / "d").stat().st_mtime) == (0o755, 1000)
    assert (to / "d/e/up").read_text() == "text"
    assert [os.readlink(to / "d" / name) for name in ("again", "dangling")] == ["../f", "nowhere"]


@pytest.mark.parametrize(
    "members",
    [
        (file("../f"),),
        (file("d/../../f"),),
        (directory("d"), link("d/out", "/etc")),
        (directory("d"), link("d/out", "../../..")),
        (directory("d"), link("d/here", "."), link("d/out", "here/../..")),
        (directory("d"), link("d/out", "here/../../.."), link("d/here", "./.")),
        (link("d", "/tmp"), file("d/f")),
        (link("d", "/tmp"), link("d/f", "x")),
        (file("d"), file("d/f")),
        (directory("d"), ("d/pipe", tarfile.FIFOTYPE, {})),
        (directory("d"), ("d/null", tarfile.CHRTYPE, {"devmajor": 1, "devminor": 3})),
        (directory("d"), ("d/hard", tarfile.LNKTYPE, {"linkname": "../../etc/passwd"})),
    ],
)
def test_what_is_refused(tmp_path: Path, members: tuple[Member, ...]) -> None:
    with pytest.raises(Refused):
        take(tmp_path, *members)
    assert [path.name for path in tmp_path.rglob("*")] == ["to"]


def test_no_archive(tmp_path: Path) -> None:
    giving = Giving()
    giving.archive = b"no archive at all" * 100
    with pytest.raises(Refused):
        copying.out_of(giving, "/d", str(tmp_path))  # type: ignore[arg-type]
