"""containerd's own client runs, watches and ends containers behind our shim."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.containerd.engine import RUNTIME, Containerd
from conformance.containerd.image import NAME

pytestmark = [pytest.mark.root]


def test_the_versions(engine: Containerd, record_property: Callable[[str, object], None]) -> None:
    said = engine.ctr("version").stdout.decode()
    versions = re.findall(r"Version:\s+(\S+)", said)
    assert len(versions) == 2, said
    record_property("containerd", versions[-1])


def test_run_gives_output_and_status(engine: Containerd, container: str) -> None:
    done = engine.run("--rm", container, "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.returncode, done.stdout) == (7, b"out\n")
    assert done.stderr.endswith(b"err\n")
    assert engine.task(container) == ""


def test_run_passes_input_and_its_end(engine: Containerd, container: str) -> None:
    done = engine.run("--rm", container, "cat", data=b"hello\n" * 20_000)
    assert done.stdout == b"hello\n" * 20_000


def test_big_output_arrives_whole(engine: Containerd, container: str) -> None:
    done = engine.run("--rm", container, "sh", "-c", "seq 1 200000")
    assert done.stdout == b"".join(b"%d\n" % number for number in range(1, 200_001))


def test_a_missing_program_is_said(engine: Containerd, container: str) -> None:
    done = engine.run("--rm", container, "/no/such", check=False)
    assert done.returncode != 0
    assert (
        b"/no/such" in done.stderr and b"no such file or directory" in done.stderr.lower()
    ) or b"not found" in done.stderr


def test_detached_exec_kill_delete(engine: Containerd, container: str) -> None:
    engine.run("-d", container, "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done")
    engine.wait(container, "RUNNING")
    done = engine.ctr("tasks", "exec", "--exec-id", "e1", container, "sh", "-c", "echo inside; exit 5", check=False)
    assert (done.returncode, done.stdout) == (5, b"inside\n")
    assert engine.ctr("tasks", "ps", container).stdout.decode().count("\n") >= 2
    engine.ctr("tasks", "kill", "-s", "SIGTERM", container)
    engine.wait(container, "STOPPED")
    assert engine.end(container) == 3
    engine.ctr("containers", "delete", container)


def test_exec_gets_input(engine: Containerd, container: str) -> None:
    engine.run("-d", container, "sleep", "1000")
    done = engine.ctr("tasks", "exec", "--exec-id", "e1", container, "cat", data=b"typed")
    assert done.stdout == b"typed"
    missing = engine.ctr("tasks", "exec", "--exec-id", "e2", container, "/no/such", check=False)
    assert missing.returncode != 0
    assert b"/no/such" in missing.stderr


def test_pause_resume_metrics(engine: Containerd, container: str) -> None:
    engine.run("-d", container, "sh", "-c", "while :; do :; done")
    engine.ctr("tasks", "pause", container)
    assert engine.task(container) == "PAUSED"
    engine.ctr("tasks", "resume", container)
    assert engine.task(container) == "RUNNING"
    metrics = engine.ctr("tasks", "metrics", container).stdout.decode()
    assert "memory.usage" in metrics or "memory.usage_in_bytes" in metrics, metrics
    engine.ctr("tasks", "pause", container)
    engine.ctr("tasks", "kill", "-s", "SIGKILL", container)
    engine.wait(container, "STOPPED")
    assert engine.end(container) == 137


def test_a_limit_kills_and_is_told(engine: Containerd, container: str) -> None:
    command = "a=x; while :; do a=$a$a; done"
    done = engine.run("--rm", f"--memory-limit={32 << 20}", container, "sh", "-c", command, check=False)
    assert done.returncode == 137
    events = engine.log.read_text()
    assert "panic" not in events


def test_terminal(engine: Containerd, container: str) -> None:
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        engine.argv("run", "--runtime", RUNTIME, "--rm", "--tty", NAME, container,
                    "sh", "-c", "tty; stty size; read x; echo got $x"),
        env=engine.environment(), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    sent = False
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 0.1)[0]:
            continue
        try:
            seen += os.read(ours, 4096)
        except OSError:
            break
        if b"/dev/" in seen and not sent:
            sent = True
            os.write(ours, b"typed\n")
    os.close(ours)
    assert running.wait(10) == 0, seen
    assert b"got typed" in seen, seen


@pytest.mark.parametrize("scheme", ["file", "json-file", "cri"])
def test_log_uri(engine: Containerd, container: str, scheme: str) -> None:
    target = engine.place.top / f"{container}.log"
    engine.ctr("run", "--runtime", RUNTIME, "-d", "--log-uri", f"{scheme}://{target}",
               NAME, container, "sh", "-c", "echo one; echo two >&2")  # fmt: skip
    engine.wait(container, "STOPPED")
    text = target.read_text()
    expected = {"file": "one\n", "json-file": '"log":"one\\n","stream":"stdout"', "cri": " stdout F one\n"}
    assert expected[scheme] in text, text
    assert "two" in text


def test_containers_outlive_their_engine(engine: Containerd, container: str) -> None:
    engine.run("-d", container, "sleep", "1000")
    pid = int((engine.bundle(container) / "shim.pid").read_text())
    engine.stop()
    assert Path(f"/proc/{pid}").exists()
    engine.start()
    engine.wait(container, "RUNNING")
    done = engine.ctr("tasks", "exec", "--exec-id", "again", container, "echo", "found")
    assert done.stdout == b"found\n"
    engine.ctr("tasks", "kill", "-s", "SIGKILL", container)
    engine.wait(container, "STOPPED")


def test_a_killed_shim_takes_its_container_along(engine: Containerd, container: str) -> None:
    engine.run("-d", container, "sh", "-c", "sleep 1000 & sleep 1000")
    bundle = engine.bundle(container)
    inside = [int(line.split()[0]) for line in engine.ctr("tasks", "ps", container).stdout.decode().splitlines()[1:]]
    assert len(inside) >= 2
    os.kill(int((bundle / "shim.pid").read_text()), signal.SIGKILL)
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and (any(Path(f"/proc/{pid}").exists() for pid in inside) or bundle.exists()):
        time.sleep(0.02)
    assert not [pid for pid in inside if Path(f"/proc/{pid}").exists()]
    assert engine.task(container) in ("", "STOPPED")
    assert not list((engine.place.run / "s").glob("*")), "sockets of dead shims stay"


def test_events_come_in_order(engine: Containerd, container: str) -> None:
    with subprocess.Popen(engine.argv("events"), env=engine.environment(), stdout=subprocess.PIPE) as watcher:
        time.sleep(0.5)
        engine.run("--rm", container, "true")
        time.sleep(0.5)
        watcher.terminate()
        assert watcher.stdout is not None
        text = watcher.stdout.read().decode()
    topics = [word for line in text.splitlines() for word in line.split() if word.startswith("/tasks/")]
    assert topics == ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"], text
