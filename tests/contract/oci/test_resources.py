"""What a container uses and may use: ps, pause, update, events."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from contract.oci.harness import Runtime
from support.patience import eventually

pytestmark = pytest.mark.root

V1 = Path("/sys/fs/cgroup/memory").is_dir()
v1_only = pytest.mark.skipif(not V1, reason="no cgroup v1 is mounted")


def limited(config: dict[str, Any]) -> None:
    config["linux"]["resources"] |= {
        "memory": {"limit": 64 << 20},
        "pids": {"limit": 50},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000},
    }


def value(pid: int, controller: str, name: str) -> str:
    """One file of the cgroup (v1) that the process is in."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return (Path("/sys/fs/cgroup") / controllers / path.lstrip("/") / name).read_text().strip()
    raise AssertionError(f"no {controller} in the cgroups of {pid}")


@v1_only
def test_limits_are_set(runtime: Runtime) -> None:
    pid = runtime.state(runtime.running(change=limited))["pid"]
    assert value(pid, "memory", "memory.limit_in_bytes") == str(64 << 20)
    assert value(pid, "pids", "pids.max") == "50"
    assert value(pid, "cpu", "cpu.cfs_quota_us") == "50000"
    assert value(pid, "cpu", "cpu.shares") == "512"


@v1_only
def test_update_by_flags(runtime: Runtime) -> None:
    id = runtime.running(change=limited)
    pid = runtime.state(id)["pid"]
    runtime.ok(
        "update", "--memory", str(32 << 20), "--pids-limit", "7", "--cpu-share", "100", "--cpu-quota", "20000", id
    )
    assert value(pid, "memory", "memory.limit_in_bytes") == str(32 << 20)
    assert value(pid, "pids", "pids.max") == "7"
    assert value(pid, "cpu", "cpu.shares") == "100"
    assert value(pid, "cpu", "cpu.cfs_quota_us") == "20000"
    assert value(pid, "cpu", "cpu.cfs_period_us") == "100000"


@v1_only
@pytest.mark.parametrize("by", ["-", "file"])
def test_update_by_json(runtime: Runtime, by: str) -> None:
    id = runtime.running(change=limited)
    text = json.dumps({"memory": {"limit": 48 << 20}, "pids": {"limit": 9}})
    path = runtime.place.top / "resources.json"
    path.write_text(text)
    runtime.ok("update", "--resources", "-" if by == "-" else path, id, stdin=text)
    pid = runtime.state(id)["pid"]
    assert value(pid, "memory", "memory.limit_in_bytes") == str(48 << 20)
    assert value(pid, "pids", "pids.max") == "9"


@v1_only
def test_update_as_containerd_writes_it(ours: Runtime) -> None:
    """`--resources=- ID`, with every field of the document."""
    id = ours.running(change=limited)
    document = {
        "memory": {"limit": 40 << 20, "swap": -1},
        "cpu": {"shares": 300, "quota": 0, "period": 0, "cpus": "", "mems": ""},
        "blockIO": {"weight": 0},
    }
    ours("update", "--resources=-", id, stdin=json.dumps(document))
    assert value(ours.state(id)["pid"], "cpu", "cpu.shares") == "300"


def test_update_with_nonsense(like_runc: Runtime) -> None:
    id = like_runc.running(change=limited)
    for args, stdin in [
        (("--memory", "much"), None),
        (("--resources", "-"), "{"),
        (("--resources", "/nope"), None),
        (("--pids-limit", "x"), None),
    ]:
        assert like_runc("update", *args, id, stdin=stdin).code == 1


def test_pause_and_resume(runtime: Runtime) -> None:
    id = runtime.running("sh", "-c", "while :; do echo x >> /tmp/ticks; sleep 0.01; done")
    ticks = runtime.place.top / "bundle/rootfs/tmp/ticks"
    eventually(ticks.exists, "it ticks")
    runtime.ok("pause", id)
    assert runtime.state(id)["status"] == "paused"
    size = ticks.stat().st_size
    time.sleep(0.15)
    assert ticks.stat().st_size == size
    runtime.ok("resume", id)
    assert runtime.state(id)["status"] == "running"
    eventually(lambda: ticks.stat().st_size > size, "it ticks again")


def test_pause_a_created_container(ours: Runtime) -> None:
    id = ours.create("sleep", "1000")
    ours.ok("pause", id)
    assert ours.state(id)["status"] == "paused"
    ours.ok("resume", id)
    assert ours.state(id)["status"] == "created"
    ours.ok("start", id)


def test_ps(like_runc: Runtime) -> None:
    id = like_runc.running("sh", "-c", "sleep 1001 & exec sleep 1002")
    pid = like_runc.state(id)["pid"]
    eventually(lambda: len(json.loads(like_runc.ok("ps", "--format", "json", id))) == 2, "two processes")
    assert pid in json.loads(like_runc.ok("ps", "--format", "json", id))
    head, *rows = like_runc.ok("ps", id).splitlines()
    assert head.split() == "UID PID PPID C STIME TTY TIME CMD".split()
    assert sorted(row.split(None, 7)[7] for row in rows) == ["sleep 1001", "sleep 1002"]
    assert [row.split()[:2] for row in rows if row.endswith("1002")] == [["root", str(pid)]]


def test_ps_with_options_of_ps(like_runc: Runtime) -> None:
    id = like_runc.running()
    head, row = like_runc.ok("ps", id, "-o", "pid,comm", "-e").splitlines()
    assert head.split() == ["PID", "COMMAND"]
    assert row.split() == [str(like_runc.state(id)["pid"]), "sleep"]


def test_events_once(like_runc: Runtime) -> None:
    id = like_runc.running(change=limited)
    event = json.loads(like_runc.ok("events", "--stats", id))
    assert (event["type"], event["id"]) == ("stats", id)
    data = event["data"]
    assert data["cpu"]["usage"]["total"] > 0
    assert {"kernel", "user"} <= set(data["cpu"]["usage"])
    assert data["pids"] == {"current": 1, "limit": 50}
    assert data["memory"]["usage"]["limit"] == 64 << 20
    assert data["memory"]["usage"]["usage"] <= data["memory"]["usage"]["max"]
    assert data["memory"]["raw"]


def test_events_as_a_stream(like_runc: Runtime) -> None:
    id = like_runc.running(change=limited)
    with subprocess.Popen(
        ["timeout", "10", *like_runc.command("events", "--interval", "50ms", id)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(3)]
        assert [line["type"] for line in lines] == ["stats"] * 3
        # Ours ends with the container, runc's with its cgroup.
        like_runc.ok(*(("kill", id, "KILL") if like_runc.name == "ours" else ("delete", "--force", id)))
        process.stdout.read()
        assert process.wait(10) == 0


def test_events_tell_of_memory_exhausted(ours: Runtime) -> None:
    id = ours.running(
        "sh",
        "-c",
        "while [ ! -e /tmp/go ]; do sleep 0.01; done; (dd if=/dev/zero of=/dev/null bs=200M count=1); sleep 1000",
        change=limited,
    )

    with subprocess.Popen(
        ["timeout", "10", *ours.command("events", "--interval", "1h", id)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["type"] == "stats"
        (ours.place.top / "bundle/rootfs/tmp/go").touch()
        assert json.loads(process.stdout.readline()) == {"type": "oom", "id": id}
        process.terminate()


@pytest.mark.parametrize("interval", ["0s", "-1s", "soon"])
def test_events_with_nonsense(ours: Runtime, interval: str) -> None:
    assert ours("events", "--interval", interval, "x").code == 1


def test_without_a_cgroup(ours: Runtime) -> None:
    """`--cgroup-manager disabled`: podman made the cgroup and puts its monitor and us into it."""
    id = ours.place.name()

    def unlimited(config: dict[str, Any]) -> None:
        config["linux"].pop("resources")

    bundle = ours.bundle("sleep", "1000", change=unlimited)
    ours.ok("--cgroup-manager", "disabled", "run", "--detach", "--bundle", bundle, id)
    pid = ours.state(id)["pid"]
    assert Path(f"/proc/{pid}/cgroup").read_text() == Path("/proc/self/cgroup").read_text()
    assert ours("--cgroup-manager", "disabled", "pause", id).code == 1
    assert json.loads(ours.ok("ps", "--format", "json", id)) == [pid]
    ours.ok("delete", "--force", id)
    eventually(
        lambda: not os.path.exists(f"/proc/{pid}") or "(zombie)" in Path(f"/proc/{pid}/status").read_text(),
        "init is gone",
    )
