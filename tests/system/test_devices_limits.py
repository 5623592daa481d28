"""Limits of devices, changed and taken away while a container runs: in its cgroup, as the kernel tells them."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import api, fixtures
from support.daemon import Daemon

pytestmark = pytest.mark.root
_docker = fixtures.docker


@pytest.fixture(name="device")
def _device() -> str:
    """A disk of this machine; nothing is read of it or written to it."""
    for name in sorted(os.listdir("/sys/block")):
        path = Path("/dev", name)
        if path.exists() and stat.S_ISBLK(path.stat().st_mode) and (Path("/sys/block") / name / "queue").exists():
            return str(path)
    pytest.skip("this machine has no block device")


@pytest.fixture(name="box")
def _box(docker: Daemon, device: str) -> Iterator[str]:
    rates = [{"Path": device, "Rate": 1 << 20}]
    identity = api.begin(docker, "sleep", "1000", BlkioDeviceReadBps=rates, BlkioDeviceWriteIOps=rates)
    yield identity
    api.remove(docker, identity)


def limits(docker: Daemon, identity: str) -> dict[str, str]:
    """What the kernel holds it to: `rbps` and `wiops`, where there is a limit."""
    pid = api.must(docker, "GET", f"/containers/{identity}/json")["State"]["Pid"]
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    places = {names: path for _, names, path in (line.split(":", 2) for line in lines)}
    if "blkio" in places:
        top = Path(f"/sys/fs/cgroup/blkio{places['blkio']}")
        files = {"rbps": "blkio.throttle.read_bps_device", "wiops": "blkio.throttle.write_iops_device"}
        said = {key: (top / name).read_text().split() for key, name in files.items()}
        return {key: words[-1] for key, words in said.items() if words}
    text = Path(f"/sys/fs/cgroup{places['']}/io.max").read_text()
    return dict(re.findall(r"(rbps|wiops)=(\d+)", text))


def test_an_empty_list_takes_a_limit_away(docker: Daemon, device: str, box: str) -> None:
    assert limits(docker, box) == {"rbps": str(1 << 20), "wiops": str(1 << 20)}
    change = {"BlkioDeviceReadBps": [{"Path": device, "Rate": 2 << 20}], "BlkioDeviceWriteIOps": None}
    api.must(docker, "POST", f"/containers/{box}/update", change)
    assert limits(docker, box) == {"rbps": str(2 << 20), "wiops": str(1 << 20)}
    api.must(docker, "POST", f"/v1.54/containers/{box}/update", {"BlkioDeviceReadBps": []})
    assert limits(docker, box)["rbps"] == str(2 << 20)
    api.must(docker, "POST", f"/containers/{box}/update", {"BlkioDeviceReadBps": []})
    assert limits(docker, box) == {"wiops": str(1 << 20)}
    shown = api.must(docker, "GET", f"/containers/{box}/json")["HostConfig"]
    assert shown["BlkioDeviceReadBps"] == []
