"""From create to delete, as containerd, podman and people do it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from contract.oci.harness import Runtime
from support.patience import eventually

pytestmark = pytest.mark.root


def test_create_start_kill_delete(runtime: Runtime) -> None:
    id = runtime.create("sleep", "1000")
    created = runtime.state(id)
    assert created["status"] == "created"
    assert os.path.exists(f"/proc/{created['pid']}")
    runtime.ok("start", id)
    running = runtime.state(id)
    assert (running["status"], running["pid"]) == ("running", created["pid"])
    runtime.ok("kill", id, "KILL")
    runtime.wait(id, "stopped")
    assert runtime.state(id)["pid"] == 0
    runtime.ok("delete", id)
    assert runtime("state", id).code == 1
    assert runtime.place.cgroups() == []


def test_state_has_what_callers_read(runtime: Runtime) -> None:
    def annotate(config: dict[str, Any]) -> None:
        config["annotations"] = {"a.b": "c"}

    id = runtime.running(change=annotate)
    state = runtime.state(id)
    bundle = runtime.place.top / "bundle"
    assert state["id"] == id
    assert state["bundle"] == str(bundle)
    if runtime.name != "crun":
        assert state["rootfs"] == str(bundle / "rootfs")
    assert state["annotations"] == {"a.b": "c"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", state["created"])
    assert re.match(r"1\.\d+\.\d+", state["ociVersion"])


@pytest.mark.parametrize(("command", "code"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 255)])
def test_run_passes_the_exit_code(runtime: Runtime, command: str, code: int) -> None:
    done = runtime(
        "run", "--bundle", runtime.bundle("sh", "-c", f"echo out; echo err >&2; {command}"), runtime.place.name()
    )
    assert (done.code, done.out) == (code, "out\n")
    assert "err\n" in done.err
    assert runtime("state", runtime.place.name()).code == 1


def test_run_by_config_elsewhere(ours: Runtime) -> None:
    bundle = ours.bundle("echo", "one")
    other = ours.place.top / "other.json"
    other.write_text((bundle / "config.json").read_text().replace('"one"', '"two"'))
    assert ours.ok("run", "--bundle", bundle, "--config", other, ours.place.name()) == "two\n"


def test_run_takes_the_current_directory(runtime: Runtime) -> None:
    bundle = runtime.bundle("echo", "here")
    done = runtime("run", runtime.place.name(), cwd=bundle)
    assert (done.code, done.out) == (0, "here\n")


def test_run_reads_standard_input(runtime: Runtime) -> None:
    bundle = runtime.bundle("wc", "-c")
    done = runtime("run", "--bundle", bundle, runtime.place.name(), stdin="x" * 200_000)
    assert (done.code, done.out.strip()) == (0, "200000")


def test_run_keep(like_runc: Runtime) -> None:
    id = like_runc.place.name()
    done = like_runc("run", "--keep", "--bundle", like_runc.bundle("sh", "-c", "exit 3"), id)
    assert done.code == 3
    assert like_runc.state(id)["status"] == "stopped"
    like_runc.ok("delete", id)


def test_run_detached(runtime: Runtime) -> None:
    id = runtime.place.name()
    pid_file = runtime.place.top / "pid"
    runtime.ok("run", "--detach", "--pid-file", pid_file, "--bundle", runtime.bundle("sleep", "1000"), id)
    state = runtime.state(id)
    assert state["status"] == "running"
    assert pid_file.read_text() == str(state["pid"])
    runtime.ok("delete", "--force", id)
    assert not runtime.place.cgroups()


def test_pid_file_has_digits_only(runtime: Runtime) -> None:
    id, pid_file = runtime.place.name(), runtime.place.top / "pid"
    runtime.ok("create", "--pid-file", pid_file, "--bundle", runtime.bundle("sleep", "1000"), id)
    assert pid_file.read_text() == str(runtime.state(id)["pid"])


def test_a_created_container_is_deleted_without_force(like_runc: Runtime) -> None:
    id = like_runc.create("sleep", "1000")
    pid = like_runc.state(id)["pid"]
    like_runc.ok("delete", id)
    eventually(
        lambda: not os.path.exists(f"/proc/{pid}") or "Z" in Path(f"/proc/{pid}/stat").read_text(), "init is gone"
    )


def test_a_shared_pid_namespace_is_emptied(runtime: Runtime) -> None:
    def share(config: dict[str, Any]) -> None:
        config["linux"]["namespaces"] = [{"type": kind} for kind in ("ipc", "uts", "mount", "network")]

    token = f"98{os.getpid()}"
    id = runtime.running("sh", "-c", f"sleep {token} & sleep {token}", change=share)
    runtime.ok("delete", "--force", id)

    def alive() -> list[str]:
        lines = (Path(f"/proc/{pid}/cmdline") for pid in os.listdir("/proc") if pid.isdigit())
        return [str(line) for line in lines if line.exists() and token.encode() in line.read_bytes()]

    eventually(lambda: not alive(), "every sleep is gone")


def test_list(like_runc: Runtime) -> None:
    one, two = like_runc.running(suffix="one"), like_runc.create("sleep", "1000", suffix="two")
    entries = {entry["id"]: entry for entry in json.loads(like_runc.ok("list", "--format", "json"))}
    assert {id: entry["status"] for id, entry in entries.items()} == {one: "running", two: "created"}
    assert entries[one]["owner"] == "root"
    assert like_runc.ok("list", "-q").split() == [one, two]
    head, *rows = like_runc.ok("list").splitlines()
    assert head.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert rows[0].split()[:3] == [one, str(entries[one]["pid"]), "running"]
    assert head.index("STATUS") == rows[0].index("running")


def test_list_of_nothing(ours: Runtime) -> None:
    assert ours.ok("list", "-q") == ""
    assert json.loads(ours.ok("list", "--format", "json")) == []


def test_the_rootfs_is_the_bundle_s(runtime: Runtime) -> None:
    bundle = runtime.bundle("sh", "-c", "echo written > /tmp/file; cat /etc/mark")
    (bundle / "rootfs/etc/mark").write_text("mark\n")
    assert runtime.ok("run", "--bundle", bundle, runtime.place.name()) == "mark\n"
    assert (bundle / "rootfs/tmp/file").read_text() == "written\n"


def test_preserve_fds(runtime: Runtime) -> None:
    bundle = runtime.bundle("sh", "-c", "cat <&3; ls /proc/self/fd | wc -l")
    read, write = os.pipe()
    os.write(write, b"through three\n")
    os.close(write)

    def place_at_three() -> None:
        os.dup2(read, 3)
        os.set_inheritable(3, True)

    command = runtime.command("run", "--preserve-fds", "1", "--bundle", bundle, runtime.place.name())
    done = subprocess.run(command, capture_output=True, preexec_fn=place_at_three, close_fds=False, timeout=30)
    os.close(read)
    assert done.returncode == 0, done
    assert done.stdout.startswith(b"through three\n")


def test_no_other_descriptor_reaches_the_container(runtime: Runtime) -> None:
    bundle = runtime.bundle("sh", "-c", "exec ls /proc/self/fd")
    done = runtime("run", "--bundle", bundle, runtime.place.name())
    # ls itself holds one for the directory.
    assert done.out.split()[:3] == ["0", "1", "2"]
    assert len(done.out.split()) == 4, done
