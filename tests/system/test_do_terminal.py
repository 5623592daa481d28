"""`stockade do` on a terminal: the program has one of its own; the caller's is as before on every way out."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import fixtures
from support.command import MAIN, environment
from support.place import Place

pytestmark = pytest.mark.root
# A session's terminal is taken by a process of that session.
ON_OWN_TERMINAL = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); " + MAIN[2]


class Screen:
    """A terminal and the command on it."""

    def __init__(self, master: int, slave: int, process: subprocess.Popen[bytes]) -> None:
        self.master, self.slave, self.process = master, slave, process
        self.seen = b""

    def until(self, text: bytes, patience: float = 15.0) -> bytes:
        """Read until `text` appeared."""
        deadline = time.monotonic() + patience
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {text!r} in {self.seen!r}"
            self.seen += os.read(self.master, 4096)
        return self.seen

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def settings(self) -> list[object]:
        return termios.tcgetattr(self.slave)


@contextlib.contextmanager
def screen(place: Place, cwd: Path, *words: str) -> Iterator[Screen]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))

    process = subprocess.Popen(
        [MAIN[0], "-c", ON_OWN_TERMINAL, *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=cwd,
        env=environment(place),
        start_new_session=True,
    )
    try:
        yield Screen(master, slave, process)
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


_place, _project = fixtures.place, fixtures.project


def test_size_keys_and_restoration(place: Place, project: Path) -> None:
    with screen(place, project, "do", "-q", "sh", "-c", "stty size; tty; echo ready; cat; echo end") as terminal:
        before = terminal.settings()
        terminal.until(b"ready")
        assert b"33 99" in terminal.seen
        assert b"/dev/pts/0" in terminal.seen
        assert terminal.settings() != before
        terminal.type(b"typed\n\x04")
        terminal.until(b"end")
        assert terminal.process.wait(10) == 0
        assert terminal.seen.count(b"typed") == 2
        assert terminal.settings() == before


def test_a_new_size_reaches_the_program(place: Place, project: Path) -> None:
    script = "trap 'stty size; exit 3' WINCH; echo ready; while :; do sleep 0.05; done"
    with screen(place, project, "do", "-q", "sh", "-c", script) as terminal:
        terminal.until(b"ready")
        fcntl.ioctl(terminal.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 111, 0, 0))
        terminal.process.send_signal(signal.SIGWINCH)
        terminal.until(b"44 111")
        assert terminal.process.wait(10) == 3


def test_ctrl_c_is_a_key(place: Place, project: Path) -> None:
    with screen(
        place, project, "do", "-q", "sh", "-c", "trap 'echo caught; exit 9' INT; echo ready; sleep 60 & wait"
    ) as terminal:
        terminal.until(b"ready")
        terminal.type(b"\x03")
        terminal.until(b"caught")
        assert terminal.process.wait(10) == 9


def test_ctrl_c_ends_a_program_that_does_not_handle_it(place: Place, project: Path) -> None:
    with screen(place, project, "do", "-q", "sh", "-c", "echo ready; exec sleep 60") as terminal:
        terminal.until(b"ready")
        terminal.type(b"\x03")
        assert terminal.process.wait(10) == 130


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_terminal_is_restored_when_a_signal_ends_it(place: Place, project: Path, number: int, status: int) -> None:
    with screen(place, project, "do", "-q", "sh", "-c", "echo ready; exec sleep 60") as terminal:
        before = terminal.settings()
        terminal.until(b"ready")
        terminal.process.send_signal(number)
        assert terminal.process.wait(10) == status
        assert terminal.settings() == before


@pytest.mark.parametrize(("answer", "applied"), [(b"y\n", True), (b"\n", False), (b"no\n", False)])
def test_applying_asks(place: Place, project: Path, answer: bytes, applied: bool) -> None:
    with screen(place, project, "do", "--apply", "sh", "-c", "printf 'a\\033[31mb\\n' > file") as terminal:
        terminal.until(b"[y/N]")
        assert b"+ file" in terminal.seen
        assert b"a\\x1b[31mb" in terminal.seen
        terminal.type(answer)
        assert terminal.process.wait(10) == 0
        assert (project / "file").exists() is applied
