"""docker-py, unmodified, with our daemon."""

from __future__ import annotations

import io
import tarfile
import time
from typing import Any

import pytest

from support import fixtures
from support.daemon import IMAGE

docker: Any = pytest.importorskip("docker")
pytestmark = [pytest.mark.root, pytest.mark.filterwarnings("ignore::ResourceWarning")]


_docker, _client = fixtures.docker, fixtures.client


def test_run(client: Any) -> None:
    assert client.containers.run(IMAGE, "echo hello", remove=True) == b"hello\n"
    with pytest.raises(docker.errors.ContainerError) as caught:
        client.containers.run(IMAGE, ["sh", "-c", "echo wrong >&2; exit 3"], remove=True)
    assert caught.value.exit_status == 3
    assert client.containers.list(all=True) == []


def test_a_container_from_birth_to_death(client: Any) -> None:
    box = client.containers.run(
        IMAGE,
        ["sh", "-c", "echo out; echo err >&2; exec sleep 1000"],
        detach=True,
        name="box",
        labels={"a": "b"},
        environment={"X": "1"},
        mem_limit="64m",
        network_mode="none",
    )
    time.sleep(0.5)
    box.reload()
    assert box.status == "running"
    assert "X=1" in box.attrs["Config"]["Env"]
    assert sorted(box.logs().split()) == [b"err", b"out"]
    assert box.logs(stdout=False) == b"err\n"
    assert [one.name for one in client.containers.list(filters={"label": "a=b"})] == ["box"]
    assert box.top()["Processes"][0][-1] == "sleep 1000"
    assert box.stats(stream=False)["memory_stats"]["limit"] == 64 << 20
    box.pause()
    box.unpause()
    box.rename("other")
    box.update(mem_limit="128m", memswap_limit="256m")
    box.reload()
    assert (box.name, box.attrs["HostConfig"]["Memory"]) == ("other", 128 << 20)
    box.stop(timeout=0)
    assert box.wait()["StatusCode"] == 137
    box.start()
    box.kill()
    box.wait()
    box.remove()
    with pytest.raises(docker.errors.NotFound, match="No such container: other"):
        client.containers.get("other")


def test_exec(client: Any) -> None:
    box = client.containers.run(IMAGE, "sleep 1000", detach=True)
    assert box.exec_run(["sh", "-c", "echo a; echo b >&2; exit 4"], demux=True) == (4, (b"a\n", b"b\n"))
    assert box.exec_run("id -u", user="33").output == b"33\n"
    taken = box.exec_run("cat", stdin=True, socket=True).output
    taken._sock.sendall(b"typed")
    taken._sock.shutdown(1)
    assert taken.read().endswith(b"typed")


def test_archives(client: Any) -> None:
    box = client.containers.create(IMAGE, "sleep 1000")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("file")
        entry.size = 2
        tar.addfile(entry, io.BytesIO(b"hi"))
    assert box.put_archive("/tmp", archive.getvalue())
    pieces, stat = box.get_archive("/tmp/file")
    assert (stat["name"], stat["size"]) == ("file", 2)
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        found = tar.extractfile("file")
        assert found is not None
        assert found.read() == b"hi"
    assert {"Path": "/tmp/file", "Kind": 1} in box.diff()
    with pytest.raises(docker.errors.NotFound):
        box.get_archive("/none-such")


def test_images(client: Any) -> None:
    box = client.containers.run(IMAGE, ["touch", "/made"], detach=True)
    box.wait()
    image = box.commit("kept", "1", message="why", author="me")
    assert image.tags == ["kept:1"]
    assert image.history()[0]["Comment"] == "why"
    data = b"".join(image.save(named=True))
    box.remove()
    client.images.remove("kept:1")
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("kept:1")
    [loaded] = client.images.load(data)
    assert loaded.tags == ["kept:1"]
    assert client.containers.run("kept:1", ["ls", "/made"], remove=True) == b"/made\n"
    assert loaded.tag("kept", "2")
    assert {"kept:1", "kept:2"} <= {tag for one in client.images.list() for tag in one.tags}
    client.images.remove(loaded.id, force=True)
    with pytest.raises(docker.errors.APIError, match="cannot be reached"):
        client.images.pull("busybox")


def test_the_daemon_itself(client: Any) -> None:
    begun = int(time.time())
    client.containers.run(IMAGE, "true", remove=True)
    said = [one["Action"] for one in client.events(since=begun, until=int(time.time()) + 1, decode=True)]
    assert {"create", "start", "die", "destroy"} <= set(said)
    assert client.ping()
    assert client.info()["OSType"] == "linux"
    assert client.df()["ImageUsage"]["TotalCount"]
    assert {one.name for one in client.networks.list()} == {"bridge", "none", "host"}
    assert client.volumes.list() == []
    assert client.containers.prune()["SpaceReclaimed"] == 0
