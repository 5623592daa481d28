"""exec, attach, logs, stats, top and health checks by the unmodified docker CLI against a real daemon."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from support import fixtures
from support.daemon import IMAGE, Daemon
from support.patience import eventually

pytestmark = pytest.mark.root


_docker = fixtures.docker


@pytest.fixture
def box(docker: Daemon) -> Iterator[str]:
    """A container that sleeps."""
    identity = docker.run(IMAGE, "sleep", "1000")
    yield identity
    docker.docker("rm", "-f", identity)


class Terminal:
    """The docker CLI on a terminal of its own."""

    def __init__(self, docker: Daemon, *words: str) -> None:
        self.master, slave = pty.openpty()
        environment = {**os.environ, "DOCKER_CONFIG": str(docker.place.top), "TERM": "xterm"}
        self.process = subprocess.Popen(
            docker.words(*words), env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.seen = b""

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def until(self, wanted: bytes) -> None:
        deadline = time.monotonic() + 30
        while wanted not in self.seen:
            assert time.monotonic() < deadline, self.seen
            try:
                self.seen += os.read(self.master, 4096)
            except OSError:
                break
        assert wanted in self.seen, self.seen
        self.seen = self.seen.partition(wanted)[2]

    def end(self) -> int:
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            os.close(self.master)


def test_exec_carries_streams_and_status(docker: Daemon, box: str) -> None:
    done = docker.docker("exec", box, "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert docker.said("exec", "-i", box, "cat", input=b"given") == "given"
    assert docker.said("exec", "-w", "/etc", "-e", "A=1", box, "sh", "-c", "pwd; echo $A") == "/etc\n1"
    big = docker.docker("exec", box, "seq", "200000").stdout
    assert len(big.splitlines()) == 200_000


def test_exec_as_somebody(docker: Daemon, box: str) -> None:
    who = docker.said("exec", "-u", "www", box, "id")
    assert who.startswith("uid=33(www) gid=33(www) groups=")
    assert {"33(www)", "29(audio)"} == set(who.partition("groups=")[2].split(","))
    assert docker.said("exec", "-u", "4242:4343", box, "id", "-u") == "4242"
    assert docker.said("exec", "-u", "www", box, "sh", "-c", "echo $HOME") == "/var/www"
    nobody = docker.docker("exec", "-u", "nosuch", box, "true", check=False)
    assert nobody.returncode != 0
    assert "unable to find user nosuch: no matching entries in passwd file" in nobody.stderr


@pytest.mark.parametrize(
    ("command", "code", "text"),
    [("nope", 127, "executable file not found in $PATH"), ("/etc/passwd", 126, "permission denied")],
)
def test_exec_of_what_cannot_be_run(docker: Daemon, box: str, command: str, code: int, text: str) -> None:
    done = docker.docker("exec", box, command, check=False)
    assert done.returncode == code
    assert text in done.stdout + done.stderr


def test_exec_refuses_what_does_not_run(docker: Daemon, box: str) -> None:
    docker.docker("pause", box)
    paused = docker.docker("exec", box, "true", check=False)
    assert "is paused, unpause the container before exec" in paused.stderr
    docker.docker("unpause", box)
    docker.docker("kill", box)
    stopped = docker.docker("exec", box, "true", check=False)
    assert f"container {box} is not running" in stopped.stderr
    unknown = docker.docker("exec", "nobody", "true", check=False)
    assert "No such container: nobody" in unknown.stderr


def test_exec_on_a_terminal(docker: Daemon, box: str) -> None:
    terminal = Terminal(docker, "exec", "-it", box, "sh")
    terminal.type(b"stty size; echo $TERM; tty\n")
    terminal.until(b"xterm")
    terminal.until(b"/dev/pts/")
    terminal.type(b"exit 9\n")
    assert terminal.end() == 9


def test_input_waits_for_the_first_who_gives_any(docker: Daemon) -> None:
    """`create -i` is for one client; one that comes after the start is in time, and its end is the end of input."""
    docker.docker("create", "-i", "--name", "once", IMAGE, "sh", "-c", "echo begun; cat; echo ended")
    docker.docker("start", "once")
    eventually(lambda: docker.said("logs", "once") == "begun")
    assert docker.said("attach", "once", input=b"words\n") == "words\nended"
    assert docker.said("wait", "once") == "0"
    docker.docker("rm", "once")


def test_run_on_a_terminal_detach_and_attach(docker: Daemon) -> None:
    terminal = Terminal(docker, "run", "-it", "--name", "term", IMAGE, "sh")
    terminal.type(b"echo fir''st\n")
    terminal.until(b"first")
    terminal.type(b"\x10\x11")
    assert terminal.end() == 0
    assert docker.inspect("term", "{{json .State.Running}}") is True
    again = Terminal(docker, "attach", "term")
    again.type(b"echo sec''ond\n")
    again.until(b"second")
    again.type(b"exit 5\n")
    assert again.end() == 5
    docker.docker("rm", "term")


def test_run_in_the_foreground(docker: Daemon) -> None:
    words = ["run", "--rm", "-i", "--network", "none"]
    done = docker.docker(*words, IMAGE, "sh", "-c", "cat; echo err >&2; exit 3", input=b"in", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "in", "err\n")
    assert docker.said("ps", "-aq", "--filter", "status=exited") == ""


def test_input_stays_open_for_a_detached_one(docker: Daemon) -> None:
    identity = docker.run("-i", IMAGE, "cat")
    attached = docker.begin("attach", identity)
    assert attached.stdin is not None
    assert attached.stdout is not None
    attached.stdin.write(b"hello\n")
    assert attached.stdout.readline() == b"hello\n"
    attached.kill()
    attached.wait()
    assert docker.inspect(identity, "{{json .State.Running}}") is True
    assert docker.said("logs", identity) == "hello"
    docker.docker("rm", "-f", identity)


def test_a_client_that_dies_leaves_the_container(docker: Daemon) -> None:
    client = docker.begin("run", "--name", "left", IMAGE, "sh", "-c", "while true; do echo x; sleep 0.1; done")
    assert client.stdout is not None
    assert client.stdout.readline() == b"x\n"
    client.send_signal(signal.SIGKILL)
    client.wait()
    count = len(docker.said("logs", "left").splitlines())
    eventually(lambda: len(docker.said("logs", "left").splitlines()) > count + 2)
    docker.docker("rm", "-f", "left")


def test_logs(docker: Daemon) -> None:
    identity = docker.run(IMAGE, "sh", "-c", "for i in 1 2 3; do echo line $i; done; echo err >&2; sleep 1; echo last")
    follower = docker.begin("logs", "-f", identity)
    out, err = follower.communicate(timeout=30)
    assert (out, err) == (b"line 1\nline 2\nline 3\nlast\n", b"err\n")
    assert docker.said("logs", "--tail", "1", identity) == "last"
    stamped = docker.said("logs", "-t", "--tail", "1", identity)
    assert stamped.endswith(" last")
    assert stamped[4] == "-"
    assert docker.said("logs", "--since", "2100-01-01T00:00:00", identity) == ""
    docker.docker("rm", identity)
    silent = docker.run("--log-driver", "none", IMAGE, "true")
    refused = docker.docker("logs", silent, check=False)
    assert "configured logging driver does not support reading" in refused.stderr
    docker.docker("rm", "-f", silent)


def test_logs_are_followed_across_restarts(docker: Daemon) -> None:
    identity = docker.run("--restart", "on-failure:2", IMAGE, "sh", "-c", "echo run; sleep 0.3; exit 1")
    follower = docker.begin("logs", "-f", identity)
    out, _ = follower.communicate(timeout=60)
    assert out == b"run\nrun\nrun\n"
    docker.docker("rm", "-f", identity)


def test_streams_survive_the_daemon(docker: Daemon) -> None:
    identity = docker.run(IMAGE, "sh", "-c", "i=0; while true; do i=$((i+1)); echo $i; sleep 0.05; done")
    follower = docker.begin("logs", "-f", identity)
    running = docker.begin("exec", identity, "sh", "-c", "echo begin; sleep 4; echo end; exit 6")
    assert follower.stdout is not None
    assert running.stdout is not None
    assert follower.stdout.readline() == b"1\n"
    assert running.stdout.readline() == b"begin\n"
    docker.restart()
    assert running.stdout.readline() == b"end\n"
    numbers = [int(follower.stdout.readline()) for _ in range(100)]
    assert numbers == list(range(2, 102))
    assert running.wait(30) == 6
    follower.kill()
    follower.wait()
    docker.docker("rm", "-f", identity)


def test_statistics(docker: Daemon, box: str) -> None:
    shown = json.loads(docker.said("stats", "--no-stream", "--format", "{{json .}}", box))
    assert shown["PIDs"] == "1"
    assert shown["MemUsage"].partition(" / ")[0] not in ("0B", "--")
    table = docker.said("top", box).splitlines()
    assert table[0].split()[:2] == ["UID", "PID"]
    assert table[1].endswith("sleep 1000")
    assert docker.said("top", box, "-o", "pid,args").splitlines()[1].endswith("sleep 1000")
    docker.docker("kill", box)
    assert "is not running" in docker.docker("top", box, check=False).stderr


def test_health(docker: Daemon) -> None:
    words = ["--health-cmd", "test -e /well", "--health-interval", "200ms", "--health-retries", "2"]
    identity = docker.run(*words, IMAGE, "sleep", "1000")

    def status() -> object:
        return docker.inspect(identity, "{{json .State.Health.Status}}")

    assert status() in ("starting", "unhealthy")
    eventually(lambda: status() == "unhealthy")
    docker.docker("exec", identity, "touch", "/well")
    eventually(lambda: status() == "healthy")
    docker.restart()
    assert status() == "healthy"
    docker.docker("exec", identity, "rm", "/well")
    eventually(lambda: status() == "unhealthy")
    probes = docker.inspect(identity, "{{json .State.Health.Log}}")
    assert isinstance(probes, list)
    assert 1 <= len(probes) <= 5
    docker.docker("rm", "-f", identity)


def test_events_of_an_exec(docker: Daemon, box: str) -> None:
    begun = f"{time.time():.6f}"
    docker.docker("exec", box, "true")

    def told() -> list[str]:
        words = ["--since", begun, "--until", f"{time.time():.6f}", "--filter", f"container={box}"]
        return docker.said("events", *words, "--format", "{{.Action}}").splitlines()

    eventually(lambda: told() == ["exec_create: true", "exec_start: true", "exec_die"])
