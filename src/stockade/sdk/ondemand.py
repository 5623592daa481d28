"""The daemon's socket, and the daemon started when nobody answers there.

Whoever asks spawns one; the daemon itself takes the lock, so that of several that are spawned at once one stays.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from stockade.errors import Refused, RuntimeFailed, TimedOut, Unavailable
from stockade.sdk import http

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.host.paths import Paths
    from stockade.runtime.io import Io

# Seconds from the spawn to an answer: recovery of many containers on a slow disk.
_PATIENCE = 60.0
_TICK = 0.01


def socket_path(paths: Paths) -> str:
    """Where the daemon listens."""
    return f"{paths.run}/stockade.sock"


async def ensure(io: Io, paths: Paths) -> str:
    """The path of the socket of a daemon that answers; it is started if need be.

    Raises:
        Refused: the caller is no root.
        RuntimeFailed: it did not start, for the reason that it gave.
    """
    path = socket_path(paths)
    try:
        (await http.connect(io, path)).close()
        return path
    except Unavailable:
        pass
    if not paths.root:
        raise Refused(
            "images and the engine are not served for an ordinary user yet",
            hint="be root, or run on this machine's own files: `stockade do`",
        )
    await io.work(_start, path)
    return path


def _start(path: str) -> None:
    """Spawn a daemon and wait until one answers."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    words = [sys.executable, "-m", "stockade.daemon", "--on-demand"]
    try:
        actions = [
            (os.POSIX_SPAWN_DUP2, source, target) for source, target in ((nothing, 0), (nothing, 1), (writer, 2))
        ]
        pid = os.posix_spawn(
            sys.executable,
            words,
            os.environ,
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGINT],
        )
    finally:
        os.close(writer)
        os.close(nothing)
    try:
        _wait(pid, path, reader)
    finally:
        os.close(reader)


def _wait(pid: int, path: str, complaints: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    said, gone = bytearray(), False
    while time.monotonic() < deadline:
        if _answers(path):
            return
        if select.select([complaints], [], [], 0)[0]:
            said += os.read(complaints, 4096)
        if gone and time.monotonic() > deadline - _PATIENCE + 1:
            break
        if not gone:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                gone = True
                code = os.waitstatus_to_exitcode(status)
                while piece := os.read(complaints, 4096) if code else b"":
                    said += piece
                if code:
                    break
        time.sleep(_TICK)
    reason = said.decode(errors="replace").strip().rpartition("\n")[2]
    if reason or gone:
        raise RuntimeFailed(f"the daemon did not start: {reason or 'it left without a word'}", hint="stockade daemon")
    raise TimedOut(f"the daemon does not answer at {path} within {_PATIENCE:g} s")


def _answers(path: str) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
