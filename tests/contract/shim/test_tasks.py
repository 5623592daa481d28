"""The life of containers and their processes, by every method of the Task service."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from contract.shim.conftest import Config
from contract.shim.peer import (
    ALREADY_EXISTS,
    INVALID,
    NOT_FOUND,
    PRECONDITION,
    UNIMPLEMENTED,
    V3,
    Peer,
    Refused,
    Shim,
    decode,
)
from support.patience import eventually

pytestmark = pytest.mark.root
CREATED, RUNNING, STOPPED, PAUSED = 1, 2, 3, 4


def refused(peer: Peer, method: str, fields: dict[int, Any]) -> Refused:
    with pytest.raises(Refused) as caught:
        peer.call(method, fields)
    return caught.value


def process(*argv: str, **more: Any) -> dict[int, bytes]:
    spec = {"args": argv, "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"], **more}
    return {1: b"types.containerd.io/opencontainers/runtime-spec/1/Process", 2: json.dumps(spec).encode()}


def test_a_whole_life(shim: Shim, config: Config) -> None:
    peer = shim.start("c", config("sh", "-c", "exit 3"))
    waited = []
    pid = shim.create(peer, "c")
    waited.append(peer.send("Wait", {1: "c"}))
    assert peer.call("State", {1: "c"})[4] == CREATED
    assert refused(peer, "Exec", {1: "c", 2: "e", 7: process("true")}).code == PRECONDITION
    assert peer.call("Start", {1: "c"}, V3)[1] == pid
    assert peer.answer(waited[0])[1] == 3
    state = peer.call("State", {1: "c"})
    assert (state[3], state[4], state[9]) == (pid, STOPPED, 3)
    assert peer.call("Wait", {1: "c"})[1] == 3
    for method in ("Start", "Pause", "Resume"):
        assert refused(peer, method, {1: "c"}).code == PRECONDITION
    dead = refused(peer, "Kill", {1: "c", 3: 9})
    assert dead.code == NOT_FOUND
    assert "process already finished" in dead.text
    record = shim.exit("c")
    assert (record["exit_status"], record["reason"]) == (3, "Exited")
    assert record["usage"]["memory_peak"] > 0
    assert record["steps"]["create_us"] > 0
    assert peer.call("Delete", {1: "c"})[2] == 3
    assert refused(peer, "State", {1: "c"}).code == NOT_FOUND
    peer.call("Shutdown", {1: "c"})
    eventually(lambda: not Path(f"/proc/{shim.pid('c')}").exists())


def test_what_cannot_be_is_refused(shim: Shim, config: Config) -> None:
    peer = shim.start("c", config("sleep", "100"))
    bundle = str(shim.bundle("c"))
    cases: list[tuple[dict[int, Any], int, str]] = [
        ({1: "../c", 2: bundle}, INVALID, "../c"),
        ({1: "c", 2: "relative"}, INVALID, "relative"),
        ({1: "c", 2: "/no/such"}, NOT_FOUND, "/no/such/config.json"),
        ({1: "c", 2: bundle, 8: "/checkpoint"}, UNIMPLEMENTED, "checkpoint"),
        ({1: "c", 2: bundle, 6: "syslog:///x"}, INVALID, "syslog"),
        ({1: "c", 2: bundle, 6: "/no/fifo"}, NOT_FOUND, "/no/fifo"),
        ({1: "c", 2: bundle, 10: {1: "containerd.runc.v1.Options", 2: {9: 1}}}, UNIMPLEMENTED, "SystemdCgroup"),
        ({1: "c", 2: bundle, 10: {1: "x.y.Z", 2: {9: 1}}}, UNIMPLEMENTED, "x.y.Z"),
    ]
    for fields, code, word in cases:
        caught = refused(peer, "Create", fields)
        assert caught.code == code, caught
        assert word in caught.text
    shim.create(peer, "c")
    assert refused(peer, "Create", {1: "c", 2: bundle}).code == ALREADY_EXISTS
    for method in ("State", "Start", "Delete", "Pids", "Kill", "Wait", "Stats", "Pause"):
        assert refused(peer, method, {1: "other"}).code == NOT_FOUND, method
    peer.call("Start", {1: "c"})
    assert refused(peer, "Delete", {1: "c"}).code == PRECONDITION
    assert refused(peer, "Kill", {1: "c", 3: 99}).code == INVALID
    assert refused(peer, "ResizePty", {1: "c", 3: 80, 4: 24}).code == PRECONDITION
    peer.call("Kill", {1: "c", 3: 9})
    assert peer.call("Wait", {1: "c"})[1] == 137


@pytest.mark.parametrize("broken", ["{", "[]", '{"process": 7}', '{"ociVersion": "1.0.2"}'])
def test_a_broken_document_is_refused_and_nothing_stays(shim: Shim, config: Config, broken: str) -> None:
    peer = shim.start("c", config("true"))
    (shim.bundle("c") / "config.json").write_text(broken)
    refused(peer, "Create", {1: "c", 2: str(shim.bundle("c"))})
    (shim.bundle("c") / "config.json").write_text(json.dumps(config("true")))
    shim.create(peer, "c")
    peer.call("Start", {1: "c"})
    assert peer.call("Wait", {1: "c"})[1] == 0


@pytest.mark.parametrize(
    ("program", "status", "said"), [("/no/such", 127, "no such file"), ("/etc/passwd", 126, "denied")]
)
def test_what_cannot_be_executed(shim: Shim, config: Config, program: str, status: int, said: str) -> None:
    peer = shim.start("c", config(program))
    caught = refused(peer, "Create", {1: "c", 2: str(shim.bundle("c"))})
    assert program in caught.text
    assert said in caught.text
    record = shim.exit("c")
    assert (record["exit_status"], record["reason"], record["message"]) == (status, "StartFailed", caught.text)


def test_a_created_container_can_be_deleted(shim: Shim, config: Config) -> None:
    peer = shim.start("c", config("true"))
    pid = shim.create(peer, "c")
    assert peer.call("Delete", {1: "c"})[1] == pid
    assert not Path(f"/proc/{pid}").exists()


def test_processes_beside_the_first(shim: Shim, config: Config) -> None:
    peer = shim.run("c", config("sleep", "100"))
    out = shim.place.top / "out"
    peer.call("Exec", {1: "c", 2: "e", 5: f"file://{out}", 7: process("sh", "-c", "echo here; exit 4")})
    assert refused(peer, "Exec", {1: "c", 2: "e", 7: process("true")}).code == ALREADY_EXISTS
    assert refused(peer, "Exec", {1: "c", 2: "../e", 7: process("true")}).code == INVALID
    assert refused(peer, "Exec", {1: "c", 2: "f", 7: {2: b"{"}}).code == INVALID
    assert peer.call("State", {1: "c", 2: "e"})[4] == CREATED
    waiting = peer.send("Wait", {1: "c", 2: "e"})
    peer.call("Start", {1: "c", 2: "e"})
    assert peer.answer(waiting)[1] == 4
    assert out.read_text() == "here\n"
    assert shim.exit("c", "e")["exit_status"] == 4
    assert peer.call("Delete", {1: "c", 2: "e"})[2] == 4
    peer.call("Exec", {1: "c", 2: "f", 7: process("/no/such")})
    refused(peer, "Start", {1: "c", 2: "f"})
    assert shim.exit("c", "f")["exit_status"] == 127
    peer.call("Exec", {1: "c", 2: "g", 7: process("sleep", "100")})
    pid = peer.call("Start", {1: "c", 2: "g"})[1]
    peer.call("Kill", {1: "c", 2: "g", 3: 15})
    assert peer.call("Wait", {1: "c", 2: "g"})[1] in (143, 137)
    assert not Path(f"/proc/{pid}").exists()


def test_what_a_process_beside_the_first_used(shim: Shim, config: Config) -> None:
    peer = shim.run("c", config("sleep", "100"))
    # Half of the work is a child's that is waited for; dd holds a buffer of 32 MiB.
    work = "sh -c 'i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done'; dd if=/dev/zero of=/dev/null bs=32M count=2"
    for name, words in (("busy", ("sh", "-c", work)), ("lazy", ("true",))):
        peer.call("Exec", {1: "c", 2: name, 7: process(*words)})
        peer.call("Start", {1: "c", 2: name})
        assert peer.call("Wait", {1: "c", 2: name})[1] == 0
    busy, lazy = (shim.exit("c", name)["usage"] for name in ("busy", "lazy"))
    assert busy["cpu_ns"] == busy["user_ns"] + busy["system_ns"] > 10_000_000
    assert busy["cpu_ns"] > 2 * lazy["cpu_ns"]
    assert 32 << 20 <= busy["memory_peak"] < 48 << 20
    assert 0 < lazy["memory_peak"] < 16 << 20


def test_pause_resume_update_stats(shim: Shim, config: Config) -> None:
    peer = shim.run("c", config("sh", "-c", "while :; do :; done", memory=64 << 20))
    peer.call("Pause", {1: "c"})
    assert peer.call("State", {1: "c"})[4] == PAUSED
    assert refused(peer, "Pause", {1: "c"}).code == PRECONDITION
    assert refused(peer, "Exec", {1: "c", 2: "e", 7: process("true")}).code == PRECONDITION
    peer.call("Resume", {1: "c"})
    resources = {1: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources", 2: b'{"pids":{"limit":77}}'}
    peer.call("Update", {1: "c", 2: resources})
    metrics = decode(peer.call("Stats", {1: "c"})[1])
    assert metrics[1] in (b"io.containerd.cgroups.v1.Metrics", b"io.containerd.cgroups.v2.Metrics")
    pids = decode(decode(metrics[2])[2 if b"v1" in metrics[1] else 1])
    assert (pids[1], pids[2]) == (1, 77)
    peer.call("Kill", {1: "c", 3: 9})
    peer.call("Wait", {1: "c"})


def test_reasons(shim: Shim, config: Config) -> None:
    hog = config("sh", "-c", "a=x; while :; do a=$a$a; done", memory=16 << 20)
    peer = shim.run("hog", hog)
    assert peer.call("Wait", {1: "hog"})[1] == 137
    record = shim.exit("hog")
    assert record["reason"] == "OOMKilled"
    assert record["oom_kills"] >= 1
    limit = {"dev.stockade.time-limit": "300ms"}
    begun = time.monotonic()
    peer = shim.run("loop", config("sh", "-c", "while :; do :; done", annotations=limit))
    assert peer.call("Wait", {1: "loop"})[1] == 137
    assert time.monotonic() - begun > 0.25
    assert shim.exit("loop")["reason"] == "TimedOut"
    bomb = config("sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; exit 0", pids=4)
    peer = shim.run("bomb", bomb)
    peer.call("Wait", {1: "bomb"})
    assert shim.exit("bomb")["pids_refused"] >= 1
    for name in ("hog", "loop", "bomb"):
        shim.connect((shim.bundle(name) / "address").read_text()).call("Delete", {1: name})


def test_the_end_of_init_ends_all_without_a_pid_namespace(shim: Shim, config: Config) -> None:
    document = config("sh", "-c", "sleep 1000 & exit 0")
    document["linux"]["namespaces"] = [each for each in document["linux"]["namespaces"] if each["type"] != "pid"]
    peer = shim.run("c", document)
    peer.call("Wait", {1: "c"})
    eventually(lambda: not shim.place.members())
    peer.call("Delete", {1: "c"})


def test_a_lifeline(shim: Shim, config: Config) -> None:
    peer = shim.run("c", config("sleep", "1000", annotations={"dev.stockade.lifeline": "connection"}))
    pid = shim.pid("c")
    peer.close()
    eventually(lambda: not shim.bundle("c").exists() and not Path(f"/proc/{pid}").exists())
    assert not shim.place.members()
    assert not list((shim.place.run / "s").iterdir())


def test_a_shim_that_leaves_is_not_found_by_the_next_start(shim: Shim, config: Config) -> None:
    peer = shim.start("c", config("true"))
    for _ in range(20):
        shim.create(peer, "c")
        peer.call("Delete", {1: "c"})
        peer.call("Shutdown", {1: "c"})
        address = shim.command("c", "start").decode()
        peer = shim.connect(address)
    # Nor does it begin anything new for a caller that it has already.
    other = shim.connect(address)
    other.send("Shutdown", {1: "c"})
    with pytest.raises((EOFError, ConnectionError, Refused)):
        shim.create(other, "c")
    assert not shim.place.members()


def test_a_killed_shim(shim: Shim, config: Config) -> None:
    peer = shim.run("c", config("sh", "-c", "sleep 1000 & sleep 1000"))
    os.kill(shim.pid("c"), signal.SIGKILL)
    with pytest.raises((EOFError, ConnectionError)):
        peer.call("Wait", {1: "c"})
    eventually(lambda: not shim.place.members(), patience=2)
    answer = decode(shim.command("c", "-bundle", str(shim.bundle("c")), "delete"))
    assert answer[2] == 137
    assert shim.exit("c")["reason"] == "ShimDied"
    assert decode(shim.command("c", "-bundle", str(shim.bundle("c")), "delete"))[2] == 137, "twice does no harm"
    assert not shim.place.cgroups()
    assert not list((shim.place.run / "s").iterdir())


def test_a_shim_told_to_go_takes_its_containers_along(shim: Shim, config: Config) -> None:
    shim.run("c", config("sleep", "1000"))
    os.kill(shim.pid("c"), signal.SIGTERM)
    eventually(lambda: not Path(f"/proc/{shim.pid('c')}").exists())
    assert not shim.place.members()
    assert shim.exit("c")["reason"] == "Signaled"
