"""Hosts with cgroup v2 alone, and with AppArmor: the crates' own tests and the command, in a booted guest."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guest import machine
from guest.kernel import apparmor_policy
from guest.machine import Report
from support.programs import TOP, program

pytestmark = [
    pytest.mark.judge,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(machine.missing()), reason=machine.missing() or "-"),
]
TARGET = "x86_64-unknown-linux-musl"
LIMIT = 64 << 20
SCRIPT = "cat /proc/self/cgroup /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; id -u; : < /dev/null; exit 7"


PROFILE = """
profile stockade-test flags=(attach_disconnected) {
  file,
  capability,
  deny /proc/uptime r,
}
"""
CONFINED = """
cat /proc/self/attr/current
cat /proc/uptime >/dev/null 2>&1 || echo refused
cat /proc/version >/dev/null && echo read
"""
VERBS = """#!/bin/sh
set -e
stockade-oci create --bundle /bundle/long long </dev/null >/dev/null 2>&1
stockade-oci start long
stockade-oci exec long cat /proc/self/cgroup
stockade-oci pause long
cat /sys/fs/cgroup/stockade/long/cgroup.events
stockade-oci resume long
stockade-oci update --pids-limit 44 long
cat /sys/fs/cgroup/stockade/long/pids.max
stockade-oci events --stats long | grep -o '"pids":{[^}]*}'
stockade-oci kill long KILL
while stockade-oci state long | grep -q '"running"'; do sleep 0.1; done
stockade-oci delete long
"""
LEFT = """#!/bin/sh
for place in /sys/fs/cgroup/*/; do
    case $place in */stockade/) set -- $place*/ ;; *) set -- $place ;; esac
    [ ! -d "$1" ] || { echo "$1"; exit 1; }
done
"""


def cargo_tests(package: str) -> Iterator[Path]:
    """Build the tests of a crate as static programs."""
    command = [
        "cargo",
        "test",
        "--no-run",
        "--quiet",
        "--locked",
        "--target",
        TARGET,
        "-p",
        package,
        "--message-format=json",
    ]
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
    resources = {
        "memory": {"limit": LIMIT, "swap": LIMIT},
        "pids": {"limit": 33},
        "cpu": {"quota": 50000, "period": 100000},
    }
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
    for command in ("sh", "cat", "id", "sleep"):
        archive.link(f"bundle/rootfs/bin/{command}", "busybox")
    for folder in ("proc", "sys", "dev"):
        archive.folder(f"bundle/rootfs/{folder}")
    archive.file("bundle/plain/config.json", json.dumps(bundle()).encode())
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    own = bundle(uidMappings=maps, gidMappings=maps)
    own["linux"]["namespaces"].append({"type": "user"})
    archive.file("bundle/user/config.json", json.dumps(own).encode())
    confined = bundle()
    confined["process"] |= {
        "args": ["/bin/sh", "-c", CONFINED],
        "apparmorProfile": "stockade-test",
        "noNewPrivileges": True,
    }
    long = bundle()
    long["process"]["args"] = ["/bin/sleep", "100"]
    archive.file("bundle/long/config.json", json.dumps(long).encode())
    archive.file("steps/3-verbs", VERBS.encode(), 0o755)
    archive.file("bundle/apparmor/config.json", json.dumps(confined).encode())
    archive.file("share/policy", apparmor_policy(PROFILE))
    load = "#!/bin/sh\ncat /share/policy > /sys/kernel/security/apparmor/.load\n"
    archive.file("steps/2-policy", load.encode(), 0o755)
    for kind in ("plain", "user", "apparmor"):
        run = f"#!/bin/sh\nexec stockade-oci run --bundle /bundle/{kind} {kind}\n"
        archive.file(f"steps/2-run-{kind}", run.encode(), 0o755)
    archive.file("steps/9-nothing-left", LEFT.encode(), 0o755)
    return machine.boot(archive)


def test_the_guest_boots_in_time(v2: Report, record_property: Callable[[str, object], None]) -> None:
    up = re.search("GUEST (up after .*)", v2.console)
    assert up, v2.console[-4000:]
    assert v2.seconds < machine.BOUND
    record_property("guest", f"{up[1]}, all of it {v2.seconds:.0f} s")


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


def test_the_verbs_work_on_v2(v2: Report) -> None:
    said = v2.said("3-verbs")
    assert v2.status("3-verbs") == 0, said
    lines = said.split("\n")[1:-1]
    assert lines[:4] == ["0::/", "populated 1", "frozen 1", "44"], said
    assert json.loads("{" + lines[4] + "}")["pids"] == {"current": 1, "limit": 44}, said


def test_an_apparmor_profile_confines(v2: Report) -> None:
    assert v2.status("2-policy") == 0, v2.said("2-policy")
    assert v2.said("2-run-apparmor").split("\n")[1:] == ["stockade-test (enforce)", "refused", "read", ""], v2.said(
        "2-run-apparmor"
    )


def test_nothing_stays_behind(v2: Report) -> None:
    assert v2.status("9-nothing-left") == 0, v2.said("9-nothing-left")
