"""`receive`, `send` and `usage`: archives of images over connections."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import socket
import subprocess
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest

from support.layer import Layer


def archive(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return out.getvalue()


def chunked(data: bytes, size: int = 30_000) -> bytes:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nTrailer: x\r\n\r\n"


def run(layer: Layer, *words: str, give: tuple[int, ...] = (), data: bytes | None = None) -> tuple[list[Any], str, int]:
    done = subprocess.run(
        [layer.program, *words], input=data, capture_output=True, pass_fds=give, timeout=60, check=False
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode(), done.returncode


FILES = {"blobs/sha256/aa": os.urandom(400_000), "manifest.json": b"[]", "empty": b""}


def check(room: Path, lines: list[Any], files: dict[str, bytes]) -> None:
    assert [line["path"] for line in lines] == list(files)
    for line in lines:
        data = files[line["path"]]
        assert (room / line["file"]).read_bytes() == data
        assert line["digest"] == "sha256:" + hashlib.sha256(data).hexdigest()
        assert line["size"] == len(data)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_archive_from_stdin(layer: Layer, room: Path, pack: Any) -> None:
    lines, _, code = run(layer, "receive", "--sync", str(room), data=pack(archive(FILES)))
    assert code == 0
    check(room, lines, FILES)


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_a_body_on_a_connection_that_carries_more(layer: Layer, room: Path, framing: str) -> None:
    """The connection does not wait, part of the body was read already, and another request lies behind it."""
    plain = archive(FILES)
    wire = chunked(plain) if framing == "chunked" else plain
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    early_read, early_write = os.pipe()
    os.write(early_write, wire[:5000])
    os.close(early_write)
    sender = threading.Thread(target=ours.sendall, args=(wire[5000:] + b"GET /next",))
    sender.start()
    lines, error, code = run(
        layer, "receive", "--body", str(theirs.fileno()), "--early", str(early_read),
        "--framing", framing if framing == "chunked" else f"length:{len(wire)}", str(room),
        give=(theirs.fileno(), early_read),
    )  # fmt: skip
    sender.join()
    assert (code, error) == (0, "")
    check(room, lines, FILES)
    assert theirs.recv(100) == b"GET /next"
    assert not theirs.getblocking()
    os.close(early_read)
    ours.close()
    theirs.close()


def test_links_of_old_archives(layer: Layer, room: Path) -> None:
    lines, _, code = run(
        layer, "receive", str(room), data=archive({"a/layer.tar": b"x"}, {"b/layer.tar": "../a/layer.tar"})
    )
    assert code == 0
    assert lines[1] == {"path": "b/layer.tar", "link": "a/layer.tar"}


@pytest.mark.parametrize(
    ("data", "words", "said"),
    [
        (archive({"../up": b""}), [], "upwards"),
        (archive({}, {"a": "/etc/passwd"}), [], "links out"),
        (archive({"a": b"x" * 100_000}), ["--max-bytes", "50K"], "expands beyond"),
        (archive({str(n): b"" for n in range(9)}), ["--max-entries", "8"], "more than 8"),
        (archive({"a": b"x" * 100_000})[:50_000], [], "ends within"),
        (b"no archive at all", [], "a header"),
        (b"BZh91AY", [], "bzip2 is not served"),
        (b"\xfd7zXZ\0", [], "xz is not served"),
        (b"3\r\nab", ["--framing", "chunked"], "ends early"),
        (b"zz\r\n", ["--framing", "chunked"], "malformed chunk"),
        (b"", ["--framing", "length:5"], "ends early"),
        (gzip.compress(bytes(2_000_000))[:-100], [], ""),
    ],
)
def test_hostile_archives(layer: Layer, room: Path, data: bytes, words: list[str], said: str) -> None:
    _, error, code = run(layer, "receive", *words, str(room), data=data)
    assert code == 1
    assert said in error
    assert error.startswith("stockade-layer: ")
    assert not (room.parent / "up").exists()


def test_a_client_that_vanishes(layer: Layer, room: Path) -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(chunked(archive(FILES))[:200_000])
    ours.close()
    words = ("receive", "--body", str(theirs.fileno()), "--framing", "chunked", str(room))
    _, error, code = run(layer, *words, give=(theirs.fileno(),))
    assert code == 1
    assert "body ends early" in error
    theirs.close()


def test_what_is_sent_is_an_archive(layer: Layer, room: Path) -> None:
    (room / "blob").write_bytes(FILES["blobs/sha256/aa"])
    wanted = [
        {"name": "blobs/"},
        {"name": "blobs/aa", "file": str(room / "blob"), "mode": 0o600, "mtime": 12},
        {"name": "manifest.json", "text": "[ä]"},
        {"name": "old/layer.tar", "link": "../blobs/aa"},
    ]
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    got: list[bytes] = []

    def take() -> None:
        while piece := ours.recv(1 << 16):
            got.append(piece)

    taker = threading.Thread(target=take)
    taker.start()
    data = "\n".join(json.dumps(line) for line in wanted).encode()
    lines, error, code = run(layer, "send", "--to", str(theirs.fileno()), give=(theirs.fileno(),), data=data)
    theirs.close()
    taker.join()
    ours.close()
    assert (lines, error, code) == ([{"entries": 4}], "", 0)
    with tarfile.open(fileobj=io.BytesIO(b"".join(got))) as tar:
        seen = tar.getmembers()
        assert [(one.name, one.type, one.mode, one.mtime) for one in seen] == [
            ("blobs", tarfile.DIRTYPE, 0o755, 0), ("blobs/aa", tarfile.REGTYPE, 0o600, 12),
            ("manifest.json", tarfile.REGTYPE, 0o644, 0), ("old/layer.tar", tarfile.SYMTYPE, 0o644, 0),
        ]  # fmt: skip
        blob = tar.extractfile("blobs/aa")
        assert blob
        assert blob.read() == FILES["blobs/sha256/aa"]


@pytest.mark.parametrize(
    "line", ["{", '{"name":""}', '{"name":"a"}', '{"name":"a","file":"/dev/zero"}', '{"name":"a","file":"/nowhere"}',
             '{"name":"a","text":"","link":"b"}', '{"name":"a","text":"","colour":1}'],
)  # fmt: skip
def test_lines_that_cannot_be_sent(layer: Layer, line: str) -> None:
    with open(os.devnull, "wb") as sink:
        _, error, code = run(layer, "send", "--to", str(sink.fileno()), give=(sink.fileno(),), data=line.encode())
    assert code == 1
    assert error


def test_usage_counts_an_inode_once(layer: Layer, room: Path) -> None:
    (room / "sub").mkdir()
    (room / "sub" / "a").write_bytes(b"x" * 10_000)
    (room / "b").hardlink_to(room / "sub" / "a")
    (room / "link").symlink_to("nowhere")
    [line], _, _ = run(layer, "usage", str(room))
    assert (line["path"], line["size"], line["inodes"]) == (str(room), 10_000 + len("nowhere"), 4)
    disk = int(subprocess.run(["du", "-s", "-B1", room], capture_output=True, check=True).stdout.split()[0])
    assert line["bytes"] == disk
