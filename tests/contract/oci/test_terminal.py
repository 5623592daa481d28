"""Terminals: one that the command relays, one that is sent through a socket."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.oci.harness import Runtime
from support.patience import eventually

pytestmark = pytest.mark.root


def terminal(config: dict[str, Any]) -> None:
    config["process"]["terminal"] = True


class Screen:
    """A terminal with a command on it."""

    def __init__(self, command: list[str], rows: int = 33, columns: int = 77) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execvp(command[0], command)
        self.seen = b""
        self.resize(rows, columns)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until(self, pattern: str, patience: float = 10) -> str:
        deadline = time.monotonic() + patience
        while not re.search(pattern, self.seen.decode(errors="replace")):
            left = deadline - time.monotonic()
            assert left > 0, f"{pattern!r} is not in {self.seen!r}"
            if select.select([self.master], [], [], left)[0]:
                self.seen += os.read(self.master, 65536)
        return self.seen.decode(errors="replace")

    def wait(self) -> int:
        with contextlib.suppress(OSError):
            while piece := os.read(self.master, 65536):
                self.seen += piece
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.master)


@contextlib.contextmanager
def screen(command: list[str]) -> Iterator[Screen]:
    made = Screen(command)
    try:
        yield made
    finally:
        made.close()


def test_run_on_a_terminal(like_runc: Runtime) -> None:
    bundle = like_runc.bundle("sh", "-c", 'tty; read line; echo "<$line>"; exit 5', change=terminal)
    with screen(like_runc.command("run", "--bundle", bundle, like_runc.place.name())) as view:
        view.until("/dev/(pts/0|console)")
        view.send("typed\r")
        view.until("<typed>")
        assert view.wait() == 5


def test_the_size_follows(like_runc: Runtime) -> None:
    bundle = like_runc.bundle(
        "sh", "-c", "trap 'stty size' WINCH; echo up; while :; do sleep 0.01; done", change=terminal
    )
    with screen(like_runc.command("run", "--bundle", bundle, like_runc.place.name())) as view:
        view.until("up")
        view.resize(44, 99)
        view.until("44 99")
        view.resize(45, 98)
        view.until("45 98")
        like_runc.ok("delete", "--force", like_runc.place.name())


def test_the_first_size_is_ours(like_runc: Runtime) -> None:
    bundle = like_runc.bundle("sh", "-c", "sleep 0.3; stty size", change=terminal)
    with screen(like_runc.command("run", "--bundle", bundle, like_runc.place.name())) as view:
        view.until("33 77")
        assert view.wait() == 0


def test_job_control_and_interrupt(like_runc: Runtime) -> None:
    bundle = like_runc.bundle(
        "sh", "-c", "trap 'echo interrupted; exit 6' INT; echo up; while :; do sleep 0.01; done", change=terminal
    )
    with screen(like_runc.command("run", "--bundle", bundle, like_runc.place.name())) as view:
        view.until("up")
        view.send("\x03")
        view.until("interrupted")
        assert view.wait() == 6


def test_exec_on_a_terminal(like_runc: Runtime) -> None:
    id = like_runc.running()
    with screen(like_runc.command("exec", "--tty", id, "sh", "-c", "tty; stty size; exit 9")) as view:
        assert view.wait() == 9
        assert b"/dev/pts/" in view.seen


def test_our_terminal_is_restored(ours: Runtime) -> None:
    bundle = ours.bundle("sh", "-c", "exit 0", change=terminal)
    command = " ".join(ours.command("run", "--bundle", bundle, ours.place.name()))
    with screen(
        ["sh", "-c", f"stty -a > {ours.place.top}/before; {command}; stty -a > {ours.place.top}/after"]
    ) as view:
        assert view.wait() == 0
    assert (ours.place.top / "before").read_text() == (ours.place.top / "after").read_text()


def test_much_output_arrives_whole(ours: Runtime) -> None:
    bundle = ours.bundle("sh", "-c", "seq 1 50000", change=terminal)
    done = ours("run", "--bundle", bundle, ours.place.name())
    assert done.code == 0
    assert done.out.split() == [str(number) for number in range(1, 50001)]


def test_end_of_input_without_a_terminal_of_ours(ours: Runtime) -> None:
    done = ours("run", "--bundle", ours.bundle("cat", change=terminal), ours.place.name(), stdin="line\n")
    assert (done.code, "line" in done.out) == (0, True), done


def receive(listener: socket.socket) -> tuple[int, bytes]:
    """The descriptor that came, and the message beside it."""
    listener.settimeout(10)
    peer, _ = listener.accept()
    fds = array.array("i")
    text, ancillary, *_ = peer.recvmsg(4096, socket.CMSG_LEN(4 * fds.itemsize))
    peer.close()
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    assert len(fds) == 1
    return fds[0], text


@contextlib.contextmanager
def console_socket(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener


def read_master(master: int, pattern: str) -> None:
    seen = ""

    def found() -> bool:
        nonlocal seen
        with contextlib.suppress(OSError):
            if select.select([master], [], [], 0.05)[0]:
                seen += os.read(master, 4096).decode()
        return bool(re.search(pattern, seen))

    eventually(found, f"{pattern} in {seen!r}")


def test_the_master_goes_through_the_socket(runtime: Runtime) -> None:
    bundle, path, id = (
        runtime.bundle("sh", "-c", "tty; stty size; sleep 1000", change=terminal),
        runtime.place.top / "s",
        runtime.place.name(),
    )
    with console_socket(path) as listener:
        process = subprocess.Popen(
            runtime.command("create", "--bundle", bundle, "--console-socket", path, id), stdin=subprocess.DEVNULL
        )
        master, _ = receive(listener)
        assert process.wait(10) == 0
    try:
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 11, 22, 0, 0))
        runtime.ok("start", id)
        read_master(master, r"/dev/(pts/0|console)\s+11 22")
    finally:
        os.close(master)


def test_exec_through_the_socket(runtime: Runtime) -> None:
    id, path = runtime.running(), runtime.place.top / "s"
    with console_socket(path) as listener:
        command = runtime.command(
            "exec", "--tty", "--detach", "--console-socket", path, id, "sh", "-c", "tty; sleep 1000"
        )
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        master, _ = receive(listener)
        assert process.wait(10) == 0
    read_master(master, "/dev/pts/")
    os.close(master)


def test_a_console_size_that_is_configured(like_runc: Runtime) -> None:
    def sized(config: dict[str, Any]) -> None:
        terminal(config)
        config["process"]["consoleSize"] = {"height": 12, "width": 34}

    bundle, path, id = (
        like_runc.bundle("sh", "-c", "stty size; sleep 1000", change=sized),
        like_runc.place.top / "s",
        like_runc.place.name(),
    )
    with console_socket(path) as listener:
        process = subprocess.Popen(
            like_runc.command("run", "--detach", "--bundle", bundle, "--console-socket", path, id),
            stdin=subprocess.DEVNULL,
        )
        master, _ = receive(listener)
        assert process.wait(10) == 0
    read_master(master, "12 34")
    os.close(master)
