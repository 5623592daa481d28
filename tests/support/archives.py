"""Archives made by hand, block by block: what no honest writer of tar lets one say."""

from __future__ import annotations

BLOCK = 512


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def header(
    name: bytes,
    kind: bytes = b"0",
    *,
    size: int | bytes = 0,
    link: bytes = b"",
    mode: int = 0o644,
    device: tuple[int, int] = (0, 0),
    magic: bytes = b"ustar\x0000",
    tail: bytes = b"",
) -> bytes:
    """One header block; `tail` replaces what stands from byte 345 on."""
    sizes = size if isinstance(size, bytes) else b"%011o\0" % size
    block = name.ljust(100, b"\0") + b"%07o\0" % mode + b"%07o\0" % 0 * 2 + sizes + b"%011o\0" % 1_600_000_000
    block += (
        b" " * 8 + kind + link.ljust(100, b"\0") + magic + bytes(64) + b"%07o\0" % device[0] + b"%07o\0" % device[1]
    )
    block += tail.ljust(167, b"\0")
    assert len(block) == BLOCK, len(block)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def entry(name: bytes, data: bytes = b"", kind: bytes = b"0", **more: object) -> bytes:
    return header(name, kind, size=len(data), **more) + padded(data)  # type: ignore[arg-type]


def record(key: bytes, value: bytes) -> bytes:
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def pax(*records: bytes) -> bytes:
    return entry(b"PaxHeaders/x", b"".join(records), b"x")


def archive(*parts: bytes) -> bytes:
    return b"".join(parts) + bytes(2 * BLOCK)
