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
from guest.archive import Archive
from guest.kernel import apparmor_policy
from guest.machine import Report
from support import roots
from support.programs import NAMES, TOP, program

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
BELOW = """#!/bin/sh
stockade-oci create --bundle /bundle/long below </dev/null >/dev/null 2>&1
stockade-oci start below
mkdir /sys/fs/cgroup/stockade/below/sub
for path in sub /sub no/../sub; do
    stockade-oci exec --cgroup $path below cat /proc/self/cgroup
done
for path in ../x sub/../.. /other memory:sub; do
    stockade-oci exec --cgroup $path below true 2>&1 && echo entered
done
rmdir /sys/fs/cgroup/stockade/below/sub
stockade-oci delete --force below
"""
# An ordinary user in a cgroup of root's, then in one whose parent was handed to him with its controllers.
USER = r"""#!/bin/sh
set -e
mkdir -p /home/u/run /home/u/work
chown -R u:u /home/u
as_user() { su -s /bin/sh u -c "cd /home/u/work; . /share/environment; $1" 2>&1 || echo "status $?"; }
echo $$ > /sys/fs/cgroup/cgroup.procs
echo -- alone
as_user 'do_ --verbose --stats true'
as_user 'do_ --memory 64m true'
cd /sys/fs/cgroup
mkdir user user/shell
for place in . user; do echo "+cpu +memory +pids" > $place/cgroup.subtree_control; done
chown -R u:u user
echo $$ > user/shell/cgroup.procs
echo -- delegated
as_user 'do_ --verbose --stats --memory 64m --pids-limit 9 cat /proc/self/cgroup'
as_user "do_ --memory 32m sh -c 'a=x; while :; do a=\$a\$a; done'"
as_user "do_ --pids-limit 9 sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do sleep 5 & done; wait'"
ls -d user/*/
echo $$ > cgroup.procs
for turn in 1 2 3 4 5 6 7 8 9; do rmdir user/shell 2>/dev/null && break; sleep 1; done
[ ! -d user/shell ] || for pid in $(cat user/shell/cgroup.procs); do cat /proc/$pid/cmdline; done
rmdir user
"""
ENVIRONMENT = """
export HOME=/home/u XDG_RUNTIME_DIR=/home/u/run STOCKADE_BIN_DIR=/opt/bin PYTHONPATH=/opt/src PYTHONDONTWRITEBYTECODE=1
do_() { python3.11 -c "import sys; from stockade.cli import main; sys.exit(main())" do "$@"; }
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


def add_python(archive: Archive) -> None:
    """A user, Python and the command `stockade`."""
    root = roots.python()
    archive.tree("usr/lib", root / "usr/lib", leave=("gconv", "test", "perl-base", "__pycache__"))
    archive.link("lib", "usr/lib")
    archive.tree("lib64", root / "usr/lib64")
    archive.program("usr/bin/python3.11", root / "usr/bin/python3.11")
    archive.tree("opt/src", TOP / "src", leave=("__pycache__",))
    for name in NAMES:
        archive.program(f"opt/bin/{name}", program(name))
    archive.link("bin/python3.11", "/usr/bin/python3.11")
    archive.file("etc/passwd", b"root:x:0:0::/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n")
    archive.file("etc/group", b"root:x:0:\nu:x:1000:\n")
    archive.file("share/environment", ENVIRONMENT.encode())


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
    archive.file("steps/4-below", BELOW.encode(), 0o755)
    archive.file("steps/5-user", USER.encode(), 0o755)
    add_python(archive)
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


def test_a_second_process_goes_into_a_cgroup_below_on_v2(v2: Report) -> None:
    said = v2.said("4-below")
    assert v2.status("4-below") == 0, said
    lines = said.split("\n")[1:-1]
    assert lines[:3] == ["0::/sub"] * 3, said
    reasons = ("leaves the container's cgroup", "leaves the container's cgroup", "is not there", "no hierarchies")
    assert all(reason in line for reason, line in zip(reasons, lines[3:], strict=True)), said


def test_limits_of_an_ordinary_user(v2: Report) -> None:
    said = v2.said("5-user")
    assert v2.status("5-user") == 0, said
    alone, delegated = said.split("-- alone\n")[1].split("-- delegated\n")
    assert "no cgroup is delegated to this user" in alone
    assert re.search(r"used [0-9.]+ s of processor time, .* of memory at most", alone)  # as wait4 counts
    assert "the limit memory cannot be held" in alone
    assert "status 125" in alone
    assert "user mode" in delegated
    assert "0::/" in delegated
    assert " of memory at most" in delegated
    assert "status 137" in delegated
    assert "killed at its memory limit of 32.0 MiB" in delegated
    assert "forks were refused at its limit of 9 processes" in delegated
    assert delegated.rstrip().endswith("user/shell/")


def test_an_apparmor_profile_confines(v2: Report) -> None:
    assert v2.status("2-policy") == 0, v2.said("2-policy")
    assert v2.said("2-run-apparmor").split("\n")[1:] == ["stockade-test (enforce)", "refused", "read", ""], v2.said(
        "2-run-apparmor"
    )


def test_nothing_stays_behind(v2: Report) -> None:
    assert v2.status("9-nothing-left") == 0, v2.said("9-nothing-left")
