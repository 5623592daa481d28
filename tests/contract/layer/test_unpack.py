"""`unpack`: what layers mean, and what hostile ones do not get. Attacks are named by what they were elsewhere."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.archives import BLOCK, archive, entry, header, pax, record
from support.layer import Layer

pytestmark = pytest.mark.root


@pytest.fixture
def out(room: Path) -> Iterator[Path]:
    """The directory to unpack into; beside it lies what no archive may touch."""
    (room / "victim").write_text("untouched")
    (room / "secret").mkdir()
    made = room / "out"
    made.mkdir()
    yield made
    assert sorted(path.name for path in room.iterdir()) == ["out", "secret", "victim"]
    assert (room / "victim").read_text() == "untouched"
    assert list((room / "secret").iterdir()) == []


def test_both_digests_and_every_compression(layer: Layer, out: Path) -> None:
    plain = archive(*(entry(b"f%d" % n, os.urandom(3000)) for n in range(200)))
    packed = subprocess.run(["zstd", "-q", "-c"], input=plain, capture_output=True, check=True).stdout
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    half = len(plain) // 2
    members = gzip.compress(plain[:half]) + gzip.compress(plain[half:])
    for data, compression in ((plain, "none"), (members, "gzip"), (skippable + packed + skippable, "zstd")):
        answer = layer.answer("unpack", out, stdin=data)
        assert answer["compression"] == compression
        assert answer["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert answer["diff_id"] == f"sha256:{hashlib.sha256(plain).hexdigest()}"
        assert (answer["size"], answer["tar_size"], answer["entries"]) == (len(data), len(plain), 200)


def test_digests_cover_what_follows_the_end(layer: Layer, out: Path) -> None:
    data = archive(entry(b"a")) + b"more" * 100_000
    assert layer.answer("unpack", out, stdin=data)["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_another_digest_is_refused(layer: Layer, out: Path) -> None:
    wrong = "sha256:" + "0" * 64
    assert "digest" in layer.refusal("unpack", "--expect-digest", wrong, out, stdin=archive())
    assert "diff_id" in layer.refusal("unpack", "--expect-diff-id", wrong, out, stdin=archive())
    layer.refusal("unpack", "--expect-digest", "md5:1", out, stdin=archive(), code=2)


def test_a_stream_that_is_cut_or_damaged_is_refused(layer: Layer, out: Path) -> None:
    plain = archive(*(entry(b"f%d" % n, os.urandom(3000)) for n in range(50)))
    packed = gzip.compress(plain)
    zstd = subprocess.run(["zstd", "-q", "-c", "--check"], input=plain, capture_output=True, check=True).stdout
    for data in (packed[:-9], packed[:1000], zstd[:-1], zstd[:5000], plain[:1700], packed + b"trailing rubbish"):
        layer.refusal("unpack", out, stdin=data)
    damaged = bytearray(zstd)
    damaged[-1] ^= 1
    assert "checksum" in layer.refusal("unpack", out, stdin=bytes(damaged))


def test_modes_times_and_replacements(layer: Layer, out: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as made:
        for path, kind, mode in (
            ("d", tarfile.DIRTYPE, 0o2555),
            ("d/f", tarfile.REGTYPE, 0o4711),
            ("d/p", tarfile.FIFOTYPE, 0o600),
        ):
            info = tarfile.TarInfo(path)
            info.type, info.mode, info.uid, info.gid, info.mtime = kind, mode, 1000, 50, 1_500_000_000.25
            made.addfile(info)
        late = tarfile.TarInfo("d/later")
        made.addfile(late)
    layer.answer("unpack", out, stdin=buffer.getvalue())
    for path, mode in (("d", 0o2555), ("d/f", 0o4711), ("d/p", 0o600)):
        about = (out / path).stat()
        assert (stat.S_IMODE(about.st_mode), about.st_uid, about.st_gid) == (mode, 1000, 50)
        assert about.st_mtime_ns == 1_500_000_000_250_000_000
    again = archive(entry(b"d", b"now a file"), entry(b"x", b"1"), header(b"x/", b"5", mode=0o755), entry(b"x/y", b"2"))
    layer.answer("unpack", out, stdin=again)
    assert (out / "d").read_text() == "now a file"
    assert (out / "x/y").read_text() == "2"


@pytest.mark.parametrize("name", ["gnu", "pax", "old"])
def test_sparse_files_of_gnu_tar(layer: Layer, out: Path, room: Path, name: str) -> None:
    source = room / "secret" / "holes"
    with source.open("wb") as file:
        for number in range(60):
            file.seek(number << 20)
            file.write(b"%d" % number * 700)
        file.truncate(100 << 20)
    form = {"gnu": ["--format=gnu"], "pax": ["--format=pax"], "old": ["--format=pax", "--sparse-version=0.1"]}[name]
    data = subprocess.run(
        ["tar", "-C", source.parent, "-S", *form, "-cf", "-", "holes"], capture_output=True, check=True
    ).stdout
    assert len(data) < 2 << 20
    layer.answer("unpack", out, stdin=data)
    assert (out / "holes").read_bytes() == source.read_bytes()
    assert (out / "holes").stat().st_blocks < 4000
    source.unlink()


def test_long_names_of_gnu_and_pax(layer: Layer, out: Path) -> None:
    long = "/".join(["d" * 200] * 10)
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as made:
            info = tarfile.TarInfo(long + "/f")
            made.addfile(info)
            link = tarfile.TarInfo(long + "/l")
            link.type, link.linkname = tarfile.LNKTYPE, info.name
            made.addfile(link)
        layer.answer("unpack", out, stdin=buffer.getvalue())
        assert (out / long / "l").stat().st_nlink == 2


def test_whiteouts_become_overlays_own(layer: Layer, out: Path) -> None:
    parts = [
        entry(b"d/.wh.gone"),
        entry(b"o/.wh..wh..opq"),
        entry(b"o/kept"),
        entry(b".wh..wh.plnk"),
        entry(b".wh.both"),
        entry(b"both"),
    ]
    parts += [
        entry(b".wh.tree"),
        header(b"tree/", b"5", mode=0o755),
        entry(b"tree/new"),
        entry(b".wh.implied"),
        entry(b"implied/f"),
    ]
    layer.answer("unpack", out, stdin=archive(*parts))
    gone = (out / "d/gone").stat()
    assert (stat.S_ISCHR(gone.st_mode), gone.st_rdev) == (True, 0)
    for opaque in ("o", "tree", "implied"):
        assert os.getxattr(out / opaque, "trusted.overlay.opaque") == b"y"
    assert stat.S_ISREG((out / "both").stat().st_mode)
    assert "trusted.overlay.opaque" not in os.listxattr(out / "d")
    layer.answer("unpack", "--userxattr", out, stdin=archive(entry(b"u/.wh..wh..opq")))
    assert os.getxattr(out / "u", "user.overlay.opaque") == b"y"


def test_implied_directories_are_as_in_the_lower_layers(layer: Layer, out: Path, room: Path) -> None:
    lower = out / "lower"
    (lower / "a/b").mkdir(parents=True)
    (lower / "a").chmod(0o2750)
    os.chown(lower / "a/b", 5, 6)
    target = out / "target"
    target.mkdir()
    layer.answer("unpack", "--lower", lower, target, stdin=archive(entry(b"a/b/c/f")))
    assert stat.S_IMODE((target / "a").stat().st_mode) == 0o2750
    assert ((target / "a/b").stat().st_uid, (target / "a/b").stat().st_gid) == (5, 6)
    assert stat.S_IMODE((target / "a/b/c").stat().st_mode) == 0o755


def test_names_stay_beneath(layer: Layer, out: Path) -> None:
    """CVE-2007-4559 (`..` in names), CVE-2021-32804 (absolute names)."""
    for bad in (b"../victim", b"a/../../victim", b"..", b"/../victim", b"a/.."):
        assert "upwards" in layer.refusal("unpack", out, stdin=archive(entry(bad, b"owned")))
    layer.answer("unpack", out, stdin=archive(entry(bytes(os.fsencode(out.parent / "victim")), b"owned")))
    assert (out / str(out.parent / "victim")[1:]).read_text() == "owned"
    for root in (b"/", b".", b"./."):
        layer.refusal("unpack", out, stdin=archive(entry(root, b"x")))
        layer.refusal("unpack", out, stdin=archive(header(root, b"2", link=b"/etc")))


def test_no_link_of_the_archive_is_followed(layer: Layer, out: Path) -> None:
    """CVE-2014-6407 (write through a symbolic link of the archive), CVE-2021-32803 (a cached directory swapped)."""
    room = os.fsencode(out.parent)
    escape = header(b"link", b"2", link=room + b"/secret")
    upwards = header(b"link", b"2", link=b"../secret")
    for link in (escape, upwards):
        assert "symbolic link" in layer.refusal("unpack", out, stdin=archive(link, entry(b"link/f", b"owned")))
        assert "symbolic link" in layer.refusal("unpack", out, stdin=archive(link, entry(b"link/d/.wh.x")))
        layer.refusal("unpack", out, stdin=archive(link, header(b"h", b"1", link=b"link/f")))
    over = header(b"file", b"2", link=room + b"/victim")
    layer.answer("unpack", out, stdin=archive(over, entry(b"file", b"owned")))
    assert (out / "file").read_text() == "owned"
    layer.answer("unpack", out, stdin=archive(escape, header(b"link/", b"5", mode=0o777), entry(b"link/f", b"inside")))
    assert (out / "link/f").read_text() == "inside"
    # A directory that is open already is swapped for a link (the cached descriptor must not outlive it).
    swapped = archive(entry(b"d/a"), header(b"d", b"2", link=room + b"/secret"), entry(b"d/b", b"owned"))
    assert "symbolic link" in layer.refusal("unpack", out, stdin=swapped)


def test_hard_links_stay_beneath_too(layer: Layer, out: Path) -> None:
    """CVE-2014-6407, CVE-2020-27833: a hard link to a file outside, then a write to it."""
    room = os.fsencode(out.parent)
    for target in (b"../victim", room + b"/victim", b"a/../../victim"):
        layer.refusal("unpack", out, stdin=archive(header(b"h", b"1", link=target), entry(b"h", b"owned")))
    # A link to a link links the link; writing replaces it.
    link = header(b"s", b"2", link=room + b"/victim")
    layer.answer("unpack", out, stdin=archive(link, header(b"h", b"1", link=b"s"), entry(b"h", b"owned")))
    assert (out / "h").read_text() == "owned"
    both = archive(entry(b"a", b"one"), header(b"b", b"1", link=b"a"), entry(b"b", b"two"))
    layer.answer("unpack", out, stdin=both)
    assert (out / "a").read_text() == "one"
    for bad in (b"absent", b"", b"."):
        layer.refusal("unpack", out, stdin=archive(header(b"h2", b"1", link=bad)))
    layer.refusal("unpack", out, stdin=archive(entry(b"a"), header(b"a", b"1", link=b"a")))


def test_whiteouts_name_something_beneath(layer: Layer, out: Path) -> None:
    """Taken at its word, `.wh...` deletes the directory above and `.wh..` the directory itself."""
    for bad in (b".wh.", b".wh..", b".wh...", b"d/.wh..."):
        assert "whiteout" in layer.refusal("unpack", out, stdin=archive(entry(bad)))


def test_devices_and_overlays_attributes(layer: Layer, out: Path) -> None:
    null = header(b"null", b"3", device=(1, 3), mode=0o666)
    layer.answer("unpack", out, stdin=archive(null))
    assert (out / "null").stat().st_rdev == os.makedev(1, 3)
    assert "refused" in layer.refusal("unpack", "--devices", "refuse", out, stdin=archive(null))
    assert layer.answer("unpack", "--devices", "skip", out, stdin=archive(null))["skipped_devices"] == 1
    assert "disguise" in layer.refusal("unpack", out, stdin=archive(header(b"w", b"3", device=(0, 0))))
    for name in (b"trusted.overlay.opaque", b"user.overlay.redirect", b"trusted.overlay.metacopy"):
        layer.refusal("unpack", out, stdin=archive(pax(record(b"SCHILY.xattr." + name, b"y")), entry(b"f")))
    other = pax(record(b"SCHILY.xattr.security.selinux", b"x"), record(b"SCHILY.xattr.user.a", b"b\0c"))
    assert layer.answer("unpack", out, stdin=archive(other, entry(b"f")))["skipped_xattrs"] == 1
    assert os.getxattr(out / "f", "user.a") == b"b\0c"


def test_owners_outside_the_map_are_refused(layer: Layer, out: Path) -> None:
    strange = archive(pax(record(b"uid", b"70000")), entry(b"f"))
    assert "user 70000 is not in the map" in layer.refusal("unpack", "--uid-map", "0:100000:65536", out, stdin=strange)
    layer.answer("unpack", "--uid-map", "0:100000:65536", "--gid-map", "0:5:1", out, stdin=archive(entry(b"g")))
    assert ((out / "g").stat().st_uid, (out / "g").stat().st_gid) == (100_000, 5)


def test_two_readers_see_one_archive(layer: Layer, out: Path) -> None:
    """CVE-2025-62518: the size of a PAX record, not the header's, says where the next header is."""
    inner = entry(b"smuggled", b"owned")
    hidden = archive(pax(record(b"size", b"%d" % len(inner))), header(b"f", size=0), inner)
    layer.answer("unpack", out, stdin=hidden)
    assert (out / "f").stat().st_size == len(inner)
    assert not (out / "smuggled").exists()
    # A link has no data whatever its size says, as for Go.
    layer.answer("unpack", out, stdin=archive(header(b"l", b"2", link=b"x", size=512), entry(b"seen", b"1")))
    assert (out / "seen").exists()


def test_headers_that_lie_are_refused(layer: Layer, out: Path) -> None:
    good = entry(b"f", b"data")
    huge = b"\x80" + b"\0" * 3 + b"\xff" * 8
    sparse_tail = bytes(41) + b"%011o\0" % 0 + b"%011o\0" % 4 + bytes(72) + b"\x01" + b"%011o\0" % (1 << 30)
    hostile = {
        "checksum": b"\x01" + good[1:],
        "lone zero block": bytes(BLOCK) + good,
        "negative size": header(b"f", size=b"\xff" * 12),
        "size beyond all files": header(b"f", size=huge),
        "size of letters": header(b"f", size=b"0000000zzzz\0"),
        "unknown type": header(b"f", b"Z"),
        "multi-volume": header(b"f", b"M"),
        "extension without entry": pax(record(b"path", b"x")),
        "NUL in a name": pax(record(b"path", b"a\0b")) + good,
        "record too long": entry(b"x", b"99 path=a\n", b"x") + good,
        "record of no length": entry(b"x", b"0 path=a\n", b"x") + good,
        "record without newline": entry(b"x", b"9 path=ab", b"x") + good,
        "uid of letters": pax(record(b"uid", b"root")) + good,
        "uid beyond 32 bits": pax(record(b"uid", b"4294967296")) + good,
        "time of letters": pax(record(b"mtime", b"now")) + good,
        "name beyond the kernel's": pax(record(b"path", b"a/" * 3000)) + good,
        "component beyond the kernel's": pax(record(b"path", b"a" * 300)) + good,
        "link to an empty name": header(b"l", b"2"),
        "sparse map beyond its data": entry(b"f", b"data", b"S", magic=b"ustar  \0", tail=sparse_tail),
        "sparse without a size": pax(record(b"GNU.sparse.major", b"1"), record(b"GNU.sparse.minor", b"0"))
        + entry(b"f", b"0\n".ljust(512, b"\0")),
        "sparse map that never ends": pax(
            record(b"GNU.sparse.major", b"1"), record(b"GNU.sparse.minor", b"0"), record(b"GNU.sparse.realsize", b"9")
        )
        + entry(b"f", b"1" * 4096),
        "sparse map of overlapping runs": pax(
            record(b"GNU.sparse.map", b"0,4,2,4"), record(b"GNU.sparse.size", b"9"), record(b"GNU.sparse.name", b"s")
        )
        + entry(b"f", b"12345678"),
    }
    for what, data in hostile.items():
        done = layer.run("unpack", out, stdin=archive(data))
        assert done.returncode == 1, (what, done.stdout)
        assert done.stderr.startswith(b"stockade-layer: "), (what, done.stderr)
        assert b"panicked" not in done.stderr


def test_bombs_are_bounded(layer: Layer, out: Path) -> None:
    """CVE-2022-2879 (extension headers), CVE-2025-58183 (sparse maps), CVE-2017-14992 (what expands)."""
    endless = header(b"x", b"x", size=2 << 20) + bytes(2 << 20)
    assert "1048576" in layer.refusal("unpack", out, stdin=archive(endless))
    many = b"".join(entry(b"x", b"", b"g") for _ in range(3000))
    assert "1048576" in layer.refusal("unpack", out, stdin=archive(many, entry(b"f")))
    entries = archive(*(entry(b"f%d" % n) for n in range(50)))
    assert "more than 49 entries" in layer.refusal("unpack", "--max-entries", "49", out, stdin=entries)
    zeros = gzip.compress(archive(header(b"z", size=8 << 20), bytes(8 << 20)))
    assert "4194304 bytes" in layer.refusal("unpack", "--max-bytes", "4M", out, stdin=zeros)
    # A hole costs nothing to store, and everything to whoever copies it.
    hole = archive(
        pax(
            record(b"GNU.sparse.map", b""),
            record(b"GNU.sparse.size", b"9000000000000000000"),
            record(b"GNU.sparse.name", b"s"),
        ),
        entry(b"f"),
    )
    assert "hold more than" in layer.refusal("unpack", out, stdin=hole)
    big = subprocess.run("head -c 1200M /dev/zero | zstd -q -c", shell=True, capture_output=True, check=True).stdout
    body = (
        subprocess.run(
            ["zstd", "-q", "-c"], input=header(b"z", size=1200 << 20), capture_output=True, check=True
        ).stdout
        + big
    )
    assert "300 times" in layer.refusal("unpack", out, stdin=body)


def test_a_deep_tree_is_no_trap(layer: Layer, out: Path) -> None:
    deep = b"/".join([b"d"] * 2000)
    layer.answer("unpack", out, stdin=archive(pax(record(b"path", deep + b"/f")), entry(b"f", b"1")))
    swap = archive(pax(record(b"path", deep + b"/f")), entry(b"f", b"1"), entry(b"d", b"flat"))
    layer.answer("unpack", out, stdin=swap)
    assert (out / "d").read_text() == "flat"


def test_a_full_disk_is_said(layer: Layer, room: Path) -> None:
    small = room / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=True)
    message = layer.refusal("unpack", small, stdin=archive(entry(b"big", bytes(1 << 20))))
    assert 'entry "big"' in message
    assert "No space left" in message
    subprocess.run(["umount", small], check=True)


def test_an_ordinary_user_unpacks_its_own(layer: Layer, out: Path) -> None:
    os.chown(out, 65534, 65534)
    as_nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    program = Path("/proc/self/fd")
    with layer.program.open("rb") as file:
        command: list[str | Path] = [
            *as_nobody,
            str(program / str(file.fileno())),
            "unpack",
            "--userxattr",
            "--uid-map",
            "0:65534:1",
            out,
        ]
        data = archive(
            header(b"d/", b"5", mode=0o555), entry(b"d/f", b"1"), entry(b"d/.wh.x"), entry(b"d/.wh..wh..opq")
        )
        out.parent.chmod(0o755)
        subprocess.run(command, input=data, check=True, pass_fds=[file.fileno()], stdout=subprocess.DEVNULL)
    assert (out / "d/f").read_text() == "1"
    assert stat.S_IMODE((out / "d").stat().st_mode) == 0o555
