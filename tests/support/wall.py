"""What the workload suite asks of a wall: run a program in a root file system, hold it to limits, tell how it ended.

A wall is one of the engine's walls as one of its callers drives it. The suite knows this interface only, so that
every wall to come passes it unchanged.
"""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CAPABILITIES = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
                "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One program to run. Sizes in bytes; `cpus` is a share of one CPU; everything unset is the wall's default."""

    argv: Sequence[str]
    root: Path
    env: Mapping[str, str] = field(default_factory=lambda: {"PATH": PATH})
    cwd: str = "/"
    uid: int = 0
    gid: int = 0
    groups: Sequence[int] = ()
    umask: int | None = None
    terminal: bool = False
    size: tuple[int, int] = (24, 80)
    memory: int | None = None
    pids: int | None = None
    cpus: float | None = None
    rlimits: Mapping[str, int] = field(default_factory=dict)
    capabilities: Sequence[str] = CAPABILITIES
    hostname: str = "box"
    binds: Mapping[str, Path] = field(default_factory=dict)  # destination → host directory, read-only


@dataclass(frozen=True, slots=True)
class Result:
    """How it ended: 0..255 or 128+n for a signal; the output, which a terminal merges into `out`."""

    status: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return self.out.decode()

    def ok(self) -> str:
        """The output of a program that must have succeeded."""
        assert self.status == 0, f"status {self.status}\nout: {self.out[-2000:]!r}\nerr: {self.err[-2000:]!r}"
        return self.text


class Refused(Exception):
    """The program could not be started; `result` is what the caller is told."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.result = Result(status, b"", words.encode())


class Running(Protocol):
    """A program that runs. `stdin` and `stdout` are the caller's ends, or both ends of its terminal."""

    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes] | None

    def signal(self, number: int) -> None:
        """Send a signal to the container's first process."""

    def resize(self, rows: int, columns: int) -> None: ...

    def execute(self, *argv: str) -> Result:
        """Run another program inside."""

    def wait(self, timeout: float = 60) -> int: ...

    def end(self) -> None:
        """Kill it if it still runs, and forget it."""


class Wall(Protocol):
    name: str

    def start(self, work: Work) -> Running:
        """Raises Refused where the wall says so before anything runs; another may let it run and end."""


def read_until(running: Running, pattern: str, timeout: float = 20) -> str:
    """Read the program's output up to and including what matches."""
    stream = running.stdout
    seen = b""
    deadline = time.monotonic() + timeout
    while not re.search(pattern.encode(), seen):
        left = deadline - time.monotonic()
        ready = left > 0 and select.select([stream], [], [], left)[0]
        assert ready, f"no {pattern!r} within {timeout} s, only {seen!r}"
        try:
            piece = stream.read(65536)  # unbuffered: what is there
        except OSError:  # a terminal whose last slave closed
            piece = b""
        assert piece, f"ended before {pattern!r}: {seen!r}"
        seen += piece
    return seen.decode()


def write(running: Running, text: str) -> None:
    running.stdin.write(text.encode())


def finish(running: Running, data: bytes | None = None, timeout: float = 60) -> Result:
    """Feed all input, gather all output, wait for the end; nothing waits on a full pipe."""
    out, err = bytearray(), bytearray()
    sinks = {running.stdout: out} | ({running.stderr: err} if running.stderr else {})
    rest = memoryview(data or b"")
    feeding = running.stdout is not running.stdin
    if feeding and not rest:
        running.stdin.close()
        feeding = False
    if feeding:
        os.set_blocking(running.stdin.fileno(), False)  # writable means a page's worth, not the whole piece
    deadline = time.monotonic() + timeout
    while sinks:
        left = deadline - time.monotonic()
        assert left > 0, f"not over within {timeout} s; so far {bytes(out[-500:])!r} {bytes(err[-500:])!r}"
        readable, writable, _ = select.select(list(sinks), [running.stdin] if feeding else [], [], left)
        if writable:
            try:
                rest = rest[running.stdin.write(rest[:65536]) or 0 :]
            except BrokenPipeError:
                rest = memoryview(b"")
            if not rest:
                running.stdin.close()
                feeding = False
        for stream in readable:
            try:
                piece = stream.read(1 << 20)
            except OSError:
                piece = b""
            sinks[stream].extend(piece)
            if not piece:
                del sinks[stream]
    return Result(running.wait(max(0.1, deadline - time.monotonic())), bytes(out), bytes(err))
