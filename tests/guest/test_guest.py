"""Hosts with cgroup v2 alone, and with AppArmor: the crates' own tests and the command, in a booted guest."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from guest import machine
from guest.machine import Report
from support.programs import TOP, program

pytestmark = [
    pytest.mark.judge,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(machine.missing()), reason=machine.missing() or "-"),
]
TARGET = "x86_64-unknown-linux-musl"
LIMIT = 64 << 20
SCRIPT = "cat /proc/self/cgroup /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; id -u; : < /dev/null || echo no null; exit 7"


def cargo_tests(package: str) -> Iterator[Path]:
    """Build the tests of a crate as static programs."""
    command = ["cargo", "test", "--no-run", "--quiet", "--locked", "--target", TARGET, "-p", package, "--message-format=json"]
    done = subprocess.run(command, cwd=TOP, stdout=subprocess.PIPE, text=True, check=True, timeout=500)
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable"):
            yield Path(message["executable"])


def bundle(**linux: Any) -> dict[str, Any]:
    """The configuration of a container with limits that says where it is."""
    kinds = ("pid", "mount", "ipc", "uts", "network", "cgroup")
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
    ]
    resources = {"memory": {"limit": LIMIT, "swap": LIMIT}, "pids": {"limit": 33}, "cpu": {"quota": 50000, "period": 100000}}
    return {
        "ociVersion": "1.2.0",
        "process": {"args": ["/bin/sh", "-c", SCRIPT], "env": ["PATH=/bin"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "root": {"path": "/bundle/rootfs"},
        "mounts": mounts,
        "linux": {"namespaces": [{"type": kind} for kind in kinds], "resources": resources, **linux},
    }


@pytest.fixture(scope="module")
def v2() -> Report:
    archive = machine.base()
    for number, executable in enumerate(cargo_tests("stockade-cgroup")):
        archive.program(f"steps/1-cgroup-{number}", executable)
    archive.program("bin/stockade-oci", program("stockade-oci"))
    archive.program("bundle/rootfs/bin/busybox", machine.BUSYBOX)
    for command in ("sh", "cat", "id"):
        archive.link(f"bundle/rootfs/bin/{command}", "busybox")
    for folder in ("proc", "sys", "dev"):
        archive.folder(f"bundle/rootfs/{folder}")
    archive.file("bundle/plain/config.json", json.dumps(bundle()).encode())
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    own = bundle(uidMappings=maps, gidMappings=maps)
    own["linux"]["namespaces"].append({"type": "user"})
    archive.file("bundle/user/config.json", json.dumps(own).encode())
    for kind in ("plain", "user"):
        run = f"#!/bin/sh\nexec stockade-oci run --bundle /bundle/{kind} {kind}\n"
        archive.file(f"steps/2-run-{kind}", run.encode(), 0o755)
    left = "#!/bin/sh\nls -d /sys/fs/cgroup/stockade*/* /sys/fs/cgroup/*test* 2>/dev/null | grep -v '/cgroup\\.\\|\\.[a-z_]*$' && exit 1\nexit 0\n"
    archive.file("steps/9-nothing-left", left.encode(), 0o755)
    return machine.boot(archive)


def test_the_guest_boots_in_time(v2: Report) -> None:
    assert "GUEST up after" in v2.console, v2.console[-4000:]
    assert v2.seconds < machine.BOUND


def test_the_cgroup_crate_holds_on_v2(v2: Report) -> None:
    steps = [step for step, _ in machine.RESULT.findall(v2.console) if step.startswith("1-")]
    assert len(steps) >= 2
    failed = [v2.said(step) for step in steps if v2.status(step) != 0]
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("kind", ["plain", "user"])
def test_the_command_runs_a_bundle_on_v2(v2: Report, kind: str) -> None:
    said = v2.said(f"2-run-{kind}")
    assert v2.status(f"2-run-{kind}") == 7, said
    assert said.split("\n")[1:] == ["0::/", str(LIMIT), "33", "0", ""], said


def test_nothing_stays_behind(v2: Report) -> None:
    assert v2.status("9-nothing-left") == 0, v2.said("9-nothing-left")
