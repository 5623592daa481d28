"""A client attached by one connection for all streams, as Docker's API has it."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from contract.shim.conftest import Config
from contract.shim.peer import Shim
from support.patience import eventually

pytestmark = pytest.mark.root


def attach(shim: Shim, name: str, **more: Any) -> tuple[socket.socket, socket.socket]:
    """Attach: the client's end of the connection, and the private socket after its `ok`."""
    client, handed = socket.socketpair()
    client.settimeout(20)
    wanted = {"id": name, "stdin": True, "stdout": True, "stderr": True, "socket": True, "framed": True} | more
    control = shim.ask(name, json.dumps({"attach": wanted}), [handed.fileno()])
    handed.close()
    assert json.loads(control.recv(4096)) == {"ok": True}
    return client, control


def exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = client.recv(count - len(data))
        assert piece, "the connection ended within a frame"
        data += piece
    return data


def frames(client: socket.socket) -> Iterator[tuple[int, bytes]]:
    while head := client.recv(1):
        number, zeros, length = struct.unpack(">B3sI", head + exactly(client, 7))
        assert zeros == b"\0\0\0"
        yield number, exactly(client, length)


def everything(client: socket.socket) -> dict[int, bytes]:
    seen = {1: b"", 2: b""}
    for number, data in frames(client):
        seen[number] += data
    return seen


def test_all_streams_of_a_program_on_one_connection(shim: Shim, config: Config) -> None:
    peer = shim.start("c", config("sh", "-c", "cat; echo err >&2; exit 6"))
    shim.create(peer, "c")
    data = os.urandom(3 << 20)
    client, control = attach(shim, "c", early=base64.b64encode(data[:100_000]).decode())
    peer.call("Start", {1: "c"})

    def give() -> None:
        client.sendall(data[100_000:])
        client.shutdown(socket.SHUT_WR)

    giver = threading.Thread(target=give)
    giver.start()
    seen = everything(client)
    giver.join()
    assert seen[1] == data
    assert seen[2] == b"err\n"
    assert json.loads(control.recv(100)) == {"exited": 6}


def test_the_asker_may_go_and_the_connection_stays(shim: Shim, config: Config) -> None:
    """A daemon that dies takes no client's attachment with it."""
    peer = shim.start("c", config("cat"))
    shim.create(peer, "c")
    client, control = attach(shim, "c", framed=False)
    peer.call("Start", {1: "c"})
    control.close()
    client.sendall(b"still here")
    assert client.recv(100) == b"still here"
    client.shutdown(socket.SHUT_WR)
    assert client.recv(100) == b""
    assert peer.call("Wait", {1: "c"})[1] == 0


def test_flags_of_the_connection_are_its_owners(shim: Shim, config: Config) -> None:
    peer = shim.start("c", config("sh", "-c", "seq 1 100000; cat"))
    shim.create(peer, "c")
    client, handed = socket.socketpair()
    text = {"id": "c", "stdin": True, "stdout": True, "socket": True, "framed": True}
    control = shim.ask("c", json.dumps({"attach": text}), [handed.fileno()])
    assert json.loads(control.recv(100)) == {"ok": True}
    peer.call("Start", {1: "c"})
    exactly(client, 1000)
    assert not fcntl.fcntl(handed, fcntl.F_GETFL) & os.O_NONBLOCK
    client.shutdown(socket.SHUT_WR)
    # Another holder of the connection does not keep its end from the client.
    while client.recv(1 << 16):
        pass
    handed.close()
    assert peer.call("Wait", {1: "c"})[1] == 0


def test_a_client_that_does_not_read_holds_the_program_and_loses_nothing(shim: Shim, config: Config) -> None:
    peer = shim.start("c", config("sh", "-c", "seq 1 300000; seq 1 300000 >&2; echo done > /tmp/done"))
    shim.create(peer, "c")
    client, _control = attach(shim, "c", stdin=False)
    peer.call("Start", {1: "c"})
    time.sleep(0.5)
    assert peer.call("State", {1: "c"})[4] == 2
    seen = everything(client)
    numbers = b"".join(b"%d\n" % number for number in range(1, 300_001))
    assert seen == {1: numbers, 2: numbers}


def test_hanging_up_detaches_and_the_program_goes_on(shim: Shim, config: Config) -> None:
    peer = shim.start("c", config("sh", "-c", "while :; do echo x; sleep 0.01; done"))
    shim.create(peer, "c")
    client, control = attach(shim, "c", stdin=False)
    other, _ = attach(shim, "c", stdin=False)
    peer.call("Start", {1: "c"})
    exactly(client, 50)
    client.close()
    assert json.loads(control.recv(100)) == {"detached": True}
    other.settimeout(5)
    exactly(other, 1000)
    other.close()
    time.sleep(0.2)
    assert peer.call("State", {1: "c"})[4] == 2
    peer.call("Kill", {1: "c", 3: 9})
    peer.call("Wait", {1: "c"})


def test_without_stdin_the_end_of_input_means_nothing(shim: Shim, config: Config) -> None:
    """As docker's command does when it has no input to give."""
    peer = shim.start("c", config("sh", "-c", "sleep 0.3; echo late"))
    shim.create(peer, "c")
    client, _control = attach(shim, "c", stdin=False)
    peer.call("Start", {1: "c"})
    client.sendall(b"nobody reads this")
    client.shutdown(socket.SHUT_WR)
    assert everything(client)[1] == b"late\n"


def test_input_that_stays_open(shim: Shim, config: Config) -> None:
    open_stdin = config("cat", annotations={"dev.stockade.stdin": "open"})
    peer = shim.start("c", open_stdin)
    shim.create(peer, "c")
    peer.call("Start", {1: "c"})
    for once in (False, False, True):
        client, control = attach(shim, "c", stdin_once=once)
        client.sendall(b"line\n")
        assert next(frames(client)) == (1, b"line\n")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(10) == b""
        assert json.loads(control.recv(100)) == ({"exited": 0} if once else {"detached": True})
    assert peer.call("Wait", {1: "c"})[1] == 0


def test_what_was_sent_before_hanging_up_arrives(shim: Shim, config: Config) -> None:
    peer = shim.start("c", config("sh", "-c", "sleep 0.2; cat > /tmp/got; wc -c < /tmp/got"))
    log = shim.place.top / "log"
    shim.create(peer, "c", f"file://{log}")
    client, _control = attach(shim, "c")
    client.sendall(b"x" * 100_000)
    client.close()
    peer.call("Start", {1: "c"})
    assert peer.call("Wait", {1: "c"})[1] == 0
    assert log.read_text() == "100000\n"


def test_detach_keys_on_a_terminal_only(shim: Shim, config: Config) -> None:
    for tty in (True, False):
        name = f"c{tty}"
        peer = shim.start(name, config("cat", terminal=tty))
        shim.create(peer, name, tty=tty)
        client, control = attach(shim, name, framed=False, detach_keys="\x10\x11")
        peer.call("Start", {1: name})
        client.sendall(b"\x10\x11")
        if tty:
            assert client.recv(10) == b""
            assert json.loads(control.recv(100)) == {"detached": True}
            assert peer.call("State", {1: name})[4] == 2
            peer.call("Kill", {1: name, 3: 9})
        else:
            assert exactly(client, 2) == b"\x10\x11"
            client.shutdown(socket.SHUT_WR)
        peer.call("Wait", {1: name})


def test_attached_to_what_has_ended(shim: Shim, config: Config) -> None:
    peer = shim.run("c", config("true"))
    peer.call("Wait", {1: "c"})
    client, control = attach(shim, "c")
    assert client.recv(10) == b""
    assert json.loads(control.recv(100)) == {"exited": 0}


@pytest.mark.parametrize(
    ("more", "word"),
    [({"early": "?"}, "base64"), ({"early": "A" * 180_000}, "128 KiB"), ({"socket": False}, "descriptors"),
     ({"socket": False, "stdin": False, "stderr": False, "early": "AA=="}, "socket")],
)  # fmt: skip
def test_bad_requests_are_answered(shim: Shim, config: Config, more: dict[str, Any], word: str) -> None:
    peer = shim.start("c", config("true"))
    shim.create(peer, "c")
    with contextlib.ExitStack() as stack:
        client, handed = (stack.enter_context(one) for one in socket.socketpair())
        text = {"id": "c", "stdin": True, "stdout": True, "stderr": True, "socket": True} | more
        control = shim.ask("c", json.dumps({"attach": text}), [handed.fileno()])
        assert word in json.loads(control.recv(4096))["error"]
        assert client.fileno() >= 0
    peer.call("Delete", {1: "c"})


def test_a_pipe_is_no_connection(shim: Shim, config: Config) -> None:
    peer = shim.start("c", config("true"))
    shim.create(peer, "c")
    reader, writer = os.pipe()
    control = shim.ask("c", '{"attach":{"id":"c","stdout":true,"socket":true}}', [writer])
    os.close(reader)
    os.close(writer)
    assert "stream socket" in json.loads(control.recv(4096))["error"]
    peer.call("Delete", {1: "c"})


def test_a_hundred_clients(shim: Shim, config: Config) -> None:
    peer = shim.start("c", config("sh", "-c", "cat; exit 3"))
    shim.create(peer, "c")
    first, _ = attach(shim, "c")
    rest = [attach(shim, "c", stdin=False)[0] for _ in range(100)]
    peer.call("Start", {1: "c"})
    first.sendall(b"to all\n")
    for client in rest:
        assert next(frames(client)) == (1, b"to all\n")
    first.shutdown(socket.SHUT_WR)
    for client in (first, *rest):
        everything(client)
        client.close()
    assert peer.call("Wait", {1: "c"})[1] == 3
    eventually(lambda: len(os.listdir(f"/proc/{shim.pid('c')}/fd")) < 20)
