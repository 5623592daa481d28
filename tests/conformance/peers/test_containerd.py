"""Debian's containerd with its own runc shim, whose BinaryName is our command: what Kubernetes nodes do."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.peers.cell import Cell, Done, cell, wait_for_size
from contract.oci.test_terminal import screen
from support.patience import eventually
from support.programs import tool

CONFIG = """
version = 2
root = "{top}/root"
state = "{top}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{top}/containerd.sock"
[ttrpc]
  address = "{top}/containerd.sock.ttrpc"
"""


class Containerd:
    def __init__(self, inside: Cell, binary: Path) -> None:
        self.cell, self.binary = inside, binary
        config = inside.top / "config.toml"
        config.write_text(CONFIG.format(top=inside.top))
        inside.daemon("containerd", "--config", config)
        eventually(lambda: self("version").code == 0, "containerd answers", 40)

    def command(self, *args: str | Path) -> list[str]:
        # The namespace is the parent of the cgroups.
        return ["ctr", "--address", f"{self.cell.top}/containerd.sock", "--namespace", self.cell.tag, *map(str, args)]

    def __call__(self, *args: str | Path, stdin: str | None = None) -> Done:
        return self.cell(*self.command(*args), stdin=stdin)

    def ok(self, *args: str | Path, stdin: str | None = None) -> str:
        return self.cell.ok(*self.command(*args), stdin=stdin)

    def run(self, *flags: str) -> list[str]:
        return [
            "run",
            "--runtime",
            "io.containerd.runc.v2",
            "--runc-binary",
            str(self.binary),
            "--env",
            "PATH=/bin",
            *flags,
            "--rootfs",
            str(self.cell.rootfs()),
        ]

    def start(self, *command: str, flags: tuple[str, ...] = ()) -> str:
        id = f"c{secrets.token_hex(4)}"
        self.ok(*self.run("--detach", *flags), id, *command)
        return id

    def status(self, id: str) -> str:
        rows = [line.split() for line in self.ok("task", "ls").splitlines()]
        return next((row[2] for row in rows if row[0] == id), "")

    def remove(self, id: str) -> None:
        self("task", "kill", "--signal", "SIGKILL", id)
        eventually(lambda: self.status(id) in ("STOPPED", ""), "it stops")
        self("task", "delete", id)
        self.ok("container", "delete", id)


@pytest.fixture(scope="module")
def containerd(binary: Path) -> Iterator[Containerd]:
    tool("containerd")
    with cell() as inside:
        yield Containerd(inside, binary)


@pytest.mark.parametrize(("command", "code"), [("true", 0), ("exit 7", 7), ("sh -c 'kill -9 $$'; exit $?", 137)])
def test_run(containerd: Containerd, command: str, code: int) -> None:
    done = containerd(*containerd.run("--rm"), f"c{secrets.token_hex(4)}", "sh", "-c", f"echo out; {command}")
    assert (done.code, done.out) == (code, "out\n"), done


def test_run_what_cannot_run(containerd: Containerd) -> None:
    id = f"c{secrets.token_hex(4)}"
    done = containerd(*containerd.run("--rm"), id, "nope")
    assert done.code == 1
    assert 'exec: "nope": executable file not found in $PATH' in done.err.replace(r"\"", '"').replace("\\", ""), done
    containerd("container", "delete", id)


def test_exec_and_kill(containerd: Containerd) -> None:
    id = containerd.start("sleep", "1000")
    assert containerd.ok("task", "exec", "--exec-id", "one", id, "sh", "-c", "echo inside; id -u") == "inside\n0\n"
    assert containerd("task", "exec", "--exec-id", "two", id, "sh", "-c", "exit 9").code == 9
    assert containerd("task", "exec", "--exec-id", "three", id, "nope").code == 1
    assert containerd.status(id) == "RUNNING"
    containerd.remove(id)


def test_pause(containerd: Containerd) -> None:
    id = containerd.start("sleep", "1000")
    containerd.ok("task", "pause", id)
    assert containerd.status(id) == "PAUSED"
    containerd.ok("task", "resume", id)
    assert containerd.status(id) == "RUNNING"
    containerd.remove(id)


def test_metrics_and_processes(containerd: Containerd) -> None:
    id = containerd.start("sleep", "1000", flags=("--memory-limit", str(64 << 20)))
    metrics = containerd.ok("task", "metrics", id)
    assert "memory.limit_in_bytes" in metrics or "memory.usage" in metrics
    assert len(containerd.ok("task", "ps", id).splitlines()) == 2
    containerd.remove(id)


def test_a_terminal(containerd: Containerd) -> None:
    command = containerd.cell.command(
        *containerd.command(*containerd.run("--rm", "--tty"), f"c{secrets.token_hex(4)}", "sh")
    )
    with screen(command) as view:
        view.send("tty; " + wait_for_size("33 77"))
        view.until("/dev/(pts/0|console)")
        view.until("33 77")
        view.send("exit 6\r")
        assert view.wait() == 6


def test_a_killed_container_is_reported(containerd: Containerd) -> None:
    id = containerd.start("sh", "-c", "trap 'exit 44' TERM; while :; do sleep 0.02; done")
    eventually(
        lambda: containerd("task", "kill", "--signal", "SIGTERM", id).code != 0 or containerd.status(id) == "STOPPED",
        "it ends",
    )
    assert (
        "44" in containerd("task", "delete", id).err + containerd("task", "delete", id).out
        or containerd.status(id) == ""
    )
    containerd("container", "delete", id)
