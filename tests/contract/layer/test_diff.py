"""`diff` and `unpack` undo each other, on trees that chance made; other people's tar reads what `diff` writes."""

from __future__ import annotations

import os
import random
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from support.layer import Layer

pytestmark = pytest.mark.root

WHITEOUT = stat.S_IFCHR, os.makedev(0, 0)


def name(rng: random.Random) -> bytes:
    alphabet = [*b"abc.-_ ", 0xC3, 0xA9, 0xFF, 0x0A]
    made = bytes(rng.choice(alphabet) for _ in range(rng.choice((1, 3, 8, 120, 255))))
    return b"x" + made[1:] if made in (b".", b"..") or made.startswith(b".wh.") else made


def fill(  # noqa: C901 - one case a file type
    rng: random.Random, top: bytes, depth: int, files: list[bytes]
) -> None:
    for _ in range(rng.randint(1, 7)):
        path = os.path.join(top, name(rng))
        if os.path.lexists(path) or len(path) > 3000:
            continue
        match rng.randint(0, 9):
            case 0 | 1 if depth < 5:
                os.mkdir(path)
                fill(rng, path, depth + 1, files)
                if rng.random() < 0.2:
                    os.setxattr(path, "trusted.overlay.opaque", b"y")
            case 2:
                os.symlink(b"/" + name(rng) * rng.randint(1, 3), path)
            case 3:
                os.mkfifo(path)
            case 4:
                os.mknod(path, *WHITEOUT)
                continue
            case 5:
                os.mknod(path, stat.S_IFCHR, os.makedev(1, 3))
            case 6 if files:
                os.link(rng.choice(files), path)
                continue
            case 7:
                with open(path, "wb") as sparse:
                    sparse.truncate(rng.randrange(1 << 20, 1 << 24))
                    sparse.seek(rng.randrange(1 << 20))
                    sparse.write(rng.randbytes(rng.randint(1, 5000)))
                files.append(path)
            case _:
                Path(os.fsdecode(path)).write_bytes(rng.randbytes(rng.choice((0, 1, 511, 512, 513, 70_000))))
                files.append(path)
                if rng.random() < 0.3:
                    os.setxattr(path, "user.note", rng.randbytes(rng.randint(1, 50)))
                if rng.random() < 0.1:
                    os.setxattr(path, "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
        os.chown(path, rng.choice((0, 1000, 3_000_000)), rng.choice((0, 5)), follow_symlinks=False)
        if not os.path.islink(path):
            os.chmod(path, rng.choice((0o644, 0o755, 0o4755, 0o1777, 0o2750, 0o000)))
        moment = rng.randrange(-(10**18), 5 * 10**18)
        os.utime(path, ns=(moment, moment), follow_symlinks=False)


def picture(top: bytes) -> dict[bytes, object]:
    """All that is to survive; names of one file by the first of them."""
    found: dict[bytes, object] = {}
    first: dict[int, bytes] = {}
    for base, directories, files in os.walk(top):
        for entry in sorted(directories + files):
            path = os.path.join(base, entry)
            about = os.lstat(path)
            short = os.path.relpath(path, top)
            kind = stat.S_IFMT(about.st_mode)
            if (kind, about.st_rdev) == WHITEOUT:
                found[short] = "whiteout"
                continue
            content: object = None
            attributes: dict[str, bytes] = {}
            if kind == stat.S_IFLNK:
                content = os.readlink(path)
            elif kind == stat.S_IFREG:
                with open(path, "rb") as file:
                    content = file.read()
            if kind in (stat.S_IFREG, stat.S_IFDIR):
                attributes = {key: os.getxattr(path, key) for key in os.listxattr(path)}
            names = first.setdefault(about.st_ino, short) if kind != stat.S_IFDIR else short
            found[short] = (
                about.st_mode,
                about.st_uid,
                about.st_gid,
                about.st_rdev,
                about.st_mtime_ns,
                content,
                attributes,
                names,
            )
    # The root's own attributes are no part of a layer, and which of several names comes first is the walk's.
    groups: dict[object, set[bytes]] = {}
    for short, about_it in found.items():
        if isinstance(about_it, tuple):
            groups.setdefault(about_it[-1], set()).add(short)
    return {
        short: (*about_it[:-1], frozenset(groups[about_it[-1]])) if isinstance(about_it, tuple) else about_it
        for short, about_it in found.items()
    }


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("compression", [[], ["--gzip"], ["--zstd"]])
def test_unpack_undoes_diff(layer: Layer, room: Path, seed: int, compression: list[str]) -> None:
    rng = random.Random(seed)
    before, after, archive = room / "before", room / "after", room / "layer"
    before.mkdir()
    after.mkdir()
    fill(rng, os.fsencode(before), 0, [])
    written = layer.answer("diff", *compression, "--output", archive, before)
    read = layer.answer(
        "unpack",
        "--input",
        archive,
        "--expect-digest",
        written["digest"],
        "--expect-diff-id",
        written["diff_id"],
        after,
    )
    assert (read["size"], read["tar_size"], read["entries"]) == (
        written["size"],
        written["tar_size"],
        written["entries"],
    )
    assert picture(os.fsencode(after)) == picture(os.fsencode(before))
    assert layer.answer("diff", *compression, "--output", archive, after)["digest"] == written["digest"]


def test_other_readers_agree(layer: Layer, room: Path) -> None:
    before = room / "before"
    before.mkdir()
    for seed in range(8):
        (before / str(seed)).mkdir()
        fill(random.Random(seed), os.fsencode(before / str(seed)), 1, [])
    layer.answer("diff", "--output", room / "layer", before)
    listed = subprocess.run(
        ["tar", "-tf", room / "layer", "--quoting-style=literal", "--null"], capture_output=True, check=True
    )
    assert not listed.stderr
    with tarfile.open(room / "layer", errors="surrogateescape") as archive:
        members = archive.getmembers()
    (room / "after").mkdir()
    assert len(members) == layer.answer("unpack", "--input", room / "layer", room / "after")["entries"]


def test_owners_are_shifted_there_and_back(layer: Layer, room: Path) -> None:
    top, out = room / "top", room / "out"
    top.mkdir()
    out.mkdir()
    (top / "f").write_text("1")
    os.chown(top / "f", 7, 8)
    os.setxattr(top / "f", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    first = layer.answer("diff", "--output", room / "a", top)
    layer.answer("unpack", "--input", room / "a", "--uid-map", "0:100000:65536", out)
    assert ((out / "f").stat().st_uid, (out / "f").stat().st_gid) == (100_007, 100_008)
    assert os.getxattr(out / "f", "security.capability")[20:] == (100_000).to_bytes(4, "little")
    assert layer.answer("diff", "--uid-map", "0:100000:65536", "--output", room / "b", out)["digest"] == first["digest"]
    assert "not in the map" in layer.refusal("diff", "--uid-map", "0:5:1", "--output", room / "b", out)


def test_marks_that_hide_nothing_are_left_out(layer: Layer, room: Path) -> None:
    upper, lower = room / "upper", room / "lower"
    for directory in (upper / "new", upper / "old", lower / "old"):
        directory.mkdir(parents=True)
    for directory in (upper / "new", upper / "old"):
        os.setxattr(directory, "trusted.overlay.opaque", b"y")
    (lower / "there").write_text("")
    for gone in ("there", "never"):
        os.mknod(upper / gone, *WHITEOUT)
    layer.answer("diff", "--lower", lower, "--output", room / "a", upper)
    with tarfile.open(room / "a") as archive:
        assert archive.getnames() == ["new", "old", "old/.wh..wh..opq", ".wh.there"]
