"""A limit holds, shows how, and leaves the rest alone."""

from __future__ import annotations

import json
import time

import pytest

from conformance.workload.conftest import Run, Start
from support.wall import finish, read_until

pytestmark = pytest.mark.root

MIB = 1 << 20
HOG = """
import sys
held = []
try:
    while len(held) < 256: held.append(bytearray(b"x" * (1 << 20)))
except MemoryError: print("refused")
print(len(held))
"""
FORKS = """
import os, errno, signal
children = []
try:
    while len(children) < 500:
        pid = os.fork()
        if pid == 0: signal.pause()
        children.append(pid)
except OSError as error: print(errno.errorcode[error.errno], len(children))
for pid in children: os.kill(pid, 9); os.waitpid(pid, 0)
"""
SPIN = """
import time
begun, cpu = time.monotonic(), time.process_time()
while time.monotonic() - begun < 1.0: pass
print((time.process_time() - cpu) / (time.monotonic() - begun))
"""


def test_memory_kills_the_hog(run: Run) -> None:
    assert run("python3", "-c", HOG, memory=64 * MIB).status == 137


def test_memory_kills_the_hog_alone(run: Run) -> None:
    done = run("sh", "-c", 'python3 -c "$0"; echo survived $?', HOG, memory=64 * MIB)
    assert done.ok() == "survived 137\n"


def test_memory_enough_is_enough(run: Run) -> None:
    assert run("python3", "-c", HOG, memory=400 * MIB).ok() == "256\n"


def test_forks_are_refused(run: Run) -> None:
    word, count = run("python3", "-c", FORKS, pids=40).ok().split()
    assert word == "EAGAIN"
    assert 30 <= int(count) < 40


def test_a_fork_bomb_ends_with_its_container(start: Start) -> None:
    running = start("bash", "-c", "b() { b | b & }; echo armed; b 2>/dev/null; while :; do :; done", pids=64)
    read_until(running, "armed")
    time.sleep(0.3)
    running.signal(9)
    assert finish(running, timeout=20).status == 137


def test_half_a_cpu(run: Run) -> None:
    assert float(run("python3", "-c", SPIN, cpus=0.3).ok()) < 0.5


DESCRIPTORS = """
import os
count = 0
try:
    while True: count += bool(os.dup(0))
except OSError as error: print(error.errno, count < 32)
"""
FILE_SIZE = """
import os, signal
signal.signal(signal.SIGXFSZ, lambda *_: print("signal"))
file = os.open("/tmp/x", os.O_CREAT | os.O_WRONLY)
try: print(os.write(file, b"x" * 500), os.write(file, b"x" * 600), os.write(file, b"y"))
except OSError as error: print(error.errno)
"""
SHOWN = "import resource; print(*resource.getrlimit(resource.RLIMIT_{}))"


@pytest.mark.parametrize(
    ("limit", "value", "script", "expected"),
    [
        ("nofile", 32, DESCRIPTORS, "24 True\n"),
        ("fsize", 1000, FILE_SIZE, "signal\n27\n"),
        ("core", 0, SHOWN.format("CORE"), "0 0\n"),
        ("stack", 4 * MIB, SHOWN.format("STACK"), f"{4 * MIB} {4 * MIB}\n"),
    ],
)
def test_rlimits(run: Run, limit: str, value: int, script: str, expected: str) -> None:
    assert run("python3", "-c", script, rlimits={limit: value}).ok() == expected


def test_cpu_time_ends_a_child(run: Run) -> None:
    done = run("sh", "-c", "sh -c 'while :; do :; done'; echo $?", rlimits={"cpu": 1})
    assert done.ok() in ("152\n", "137\n")  # SIGXCPU, or SIGKILL where soft and hard limit meet


def test_dev_shm_is_bounded(run: Run) -> None:
    done = run("sh", "-c", f"head -c {100 * MIB} /dev/zero > /dev/shm/x; stat -c %s /dev/shm/x")
    assert int(done.text) <= 64 * MIB
    assert b"No space left" in done.err


def test_limits_of_one_do_not_bind_another(start: Start, run: Run) -> None:
    running = start("python3", "-c", FORKS + "print(open('/proc/self/limits').read()[:0])", pids=20)
    assert run("python3", "-c", "import json; print(json.dumps(list(range(3))))").ok() == json.dumps([0, 1, 2]) + "\n"
    assert finish(running).ok().startswith("EAGAIN")
