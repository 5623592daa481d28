"""Output to FIFOs and logs, attached clients, terminals."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import socket
import time
import tty
from pathlib import Path

import pytest

from contract.shim.conftest import Config
from contract.shim.peer import Shim
from support.patience import eventually

pytestmark = pytest.mark.root


def finish(client: socket.socket) -> int:
    """The status that an attached client is told at the end."""
    return int(json.loads(client.recv(4096))["exited"])


def read_all(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as stream:
        return stream.read()


def test_attached_before_start_like_a_pipeline(shim: Shim, config: Config) -> None:
    peer = shim.start("c", config("sh", "-c", "cat; echo err >&2; exit 6"))
    shim.create(peer, "c")
    (in_read, in_write), (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe(), os.pipe()
    client = shim.attach("c", stdin=in_read, stdout=out_write, stderr=err_write)
    for fd in (in_read, out_write, err_write):
        os.close(fd)
    peer.call("Start", {1: "c"})
    data = b"0123456789abcdef" * 20_000
    pid = os.fork()
    if pid == 0:
        with os.fdopen(in_write, "wb") as stream:
            stream.write(data)
        os._exit(0)
    os.close(in_write)
    assert read_all(out_read) == data
    os.waitpid(pid, 0)
    assert read_all(err_read) == b"err\n"
    assert finish(client) == 6
    assert client.recv(10) == b""


def test_without_anyone_input_is_at_its_end_and_output_is_dropped(shim: Shim, config: Config) -> None:
    peer = shim.run("c", config("sh", "-c", "cat; seq 1 100000; exit 2"))
    assert peer.call("Wait", {1: "c"})[1] == 2
    assert shim.exit("c")["output_dropped"] == 588_895


def test_several_clients_and_a_late_one(shim: Shim, config: Config) -> None:
    peer = shim.start("c", config("sh", "-c", "while read x; do echo $x; done"))
    shim.create(peer, "c")
    in_read, in_write = os.pipe()
    (one_read, one_write), (two_read, two_write) = os.pipe(), os.pipe()
    first = shim.attach("c", stdin=in_read, stdout=one_write)
    peer.call("Start", {1: "c"})
    os.write(in_write, b"first\n")
    assert os.read(one_read, 100) == b"first\n"
    late = shim.attach("c", stdout=two_write)
    os.write(in_write, b"second\n")
    assert os.read(one_read, 100) == b"second\n"
    assert os.read(two_read, 100) == b"second\n"
    late.close()
    time.sleep(0.05)
    os.write(in_write, b"third\n")
    assert os.read(one_read, 100) == b"third\n"
    assert not select.select([two_read], [], [], 0.05)[0]
    os.close(in_read)
    os.close(in_write)
    assert peer.call("Wait", {1: "c"})[1] == 0
    assert finish(first) == 0
    for fd in (one_read, one_write, two_read, two_write):
        os.close(fd)


def test_given_descriptors_keep_their_flags(shim: Shim, config: Config) -> None:
    peer = shim.start("c", config("sh", "-c", "cat; seq 1 50000"))
    shim.create(peer, "c")
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    client = shim.attach("c", stdin=in_read, stdout=out_write)
    peer.call("Start", {1: "c"})
    os.close(in_write)
    time.sleep(0.2)
    for fd in (in_read, out_write):
        assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
        os.close(fd)
    assert len(read_all(out_read)) == 288_894
    assert finish(client) == 0


def test_nobody_reads_any_more(shim: Shim, config: Config) -> None:
    """`… | head -1`: the program learns it as in any pipeline."""
    peer = shim.start("c", config("yes"))
    shim.create(peer, "c")
    out_read, out_write = os.pipe()
    client = shim.attach("c", stdout=out_write)
    os.close(out_write)
    peer.call("Start", {1: "c"})
    assert os.read(out_read, 2) == b"y\n"
    os.close(out_read)
    assert peer.call("Wait", {1: "c"})[1] in (1, 141)
    finish(client)


def test_detach_keys(shim: Shim, config: Config) -> None:
    peer = shim.start("c", config("cat", terminal=True))
    shim.create(peer, "c", tty=True)
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    client = shim.attach("c", keys="\x10\x11", stdin=theirs, stdout=theirs)
    peer.call("Start", {1: "c"})
    peer.call("ResizePty", {1: "c", 3: 100, 4: 30})
    os.write(ours, b"\x10\x11")
    assert json.loads(client.recv(4096)) == {"detached": True}
    assert peer.call("State", {1: "c"})[4] == 2
    peer.call("Kill", {1: "c", 3: 9})
    peer.call("Wait", {1: "c"})
    os.close(ours)
    os.close(theirs)


def test_fifos_survive_their_readers(shim: Shim, config: Config) -> None:
    fifo = shim.place.top / "fifo"
    os.mkfifo(fifo)
    peer = shim.start("c", config("sh", "-c", "while :; do echo x; sleep 0.01; done"))
    shim.create(peer, "c", str(fifo))
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    peer.call("Start", {1: "c"})
    assert select.select([reader], [], [], 5)[0]
    os.close(reader)
    time.sleep(0.2)
    assert peer.call("State", {1: "c"})[4] == 2
    with fifo.open("rb") as again:
        assert again.readline() == b"x\n"
    peer.call("Kill", {1: "c", 3: 9})
    peer.call("Wait", {1: "c"})


def test_a_fifo_ends_with_its_process(shim: Shim, config: Config) -> None:
    out, typed = shim.place.top / "out", shim.place.top / "in"
    os.mkfifo(out)
    os.mkfifo(typed)
    peer = shim.start("c", config("cat"))
    shim.create(peer, "c", str(out), stdin=str(typed))
    peer.call("Start", {1: "c"})
    reader = os.open(out, os.O_RDONLY)
    with typed.open("wb") as writer:
        writer.write(b"through")
    peer.call("CloseIO", {1: "c", 3: 1})
    assert read_all(reader) == b"through"
    assert peer.call("Wait", {1: "c"})[1] == 0


def test_a_reader_that_comes_after_the_end_loses_nothing(shim: Shim, config: Config) -> None:
    """A client closes its end as soon as it hears of the exit: so it does not hear before it could read."""
    took: dict[str, float] = {}
    for wait in ("late", "never"):
        fifo = shim.place.top / wait
        os.mkfifo(fifo)
        peer = shim.start(wait, config("sh", "-c", "echo all; exit 7"))
        shim.create(peer, wait, str(fifo))
        waiting = peer.send("Wait", {1: wait})
        peer.call("Start", {1: wait})
        eventually(lambda name=wait: (shim.bundle(name) / "exit.json").exists())  # type: ignore[misc]
        began = time.monotonic()
        if wait == "late":
            time.sleep(0.3)
            assert not select.select([peer.socket], [], [], 0)[0]
            reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
            assert read_all(reader) == b"all\n"
        assert peer.answer(waiting)[1] == 7
        took[wait] = time.monotonic() - began
        assert peer.call("Delete", {1: wait})[2] == 7
    assert took["late"] < took["never"] < 30


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_json_file_as_docker_writes_it(shim: Shim, config: Config) -> None:
    log = shim.place.top / "log"
    text = r"""echo one; printf 'a"b\\c\377\n'; echo err >&2; printf end"""
    peer = shim.run("c", config("sh", "-c", text), f"json-file://{log}", f"json-file://{log}")
    peer.call("Wait", {1: "c"})
    seen = lines(log)
    by = {name: [each["log"] for each in seen if each["stream"] == name] for name in ("stdout", "stderr")}
    assert by == {"stdout": ["one\n", 'a"b\\c\ufffd\n', "end"], "stderr": ["err\n"]}
    assert all(each["time"].endswith("Z") and len(each["time"]) == 30 for each in seen)


def test_cri_lines_are_cut_at_16_kib(shim: Shim, config: Config) -> None:
    log = shim.place.top / "log"
    peer = shim.run("c", config("sh", "-c", "dd if=/dev/zero bs=20000 count=1 2>/dev/null; echo"), f"cri://{log}")
    peer.call("Wait", {1: "c"})
    parts = [line.split(" ", 3) for line in log.read_text().splitlines()]
    assert [(part[1], part[2], len(part[3])) for part in parts] == [("stdout", "P", 16384), ("stdout", "F", 3616)]


def test_rotation_and_reopening(shim: Shim, config: Config) -> None:
    log = shim.place.top / "log"
    script = "seq 1 2000; while [ ! -e /tmp/go ]; do sleep 0.01; done; echo more; sleep 1000"
    peer = shim.run("c", config("sh", "-c", script), f"json-file://{log}?max-size=20000&max-file=3")
    eventually(lambda: log.exists() and "2000" in log.read_text())
    files = sorted(shim.place.top.glob("log*"))
    assert [file.name for file in files] == ["log", "log.1", "log.2"]
    assert all(file.stat().st_size < 20_200 for file in files)
    log.rename(shim.place.top / "taken")
    assert json.loads(shim.ask("c", '{"reopen_logs":{"id":"c"}}').recv(100)) == {"ok": True}
    assert log.exists()
    peer.call("Kill", {1: "c", 3: 9})
    peer.call("Wait", {1: "c"})


def test_a_full_disk_costs_lines_not_the_workload(shim: Shim, config: Config) -> None:
    peer = shim.run("c", config("sh", "-c", "seq 1 100000; exit 4"), "file:///dev/full")
    assert peer.call("Wait", {1: "c"})[1] == 4
    assert shim.exit("c")["output_dropped"] >= 588_895


def test_a_logging_program(shim: Shim, config: Config) -> None:
    out = shim.place.top / "out"
    program = shim.place.top / "logger"
    program.write_text(
        f'#!/bin/sh\nexec 5>&-\necho "$CONTAINER_ID $CONTAINER_NAMESPACE $1 $2" > {out}\ncat <&3 >> {out}\n'
    )
    program.chmod(0o755)
    peer = shim.run("c", config("sh", "-c", "echo logged"), f"binary://{program}?key=value")
    peer.call("Wait", {1: "c"})
    peer.call("Delete", {1: "c"})
    eventually(lambda: "logged" in out.read_text())
    assert out.read_text() == "c test key value\nlogged\n"


def test_the_root_is_given_as_a_descriptor(shim: Shim, config: Config) -> None:
    peer = shim.run("c", config("sh", "-c", "echo inside > /tmp/file; sleep 1000"))
    client = shim.ask("c", '{"rootfs":{"id":"c"}}')
    text, rights, _, _ = socket.recv_fds(client, 100, 1)
    assert json.loads(text) == {"ok": True}
    assert "busybox" in os.listdir(f"/proc/self/fd/{rights[0]}/bin")
    os.close(rights[0])
    peer.call("Kill", {1: "c", 3: 9})
    peer.call("Wait", {1: "c"})


@pytest.mark.parametrize(
    ("text", "word"),
    [("{", "request"), ('{"attach":{"id":"no"}}', "not found"), ('{"attach":{"id":"c","stdin":true}}', "descriptors"),
     ('{"frob":{}}', "frob"), ('{"reopen_logs":{"id":"no"}}', "not found")],
)  # fmt: skip
def test_bad_requests_are_answered(shim: Shim, config: Config, text: str, word: str) -> None:
    peer = shim.start("c", config("true"))
    shim.create(peer, "c")
    client = shim.ask("c", text)
    assert word in json.loads(client.recv(4096))["error"]
    assert client.recv(10) == b""
    peer.call("Delete", {1: "c"})
