"""A second process in a container: who it is, where it is, how it ends."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from contract.oci.harness import CAPABILITIES, Runtime
from support.patience import eventually

pytestmark = pytest.mark.root

V1 = Path("/sys/fs/cgroup/memory").is_dir()


@pytest.mark.parametrize(("command", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)])
def test_the_exit_code_is_the_command_s(runtime: Runtime, command: str, code: int) -> None:
    done = runtime("exec", runtime.running(), "sh", "-c", f"echo out; echo err >&2; {command}")
    assert (done.code, done.out, done.err) == (code, "out\n", "err\n")


def test_standard_input(runtime: Runtime) -> None:
    assert runtime("exec", runtime.running(), "cat", stdin="given").out == "given"


def test_it_is_inside(runtime: Runtime) -> None:
    id = runtime.running()
    pid = runtime.state(id)["pid"]
    inside = runtime.ok(
        "exec",
        id,
        "sh",
        "-c",
        "cat /proc/1/cmdline | head -c 5; for n in ipc mnt net pid uts; do ls -l /proc/self/ns/$n; done",
    )
    assert inside.startswith("sleep")
    for namespace in ("ipc", "mnt", "net", "pid", "uts"):
        assert os.readlink(f"/proc/{pid}/ns/{namespace}") in inside


def test_flags_make_the_process(runtime: Runtime) -> None:
    id = runtime.running()
    script = 'pwd; id -u; id -g; id -G; echo "$ONE $TWO"'
    flags = ["--cwd", "/tmp", "--user", "1000:1001", "--env", "PATH=/bin", "--env", "ONE=1", "--env", "TWO=2 2"]
    out = runtime.ok("exec", *flags, id, "/bin/sh", "-c", script)
    assert out.splitlines()[:3] == ["/tmp", "1000", "1001"]
    assert out.splitlines()[4] == "1 2 2"


def test_additional_groups(like_runc: Runtime) -> None:
    out = like_runc.ok("exec", "-u", "5:6", "-g", "7", "-g", "8", like_runc.running(), "id", "-G")
    assert out.split() == ["6", "7", "8"]


def bits(status: str, name: str) -> int:
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1], 16)


def test_one_more_capability(like_runc: Runtime) -> None:
    id = like_runc.running()
    plain = like_runc.ok("exec", id, "cat", "/proc/self/status")
    more = like_runc.ok("exec", "--cap", "CAP_NET_RAW", id, "cat", "/proc/self/status")
    assert bits(more, "CapEff") == bits(plain, "CapEff") | 1 << 13
    assert bits(more, "CapBnd") == bits(plain, "CapBnd") | 1 << 13
    assert bits(plain, "NoNewPrivs") == 1


def process_file(runtime: Runtime, **changes: Any) -> str:
    process = {
        "user": {"uid": 0, "gid": 0},
        "args": ["sh", "-c", "echo $FROM; pwd"],
        "env": ["PATH=/bin", "FROM=file"],
        "cwd": "/tmp",
        "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
        **changes,
    }
    path = runtime.place.top / "process.json"
    path.write_text(json.dumps(process))
    return str(path)


def test_the_process_from_a_file(runtime: Runtime) -> None:
    assert runtime.ok("exec", "--process", process_file(runtime), runtime.running()) == "file\n/tmp\n"


def test_a_process_file_that_is_none(like_runc: Runtime) -> None:
    id = like_runc.running()
    path = like_runc.place.top / "bad.json"
    path.write_text("{")
    assert like_runc("exec", "--process", path, id).code == 255
    assert like_runc("exec", "--process", "/nope.json", id).code == 255
    done = like_runc("exec", "--process", process_file(like_runc, cwd="relative"), id)
    assert (done.code, "must be an absolute path" in done.err) == (255, True), done


def test_detached_as_containerd_does(runtime: Runtime) -> None:
    id, pid_file = runtime.running(), runtime.place.top / "pid"
    file = process_file(runtime, args=["sleep", "999"])
    runtime.ok("exec", "--process", file, "--detach", "--pid-file", str(pid_file), id)
    pid = int(pid_file.read_text())
    assert Path(f"/proc/{pid}/cmdline").read_text() == "sleep\x00999\x00"
    assert pid in json.loads(runtime.ok("ps", "--format", "json", id))


def test_a_working_directory_that_is_not_there(like_runc: Runtime) -> None:
    """Init's is made for it; an exec's is not."""
    id = like_runc.running()
    done = like_runc("exec", "--cwd", "/nodir", id, "pwd")
    assert (done.code, "/nodir" in done.err) == (255, True), done
    assert "nodir" not in like_runc.ok("exec", id, "ls", "/")


def test_exec_in_a_created_container(like_runc: Runtime) -> None:
    assert like_runc.ok("exec", like_runc.create("sleep", "1000"), "echo", "early") == "early\n"


def test_exec_into_a_paused_container(ours: Runtime) -> None:
    id = ours.running()
    ours.ok("pause", id)
    pid_file = ours.place.top / "pid"
    assert ours("exec", id, "true").code == 255
    ours.ok("resume", id)
    ours.ok("exec", "--detach", "--pid-file", pid_file, id, "true")


def test_the_bundle_may_be_gone(ours: Runtime) -> None:
    id = ours.running()
    (ours.place.top / "bundle/config.json").unlink()
    assert ours.ok("exec", id, "echo", "still") == "still\n"
    ours.ok("kill", id, "KILL")
    ours.wait(id, "stopped")
    ours.ok("delete", id)


def test_it_dies_with_the_container(runtime: Runtime) -> None:
    id, pid_file = runtime.running(), runtime.place.top / "pid"
    runtime.ok("exec", "--detach", "--pid-file", pid_file, id, "sleep", "999")
    pid = int(pid_file.read_text())
    runtime.ok("delete", "--force", id)
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), "the second process is gone")


def own_cgroups(pid: int | str) -> list[tuple[str, str, Path]]:
    """Of a process: hierarchies, its path there, the directory; hybrid's empty hierarchy left out."""
    found = []
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        mount = Path("/sys/fs/cgroup") / controllers.removeprefix("name=")
        if "stockade" in path and (controllers or not V1):
            found.append((controllers, path, mount / path.lstrip("/")))
    return found


@pytest.fixture
def sub_cgroups(ours: Runtime) -> tuple[str, list[tuple[str, str, Path]]]:
    """A running container with a cgroup `sub` below its own, in all hierarchies."""
    id = ours.running()
    own = own_cgroups(ours.state(id)["pid"])
    assert own
    for _, _, directory in own:
        (directory / "sub").mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):
            if V1 and (directory / name).is_file():
                (directory / "sub" / name).write_text((directory / name).read_text())
    return id, own


def test_a_cgroup_below(ours: Runtime, sub_cgroups: tuple[str, list[tuple[str, str, Path]]]) -> None:
    id, own = sub_cgroups
    for path in ("sub", "/sub", "no/../sub"):
        inside = ours.ok("exec", "--cgroup", path, id, "cat", "/proc/self/cgroup")
        for controllers, place, _ in own:
            assert f":{controllers}:{place}/sub\n" in inside, path


@pytest.mark.skipif(not V1, reason="no cgroup v1 is mounted")
def test_a_cgroup_below_by_controller(ours: Runtime, sub_cgroups: tuple[str, list[tuple[str, str, Path]]]) -> None:
    id, own = sub_cgroups
    inside = ours.ok("exec", "--cgroup", "memory,pids:sub", "--cgroup", "cpuset:/", id, "cat", "/proc/self/cgroup")
    for controllers, place, _ in own:
        below = "/sub" if controllers in ("memory", "pids") else ""
        assert f":{controllers}:{place}{below}\n" in inside


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["../x"], "leaves the container's cgroup"),
        (["sub/../.."], "leaves the container's cgroup"),
        (["/other"], "is not there"),
        (["memory:../x"], "leaves the container's cgroup" if V1 else "no hierarchies"),
        (["nothing:sub"], "no cgroup of this controller" if V1 else "no hierarchies"),
        (["memory:sub", "memory:sub"], "twice" if V1 else "no hierarchies"),
        (["sub", "sub"], "<controller>: is missing"),
    ],
)
def test_a_cgroup_that_is_not_below(
    ours: Runtime, sub_cgroups: tuple[str, list[tuple[str, str, Path]]], words: list[str], reason: str
) -> None:
    flags = [word for path in words for word in ("--cgroup", path)]
    done = ours("exec", *flags, sub_cgroups[0], "true")
    assert done.code == 255
    assert reason in done.err, done
