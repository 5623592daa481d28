"""Debian's podman with `--runtime`: conmon creates, starts and waits for our containers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.peers.cell import Cell, Done, cell, wait_for_size
from contract.oci.test_terminal import screen
from support.patience import eventually
from support.programs import tool

# The machine may have no CAP_SYS_RESOURCE: podman would raise both limits beyond what it may.
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


class Podman:
    def __init__(self, inside: Cell, binary: Path) -> None:
        self.cell = inside
        self.binary = binary
        for name in ("root", "run", "tmp"):
            (inside.top / name).mkdir()

    def command(self, *args: str | Path) -> list[str]:
        top = self.cell.top
        return [
            "podman",
            "--root",
            f"{top}/root",
            "--runroot",
            f"{top}/run",
            "--tmpdir",
            f"{top}/tmp",
            "--storage-driver",
            "vfs",
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "file",
            "--runtime",
            str(self.binary),
            *map(str, args),
        ]

    def __call__(self, *args: str | Path, stdin: str | None = None) -> Done:
        return self.cell(*self.command(*args), stdin=stdin)

    def ok(self, *args: str | Path, stdin: str | None = None) -> str:
        return self.cell.ok(*self.command(*args), stdin=stdin)

    def run(self, *args: str) -> list[str]:
        """The words before the command: rootfs mode needs no image."""
        parent = ("--cgroup-parent", f"/{self.cell.tag}")
        return [
            "run",
            "--network",
            "none",
            "--log-driver",
            "k8s-file",
            *LIMITS,
            *parent,
            *args,
            "--rootfs",
            str(self.cell.rootfs()),
        ]

    def start(self, *command: str, flags: tuple[str, ...] = ()) -> str:
        return self.ok(*self.run("--detach", *flags), *command).strip()


@pytest.fixture(scope="module")
def podman(binary: Path) -> Iterator[Podman]:
    tool("podman")
    with cell() as inside:
        yield Podman(inside, binary)


@pytest.mark.parametrize(("command", "code"), [("true", 0), ("exit 7", 7), ("sh -c 'kill -9 $$'; exit $?", 137)])
def test_run(podman: Podman, command: str, code: int) -> None:
    done = podman(*podman.run("--rm"), "sh", "-c", f"echo out; {command}")
    assert (done.code, done.out) == (code, "out\n"), done


@pytest.mark.parametrize(("command", "code"), [("nope", 127), ("/etc", 126)])
def test_run_what_cannot_run(podman: Podman, command: str, code: int) -> None:
    done = podman(*podman.run("--rm"), command)
    assert done.code == code, done


def test_standard_input(podman: Podman) -> None:
    assert podman(*podman.run("--rm", "--interactive"), "wc", "-c", stdin="x" * 100_000).out.strip() == "100000"


def test_logs_exec_stop(podman: Podman) -> None:
    id = podman.start("sh", "-c", "trap 'echo bye; exit 3' TERM; echo hello; while :; do sleep 0.05; done")
    eventually(lambda: "hello" in podman.ok("logs", id), "it says hello")
    assert podman.ok("exec", id, "sh", "-c", "echo inside; id -u") == "inside\n0\n"
    assert podman("exec", id, "sh", "-c", "exit 9").code == 9
    assert podman("exec", id, "nope").code == 127
    podman.ok("stop", id)
    assert podman.ok("logs", id) == "hello\nbye\n"
    assert podman.ok("inspect", "--format", "{{.State.ExitCode}}", id).strip() == "3"
    podman.ok("start", id)
    podman.ok("rm", "--force", "--time", "0", id)


def test_kill_and_wait(podman: Podman) -> None:
    id = podman.start("sleep", "1000")
    podman.ok("kill", id)
    assert podman.ok("wait", id).strip() == "137"
    podman.ok("rm", id)


def test_pause(podman: Podman) -> None:
    id = podman.start("sleep", "1000")
    podman.ok("pause", id)
    assert podman.ok("inspect", "--format", "{{.State.Status}}", id).strip() == "paused"
    podman.ok("unpause", id)
    podman.ok("rm", "--force", "--time", "0", id)


def test_stats_update_top(podman: Podman) -> None:
    id = podman.start("sleep", "1000", flags=("--memory", "64m", "--pids-limit", "20"))
    [stats] = json.loads(podman.ok("stats", "--no-stream", "--format", "json", id))
    assert stats["pids"] == "1"
    assert "67.11MB" in stats["mem_usage"]
    podman.ok("update", "--cpu-shares", "300", id)
    assert "sleep 1000" in podman.ok("top", id, "args")
    podman.ok("rm", "--force", "--time", "0", id)


def test_a_terminal(podman: Podman) -> None:
    with screen(podman.cell.command(*podman.command(*podman.run("--rm", "--interactive", "--tty"), "sh"))) as view:
        view.send("tty; " + wait_for_size("33 77"))
        view.until("/dev/(pts/0|console)")
        view.until("33 77")
        view.send("exit 6\r")
        assert view.wait() == 6


def test_exec_on_a_terminal(podman: Podman) -> None:
    id = podman.start("sleep", "1000")
    with screen(
        podman.cell.command(*podman.command("exec", "--interactive", "--tty", id, "sh", "-c", "tty; exit 5"))
    ) as view:
        assert view.wait() == 5
        assert b"/dev/pts" in view.seen
    podman.ok("rm", "--force", "--time", "0", id)


def test_a_pod_shares_namespaces(podman: Podman) -> None:
    one = podman.start("sleep", "1000")
    two = podman.start("sh", "-c", "ls -l /proc/self/ns/ipc; sleep 1000", flags=("--ipc", f"container:{one}"))
    mine = podman.ok("exec", one, "ls", "-l", "/proc/self/ns/ipc").split("->")[1].strip()
    eventually(lambda: mine in podman.ok("logs", two), "the same namespace")
    for id in (two, one):
        podman.ok("rm", "--force", "--time", "0", id)


def test_a_user_namespace(podman: Podman) -> None:
    out = podman.ok(
        *podman.run("--rm", "--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"), "cat", "/proc/self/uid_map"
    )
    assert out.split() == ["0", "100000", "65536"]
