"""Events reach the engine in their order, also an engine that was away."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.shim import peer
from contract.shim.conftest import Config
from contract.shim.peer import decode, encode, frame
from contract.shim.test_tasks import process
from support import programs
from support.patience import eventually
from support.place import Place

pytestmark = pytest.mark.root


class Engine:
    """Takes events at a socket; `closed` while it is away."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.topics: list[str] = []

    def open(self) -> None:
        self.path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self.listener.accept()
            with connection, connection.makefile("rb") as stream:
                while header := stream.read(10):
                    length, number, _, _ = struct.unpack(">IIBB", header)
                    request = decode(stream.read(length))
                    assert request[2] == b"Forward"
                    envelope = decode(decode(request[3])[1])
                    assert envelope[2] == b"test"
                    self.topics.append(envelope[3].decode())
                    connection.sendall(frame(number, 2, encode({1: b""})))

    def close(self) -> None:
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def engine(place: Place) -> Iterator[Engine]:
    made = Engine(place.top / "events.sock")
    made.open()
    yield made
    made.close()


@pytest.fixture
def watched(place: Place, engine: Engine) -> Iterator[peer.Shim]:
    program = programs.program("containerd-shim-stockade-v2")
    with peer.shim(program, place, TTRPC_ADDRESS=str(engine.path)) as made:
        yield made
    engine.thread.join(5)


def test_the_order(watched: peer.Shim, engine: Engine, config: Config) -> None:
    caller = watched.run("c", config("sleep", "100"))
    caller.call("Exec", {1: "c", 2: "e", 7: process("true")})
    caller.call("Start", {1: "c", 2: "e"})
    caller.call("Wait", {1: "c", 2: "e"})
    caller.call("Pause", {1: "c"})
    caller.call("Resume", {1: "c"})
    caller.call("Kill", {1: "c", 3: 9})
    caller.call("Wait", {1: "c"})
    caller.call("Delete", {1: "c"})
    caller.call("Shutdown", {1: "c"})
    words = ["create", "start", "exec-added", "exec-started", "exit", "paused", "resumed", "exit", "delete"]
    eventually(lambda: len(engine.topics) >= len(words))
    assert engine.topics == [f"/tasks/{word}" for word in words]


def test_want_of_memory_is_told_before_the_exit(watched: peer.Shim, engine: Engine, config: Config) -> None:
    hog = config("sh", "-c", "a=x; while :; do a=$a$a; done", memory=16 << 20)
    caller = watched.run("c", hog)
    caller.call("Wait", {1: "c"})
    eventually(lambda: "/tasks/exit" in engine.topics)
    assert engine.topics == [f"/tasks/{word}" for word in ("create", "start", "oom", "exit")]


def test_an_engine_that_was_away(watched: peer.Shim, engine: Engine, config: Config) -> None:
    engine.close()
    caller = watched.run("c", config("true"))
    caller.call("Wait", {1: "c"})
    time.sleep(0.1)
    assert engine.topics == []
    engine.open()
    eventually(lambda: len(engine.topics) == 3)
    assert engine.topics == ["/tasks/create", "/tasks/start", "/tasks/exit"]
