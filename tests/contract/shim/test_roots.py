"""Roots of many id-mapped layers, and the files of a container while it runs."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from contract.shim.peer import Shim
from support import bundle, programs
from support.patience import eventually
from support.wall import Work

pytestmark = pytest.mark.root

BASE = bundle.USER_BASE
MAPS = ("--uid-map", f"0:{BASE}:65536", "--gid-map", f"0:{BASE}:65536")


@pytest.fixture
def stacked(tmp_path: Path, busybox_root: Path) -> dict[int, Any]:
    """The root of 127 layers with busybox as the lowest, as Create takes it."""
    lowers = []
    for number in range(126):
        layer = tmp_path / f"a-layer-whose-name-is-long-enough-to-fill-the-options-{number:03}"
        (layer / "layers").mkdir(parents=True)
        (layer / f"layers/{number}").touch()
        lowers.append(str(layer))
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, BASE, BASE)
    options = [f"lowerdir={':'.join([*lowers, str(busybox_root)])}", f"upperdir={tmp_path}/upper",
               f"workdir={tmp_path}/work", f"uidmap=0:{BASE}:65536", f"gidmap=0:{BASE}:65536"]  # fmt: skip
    assert len(",".join(options)) > 8192
    return {1: "overlay", 2: "overlay", 4: options}


def start(shim: Shim, stacked: dict[int, Any], *argv: str, out: str = "") -> Any:
    config = bundle.config(Work(argv=argv, root=Path("rootfs"), env={"PATH": "/bin"}), True)
    config["root"]["readonly"] = False
    peer = shim.start("c", config)
    peer.call("Create", {1: "c", 2: str(shim.bundle("c")), 3: [stacked], 6: out})
    peer.call("Start", {1: "c"})
    return peer


def test_127_layers(shim: Shim, stacked: dict[int, Any]) -> None:
    log = shim.place.top / "log"
    peer = start(shim, stacked, "sh", "-c", "ls /layers | wc -l; stat -c %u /layers/125", out=f"file://{log}")
    assert peer.call("Wait", {1: "c"})[1] == 0
    assert log.read_text() == "126\n0\n"


def test_files_of_a_container_that_runs(shim: Shim, stacked: dict[int, Any]) -> None:
    script = (
        "mkdir -p /data; echo mine > /data/file; chown 7:8 /data/file; ln -s /etc /data/out; touch /ready; sleep 1000"
    )
    peer = start(shim, stacked, "sh", "-c", script)
    client = shim.ask("c", '{"rootfs":{"id":"c"}}')
    _, [root], _, _ = socket.recv_fds(client, 100, 1)
    layer = programs.program("stockade-layer")

    def run(*words: str, data: bytes = b"") -> bytes:
        done = subprocess.run([layer, *words], input=data, capture_output=True, pass_fds=[root], check=True, timeout=30)
        return done.stdout

    ready: list[str | Path] = [layer, "stat", "--root", str(root), "/ready"]
    eventually(lambda: subprocess.run(ready, pass_fds=[root], capture_output=True, check=False).returncode == 0)
    found = json.loads(run("stat", "--root", str(root), "/data/file"))
    assert (found["size"], found["mode"]) == (5, 0o644)
    got = run("copy-out", "--root", str(root), *MAPS, "--to", "1", "/data")
    with tarfile.open(fileobj=io.BytesIO(got)) as tar:
        assert {one.name: (one.uid, one.gid, one.linkname) for one in tar.getmembers()} == {
            "data": (0, 0, ""), "data/file": (7, 8, ""), "data/out": (0, 0, "/etc"),
        }  # fmt: skip
    exported = run("export", "--root", str(root), *MAPS, "--to", "1")
    with tarfile.open(fileobj=io.BytesIO(exported)) as tar:
        names = set(tar.getnames())
        assert {"proc", "bin/busybox", "data/file", "layers/0"} <= names
        assert not any(name.startswith(("proc/", "sys/", "dev/")) for name in names)
    given = io.BytesIO()
    with tarfile.open(fileobj=given, mode="w") as tar:
        info = tarfile.TarInfo("out/given")
        info.uid, info.gid, info.size = 9, 10, 4
        tar.addfile(info, io.BytesIO(b"here"))
    run("copy-in", "--root", str(root), *MAPS, "/data", data=given.getvalue())
    # The link was the container's, so it led to the container's /etc.
    seen = shim.place.top / "seen"
    look = Work(argv=("sh", "-c", "stat -c '%u %g %s' /etc/given"), root=Path("/"), env={"PATH": "/bin"})
    peer.call("Exec", {1: "c", 2: "look", 5: f"file://{seen}", 7: {2: json.dumps(bundle.process(look))}})
    peer.call("Start", {1: "c", 2: "look"})
    assert peer.call("Wait", {1: "c", 2: "look"})[1] == 0
    assert seen.read_text() == "9 10 4\n"
    assert not Path("/etc/given").exists()
    os.close(root)
    peer.call("Kill", {1: "c", 3: 9})
    peer.call("Wait", {1: "c"})
