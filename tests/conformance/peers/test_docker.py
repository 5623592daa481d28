"""Debian's dockerd with `--add-runtime`: what a person does with docker, on our command."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.peers.cell import Cell, Done, cell, wait_for_size
from contract.oci.test_terminal import screen
from support.patience import eventually
from support.programs import tool


class Docker:
    def __init__(self, inside: Cell, binary: Path) -> None:
        self.cell = inside
        self.socket = inside.top / "docker.sock"
        top = inside.top
        inside.daemon(
            "dockerd",
            "--data-root",
            top / "data",
            "--exec-root",
            top / "exec",
            "--pidfile",
            top / "pid",
            "--host",
            f"unix://{self.socket}",
            "--iptables=false",
            "--ip6tables=false",
            "--bridge=none",
            "--storage-driver=vfs",
            "--cgroup-parent",
            f"/{inside.tag}",
            "--add-runtime",
            f"tested={binary}",
            "--default-runtime",
            "tested",
        )
        eventually(lambda: self("version").code == 0, "dockerd answers", 40)
        self.ok("import", inside.archive(), "box")

    def __call__(self, *args: str | Path, stdin: str | None = None) -> Done:
        return self.cell(*self.command(*args), stdin=stdin)

    def command(self, *args: str | Path) -> list[str]:
        return ["docker", "--host", f"unix://{self.socket}", *map(str, args)]

    def ok(self, *args: str | Path, stdin: str | None = None) -> str:
        return self.cell.ok(*self.command(*args), stdin=stdin)

    def start(self, *args: str) -> str:
        return self.ok("run", "--detach", "--network", "none", *args).strip()

    def inspect(self, id: str, format: str) -> str:
        return self.ok("inspect", "--format", format, id).strip()


@pytest.fixture(scope="module")
def docker(binary: Path) -> Iterator[Docker]:
    tool("dockerd")
    with cell() as inside:
        yield Docker(inside, binary)


@pytest.mark.parametrize(
    ("command", "code"), [("true", 0), ("exit 7", 7), ("kill -9 $$; sleep 1", 0), ("sh -c 'kill -9 $$'; exit $?", 137)]
)
def test_run(docker: Docker, command: str, code: int) -> None:
    done = docker("run", "--rm", "--network", "none", "box", "sh", "-c", f"echo out; echo err >&2; {command}")
    assert (done.code, done.out) == (code, "out\n"), done
    assert "err\n" in done.err


@pytest.mark.parametrize(("command", "code"), [("nope", 127), ("/etc", 126)])
def test_run_what_cannot_run(docker: Docker, command: str, code: int) -> None:
    assert docker("run", "--rm", "--network", "none", "box", command).code == code


def test_standard_input(docker: Docker) -> None:
    assert (
        docker("run", "--rm", "-i", "--network", "none", "box", "wc", "-c", stdin="x" * 100_000).out.strip() == "100000"
    )


def test_logs_exec_stop(docker: Docker) -> None:
    id = docker.start("box", "sh", "-c", "trap 'echo bye; exit 3' TERM; echo hello; while :; do sleep 0.05; done")
    eventually(lambda: "hello" in docker.ok("logs", id), "it says hello")
    assert docker.ok("exec", id, "sh", "-c", "echo inside; id -u") == "inside\n0\n"
    assert docker("exec", id, "sh", "-c", "exit 9").code == 9
    assert docker("exec", id, "nope").code in (126, 127)
    assert (
        docker.ok("exec", "--user", "5:6", "--workdir", "/tmp", "--env", "A=b", id, "sh", "-c", "id -u; pwd; echo $A")
        == "5\n/tmp\nb\n"
    )
    docker.ok("stop", id)
    assert docker.ok("logs", id) == "hello\nbye\n"
    assert docker.inspect(id, "{{.State.ExitCode}} {{.State.Status}}") == "3 exited"
    docker.ok("start", id)
    docker.ok("rm", "--force", id)


def test_kill_and_wait(docker: Docker) -> None:
    id = docker.start("box", "sleep", "1000")
    docker.ok("kill", id)
    assert docker.ok("wait", id).strip() == "137"
    docker.ok("rm", id)


def test_pause(docker: Docker) -> None:
    id = docker.start("box", "sleep", "1000")
    docker.ok("pause", id)
    assert docker.inspect(id, "{{.State.Status}}") == "paused"
    docker.ok("unpause", id)
    assert docker.inspect(id, "{{.State.Status}}") == "running"
    docker.ok("rm", "--force", id)


def test_stats_update_top(docker: Docker) -> None:
    id = docker.start(
        "--memory", "64m", "--memory-swap", "64m", "--pids-limit", "20", "--cpus", "0.5", "box", "sleep", "1000"
    )
    stats = json.loads(docker.ok("stats", "--no-stream", "--format", "{{json .}}", id))
    assert stats["PIDs"] == "1"
    assert stats["MemUsage"].endswith("/ 64MiB")
    docker.ok("update", "--memory", "32m", "--memory-swap", "32m", "--pids-limit", "9", id)
    stats = json.loads(docker.ok("stats", "--no-stream", "--format", "{{json .}}", id))
    assert stats["MemUsage"].endswith("/ 32MiB")
    assert "sleep 1000" in docker.ok("top", id)
    docker.ok("rm", "--force", id)


def test_memory_exhausted(docker: Docker) -> None:
    id = docker.start(
        "--memory",
        "16m",
        "--memory-swap",
        "16m",
        "box",
        "sh",
        "-c",
        "sleep 1; dd if=/dev/zero of=/dev/null bs=100M count=1; exit 4",
    )
    docker.ok("wait", id)
    eventually(lambda: docker.inspect(id, "{{.State.OOMKilled}}") == "true", "it is said")
    docker.ok("rm", "--force", id)


def test_a_terminal(docker: Docker) -> None:
    command = docker.cell.command(*docker.command("run", "--rm", "-it", "--network", "none", "box", "sh"))
    with screen(command) as view:
        view.send("tty; " + wait_for_size("33 77"))
        view.until("/dev/(pts/0|console)")
        view.until("33 77")
        view.resize(44, 99)
        view.send(wait_for_size("44 99"))
        view.until("44 99")
        view.send("exit 6\r")
        assert view.wait() == 6


def test_exec_on_a_terminal(docker: Docker) -> None:
    id = docker.start("box", "sleep", "1000")
    with screen(docker.cell.command(*docker.command("exec", "-it", id, "sh", "-c", "tty; exit 5"))) as view:
        assert view.wait() == 5
        assert b"/dev/pts" in view.seen
    docker.ok("rm", "--force", id)


def test_options_that_reach_the_runtime(docker: Docker) -> None:
    files = "touch /x || echo ro; echo > /scratch/y && echo rw"
    script = f"hostname; id -u; pwd; ulimit -n; cat /proc/sys/net/ipv4/ip_forward; {files}"
    flags = "--rm --network none --read-only --hostname named --user 7:8 --workdir /tmp --tmpfs /scratch:mode=1777"
    more = (
        "--cap-drop ALL --security-opt no-new-privileges --sysctl net.ipv4.ip_forward=1 --ulimit nofile=100:200 --init"
    )
    out = docker.ok("run", *flags.split(), *more.split(), "box", "sh", "-c", script)
    assert out.split()[:5] == ["named", "7", "/tmp", "100", "1"]
    assert "ro" in out.split()
    assert "rw" in out.split()


def test_privileged_and_host_namespaces(docker: Docker) -> None:
    out = docker.ok(
        "run",
        "--rm",
        "--privileged",
        "--pid",
        "host",
        "--ipc",
        "host",
        "--uts",
        "host",
        "--network",
        "host",
        "box",
        "cat",
        "/proc/self/status",
    )
    assert "Seccomp:\t0" in out
    assert (
        os.uname().nodename == docker.ok("run", "--rm", "--network", "host", "--uts", "host", "box", "hostname").strip()
    )


def test_a_bind_mount(docker: Docker) -> None:
    shared = docker.cell.top / "shared"
    shared.mkdir(exist_ok=True)
    (shared / "in").write_text("given\n")
    run = ("run", "--rm", "--network", "none")
    assert (
        docker.ok(*run, "-v", f"{shared}:/shared", "box", "sh", "-c", "cat /shared/in; echo taken > /shared/out")
        == "given\n"
    )
    assert (shared / "out").read_text() == "taken\n"
    assert docker(*run, "-v", f"{shared}:/shared:ro", "box", "sh", "-c", "echo x > /shared/no").code != 0
