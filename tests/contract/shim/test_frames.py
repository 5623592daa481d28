"""Callers that do not speak ttrpc, or speak it with bad intent."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.shim.conftest import Config
from contract.shim.peer import (
    EXHAUSTED,
    INVALID,
    NOT_FOUND,
    UNIMPLEMENTED,
    V2,
    V3,
    Peer,
    Refused,
    Shim,
    decode,
    encode,
    frame,
    request,
)

pytestmark = pytest.mark.root


@pytest.fixture
def peer(shim: Shim, config: Config) -> Peer:
    return shim.start("c", config("true"))


def code(peer: Peer, stream: int) -> int:
    with pytest.raises(Refused) as refused:
        peer.answer(stream)
    return refused.value.code


def test_what_is_not_served_is_named(peer: Peer) -> None:
    for method, service in (("Frob", V2), ("State", "containerd.task.v1.Task"), ("Checkpoint", V3)):
        with pytest.raises(Refused) as refused:
            peer.call(method, {1: "c"}, service)
        assert refused.value.code == UNIMPLEMENTED
        assert (service if method == "State" else method) in refused.value.text


def test_bad_messages_are_refused_and_the_connection_lives(peer: Peer) -> None:
    peer.socket.sendall(frame(1, 1, b"\xff\xff\xff"))
    assert code(peer, 1) == INVALID
    peer.socket.sendall(frame(3, 1, encode({1: V2, 2: "State", 3: b"\x0a\xff"})))
    assert code(peer, 3) == INVALID
    peer.socket.sendall(frame(4, 1, encode({1: V2, 2: "Connect"})))
    assert code(peer, 4) == INVALID
    peer.socket.sendall(frame(5, 1, encode({1: V2, 2: "Connect"}), flags=2))
    assert code(peer, 5) == UNIMPLEMENTED
    peer.socket.sendall(frame(7, 3, b"stream data of nothing") + frame(7, 99, b""))
    peer.socket.sendall(struct.pack(">IIBB", (4 << 20) + 1, 9, 1, 0) + b"\0" * ((4 << 20) + 1))
    assert code(peer, 9) == EXHAUSTED
    peer.stream = 11
    assert peer.call("Connect", {1: "c"})[3]


def test_something_else_is_hung_up_on(peer: Peer) -> None:
    peer.socket.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises((EOFError, ConnectionError)):
        peer.read()


def test_requests_may_be_pipelined(peer: Peer) -> None:
    peer.socket.sendall(b"".join(request(2 * n + 1, "Connect", {1: "c"}) for n in range(500)))
    seen = [peer.read()[0] for _ in range(500)]
    assert seen == [2 * n + 1 for n in range(500)]


def test_two_clients_at_once(shim: Shim, peer: Peer) -> None:
    """Each gets its own answers, in its own order, also when frames come in pieces; a wait holds up nobody."""
    other = shim.connect((shim.bundle("c") / "address").read_text())
    shim.create(peer, "c")
    waits = [one.send("Wait", {1: "c"}) for one in (peer, other)]
    frames = {one: b"".join(request(1001 + 2 * n, "State", {1: name}) for n in range(50)) for one, name in
              ((peer, "c"), (other, "no such container"))}  # fmt: skip
    for at in range(0, max(map(len, frames.values())), 7):
        for one, data in frames.items():
            one.socket.sendall(data[at : at + 7])
    for n in range(50):
        assert peer.answer(1001 + 2 * n)[4] == 1
        assert code(other, 1001 + 2 * n) == NOT_FOUND
    peer.stream = other.stream = 1101
    # What one makes the other sees, and the end is told to both.
    assert other.call("Start", {1: "c"})[1]
    assert [one.answer(wait)[1] for one, wait in zip((peer, other), waits, strict=True)] == [0, 0]
    other.call("Delete", {1: "c"})
    with pytest.raises(Refused) as refused:
        peer.call("State", {1: "c"})
    assert refused.value.code == NOT_FOUND


def test_a_caller_that_never_reads_holds_up_nobody(shim: Shim, peer: Peer) -> None:
    deaf = Peer(peer.socket.getpeername())
    deaf.socket.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        for n in range(200_000):
            deaf.socket.sendall(request(2 * n + 1, "State", {1: "x" * 1000}))
    assert peer.call("Connect", {1: "c"})[1] == shim.pid("c")
    status = dict(line.split(":", 1) for line in Path(f"/proc/{shim.pid('c')}/status").read_text().splitlines())
    assert int(status["VmRSS"].split()[0]) < 40_000
    deaf.close()


def damage(good: bytes, dice: random.Random) -> bytes:
    """A frame with something wrong, or noise."""
    kind = dice.randrange(5)
    if kind == 0:
        return dice.randbytes(dice.randrange(200))
    if kind == 1:
        return good[: dice.randrange(len(good))]
    made = bytearray(good)
    for _ in range(dice.randrange(1, 8)):
        made[dice.randrange(4 if kind == 2 else 0, len(made))] = dice.randrange(256)
    return bytes(made)


@pytest.mark.storm
@pytest.mark.timeout(0)
def test_random_frames(
    shim: Shim, peer: Peer, soak_seconds: float, record_property: Callable[[str, object], None]
) -> None:
    dice = random.Random(seed := time.time_ns())
    methods = [
        "State",
        "Create",
        "Start",
        "Delete",
        "Pids",
        "Kill",
        "Exec",
        "ResizePty",
        "CloseIO",
        "Update",
        "Wait",
        "Stats",
    ]
    until, callers = time.monotonic() + soak_seconds, 0
    while time.monotonic() < until:
        hostile = Peer(peer.socket.getpeername())
        hostile.socket.settimeout(0.01)
        with contextlib.suppress(OSError):
            for _ in range(dice.randrange(1, 50)):
                fields = {
                    dice.randrange(1, 12): dice.choice(["c", "/", 7, dice.randbytes(9), {1: "c"}]) for _ in range(4)
                }
                hostile.socket.sendall(damage(request(dice.randrange(1, 1000), dice.choice(methods), fields), dice))
            hostile.socket.shutdown(socket.SHUT_WR)
            while hostile.socket.recv(65536):
                pass
        hostile.close()
        callers += 1
        assert decode(encode(peer.call("Connect", {1: "c"})))[1] == shim.pid("c"), f"seed {seed}"
    record_property("ttrpc", f"{callers} callers that sent noise, the shim answered after each")
