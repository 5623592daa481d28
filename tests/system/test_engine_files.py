"""cp, diff, export and commit by the unmodified docker CLI, of containers that run and that do not."""

from __future__ import annotations

import io
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import fixtures
from support.daemon import IMAGE, Daemon
from support.patience import eventually

pytestmark = pytest.mark.root


_docker = fixtures.docker


@pytest.fixture(params=["running", "stopped"])
def box(docker: Daemon, request: pytest.FixtureRequest) -> Iterator[str]:
    """A container that wrote something, and runs or does not any more."""
    line = "echo text > /tmp/file; chmod 640 /tmp/file; chown www:www /tmp/file; mkdir -p /tmp/d/e; touch /tmp/d/e/f; "
    line += "ln -s /etc/passwd /tmp/link; ln -s /etc /tmp/dirlink; rm /bin/tee /etc/group; sleep "
    identity = docker.run(IMAGE, "sh", "-c", line + ("1000" if request.param == "running" else "0.1"))
    if request.param == "stopped":
        docker.docker("wait", identity)
    else:
        eventually(lambda: docker.docker("exec", identity, "test", "-e", "/etc/group", check=False).returncode != 0)
    yield identity
    docker.docker("rm", "-f", identity)


def archive(docker: Daemon, source: str) -> dict[str, tarfile.TarInfo]:
    """What `docker cp SOURCE -` writes."""
    done = subprocess.run(docker.words("cp", source, "-"), capture_output=True, check=True, timeout=60)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        return {entry.name: entry for entry in tar}


def test_cp_out(docker: Daemon, box: str, tmp_path: Path) -> None:
    docker.docker("cp", f"{box}:/tmp/file", str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "text\n"
    entry = archive(docker, f"{box}:/tmp/file")["file"]
    assert (entry.uid, entry.gid, entry.mode & 0o777) == (33, 33, 0o640)
    docker.docker("cp", f"{box}:/tmp/d", str(tmp_path))
    assert (tmp_path / "d/e/f").is_file()
    assert "root:x:0:0" in docker.said("cp", "-L", f"{box}:/tmp/link", "-")
    assert archive(docker, f"{box}:/tmp/link")["link"].issym()
    missing = docker.docker("cp", f"{box}:/nowhere", str(tmp_path), check=False)
    assert missing.returncode == 1
    words = ("Could not find the file /nowhere in container", "No such container:path")  # docker's own, and up to 20.10
    assert any(word in missing.stderr for word in words)


def test_cp_in(docker: Daemon, box: str, tmp_path: Path) -> None:
    (tmp_path / "new").write_text("new\n")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/leaf").write_text("leaf\n")
    docker.docker("cp", str(tmp_path / "new"), f"{box}:/tmp/dirlink/new")
    docker.docker("cp", str(tmp_path / "tree"), f"{box}:/tmp")
    found = archive(docker, f"{box}:/etc/new")["new"]
    assert (found.uid, found.gid) == (0, 0)
    assert archive(docker, f"{box}:/tmp/tree")["tree/leaf"].size == 5
    blocked = docker.docker("cp", str(tmp_path / "tree"), f"{box}:/tmp/file", check=False)
    assert blocked.returncode == 1
    if docker.inspect(box, "{{json .State.Running}}"):
        assert docker.said("exec", box, "cat", "/etc/new") == "new"


def test_a_big_file_both_ways(docker: Daemon, box: str, tmp_path: Path) -> None:
    data = bytes(range(256)) * 40_000
    (tmp_path / "big").write_bytes(data)
    docker.docker("cp", str(tmp_path / "big"), f"{box}:/tmp/big")
    docker.docker("cp", f"{box}:/tmp/big", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == data


def test_diff(docker: Daemon, box: str) -> None:
    lines = docker.said("diff", box).splitlines()
    assert {"A /tmp/file", "A /tmp/d", "A /tmp/d/e/f", "D /etc/group", "C /etc", "C /tmp", "A /tmp/link"} <= set(lines)
    assert not [line for line in lines if "hosts" in line or "/proc" in line or "/dev" in line or "env" in line]


def test_export(docker: Daemon, box: str, tmp_path: Path) -> None:
    docker.docker("export", "-o", str(tmp_path / "all.tar"), box)
    with tarfile.open(tmp_path / "all.tar") as tar:
        entries = {entry.name.removeprefix("./").rstrip("/"): entry for entry in tar}
    assert entries["tmp/file"].uid == 33
    assert entries["bin/sh"].issym()
    assert "etc/group" not in entries
    assert entries["etc/passwd"].uid == 0
    assert (entries[".dockerenv"].size, entries[".dockerenv"].uid, entries[".dockerenv"].mode) == (0, 0, 0o755)


def test_commit(docker: Daemon, box: str) -> None:
    changes = ["-c", 'CMD ["cat", "/tmp/file"]', "-c", "ENV A=b", "-c", "LABEL x=y", "-c", "EXPOSE 80"]
    image = docker.said("commit", "-m", "why", "-a", "who", *changes, box, "made:1")
    assert image.startswith("sha256:")
    words = ["run", "--rm", "--network", "none", "made:1"]
    assert docker.said(*words) == "text"
    assert docker.said(
        *words, "sh", "-c", "echo $A; stat -c %u:%g:%a /tmp/file; ls /etc"
    ) == "b\n33:33:640\n" + "\n".join(sorted(["hostname", "hosts", "passwd", "resolv.conf"]))
    assert docker.inspect("made:1", "{{json .Config.Labels}}") == {"x": "y"}
    assert docker.inspect(box, "{{json .State.Paused}}") is False
    bad = docker.docker("commit", "-c", "FROM x", box, check=False)
    assert "is not a valid change command" in bad.stderr
    docker.docker("rmi", "made:1")


def test_a_read_only_root_takes_nothing(docker: Daemon, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    volumes = ("-v", "/v", "-v", f"{tmp_path}:/ro:ro")
    identity = docker.run("--read-only", *volumes, IMAGE, "sleep", "1000")
    refused = docker.docker("cp", str(tmp_path / "f"), f"{identity}:/f", check=False)
    assert "container rootfs is marked read-only" in refused.stderr
    refused = docker.docker("cp", str(tmp_path / "f"), f"{identity}:/ro/g", check=False)
    assert "mounted volume is marked read-only" in refused.stderr
    docker.docker("cp", str(tmp_path / "f"), f"{identity}:/v/f")
    assert docker.said("exec", identity, "ls", "/v") == "f"
    docker.docker("rm", "-f", identity)


def test_binds_are_part_of_it(docker: Daemon, tmp_path: Path) -> None:
    (tmp_path / "inside").write_text("host\n")
    tmp_path.chmod(0o755)
    for end in ("1000", "0"):
        identity = docker.run("-v", f"{tmp_path}:/data:ro", IMAGE, "sleep", end)
        if end == "0":
            docker.docker("wait", identity)
        assert "inside" in archive(docker, f"{identity}:/data/inside")
        refused = docker.docker("cp", str(tmp_path / "inside"), f"{identity}:/data/more", check=False)
        assert refused.returncode == 1
        docker.docker("rm", "-f", identity)
    assert not (tmp_path / "more").exists()


def ask(docker: Daemon, text: str, body: bytes = b"") -> socket.socket:
    """A client that sent its request and reads when it likes."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(docker.socket))
    client.settimeout(30)
    client.sendall(f"{text} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) * 2}\r\n\r\n".encode() + body)
    return client


@pytest.mark.parametrize("running", [True, False])
def test_clients_that_hang_up_leave_nothing(docker: Daemon, running: bool) -> None:
    identity = docker.run(IMAGE, "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=20; echo made; sleep 1000")
    eventually(lambda: "made" in docker.said("logs", identity), patience=30)
    if not running:
        docker.docker("stop", "-t", "0", identity)
    for path in ("archive?path=/big", "export"):
        client = ask(docker, f"GET /v1.51/containers/{identity}/{path}")
        assert client.recv(1000)
        client.close()
    ask(docker, f"PUT /v1.51/containers/{identity}/archive?path=/tmp", b"x" * 600).close()
    if not running:
        docker.docker("start", identity, timeout=30)
        docker.docker("stop", "-t", "0", identity)
        stalled = ask(docker, f"GET /v1.51/containers/{identity}/archive?path=/big")
        assert stalled.recv(100)
        docker.docker("rm", "-f", identity, timeout=30)
        stalled.close()
    else:
        docker.docker("rm", "-f", identity)
    eventually(lambda: not [line for line in docker.place.processes().values() if "stockade-layer" in line])
