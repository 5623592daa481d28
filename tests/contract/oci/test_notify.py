"""NOTIFY_SOCKET: a container in a service of systemd says itself when it is ready."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.oci.harness import Runtime
from support.patience import eventually

pytestmark = pytest.mark.root

SOCKET = "run/notify/notify.sock"


@pytest.fixture
def manager(ours: Runtime, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The service manager's end."""
    path = str(ours.place.top / "manager")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(path)
        made.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield made


def say(pid: int, text: bytes) -> None:
    """Into the container's socket, by the path that the container sees."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.sendto(text, f"/proc/{pid}/root/{SOCKET}")


def quiet(manager: socket.socket) -> bool:
    manager.setblocking(False)
    try:
        manager.recv(4096)
    except BlockingIOError:
        return True
    finally:
        manager.settimeout(5)
    return False


def launched(ours: Runtime, *args: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(ours.command(*args), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def test_start_waits_until_it_is_ready(ours: Runtime, manager: socket.socket) -> None:
    id = ours.create("sh", "-c", 'test "$NOTIFY_SOCKET" = /run/notify/notify.sock && exec sleep 1000')
    pid = ours.state(id)["pid"]
    with launched(ours, "start", id) as start:
        ours.wait(id, "running")
        say(pid, b"STATUS=on the way\nMAINPID=1")
        assert quiet(manager)
        assert start.poll() is None
        say(pid, b"READY=1\nMAINPID=1")
        assert start.wait(5) == 0
    assert manager.recv(4096) == f"MAINPID={pid}\nREADY=1\n".encode()
    ours.ok("delete", "--force", id)
    assert os.listdir(ours.root) == []


def test_run_detached(ours: Runtime, manager: socket.socket) -> None:
    id = ours.place.name("c")
    with launched(ours, "run", "--detach", "--bundle", ours.bundle("sleep", "1000"), id) as run:
        eventually(lambda: id in ours.ok("list", "-q") and ours.state(id)["status"] == "running", "it runs")
        pid = ours.state(id)["pid"]
        say(pid, b"READY=1")
        assert run.wait(5) == 0
    assert manager.recv(4096) == f"MAINPID={pid}\nREADY=1\n".encode()


def test_run_in_the_foreground(ours: Runtime, manager: socket.socket) -> None:
    """The caller is the service's main process and stays it."""
    id = ours.place.name("c")
    with launched(ours, "run", "--bundle", ours.bundle("sleep", "1000"), id) as run:
        eventually(lambda: id in ours.ok("list", "-q") and ours.state(id)["status"] == "running", "it runs")
        pid = ours.state(id)["pid"]
        say(pid, b"READY=1")
        assert manager.recv(4096) == b"READY=1\n"
        run.terminate()
        ours.ok("kill", id, "KILL")
        assert run.wait(5) == 137
    assert os.listdir(ours.root) == []


def test_one_that_ends_without_a_word(ours: Runtime, manager: socket.socket) -> None:
    assert ours("run", "--bundle", ours.bundle("sh", "-c", "exit 3"), ours.place.name("c")).code == 3
    assert ours("run", "--detach", "--bundle", ours.bundle("true"), ours.place.name("c")).code == 0
    assert quiet(manager)


def test_without_a_manager_there_is_nothing(ours: Runtime) -> None:
    id = ours.running("sh", "-c", 'test -z "$NOTIFY_SOCKET" && exec sleep 1000')
    assert not os.path.lexists(f"/proc/{ours.state(id)['pid']}/root/run/notify")
    assert "notify" not in os.listdir(ours.root / id)
