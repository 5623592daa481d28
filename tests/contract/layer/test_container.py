"""`stat`, `copy-out`, `copy-in`, `export` and `accounts`: what Docker's archive API does, on roots of every kind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import socket
import stat as modes
import subprocess
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.layer import Layer

pytestmark = pytest.mark.root

BASE = 300_000
NAMES = ("x", "ä" * 60, "-n", "a b", "\n", ".wh.x")
MAPS = ("--uid-map", f"0:{BASE}:65536", "--gid-map", f"0:{BASE}:65536")


class Tool:
    """The program with descriptors, and the exit code it is to have."""

    def __init__(self, program: Path) -> None:
        self.program = program

    def __call__(self, *words: str, code: int = 0, give: tuple[int, ...] = (), data: bytes = b"") -> Any:
        done = subprocess.run(
            [self.program, *words], input=data, capture_output=True, pass_fds=give, timeout=60, check=False
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return json.loads(done.stdout) if code == 0 else done.stderr.decode()

    def out(self, *words: str) -> tuple[Any, tarfile.TarFile]:
        """Runs a command that writes an archive to `--to`; its answer and the archive."""
        reader, writer = os.pipe()
        got = io.BytesIO()

        def take() -> None:
            with os.fdopen(reader, "rb") as stream:
                got.write(stream.read())

        taker = threading.Thread(target=take)
        taker.start()
        try:
            answer = self(words[0], "--to", str(writer), *words[1:], give=(writer,))
        finally:
            os.close(writer)
            taker.join()
        got.seek(0)
        return answer, tarfile.open(fileobj=got)


@pytest.fixture
def tool(layer: Layer) -> Tool:
    return Tool(layer.program)


def archive(fill: Callable[[tarfile.TarFile], None]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        fill(tar)
    return out.getvalue()


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **more: Any) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in more.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def root(room: Path) -> Path:
    """A small container: files, links of every bad kind, a device."""
    root = room / "root"
    for directory in ("etc", "usr/bin", "var/log", "home/app"):
        (root / directory).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:\nbad:x:zero:0::/:\n")
    (root / "etc/group").write_text("root:x:0:\nwheel:x:10:root,app\n")
    (root / "etc/passwd").chmod(0o4640)
    os.utime(root / "etc/passwd", ns=(5, 1_700_000_000_500_000_000))
    (root / "bin").symlink_to("usr/bin")
    (root / "absolute").symlink_to("/etc")
    (root / "outward").symlink_to("../../../../../../etc/passwd")
    (root / "dangling").symlink_to("/no/../where/x")
    (root / "loop").symlink_to("loop")
    (root / "usr/bin/tool").write_bytes(b"#!tool")
    (root / "usr/bin/other").hardlink_to(root / "usr/bin/tool")
    os.mkfifo(root / "var/fifo")
    return root


def test_stat_says_what_docker_says(tool: Tool, root: Path) -> None:
    found = tool("stat", "--dir", str(root), "/etc/passwd")
    size = (root / "etc/passwd").stat().st_size
    assert found == {"name": "passwd", "size": size, "mode": 0o640 | 1 << 23, "mtime": "2023-11-14T22:13:20.5Z",
                     "linkTarget": ""}  # fmt: skip
    cases = {
        "/": ("/", 1 << 31, ""), "/etc/": ("etc", 1 << 31, ""), "etc/.": (".", 1 << 31, ""),
        "bin": ("bin", 1 << 27, "/usr/bin"), "bin/": ("bin", 1 << 31, ""), "/bin/tool": ("tool", 0, ""),
        "absolute": ("absolute", 1 << 27, "/etc"), "absolute/passwd": ("passwd", 1 << 23, ""),
        "outward": ("outward", 1 << 27, "/etc/passwd"), "dangling": ("dangling", 1 << 27, "/where/x"),
        "../../etc": ("etc", 1 << 31, ""), "var/fifo": ("fifo", 1 << 25, ""),
    }  # fmt: skip
    for path, (name, bits, target) in cases.items():
        found = tool("stat", "--dir", str(root), path)
        assert (found["name"], found["mode"] & ~0o777, found["linkTarget"]) == (name, bits, target), path
    for path, code in {"/nowhere": 4, "/etc/passwd/": 5, "/etc/passwd/x": 5, "/nowhere/x/": 4, "/loop": 4}.items():
        assert "stockade-layer: " in tool("stat", "--dir", str(root), path, code=code)


def test_names_of_what_is_taken_out(tool: Tool, root: Path) -> None:
    cases = {
        "/etc": ["etc/", "etc/group", "etc/passwd"],
        "/etc/.": ["./", "./group", "./passwd"],
        "/absolute/": ["absolute/", "absolute/group", "absolute/passwd"],
        "/absolute": ["absolute"],
        "/etc/passwd": ["passwd"],
        "/bin/tool": ["tool"],
    }
    for path, names in cases.items():
        _, tar = tool.out("copy-out", "--dir", str(root), path)
        with tar:
            assert [one.name + "/" * one.isdir() for one in tar.getmembers()] == names
    _, tar = tool.out("copy-out", "--dir", str(root), "/")
    with tar:
        names = tar.getnames()
        assert names[0] == ""
        assert "/usr/bin/tool" in names
    tool("copy-out", "--to", "1", "--dir", str(root), "/nowhere", code=4)


def test_an_export_is_the_whole_tree(tool: Tool, root: Path, room: Path) -> None:
    for path in (root, *root.rglob("*")):
        os.chown(path, BASE + 7, BASE + 8, follow_symlinks=False)
    (root / "etc/passwd").chmod(0o4640)
    os.chown(root / "etc/group", 5, 5)
    os.setxattr(root / "etc/group", "user.mark", b"yes")
    with (root / "sparse").open("wb") as file:
        file.truncate(50 << 20)
        file.seek(30 << 20)
        file.write(b"data")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "var/socket"))
    answer, tar = tool.out("export", "--dir", str(root), *MAPS)
    with tar:
        assert answer["skipped"] == 1
        by = {one.name: one for one in tar.getmembers()}
        assert len(by) == answer["entries"] == len(list(root.rglob("*"))) - 1
        assert (by["etc/passwd"].uid, by["etc/passwd"].gid, by["etc/passwd"].mode) == (7, 8, 0o4640)
        assert (by["etc/group"].uid, by["etc/group"].pax_headers["SCHILY.xattr.user.mark"]) == (65534, "yes")
        links = [by["usr/bin/tool"], by["usr/bin/other"]]
        assert sorted(link.type for link in links) == [tarfile.REGTYPE, tarfile.LNKTYPE]
        assert by["outward"].linkname == "../../../../../../etc/passwd"
        assert by["var/fifo"].isfifo()
        assert by["sparse"].size == 50 << 20
        assert isinstance(tar.fileobj, io.BytesIO)
        assert len(tar.fileobj.getvalue()) < 1 << 20


def test_an_export_stops_at_mounts(tool: Tool, root: Path) -> None:
    (root / "proc").mkdir()
    subprocess.run(["mount", "-t", "proc", "proc", root / "proc"], check=True)
    subprocess.run(["mount", "--bind", "/etc/hostname", root / "etc/group"], check=True)
    try:
        _, tar = tool.out("export", "--dir", str(root))
        with tar:
            by = {one.name: one for one in tar.getmembers()}
            assert by["proc"].isdir()
            assert by["etc/group"].size == 0
            assert not any(name.startswith("proc/") for name in by)
        _, tar = tool.out("copy-out", "--dir", str(root), "/")
        with tar:
            assert not any(name.startswith("/proc/") for name in tar.getnames())
    finally:
        subprocess.run(["umount", root / "proc", root / "etc/group"], check=True)


def test_what_is_put_in(tool: Tool, root: Path) -> None:
    def fill(tar: tarfile.TarFile) -> None:
        add(tar, "new/", kind=tarfile.DIRTYPE, mode=0o700, mtime=1000, uid=5, gid=6)
        add(tar, "new/file", b"data", mode=0o4755, mtime=2000, uid=1, gid=2,
            pax_headers={"SCHILY.xattr.user.mark": "yes", "SCHILY.xattr.trusted.overlay.opaque": "y"})  # fmt: skip
        add(tar, "new/link", kind=tarfile.SYMTYPE, linkname="/etc/passwd", uid=3, gid=4)
        add(tar, "new/hard", kind=tarfile.LNKTYPE, linkname="new/file")
        add(tar, "implied/deep/file", b"x")
        add(tar, "new/fifo", kind=tarfile.FIFOTYPE, uid=9, gid=9)

    answer = tool("copy-in", "--dir", str(root), *MAPS, "home/app", data=archive(fill))
    assert answer == {"entries": 6, "bytes": 5, "skipped_xattrs": 1}
    home = root / "home/app"
    seen = {path: (home / path).lstat() for path in ("new", "new/file", "new/link", "new/fifo", "implied/deep")}
    owners = {path: (found.st_uid - BASE, found.st_gid - BASE) for path, found in seen.items()}
    assert owners == {"new": (5, 6), "new/file": (1, 2), "new/link": (3, 4), "new/fifo": (9, 9), "implied/deep": (0, 0)}
    assert (modes.S_IMODE(seen["new"].st_mode), seen["new"].st_mtime) == (0o700, 1000)
    assert (modes.S_IMODE(seen["new/file"].st_mode), seen["new/file"].st_mtime) == (0o4755, 2000)
    assert os.getxattr(home / "new/file", "user.mark") == b"yes"
    assert (home / "new/hard").samefile(home / "new/file")
    answer = tool("copy-in", "--dir", str(root), *MAPS, "--owner", "40:41", "home/app", data=archive(fill))
    assert (home / "new/file").stat().st_uid == BASE + 40
    assert (home / "implied/deep/file").stat().st_gid == BASE + 41


def test_where_it_is_put(tool: Tool, root: Path) -> None:
    one = archive(lambda tar: add(tar, "file", b"new"))
    for path, place in {"bin": "usr/bin", "/absolute/": "etc", "/": ".", "var/log/.": "var/log"}.items():
        tool("copy-in", "--dir", str(root), path, data=one)
        assert (root / place / "file").read_bytes() == b"new"
    tool("copy-in", "--dir", str(root), "/nowhere", code=4, data=one)
    tool("copy-in", "--dir", str(root), "/etc/passwd", code=5, data=one)
    through = archive(lambda tar: add(tar, "absolute/through", b"link"))
    tool("copy-in", "--dir", str(root), "/", data=through)
    assert (root / "etc/through").read_bytes() == b"link"


def test_directories_and_files_in_each_others_place(tool: Tool, root: Path) -> None:
    over_directory = archive(lambda tar: add(tar, "usr", b"file"))
    over_file = archive(lambda tar: add(tar, "passwd/", kind=tarfile.DIRTYPE))
    keep = "--no-overwrite-dir-non-dir"
    assert 'cannot overwrite directory "/usr" with non-directory "/"' in tool(
        "copy-in", "--dir", str(root), keep, "/", code=6, data=over_directory
    )
    assert "cannot overwrite non-directory" in tool("copy-in", "--dir", str(root), keep, "/etc", code=6, data=over_file)
    assert (root / "usr/bin/tool").exists()
    tool("copy-in", "--dir", str(root), "/", data=over_directory)
    tool("copy-in", "--dir", str(root), "/etc", data=over_file)
    assert (root / "usr").is_file()
    assert (root / "etc/passwd").is_dir()


def through_a_link(tar: tarfile.TarFile) -> None:
    add(tar, "out", kind=tarfile.SYMTYPE, linkname="/../../..")
    add(tar, "out/host-file", b"x")


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        (lambda tar: add(tar, "../up", b"x"), "outside of"),
        (lambda tar: add(tar, "a/../../up", b"x"), "outside of"),
        (lambda tar: add(tar, "hard", kind=tarfile.LNKTYPE, linkname="../../../etc/shadow"), "outside of"),
        (lambda tar: add(tar, "file", b"x", uid=70_000), "user 70000"),
        (lambda tar: add(tar, "gone", kind=tarfile.CHRTYPE, devmajor=0, devminor=0), "0:0"),
        (lambda tar: add(tar, ".", b"x"), "destination itself"),
        (through_a_link, ""),
    ],
)
def test_hostile_archives_stay_inside(tool: Tool, room: Path, root: Path, fill: Any, said: str) -> None:
    code = 8 if said else 0
    answer = tool("copy-in", "--dir", str(root), *MAPS, "/home/app", code=code, data=archive(fill))
    assert said in str(answer)
    assert {path.name for path in room.iterdir()} == {"root"}
    assert not Path("/host-file").exists()


def test_links_inside_never_lead_out(tool: Tool, root: Path) -> None:
    """The secret of the host lies where the links would lead, were they followed by the host's rules."""
    (root / "proclink").symlink_to("/proc/self/root/etc")
    tool("stat", "--dir", str(root), "proclink/passwd", code=4)
    _, tar = tool.out("copy-out", "--dir", str(root), "outward")
    with tar:
        assert tar.getmembers()[0].issym()
    fd = os.open(root, os.O_PATH)
    try:
        subprocess.run(["mount", "-t", "proc", "proc", root / "var"], check=True)
        tool("stat", "--root", str(fd), "/var/self/root/etc", code=1, give=(fd,))
        tool("stat", "--root", str(fd), "/var/1/cwd/etc", code=1, give=(fd,))
    finally:
        os.close(fd)
        subprocess.run(["umount", root / "var"], check=True)


def test_a_container_that_runs_beside(tool: Tool, root: Path) -> None:
    """Somebody turns a directory into a link to the host's and back, as fast as it goes."""
    racing = root / "racing"
    stop = threading.Event()

    def race() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                racing.mkdir()
                (racing / "file").write_bytes(b"inside")
                racing.rename(root / "aside")
                racing.symlink_to("/etc")
                racing.unlink()
            shutil.rmtree(root / "aside", ignore_errors=True)

    racer = threading.Thread(target=race)
    racer.start()
    try:
        for _ in range(60):
            done = subprocess.run([tool.program, "copy-out", "--dir", root, "--to", "1", "/racing/"],
                                  capture_output=True, check=False, timeout=20)  # fmt: skip
            assert b"root:x:0:0:root:/root:/bin/bash" not in done.stdout
            subprocess.run([tool.program, "copy-in", "--dir", root, "/racing"], check=False, timeout=20,
                           input=archive(lambda tar: add(tar, "stockade-race", b"x")), capture_output=True)  # fmt: skip
    finally:
        stop.set()
        racer.join()
    assert not Path("/etc/stockade-race").exists()


def layers(room: Path, count: int) -> list[Path]:
    made = []
    for number in range(count):
        layer = room / f"layer-{number}"
        (layer / "etc").mkdir(parents=True)
        (layer / f"etc/{number}").write_text(str(number))
        (layer / "top").write_text(str(number))
        made.append(layer)
    return made


def overlay(room: Path, lowers: list[Path], *more: str) -> tuple[str, str]:
    for name in ("upper", "work"):
        (room / name).mkdir(exist_ok=True)
        os.chown(room / name, BASE, BASE)
    words = [f"lowerdir={':'.join(map(str, lowers))}", f"upperdir={room}/upper", f"workdir={room}/work", *more]
    return "--overlay", ",".join(words)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Where id-mapped mounts and overlays work; the RAM disk of the other tests may not."""
    return tmp_path


def test_a_stopped_container_of_127_layers(tool: Tool, disk: Path) -> None:
    maps = (f"uidmap=0:{BASE}:65536", f"gidmap=0:{BASE}:65536")
    place = overlay(disk, layers(disk, 127), *maps)
    before = Path("/proc/self/mountinfo").read_text()
    _, tar = tool.out("export", *place, *MAPS)
    with tar:
        names = set(tar.getnames())
        assert names >= {f"etc/{number}" for number in range(127)}
        top = tar.extractfile("top")
        assert top
        assert top.read() == b"0"
        assert tar.getmember("etc/126").uid == 0
    assert not any((disk / "upper").iterdir())
    tool("copy-in", *place, *MAPS, "/etc", data=archive(lambda tar: add(tar, "126", b"mine", uid=5)))
    assert (disk / "upper/etc/126").stat().st_uid == BASE + 5
    assert (disk / "upper/etc").stat().st_uid == BASE
    assert tool("stat", *place, *MAPS, "/etc/126")["size"] == 4
    assert Path("/proc/self/mountinfo").read_text() == before


def test_what_a_stopped_container_deleted(tool: Tool, disk: Path) -> None:
    place = overlay(disk, layers(disk, 2))
    os.mknod(disk / "upper/top", 0o600 | modes.S_IFCHR, 0)
    tool("stat", *place, "/top", code=4)
    tool("stat", *place, "/etc/1")


def test_a_single_layer_and_no_upper(tool: Tool, disk: Path) -> None:
    [layer] = layers(disk, 1)
    assert tool("stat", "--lower", str(layer), "/top")["size"] == 1
    one = archive(lambda tar: add(tar, "file"))
    assert "read-only" in tool("copy-in", "--lower", str(layer), "/", code=7, data=one)


def test_binds_of_a_stopped_container(tool: Tool, disk: Path) -> None:
    place = overlay(disk, layers(disk, 1))
    volume = disk / "volume"
    volume.mkdir()
    (volume / "data").write_text("kept")
    binds = ("--bind", f"{volume}:/var/volume:ro", "--bind", f"{volume}/data:/etc/0")
    _, tar = tool.out("copy-out", *place, *binds, "/var/volume")
    with tar:
        assert tar.getnames() == ["volume", "volume/data"]
    assert tool("stat", *place, *binds, "/etc/0")["size"] == 4
    one = archive(lambda tar: add(tar, "new", b"x"))
    tool("copy-in", *place, *binds, "/var/volume", code=7, data=one)
    tool("copy-in", *place, "--bind", f"{volume}:/var/volume", "/var/volume", data=one)
    assert (volume / "new").read_text() == "x"
    assert sorted(path.name for path in volume.iterdir()) == ["data", "new"]


def test_an_id_mapped_bind(tool: Tool, disk: Path) -> None:
    """What the container's user 5 owns there is the host's user 5's."""
    maps = (f"uidmap=0:{BASE}:65536", f"gidmap=0:{BASE}:65536")
    place = overlay(disk, layers(disk, 1), *maps)
    volume = disk / "volume"
    (volume / "private").mkdir(parents=True)
    os.chown(volume / "private", 5, 5)
    (volume / "private").chmod(0o700)
    bind = ("--bind", f"{volume}:/volume:idmap")

    def fill(tar: tarfile.TarFile) -> None:
        add(tar, "private/file", b"x", uid=5, gid=6)
        add(tar, "private/link", kind=tarfile.SYMTYPE, linkname="file", uid=7, gid=8)
        add(tar, "made/", kind=tarfile.DIRTYPE, uid=9, gid=10)

    tool("copy-in", *place, *MAPS, *bind, "/volume", data=archive(fill))
    owners = {path.name: (path.lstat().st_uid, path.lstat().st_gid) for path in volume.rglob("*")}
    assert owners == {"private": (5, 5), "file": (5, 6), "link": (7, 8), "made": (9, 10)}
    _, tar = tool.out("copy-out", *place, *MAPS, *bind, "/volume/private")
    with tar:
        assert [one.uid for one in tar.getmembers()] == [5, 5, 7]
    # The place itself was made as the container's root's.
    assert (disk / "upper/volume").stat().st_uid == BASE


def test_a_bind_that_leads_out_by_a_link(tool: Tool, disk: Path) -> None:
    [layer] = layers(disk, 1)
    (layer / "trap").symlink_to("/etc")
    volume = disk / "volume"
    (volume / "x").mkdir(parents=True)
    tool("stat", *overlay(disk, [layer]), "--bind", f"{volume}:/trap", "/etc/x")
    assert not Path("/etc/x").exists()


def test_accounts_of_an_image(tool: Tool, root: Path, disk: Path) -> None:
    assert tool("accounts", "--dir", str(root)) == {
        "users": [{"name": "root", "uid": 0, "gid": 0, "home": "/root", "shell": "/bin/sh"},
                  {"name": "app", "uid": 1000, "gid": 1001, "home": "/home/app", "shell": ""}],
        "groups": [{"name": "root", "gid": 0, "members": []},
                   {"name": "wheel", "gid": 10, "members": ["root", "app"]}],
    }  # fmt: skip
    lower, upper = layers(disk, 2)
    (lower / "etc/passwd").write_text("low:x:1:1:::\n")
    (upper / "etc/group").write_text("up:x:2:\n")
    found = tool("accounts", "--lower", str(upper), "--lower", str(lower))
    assert ([one["name"] for one in found["users"]], [one["name"] for one in found["groups"]]) == (["low"], ["up"])


def test_hostile_accounts(tool: Tool, root: Path) -> None:
    nobody: dict[str, list[str]] = {"users": [], "groups": []}
    (root / "etc/group").unlink()
    for make in (lambda path: path.symlink_to("/dev/zero"), os.mkfifo, lambda path: path.mkdir(),
                 lambda path: os.mknod(path, 0o666 | modes.S_IFCHR, os.makedev(1, 5))):  # fmt: skip
        path = root / "etc/passwd"
        path.rmdir() if path.is_dir() else path.unlink()
        make(path)
        assert tool("accounts", "--dir", str(root)) == nobody
    path.unlink()
    path.write_bytes(b"a:x:1:1:::\n" * 200_000)
    assert "larger than 1 MiB" in tool("accounts", "--dir", str(root), code=1)


@pytest.mark.parametrize(
    "words",
    [("stat",), ("stat", "/x"), ("stat", "--dir", "/", "a", "b"), ("stat", "--dir", "/", "--dir", "/", "a"),
     ("copy-out", "--dir", "/", "a"), ("stat", "--dir", "/", "--bind", "/a:/b", "x"), ("export", "--dir", "/", "x"),
     ("stat", "--dir", "/", "--to", "1", "x"), ("copy-in", "--dir", "/", "--owner", "root", "x"),
     ("stat", "--overlay", "uidmap=x", "x")],
)  # fmt: skip
def test_wrong_usage(tool: Tool, words: tuple[str, ...]) -> None:
    assert "stockade-layer: " in tool(*words, code=2)


def test_a_layer_with_other_owners(tool: Tool, disk: Path, root: Path) -> None:
    os.setxattr(root / "etc", "trusted.overlay.opaque", b"y")
    os.mknod(root / "etc/gone", 0o600 | modes.S_IFCHR, 0)
    os.chown(root / "usr/bin/tool", 5, 6)
    (root / "usr/bin/tool").chmod(0o4755)
    os.setxattr(root / "usr/bin/tool", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    with (root / "sparse").open("wb") as file:
        file.truncate(50 << 20)
        file.seek(30 << 20)
        file.write(b"data")
    copy = disk / "copy"
    answer = tool("copy-shifted", *MAPS, str(root), str(copy))
    there = sorted(root.rglob("*"))
    assert answer["entries"] == len(there)
    for old in there:
        new = copy / old.relative_to(root)
        was, now = old.lstat(), new.lstat()
        assert (now.st_mode, now.st_rdev) == (was.st_mode, was.st_rdev)
        if old.name != "gone":
            assert (now.st_uid, now.st_gid, now.st_mtime_ns) == (was.st_uid + BASE, was.st_gid + BASE, was.st_mtime_ns)
        if old.is_file() and not old.is_symlink():
            assert new.read_bytes() == old.read_bytes()
    assert os.getxattr(copy / "etc", "trusted.overlay.opaque") == b"y"
    assert os.getxattr(copy / "usr/bin/tool", "security.capability")[20:] == BASE.to_bytes(4, "little")
    assert (copy / "usr/bin/tool").samefile(copy / "usr/bin/other")
    assert (copy / "sparse").stat().st_blocks < 1000
    assert "File exists" in tool("copy-shifted", *MAPS, str(root), str(copy), code=1)
    os.chown(root / "etc/group", 70_000, 0)
    assert "70000" in tool("copy-shifted", *MAPS, str(root), str(disk / "other"), code=1)


def test_a_tree_that_is_deeper_than_a_path_can_say_and_a_crowded_directory(tool: Tool, room: Path) -> None:
    root = room / "deep"
    root.mkdir()
    here = os.open(root, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("a-name-of-some-length", dir_fd=here)
        below = os.open("a-name-of-some-length", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    crowd = root / "crowd"
    crowd.mkdir()
    for number in range(70_000):
        os.symlink("x", crowd / str(number))
    [line] = [json.loads(line) for line in subprocess.run(
        [tool.program, "usage", root], capture_output=True, check=True, timeout=60).stdout.splitlines()]  # fmt: skip
    assert line["inodes"] == 300 + 70_000 + 2
    answer, tar = tool.out("export", "--dir", str(root))
    with tar:
        assert answer == {"entries": 300 + 70_000 + 1, "skipped": 0}
        names = set(tar.getnames())
        assert len(names) == answer["entries"]
        assert max(map(len, names)) > 6_000
    tool("copy-shifted", *MAPS, str(root), str(room / "copy"))
    assert len(os.listdir(room / "copy/crowd")) == 70_000
    for path in (root, room / "copy"):
        subprocess.run([tool.program, "remove", path], check=True, timeout=60)


@pytest.mark.parametrize("seed", range(4))
def test_a_tree_comes_back_as_it_was(tool: Tool, room: Path, seed: int) -> None:
    chance = random.Random(seed)
    root, back = room / "there", room / "back"
    root.mkdir()
    back.mkdir()
    directories, files = [root], list[Path]()
    for number in range(200):
        path = chance.choice(directories) / f"{chance.choice(NAMES)}{number}"
        kind = chance.randrange(6)
        if kind == 0:
            path.mkdir()
            directories.append(path)
        elif kind == 1:
            path.symlink_to(chance.choice(["/etc/passwd", "..", "x" * 200]))
        elif kind == 2 and files:
            path.hardlink_to(chance.choice(files))
        elif kind == 3:
            os.mkfifo(path)
        else:
            path.write_bytes(chance.randbytes(chance.choice([0, 1, 511, 512, 513, 100_000])))
            files.append(path)
        uid = BASE + chance.randrange(65_536)
        os.chown(path, uid, BASE + chance.randrange(65_536), follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(chance.randrange(0o10000) if kind != 0 else chance.randrange(0o2000))
        os.utime(path, ns=(chance.randrange(1 << 60), chance.randrange(1 << 60)), follow_symlinks=False)
    reader, writer = os.pipe()
    out = subprocess.Popen([tool.program, "export", "--dir", root, *MAPS, "--to", str(writer)], pass_fds=[writer])
    os.close(writer)
    answer = tool("copy-in", "--dir", str(back), *MAPS, "--body", str(reader), "/", give=(reader,))
    os.close(reader)
    assert out.wait(20) == 0
    there = sorted(root.rglob("*"))
    assert answer["entries"] == len(there) == len(list(back.rglob("*")))
    for old in there:
        new = back / old.relative_to(root)
        was, now = old.lstat(), new.lstat()
        fields = ("st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_nlink")
        assert [getattr(now, field) for field in fields] == [getattr(was, field) for field in fields], old
        if modes.S_ISREG(was.st_mode):
            assert new.read_bytes() == old.read_bytes()
        elif old.is_symlink():
            assert new.readlink() == old.readlink()
