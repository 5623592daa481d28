"""Protobuf's wire format for messages whose fields stand in a table (messages.py).

A message is a dict from field name to value; zero values are neither sent nor required, unknown fields are skipped, as
proto3 wants.
A hundred lines instead of a package that takes 17 ms to import.
"""

from __future__ import annotations

import struct

from stockade.errors import ProtocolBroken
from stockade.runtime.messages import MESSAGES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Table = Mapping[str, tuple[tuple[str, int, str, bool], ...]]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MASK64 = (1 << 64) - 1


def encode(message: str, values: Mapping[str, Any], table: Table = MESSAGES) -> bytes:
    """The bytes of a message; a name that the message does not have is a KeyError."""
    out = bytearray()
    left = len(values)
    for name, number, kind, repeated in table[message]:
        if name not in values:
            continue
        left -= 1
        value = values[name]
        for one in value if repeated else (value,):
            if repeated or one or isinstance(one, dict):
                _put(out, number, kind, one, table)
    if left:
        raise KeyError(f"{message} has no field {sorted(set(values) - {field[0] for field in table[message]})}")
    return bytes(out)


def _put(out: bytearray, number: int, kind: str, value: Any, table: Table) -> None:
    if kind in ("string", "bytes") or kind in table:
        if kind == "string":
            # surrogateescape: paths and arguments are bytes to the kernel.
            value = value.encode("utf-8", "surrogateescape")
        elif kind != "bytes":
            value = encode(kind, value, table)
        _put_varint(out, number << 3 | _BYTES)
        _put_varint(out, len(value))
        out += value
    elif kind == "double":
        _put_varint(out, number << 3 | _FIXED64)
        out += struct.pack("<d", value)
    else:
        _put_varint(out, number << 3 | _VARINT)
        _put_varint(out, int(value) & _MASK64)


def _put_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def decode(message: str, data: bytes, table: Table = MESSAGES) -> dict[str, Any]:
    """The values of a message: every field is there, with its zero value (None for a message) when it was not sent."""
    fields = {number: (name, kind, repeated) for name, number, kind, repeated in table[message]}
    values: dict[str, Any] = {name: [] if many else _zero(kind) for name, _, kind, many in table[message]}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        raw, at = _value(data, at, key & 7)
        field = fields.get(key >> 3)
        if field is None:
            continue
        name, kind, repeated = field
        if repeated and isinstance(raw, bytes) and kind not in ("string", "bytes") and kind not in table:
            values[name] += _packed(raw, kind)
        elif repeated:
            values[name].append(_cast(raw, kind, table))
        else:
            values[name] = _cast(raw, kind, table)
    return values


def _zero(kind: str) -> Any:
    return {"string": "", "bytes": b"", "bool": False, "double": 0.0}.get(kind, None if "." in kind else 0)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK64, at
        shift += 7
    raise ProtocolBroken("a message ends within a number")


def _value(data: bytes, at: int, form: int) -> tuple[int | bytes, int]:
    if form == _VARINT:
        return _varint(data, at)
    size = {_FIXED64: 8, _FIXED32: 4}.get(form)
    if form == _BYTES:
        size, at = _varint(data, at)
    if size is None or at + size > len(data):
        raise ProtocolBroken("a message is cut or has a field of no known form")
    return data[at : at + size], at + size


def _cast(raw: int | bytes, kind: str, table: Table) -> Any:
    if isinstance(raw, bytes):
        if kind == "string":
            return raw.decode("utf-8", "surrogateescape")
        if kind == "bytes":
            return raw
        if kind in table:
            return decode(kind, raw, table)
        if kind == "double" and len(raw) == 8:
            return struct.unpack("<d", raw)[0]
    elif kind == "bool":
        return raw != 0
    elif kind in ("uint32", "uint64"):
        return raw
    elif kind in ("int32", "int64"):
        return raw - (1 << 64) if raw >> 63 else raw
    raise ProtocolBroken(f"a field of type {kind} came in another type's form")


def _packed(raw: bytes, kind: str) -> list[Any]:
    if kind == "double":
        return [value for (value,) in struct.iter_unpack("<d", raw[: len(raw) & ~7])]
    values, at = [], 0
    while at < len(raw):
        value, at = _varint(raw, at)
        values.append(_cast(value, kind, {}))
    return values
