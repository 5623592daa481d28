"""A hand of the tests' own that speaks ttrpc and protobuf: what the product's client gets wrong shows here."""

from __future__ import annotations

import array
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.place import Place


class Fields(dict[int, Any]):
    """By number; what is not on the wire is 0, as the protocol says."""

    def __missing__(self, key: int) -> int:
        return 0


V2, V3 = "containerd.task.v2.Task", "containerd.task.v3.Task"
NOT_FOUND, ALREADY_EXISTS, PRECONDITION, UNIMPLEMENTED, INVALID, EXHAUSTED = 5, 6, 9, 12, 3, 8


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def encode(fields: dict[int, Any]) -> bytes:
    """By number: an int, text, bytes, another message, or a list of these."""
    out = b""
    for number, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                out += varint(number << 3) + varint(int(one))
            else:
                data = encode(one) if isinstance(one, dict) else one.encode() if isinstance(one, str) else one
                out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def decode(data: bytes) -> Fields:
    """The last value of each field; messages stay bytes."""
    found = Fields()
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = number()
        if key & 7 == 0:
            found[key >> 3] = number()
        else:
            length = number()
            found[key >> 3] = data[at : at + length]
            at += length
    return found


def frame(stream: int, kind: int, payload: bytes, flags: int = 0) -> bytes:
    return struct.pack(">IIBB", len(payload), stream, kind, flags) + payload


def request(stream: int, method: str, fields: dict[int, Any], service: str = V2) -> bytes:
    return frame(stream, 1, encode({1: service, 2: method, 3: encode(fields)}))


class Refused(Exception):
    """The shim answered by an error: its code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code, self.text = code, text


class Peer:
    """One connection."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self.stream = 1
        self.answers: dict[int, bytes] = {}

    def send(self, method: str, fields: dict[int, Any], service: str = V2) -> int:
        stream, self.stream = self.stream, self.stream + 2
        self.socket.sendall(request(stream, method, fields, service))
        return stream

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError("the shim hung up")
            data += piece
        return data

    def read(self) -> tuple[int, int, bytes]:
        """The next frame: its stream, type and payload."""
        length, stream, kind, _ = struct.unpack(">IIBB", self._exactly(10))
        return stream, kind, self._exactly(length)

    def answer(self, stream: int) -> Fields:
        while stream not in self.answers:
            seen, kind, payload = self.read()
            assert kind == 2
            self.answers[seen] = payload
        response = decode(self.answers.pop(stream))
        status = decode(response.get(1, b""))
        if status.get(1, 0):
            raise Refused(status[1], status.get(2, b"").decode())
        return decode(response.get(2, b""))

    def call(self, method: str, fields: dict[int, Any], service: str = V2) -> Fields:
        return self.answer(self.send(method, fields, service))

    def close(self) -> None:
        self.socket.close()


@dataclass(slots=True)
class Shim:
    """One shim and what it was asked to make."""

    program: Path
    place: Place
    environment: dict[str, str]
    peers: list[Peer] = field(default_factory=list)

    def bundle(self, name: str) -> Path:
        return self.place.top / "bundles" / name

    def command(self, name: str, *words: str, data: bytes = b"", check: bool = True) -> bytes:
        done = subprocess.run(
            [self.program, "-namespace", "test", "-id", name, "-address", str(self.place.top), *words],
            cwd=self.bundle(name) if self.bundle(name).is_dir() else "/",
            env=self.environment,
            input=data,
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert not check or done.returncode == 0, done
        return done.stdout

    def start(self, name: str, config: dict[str, Any], data: bytes = b"") -> Peer:
        """Start it for a new bundle and connect."""
        bundle = self.bundle(name)
        bundle.mkdir(parents=True)
        # The same ids are others' at the same time, but their cgroups would be one.
        config["linux"].setdefault("cgroupsPath", f"/stockade/{self.place.name(name)}")
        (bundle / "config.json").write_text(json.dumps(config))
        address = self.command(name, "start", data=data).decode()
        return self.connect(address)

    def connect(self, address: str) -> Peer:
        peer = Peer(address.removeprefix("unix://"))
        self.peers.append(peer)
        return peer

    def pid(self, name: str) -> int:
        return int((self.bundle(name) / "shim.pid").read_text())

    def create(self, peer: Peer, name: str, out: str = "", err: str = "", *, stdin: str = "", tty: bool = False) -> int:
        made = peer.call("Create", {1: name, 2: str(self.bundle(name)), 4: int(tty), 5: stdin, 6: out, 7: err})
        return int(made[1])

    def run(self, name: str, config: dict[str, Any], out: str = "", err: str = "") -> Peer:
        peer = self.start(name, config)
        self.create(peer, name, out, err)
        peer.call("Start", {1: name})
        return peer

    def exit(self, name: str, exec_id: str = "") -> dict[str, Any]:
        path = self.bundle(name) / (f"exit-{exec_id}.json" if exec_id else "exit.json")
        made: dict[str, Any] = json.loads(path.read_text())
        return made

    def attach(self, name: str, exec_id: str = "", keys: str = "", **fds: int) -> socket.socket:
        """Give descriptors (stdin, stdout, stderr, in this order); the connection after its `ok`."""
        wanted = {stream: stream in fds for stream in ("stdin", "stdout", "stderr")}
        text = json.dumps({"attach": {"id": name, "exec_id": exec_id, "detach_keys": keys, **wanted}})
        order = [fds[stream] for stream, given in wanted.items() if given]
        client = self.ask(name, text, order)
        assert json.loads(client.recv(4096)) == {"ok": True}
        return client

    def ask(self, name: str, text: str, fds: Sequence[int] = ()) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.settimeout(20)
        client.connect((self.bundle(name) / "attach").read_text())
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        client.sendmsg([text.encode()], rights)
        return client

    def end(self) -> None:
        for peer in self.peers:
            peer.close()
        for pid_file in (self.place.top / "bundles").glob("*/shim.pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(pid_file.read_text()), signal.SIGTERM)
        deadline = time.monotonic() + 5
        while self.place.processes() and time.monotonic() < deadline:
            time.sleep(0.02)
        # What a shim that was told to go left in bundles: its own cleaning.
        for bundle in (self.place.top / "bundles").glob("*"):
            self.command(bundle.name, "-bundle", str(bundle), "delete")


@contextlib.contextmanager
def shim(program: Path, place: Place, **environment: str) -> Iterator[Shim]:
    made = Shim(program, place, {**place.environment(), "TTRPC_ADDRESS": "", **environment})
    (place.top / "bundles").mkdir()
    try:
        yield made
    finally:
        made.end()
