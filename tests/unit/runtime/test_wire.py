"""Messages and frames: what a peer sends is not trusted."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from stockade.errors import BadValue, Conflict, NotFound, ProtocolBroken, RuntimeFailed
from stockade.runtime import wire
from stockade.runtime.messages import MESSAGES
from stockade.runtime.metrics import MESSAGES as METRICS
from stockade.runtime.ttrpc import LIMIT, Connection

CREATE = "containerd.task.v3.CreateTaskRequest"


def test_what_is_encoded_comes_back() -> None:
    mounts = [{"type": "overlay", "source": "o", "target": "", "options": ["a", "b=é\udcff"]}]
    fields = {"id": "c", "bundle": "/b", "rootfs": mounts, "terminal": True}
    found = wire.decode(CREATE, wire.encode(CREATE, fields))
    assert {name: found[name] for name in fields} == fields
    assert found["stdin"] == ""
    assert found["options"] is None


@pytest.mark.parametrize(
    ("message", "fields", "data"),
    [
        ("google.protobuf.Timestamp", {"seconds": 1, "nanos": 300}, b"\x08\x01\x10\xac\x02"),
        ("google.protobuf.Timestamp", {"seconds": -1}, b"\x08" + b"\xff" * 9 + b"\x01"),
        ("containerd.task.v3.KillRequest", {"id": "a", "signal": 9, "all": True}, b"\x0a\x01a\x18\x09\x20\x01"),
        ("containerd.task.v3.StateRequest", {"id": "", "exec_id": ""}, b""),
        ("containerd.task.v3.StatsResponse", {"stats": {}}, b"\x0a\x00"),
        (
            "containerd.task.v3.UpdateTaskRequest",
            {"annotations": [{"key": "k", "value": "v"}]},
            b"\x1a\x06\x0a\x01k\x12\x01v",
        ),
    ],
)
def test_the_bytes_are_those_of_protobuf(message: str, fields: dict[str, Any], data: bytes) -> None:
    assert wire.encode(message, fields) == data
    found = wire.decode(message, data)
    assert all(found[name] == value for name, value in fields.items() if name != "stats")


def test_packed_and_single_repeated_numbers() -> None:
    packed = b"\x22\x03\x01\xac\x02"
    single = b"\x20\x01\x20\xac\x02"
    for data in (packed, single):
        assert wire.decode("io.containerd.cgroups.v1.CPUUsage", data, METRICS)["per_cpu"] == [1, 300]


def test_unknown_fields_are_skipped() -> None:
    data = b"\x98\x06\x05" + b"\x0a\x01a" + b"\xa2\x06\x02zz" + b"\xa9\x06" + b"\0" * 8 + b"\xb5\x06" + b"\0" * 4
    assert wire.decode("containerd.task.v3.PauseRequest", data) == {"id": "a"}


def test_a_field_that_the_message_lacks_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        wire.encode("containerd.task.v3.PauseRequest", {"identity": "a"})


@pytest.mark.parametrize(
    "data", [b"\x08", b"\x0a\x05ab", b"\x0b", b"\x08" + b"\x80" * 11, b"\x0a\xff\xff\xff\xff\x0f", b"\x08\x01"]
)
def test_broken_messages_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolBroken):
        wire.decode("containerd.task.v3.PauseRequest", data)


def test_any_bytes_are_decoded_or_refused() -> None:
    dice = random.Random(3)
    for table in (MESSAGES, METRICS):
        for message in table:
            for _ in range(30):
                data = dice.randbytes(dice.randrange(40))
                try:
                    wire.decode(message, data, table)
                except ProtocolBroken:
                    continue


def frame(stream: int, response: dict[str, Any], kind: int = 2) -> bytes:
    body = wire.encode("ttrpc.Response", response)
    return struct.pack(">IIBB", len(body), stream, kind, 0) + body


def test_replies_come_in_any_order_and_in_any_pieces() -> None:
    connection = Connection()
    first, _ = connection.request("s", "Wait", b"")
    second, request = connection.request("s", "Kill", b"x")
    assert (first, second) == (1, 3)
    assert struct.unpack_from(">IIBB", request) == (len(request) - 10, 3, 1, 0)
    data = frame(3, {"payload": b"later first"}) + frame(1, {"payload": b""})
    replies = [reply for byte in data for reply in connection.feed(bytes([byte]))]
    assert [(reply.stream, reply.payload, reply.error) for reply in replies] == [
        (3, b"later first", None),
        (1, b"", None),
    ]


@pytest.mark.parametrize(
    ("code", "kind"), [(5, NotFound), (6, Conflict), (9, Conflict), (3, BadValue), (2, RuntimeFailed)]
)
def test_a_status_is_a_condition(code: int, kind: type[Exception]) -> None:
    (reply,) = Connection().feed(frame(1, {"status": {"code": code, "message": "why"}}))
    assert type(reply.error) is kind
    assert str(reply.error) == "why"


@pytest.mark.parametrize(
    "data", [struct.pack(">IIBB", LIMIT + 1, 1, 2, 0), struct.pack(">IIBB", 0, 1, 3, 0), b"HTTP/1.1 400 Bad"]
)
def test_a_peer_that_speaks_otherwise_is_left(data: bytes) -> None:
    with pytest.raises(ProtocolBroken):
        Connection().feed(data)


def test_a_request_larger_than_the_protocol_allows_is_refused_before_it_is_sent() -> None:
    with pytest.raises(BadValue):
        Connection().request("s", "Exec", b"x" * (LIMIT + 1))


def test_the_tables_are_what_the_interface_definitions_say() -> None:
    import subprocess
    import sys

    from support.programs import TOP

    done = subprocess.run(
        [sys.executable, TOP / "packaging" / "proto_tables.py", "--check"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
