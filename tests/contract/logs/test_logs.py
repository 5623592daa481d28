"""`stockade-logs` as an engine uses it: a client's socket as its output, the ends that it must notice by itself."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import programs

Reader = Callable[..., "subprocess.Popen[bytes]"]


def line(text: str, stream: str = "stdout", second: int = 0) -> str:
    stamp = f"2026-01-01T00:00:{second:02}.000000000Z"
    return json.dumps({"log": text, "stream": stream, "time": stamp}) + "\n"


def frame(number: int, text: bytes) -> bytes:
    return bytes((number, 0, 0, 0)) + len(text).to_bytes(4, "big") + text


@pytest.fixture(name="log")
def _log(tmp_path: Path) -> Path:
    path = tmp_path / "log.json"
    path.write_text(line("out\n") + line("err\n", "stderr", 1) + line("end\n", "stdout", 2))
    return path


@pytest.fixture(name="reader")
def _reader(log: Path) -> Iterator[Reader]:
    """Starts readers of the log; none outlives the test."""
    begun = []

    def start(*words: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        begun.append(subprocess.Popen([programs.program("stockade-logs"), *words, log], **options))
        return begun[-1]

    yield start
    for one in begun:
        one.kill()
        one.communicate()


def append(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


@pytest.mark.parametrize(
    ("words", "stdout", "stderr"),
    [
        ((), b"out\nend\n", b"err\n"),
        (("--tail", "2"), b"end\n", b"err\n"),
        (("--stderr",), b"", b"err\n"),
        (("--since", "2026-01-01T01:00:01+01:00"), b"end\n", b"err\n"),
        (("--until", "1767225600.9"), b"out\n", b""),
        (("--tail", "1", "--timestamps"), b"2026-01-01T00:00:02.000000000Z end\n", b""),
        (("--framed",), frame(1, b"out\n") + frame(2, b"err\n") + frame(1, b"end\n"), b""),
        (("--tail", "1", "--json"), line("end\n", "stdout", 2).encode(), b""),
    ],
)
def test_what_is_shown(reader: Reader, words: tuple[str, ...], stdout: bytes, stderr: bytes) -> None:
    running = reader(*words, stdout=-1, stderr=-1)
    assert running.communicate(timeout=10) == (stdout, stderr)
    assert running.returncode == 0


def test_a_socket_that_does_not_block_gets_all(reader: Reader, log: Path) -> None:
    ours, theirs = socket.socketpair()
    text = "x" * 16000 + "\n"
    log.write_text(line(text) * 200)
    theirs.setblocking(False)
    running = reader("--framed", stdout=theirs)
    theirs.close()
    with ours:
        time.sleep(0.2)
        found = b"".join(iter(lambda: ours.recv(1 << 20), b""))
    assert running.wait(10) == 0
    assert found == frame(1, text.encode()) * 200


def test_it_goes_when_the_client_has_gone(reader: Reader) -> None:
    ours, theirs = socket.socketpair()
    running = reader("--follow", "--framed", stdout=theirs)
    theirs.close()
    assert ours.recv(100)
    # A client that only says that it sends no more still reads.
    ours.shutdown(socket.SHUT_WR)
    time.sleep(0.1)
    assert running.poll() is None
    ours.close()
    assert running.wait(10) == 0


def test_it_follows_until_the_container_has_ended(reader: Reader, log: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    running = reader("--follow", "--until-exit", bundle, "--tail", "0", stdout=-1)
    assert running.stdout
    time.sleep(0.1)
    append(log, line("more\n"))
    assert running.stdout.readline() == b"more\n"
    log.rename(f"{log}.1")
    append(log, line("after\n"))
    assert running.stdout.readline() == b"after\n"
    append(log, line("last\n") + '{"log":"never whole')
    (bundle / "exit.new").write_text("{}")
    (bundle / "exit.new").rename(bundle / "exit.json")
    assert running.communicate(timeout=10)[0] == b"last\n"
    assert running.returncode == 0


def test_it_ends_with_the_shim_or_the_directory(reader: Reader, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    with subprocess.Popen(["sleep", "60"]) as shim:
        (bundle / "shim.pid").write_text(str(shim.pid))
        running = reader("--follow", "--until-exit", bundle, stdout=-3, stderr=-3)
        time.sleep(0.1)
        assert running.poll() is None
        shim.kill()
    assert running.wait(10) == 0
    (bundle / "shim.pid").unlink()
    removed = reader("--follow", "--until-exit", bundle, stdout=-3, stderr=-3)
    time.sleep(0.1)
    assert removed.poll() is None
    bundle.rmdir()
    assert removed.wait(10) == 0


def test_a_log_that_is_not_there_yet_is_waited_for(reader: Reader, log: Path) -> None:
    log.unlink()
    assert reader().wait(10) == 0
    running = reader("--follow", stdout=-1)
    assert running.stdout
    time.sleep(0.1)
    append(log, line("first\n"))
    assert running.stdout.readline() == b"first\n"


def test_waiting_costs_nothing_and_little_memory(reader: Reader) -> None:
    running = reader("--follow", stdout=-3, stderr=-3)
    time.sleep(0.3)

    def used() -> list[str]:
        lines = Path(f"/proc/{running.pid}/status").read_text().splitlines()
        return [one for one in lines if "ctxt_switches" in one or "VmHWM" in one]

    before = used()
    time.sleep(0.5)
    assert used() == before
    (peak,) = (int(one.split()[1]) for one in before if "VmHWM" in one)
    assert peak < 4096


def test_refusals(log: Path, tmp_path: Path) -> None:
    program = programs.program("stockade-logs")
    os.mkfifo(tmp_path / "fifo")
    for words, status, complaint in (
        ((tmp_path / "fifo",), 1, b"not a regular file"),
        (("--follow", tmp_path / "no" / "log"), 1, b"No such file"),
        (("--framed", "--json", log), 2, b"contradict"),
        ((), 2, b"a file is missing"),
    ):
        done = subprocess.run([program, *words], capture_output=True, timeout=10)
        assert done.returncode == status, words
        assert complaint in done.stderr, words
