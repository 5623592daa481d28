"""Attach by websocket: a real client library, and clients that keep to nothing."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import secrets
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import fixtures
from support.api import must
from support.daemon import IMAGE, Daemon
from support.patience import eventually

websocket: Any = pytest.importorskip("websocket")
pytestmark = pytest.mark.root

ALL = "stream=1&stdin=1&stdout=1&stderr=1"


_docker = fixtures.docker


@pytest.fixture(autouse=True)
def _nothing_left(docker: Daemon) -> Iterator[None]:
    yield
    docker.clear()
    eventually(lambda: not relays(docker), "no relay is left", patience=10)


def relays(docker: Daemon) -> list[str]:
    """The relays of this daemon that are at work."""
    found = []
    assert docker.process is not None
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes()
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            if b"stockade-websocket" in words and int(parent) == docker.process.pid:
                found.append(entry.name)
    return found


def connect(docker: Daemon) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(str(docker.socket))
    return sock


@contextlib.contextmanager
def attached(docker: Daemon, name: str, query: str = ALL, version: str = "/v1.51", **more: Any) -> Iterator[Any]:
    client = websocket.WebSocket()
    client.connect(f"ws://docker{version}/containers/{name}/attach/ws?{query}", socket=connect(docker), **more)
    try:
        yield client
    finally:
        client.close()


def hear(client: Any, size: int) -> bytes:
    """So many bytes of what it is told."""
    found = b""
    while len(found) < size:
        kind, data = client.recv_data()
        assert kind == websocket.ABNF.OPCODE_BINARY, (kind, data)
        found += data
    return found


def test_a_conversation(docker: Daemon) -> None:
    docker.run("-i", "--name", "cat", IMAGE, "cat")
    with attached(docker, "cat") as client:
        client.send_binary(b"hello\n")
        assert hear(client, 6) == b"hello\n"
        client.ping("there?")
        kind, data = client.recv_data(control_frame=True)
        assert (kind, data) == (websocket.ABNF.OPCODE_PONG, b"there?")
        client.send("by text, in ")
        client.send_frame(websocket.ABNF.create_frame("two ", websocket.ABNF.OPCODE_TEXT, 0))
        client.send_frame(websocket.ABNF.create_frame("frames\n", websocket.ABNF.OPCODE_CONT, 1))
        assert hear(client, 23) == b"by text, in two frames\n"
    with attached(docker, "cat") as client:
        client.send_binary(b"again\n")
        assert hear(client, 6) == b"again\n"


def test_input_that_is_open_once_ends_with_its_client(docker: Daemon) -> None:
    body = {"Image": IMAGE, "Cmd": ["cat"], "OpenStdin": True, "StdinOnce": True}
    must(docker, "POST", "/containers/create?name=once", body)
    with attached(docker, "once") as client:
        docker.docker("start", "once")
        client.send_binary(b"last words\n")
    assert docker.said("wait", "once") == "0"
    assert docker.said("logs", "once") == "last words"


def test_what_was_printed_and_the_end(docker: Daemon) -> None:
    docker.docker("create", "-i", "--name", "late", IMAGE, "sh", "-c", "echo out; echo err >&2; read x; echo got $x")
    with attached(docker, "late") as client:  # before the start: it waits
        docker.docker("start", "late")
        assert sorted(hear(client, 8).split()) == [b"err", b"out"]
        with attached(docker, "late", "logs=1&stream=1&stdout=1&stderr=1") as second:
            assert sorted(hear(second, 8).split()) == [b"err", b"out"]
            time.sleep(0.5)  # what was printed comes from the log; then it is handed to the shim
            client.send_binary(b"it\n")
            for one in (client, second):
                assert hear(one, 7) == b"got it\n"
                assert one.recv_data() == (websocket.ABNF.OPCODE_CLOSE, struct.pack(">H", 1000))


def test_much_in_both_directions(docker: Daemon) -> None:
    docker.run("-i", "--name", "sum", IMAGE, "sh", "-c", "head -c 3000000 | wc -c; seq 300000")
    with attached(docker, "sum") as client:
        data = secrets.token_bytes(1_000_000)
        for _ in range(3):
            client.send_binary(data)
        found = b""
        while (frame := client.recv_data())[0] != websocket.ABNF.OPCODE_CLOSE:
            found += frame[1]
    assert found.split() == [b"3000000", *(b"%d" % number for number in range(1, 300_001))]


def test_a_terminal_detaches_by_its_keys(docker: Daemon) -> None:
    docker.run("-it", "--name", "term", IMAGE, "sh")
    with attached(docker, "term", f"{ALL}&detachKeys=ctrl-x") as client:
        client.send_binary(b"echo fir''st\n")
        seen = b""
        while b"first\r\n" not in seen:
            seen += client.recv_data()[1]
        client.send_binary(b"\x18")
        while (frame := client.recv_data())[0] != websocket.ABNF.OPCODE_CLOSE:
            seen += frame[1]
    assert docker.inspect("term", "{{json .State.Running}}") is True


def test_only_what_was_asked_for(docker: Daemon) -> None:
    docker.run("-i", "--name", "both", IMAGE, "sh", "-c", "read x; echo out; echo err >&2; sleep 0.2")
    with (
        attached(docker, "both", "stream=1&stderr=1") as one,
        attached(docker, "both", "stream=1", "/v1.41") as old,
        attached(docker, "both", "stream=1", "/v1.27") as oldest,
    ):
        docker.docker("attach", "both", input=b"\n")
        assert hear(one, 4) == b"err\n"
        assert sorted(hear(old, 8).split()) == [b"err", b"out"]  # before 1.42 it is all three
        assert oldest.recv_data()[0] == websocket.ABNF.OPCODE_TEXT  # before 1.28 in text


def test_subprotocols(docker: Daemon) -> None:
    docker.run("--name", "sleeps", IMAGE, "sleep", "1000")
    with attached(docker, "sleeps", subprotocols=["tty"]) as client:
        assert client.getsubprotocol() == "tty"


def test_it_outlives_the_daemon(docker: Daemon) -> None:
    docker.run("-i", "--name", "cat", IMAGE, "cat")
    with attached(docker, "cat") as client:
        client.send_binary(b"one\n")
        assert hear(client, 4) == b"one\n"
        docker.restart()
        client.send_binary(b"still\n")
        assert hear(client, 6) == b"still\n"


# Refusals ---------------------------------------------------------------------------------------------------------

GOOD = {
    "Upgrade": "WebSocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
}


def open_raw(
    docker: Daemon, headers: dict[str, str], early: bytes = b"", name: str = "box"
) -> tuple[socket.socket, bytes]:
    """A client of no library's: its socket and the head of the answer."""
    sock = connect(docker)
    lines = [f"GET /containers/{name}/attach/ws?{ALL} HTTP/1.1", "Host: x", *(f"{k}: {v}" for k, v in headers.items())]
    sock.sendall("\r\n".join([*lines, "", ""]).encode() + early)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = sock.recv(1)
        assert piece, head
        head += piece
    return sock, head


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Upgrade": "h2c"}, 400),
        ({"Connection": "keep-alive"}, 400),
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Sec-WebSocket-Key": base64.b64encode(bytes(15)).decode()}, 400),
    ],
)
def test_openings_that_are_none(docker: Daemon, change: dict[str, str], status: int) -> None:
    docker.run("--name", "box", IMAGE, "sleep", "1000")
    sock, head = open_raw(docker, GOOD | change)
    with sock:
        assert int(head.split()[1]) == status
        assert (b"Sec-WebSocket-Version: 13" in head) == (status == 426)


def test_who_is_not_there(docker: Daemon) -> None:
    sock, head = open_raw(docker, GOOD, name="nobody")
    with sock:
        assert head.split()[1] == b"404"


def frame(first: int, payload: bytes) -> bytes:
    """A client's frame, masked by zeroes."""
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack(">H", len(payload))
    return bytes([first]) + size + bytes(4) + payload


def test_words_that_come_with_the_opening(docker: Daemon) -> None:
    docker.run("-i", "--name", "box", IMAGE, "cat")
    sock, head = open_raw(docker, GOOD, frame(0x82, b"early\n"))
    with sock:
        assert head.startswith(b"HTTP/1.1 101 ")
        # RFC 6455, section 1.3: the key with the constant, SHA-1, base64.
        assert re.search(rb"Sec-WebSocket-Accept: ICX\+Yqv66kxgM0FcWaLWlFLwTAI=\r\n", head)
        assert sock.recv(64) == b"\x82\x06early\n"


@pytest.mark.parametrize(
    "said",
    [
        b"\x82\x05hello",  # not masked
        frame(0xC2, b"compressed"),
        frame(0x83, b"of no kind"),
        frame(0x80, b"goes on with nothing"),
        frame(0x09, b"half a ping"),
        b"\x82\xff" + b"\xff" * 12,  # 2^64 bytes
        os.urandom(4096).replace(b"\x82", b"").replace(b"\x81", b"").replace(b"\x88", b"").join([b"\xff", b""]),
    ],
)
def test_who_breaks_the_protocol_is_told_so(docker: Daemon, said: bytes) -> None:
    docker.run("-i", "--name", "box", IMAGE, "cat")
    sock, _ = open_raw(docker, GOOD)
    with sock:
        with contextlib.suppress(OSError):
            sock.sendall(said)
        assert sock.recv(64) == b"\x88\x02" + struct.pack(">H", 1002)
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(64) == b""


def test_who_vanishes_or_does_not_read(docker: Daemon) -> None:
    """The container goes on, and nobody's memory grows."""
    docker.run(
        "-i", "--name", "box", IMAGE, "sh", "-c", "while :; do echo 0123456789012345678901234567890123456789; done"
    )
    gone, _ = open_raw(docker, GOOD)
    gone.close()
    deaf, _ = open_raw(docker, GOOD)
    with deaf:
        pings = frame(0x89, b"x" * 125) * 4096
        deaf.settimeout(1)
        with contextlib.suppress(TimeoutError):
            for _ in range(64):
                deaf.sendall(pings)  # 34 MB that ask for 32 MB of answers
        [relay] = relays(docker)
        assert int(Path(f"/proc/{relay}/statm").read_text().split()[1]) * 4096 < 16 << 20
    assert docker.inspect("box", "{{json .State.Running}}") is True
