"""`docker import` of an address: fetched by a program of ours, bounded, whatever the server does."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import images, registries
from support import place as places
from support.api import ask
from support.command import stockade
from support.daemon import Daemon, daemon
from support.registries import Reply, Said

pytestmark = pytest.mark.root
ROOT = gzip.compress(images.busybox().layers[0], 1, mtime=0)


@pytest.fixture(scope="module", name="docker")
def _docker() -> Iterator[Daemon]:
    with places.place() as place, daemon(place) as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_left(docker: Daemon) -> Iterator[None]:
    yield
    docker.docker("image", "prune", "-af")
    deadline = time.monotonic() + 10
    while left := list((docker.place.data / "content/ingest").iterdir()):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def answer(said: Said) -> Reply:
    if said.path == "/moved":
        return Reply(302, headers={"Location": "/root.tar.gz?token=secret"})
    return Reply(200, ROOT) if said.path == "/root.tar.gz" else Reply(404, b"no such archive")


def test_by_its_address(docker: Daemon) -> None:
    with registries.server(answer, ns=docker.ns) as there:
        for url in (f"{there.url}/root.tar.gz", f"{there.url}/moved"):
            done = docker.docker("import", "-c", "CMD echo hello", url, "far:1")
            assert f"Downloading from {url}" in done.stdout
            assert docker.said("run", "--rm", "--network", "none", "far:1") == "hello"
            assert docker.inspect("far:1", "{{json .Comment}}") == f"Imported from {url}"
            assert docker.said("images", "-q", "--no-trunc", "far:1") in done.stdout


def test_by_our_own_command(docker: Daemon, tmp_path: Path) -> None:
    with registries.server(answer, ns=docker.ns) as there:
        url = f"{there.url}/root.tar.gz"
        done = stockade(docker.place, "import", "-c", "CMD echo hello", url, "far:1")
        assert done.stdout.decode().strip() == docker.said("images", "-q", "--no-trunc", "far:1"), done.stderr
        assert stockade(docker.place, "import", f"{there.url}/none").returncode == 125
    assert docker.said("run", "--rm", "--network", "none", "far:1") == "hello"
    done = stockade(docker.place, "import", "--platform", "linux/s390x", "-m", "why", "-", "other:1", stdin=ROOT)
    assert done.stdout.decode().strip() == docker.said("images", "-q", "--no-trunc", "other:1"), done.stderr
    assert docker.said("image", "inspect", "-f", "{{.Architecture}} {{.Comment}}", "other:1") == "s390x why"
    assert stockade(docker.place, "save", "--platform", "linux/arm64", "-o", str(tmp_path / "x"), "other:1").returncode
    assert not (tmp_path / "x").exists()
    assert b"s390x" not in stockade(docker.place, "history", "--quiet", "--platform", "linux/s390x", "other:1").stdout
    tree = tmp_path / "tree"
    tree.mkdir()
    done = stockade(docker.place, "import", "--platform", "linux/arm/v7", str(tree), "tree:1")
    assert done.returncode == 0, done.stderr
    assert docker.said("image", "inspect", "-f", "{{.Architecture}}/{{.Variant}}", "tree:1") == "arm/v7"


def test_for_another_platform(docker: Daemon) -> None:
    with registries.server(answer, ns=docker.ns) as there:
        docker.docker("import", "--platform", "linux/arm/v7", f"{there.url}/root.tar.gz", "arm:1")
    shown = "{{.Os}}/{{.Architecture}}/{{.Variant}}"
    assert docker.said("image", "inspect", "-f", shown, "arm:1") == "linux/arm/v7"
    docker.docker("import", "--platform", "linux/s390x", "-", "other:1", input=ROOT)
    assert docker.said("image", "inspect", "-f", "{{.Architecture}}", "other:1") == "s390x"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere", "the server answers 404: no such archive"),
        ("text", "the header's checksum is wrong"),
        ("cut", "cut off"),
    ],
)
def test_what_is_no_archive(docker: Daemon, path: str, words: str) -> None:
    def bad(said: Said) -> Reply:
        if said.path == "/text":
            return Reply(200, b"words " * 1000)
        if said.path == "/cut":
            return Reply(
                act=lambda client: client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + ROOT[:99])
            )
        return answer(said)

    with registries.server(bad, ns=docker.ns) as there:
        done = docker.docker("import", f"{there.url}/{path}", "bad:1", check=False)
        assert done.returncode != 0
        assert words in done.stderr
        assert len([one for one in there.said if one.path == f"/{path}"]) == 1
    assert docker.said("images", "-q") == ""


@pytest.mark.parametrize("url", ["ftp://x/y", "http://", "file:///etc/passwd", "http://who:secret@x/y", "http://x/a b"])
def test_what_is_no_address(docker: Daemon, url: str) -> None:
    from urllib.parse import quote

    status, said = ask(docker, "POST", f"/images/create?fromSrc={quote(url, safe='')}&repo=bad")
    assert status == 400
    assert "secret" not in said["message"]


def test_a_client_that_leaves_ends_it(docker: Daemon) -> None:
    def endless(_: Said) -> Reply:
        def act(client) -> None:  # type: ignore[no-untyped-def]
            client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                client.sendall(b"400\r\n" + bytes(1024) + b"\r\n")
                time.sleep(0.01)

        return Reply(act=act)

    with registries.server(endless, ns=docker.ns) as there:
        client = docker.begin("import", f"{there.url}/endless")
        deadline = time.monotonic() + 10
        while not list((docker.place.data / "content/ingest").rglob("*.came")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        client.kill()
        client.communicate()
