"""exec, attach, logs, stats, top, archives and commit by docker-py, as its users call them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from support import fixtures
from support.daemon import IMAGE

pytestmark = pytest.mark.root
docker: Any = pytest.importorskip("docker")


_docker, _client = fixtures.docker, fixtures.client


@pytest.fixture
def box(client: Any) -> Iterator[Any]:
    made = client.containers.run(IMAGE, ["sleep", "1000"], detach=True, network_mode="none")
    yield made
    made.remove(force=True)


def test_run_returns_output_or_raises(client: Any) -> None:
    words: dict[str, Any] = {"network_mode": "none", "remove": True}
    assert client.containers.run(IMAGE, "echo hello", **words) == b"hello\n"
    with pytest.raises(docker.errors.ContainerError) as caught:
        client.containers.run(IMAGE, ["sh", "-c", "echo no >&2; exit 3"], **words)
    assert (caught.value.exit_status, caught.value.stderr) == (3, b"no\n")


def test_exec_in_all_its_forms(box: Any) -> None:
    assert box.exec_run("echo hi") == (0, b"hi\n")
    code, (out, err) = box.exec_run(["sh", "-c", "echo out; echo err >&2; exit 4"], demux=True)
    assert (code, out, err) == (4, b"out\n", b"err\n")
    code, stream = box.exec_run(["seq", "3"], stream=True)
    assert (code, b"".join(stream)) == (None, b"1\n2\n3\n")
    code, quiet = box.exec_run("true", detach=True)
    assert (code in (None, 0), quiet) == (True, "")
    assert box.exec_run("id -u", user="www").output == b"33\n"
    assert box.exec_run("pwd", workdir="/etc").output == b"/etc\n"
    assert box.exec_run(["sh", "-c", "echo $A"], environment={"A": "b"}).output == b"b\n"


def test_exec_by_a_socket(client: Any, box: Any) -> None:
    made = client.api.exec_create(box.id, ["cat"], stdin=True)
    sock = client.api.exec_start(made["Id"], socket=True)
    raw = sock._sock
    raw.settimeout(20)
    raw.sendall(b"through")
    head = _exactly(raw, 8)
    assert head[0] == 1
    assert _exactly(raw, int.from_bytes(head[4:], "big")) == b"through"
    assert client.api.exec_inspect(made["Id"])["Running"] is True
    raw.close()
    sock.close()


def _exactly(raw: Any, count: int) -> bytes:
    found = b""
    while len(found) < count:
        piece = raw.recv(count - len(found))
        assert piece
        found += piece
    return found


def test_attach_and_logs(client: Any) -> None:
    box = client.containers.create(IMAGE, ["sh", "-c", "echo one; echo two >&2; sleep 0.3; echo three"])
    stream = box.attach(stream=True, logs=False)
    box.start()
    assert sorted(b"".join(stream).split()) == [b"one", b"three", b"two"]
    assert box.wait()["StatusCode"] == 0
    assert box.logs(stdout=True, stderr=False) == b"one\nthree\n"
    assert box.logs(tail=1) == b"three\n"
    assert list(box.logs(stream=True, follow=True)) != []
    assert b"one\n" in box.attach(logs=True, stream=False)
    box.remove()


def test_statistics(client: Any, box: Any) -> None:
    once = box.stats(stream=False)
    assert once["id"] == box.id
    assert once["memory_stats"]["usage"] > 0
    assert once["precpu_stats"]["system_cpu_usage"] < once["cpu_stats"]["system_cpu_usage"]
    stream = box.stats(stream=True, decode=True)
    first, second = next(stream), next(stream)
    assert second["preread"] == first["read"]
    stream.close()
    top = box.top(ps_args="-o pid,args")
    assert top["Titles"] == ["PID", "COMMAND"]
    assert top["Processes"][0][1] == "sleep 1000"


def test_archives(box: Any) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        entry = tarfile.TarInfo("dir/file")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"abc"))
    assert box.put_archive("/tmp", made.getvalue()) is True
    pieces, stat = box.get_archive("/tmp/dir/file")
    assert (stat["name"], stat["size"], stat["linkTarget"]) == ("file", 3, "")
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        file = tar.extractfile("file")
        assert file is not None
        assert file.read() == b"abc"
    with pytest.raises(docker.errors.NotFound, match="Could not find the file /nope in container"):
        box.get_archive("/nope")
    with pytest.raises(docker.errors.APIError):
        box.put_archive("/tmp", b"this is no archive" * 100)
    assert {"Path": "/tmp/dir/file", "Kind": 1} in box.diff()
    exported = b"".join(box.export())
    with tarfile.open(fileobj=io.BytesIO(exported)) as tar:
        assert any(name.removeprefix("./") == "tmp/dir/file" for name in tar.getnames())


def test_commit(client: Any, box: Any) -> None:
    box.exec_run(["touch", "/made"])
    image = box.commit("pymade", "1", message="why", author="who", changes='ENV Q=1\nCMD ["ls", "/made"]')
    assert client.containers.run("pymade:1", network_mode="none", remove=True) == b"/made\n"
    history = image.history()
    assert history[0]["Comment"] == "why"
    client.images.remove("pymade:1")


def test_refusals(client: Any, box: Any) -> None:
    with pytest.raises(docker.errors.APIError) as caught:
        client.api.exec_start("0" * 64)
    assert caught.value.status_code == 404
    box.pause()
    with pytest.raises(docker.errors.APIError) as caught:
        box.exec_run("true")
    assert caught.value.status_code == 409
    assert "is paused, unpause the container before exec" in caught.value.explanation
    box.unpause()
    box.kill()
    box.wait()
    with pytest.raises(docker.errors.APIError) as caught:
        box.top()
    assert caught.value.status_code == 409
    with pytest.raises(docker.errors.APIError) as caught:
        client.api.resize(box.id, 10, 10)
    assert caught.value.status_code == 409
