"""Registries through the unmodified docker CLI, docker-py and our own command: pull, run, push, login, search."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker  # type: ignore[import-untyped]
import docker.errors  # type: ignore[import-untyped]
import pytest

from support import images, registries
from support import place as places
from support.api import must
from support.daemon import Daemon, daemon
from support.images import TestImage
from support.netns import Netns
from support.patience import eventually
from support.registries import DockerRegistry, Reply, Said, digest

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]
BOX = images.busybox()
ANN = ("ann", "secret: word")


@dataclass(frozen=True)
class Ground:
    docker: Daemon
    open: DockerRegistry
    closed: DockerRegistry
    """Lets only ann in."""

    @property
    def ns(self) -> Netns:
        assert self.docker.ns is not None
        return self.docker.ns

    def inside(self, *words: str, check: bool = True) -> str:
        """A program in the daemon's network."""
        return self.ns.run(words, check=check)

    def ours(self, *words: str, input: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Our own command."""
        place = self.docker.place
        environment = {**place.environment(), "DOCKER_CONFIG": str(place.top / "own"), "HOME": str(place.top)}
        done = subprocess.run(
            [_command(), *words], env=environment, input=input, capture_output=True, text=True, timeout=90,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"stockade {words}: {done.stdout}\n{done.stderr}"
        return done

    def clear(self) -> None:
        """Without images."""
        self.docker.docker("image", "prune", "-af")
        assert self.docker.said("images", "-q") == ""


def _command() -> str:
    return str(Path(sys.executable).with_name("stockade"))


@pytest.fixture(scope="module", name="ground")
def _ground(bin_dir: Path) -> Iterator[Ground]:
    with pytest.MonkeyPatch.context() as patch, places.place() as place:
        patch.setenv("STOCKADE_BIN_DIR", str(bin_dir))
        patch.setenv("STOCKADE_CERTS_DIR", str(place.top / "certs"))
        with daemon(place) as made:
            with (
                registries.docker_registry(place.top, made.ns) as open_one,
                registries.docker_registry(place.top, made.ns, user=ANN) as closed,
            ):
                open_one.put(BOX, "busybox")
                closed.put(BOX, "busybox")
                yield Ground(made, open_one, closed)


def test_pull_run_push_and_look(ground: Ground) -> None:
    name = f"{ground.open.authority}/busybox:latest"
    *_, manifest = BOX.blobs(compress=True).values()
    out = ground.docker.docker("pull", name).stdout.splitlines()
    layer = images.sha256(gzip.compress(BOX.layers[0], 1, mtime=0))[:12]
    assert out[0] == "latest: Pulling from busybox"
    assert out[1] == f"{layer}: Pulling fs layer"
    assert f"{layer}: Download complete" in out
    assert out[-4:] == [
        f"{layer}: Pull complete",
        f"Digest: {digest(manifest)}",
        f"Status: Downloaded newer image for {name}",
        name,
    ]
    again = ground.docker.docker("pull", name).stdout.splitlines()
    assert f"Status: Image is up to date for {name}" in again
    assert ground.docker.inspect(name, "{{json .RepoDigests}}") == [
        f"{ground.open.authority}/busybox@{digest(manifest)}"
    ]
    ground.clear()
    done = ground.docker.docker("run", "--rm", "--network", "none", name, "echo", "hello")
    assert done.stdout == "hello\n"
    assert f"Unable to find image '{name}' locally" in done.stderr
    other = f"{ground.open.authority}/back/box:7"
    ground.docker.docker("tag", name, other)
    pushed = ground.docker.docker("push", other).stdout.splitlines()
    assert pushed[0] == f"The push refers to repository [{other.removesuffix(':7')}]"
    assert pushed[-1] == f"7: digest: {digest(manifest)} size: {len(manifest)}"
    seen = json.loads(ground.inside("skopeo", "inspect", "--tls-verify=false", f"docker://{other}"))
    assert seen["Digest"] == digest(manifest)
    ground.clear()


def test_skopeo_takes_images_from_the_daemon_and_gives_it_some(ground: Ground, tmp_path: Path) -> None:
    """Debian's names version 1.22 of the API."""
    base, place = f"{ground.open.authority}/busybox:latest", f"unix://{ground.docker.socket}"
    ground.docker.docker("pull", "-q", base)
    identity = ground.docker.said("images", "-q", "--no-trunc", base)
    ground.inside("skopeo", "copy", "-q", "--src-daemon-host", place, f"docker-daemon:{base}", f"dir:{tmp_path}/box")
    ground.clear()
    ground.inside("skopeo", "copy", "-q", "--dest-daemon-host", place, f"dir:{tmp_path}/box", "docker-daemon:back:1")
    assert ground.docker.said("images", "-q", "--no-trunc", "back:1") == identity
    assert ground.docker.said("run", "--rm", "--network", "none", "back:1", "echo", "hello") == "hello"
    seen = json.loads(ground.inside("skopeo", "inspect", "--daemon-host", place, "docker-daemon:back:1"))
    assert seen["Architecture"] == "amd64"
    ground.clear()


def test_a_commit_goes_out_and_comes_back(ground: Ground) -> None:
    name = f"{ground.open.authority}/made/by:hand"
    base = f"{ground.open.authority}/busybox:latest"
    ground.docker.docker("pull", "-q", base)
    ground.docker.docker("run", "--name", "made", "--network", "none", base, "sh", "-c", "echo 42 >/answer")
    ground.docker.docker("commit", "made", name)
    ground.docker.docker("rm", "made")
    ground.docker.docker("push", "-q", name)
    ground.clear()
    assert ground.docker.said("run", "--rm", "--network", "none", name, "cat", "/answer") == "42"
    ground.inside("skopeo", "inspect", "--tls-verify=false", f"docker://{name}")
    ground.clear()


def test_what_is_not_there(ground: Ground) -> None:
    name = f"{ground.open.authority}/nothing:1"
    done = ground.docker.docker("pull", name, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"Error response from daemon: manifest for {name} not found: manifest unknown: manifest unknown"
    )
    done = ground.docker.docker("push", name, check=False)
    assert "An image does not exist locally with the tag" in done.stderr
    done = ground.docker.docker("run", "--rm", name, check=False)
    assert done.returncode == 125
    assert "manifest unknown" in done.stderr


def test_login_pull_push_logout(ground: Ground) -> None:
    registry = ground.closed.authority
    name = f"{registry}/busybox:latest"
    refused = ground.docker.docker("pull", name, check=False).stderr
    assert f"pull access denied for {registry}/busybox, repository does not exist or may require" in refused
    wrong = ground.docker.docker("login", "-u", "ann", "-p", "wrong", registry, check=False)
    assert wrong.returncode == 1
    assert "unauthorized" in wrong.stderr
    said = ground.docker.docker("login", "-u", ANN[0], "--password-stdin", registry, input=ANN[1].encode())
    assert "Login Succeeded" in said.stdout
    ground.docker.docker("pull", name)
    ground.docker.docker("tag", name, f"{registry}/mine:1")
    ground.docker.docker("push", f"{registry}/mine:1")
    ground.docker.docker("logout", registry)
    denied = ground.docker.docker("push", f"{registry}/mine:1", check=False)
    assert denied.returncode == 1
    assert "unauthorized: authentication required" in denied.stderr
    ground.clear()


def test_every_tag_of_a_repository(ground: Ground) -> None:
    for tag in ("a", "b"):
        ground.open.put(BOX, "tags", tag)
    name = f"{ground.open.authority}/tags"
    ground.docker.docker("pull", "-a", name)
    assert sorted(ground.docker.said("images", "--format", "{{.Tag}}", name).split()) == ["a", "b"]
    target = f"{ground.open.authority}/others"
    for tag in ("a", "b"):
        ground.docker.docker("tag", f"{name}:{tag}", f"{target}:{tag}")
    out = ground.docker.docker("push", "-a", target).stdout
    assert "a: digest: sha256:" in out
    assert "b: digest: sha256:" in out
    ground.clear()


def test_platforms(ground: Ground) -> None:
    arm = TestImage(BOX.layers, BOX.config, "arm64", {"variant": "v8"})
    ground.open.put(arm, "multi", "arm")
    ground.open.put(BOX, "multi", "amd")
    entries = [
        one.descriptor(True, platform={"os": "linux", "architecture": one.architecture}) for one in (arm, BOX)
    ]  # fmt: skip
    ground.open.put_index("multi", "latest", entries)
    name = f"{ground.open.authority}/multi:latest"
    ground.docker.docker("pull", "-q", "--platform", "linux/arm64", name)
    assert ground.docker.said("inspect", "-f", "{{.Architecture}}/{{.Variant}}", name) == "arm64/v8"
    # A container of another platform than the image's: the client pulls the right one.
    out = ground.docker.said("run", "--rm", "--network", "none", "--platform", "linux/amd64", name, "echo", "yes")
    assert out == "yes"
    found = must(ground.docker, "GET", f"/v1.47/distribution/{name}/json")
    assert [one["architecture"] for one in found["Platforms"]] == ["arm64", "amd64"]
    refused = ground.docker.docker("pull", "--platform", "linux/s390x", name, check=False).stderr
    assert "no matching manifest for linux/s390x" in refused
    ground.clear()


def test_search(ground: Ground) -> None:
    found = {"results": [{"name": "team/box", "description": "a box", "star_count": 7, "is_official": True},
                         {"name": "box2", "description": "", "star_count": 1}]}  # fmt: skip
    with registries.server(lambda _: Reply(200, images.dump(found)), ns=ground.ns) as one:
        out = ground.docker.docker("search", f"{one.authority}/box").stdout
        assert [line.split()[0] for line in out.splitlines()] == ["NAME", "team/box", "box2"]
        assert one.said[0].path == "/v1/search"
        assert one.said[0].query["q"] == ["box"]
        few = ground.docker.said("search", "--filter", "stars=5", "--format", "{{.Name}}", f"{one.authority}/box")
        assert few == "team/box"
        ours = ground.ours("search", "--format", "json", f"{one.authority}/box").stdout.splitlines()
        assert json.loads(ours[0])["Name"] == "team/box"


def test_our_own_command(ground: Ground) -> None:
    name = f"{ground.closed.authority}/busybox:latest"
    assert "login" in ground.ours("pull", name, check=False).stderr
    place = ground.docker.place.top / "own"
    out = ground.ours("login", "-u", ANN[0], "--password-stdin", ground.closed.authority, input=f"{ANN[1]}\n")
    assert out.stdout == "Login succeeded\n"
    assert os.stat(place / "config.json").st_mode & 0o777 == 0o600
    lines = ground.ours("pull", name).stdout.splitlines()
    assert lines[0] == "latest: Pulling from busybox"
    assert lines[-1] == f"Status: Downloaded newer image for {name}"
    told = [json.loads(line) for line in ground.ours("pull", "--format", "json", name).stdout.splitlines()]
    assert told[-1] == {"status": f"Status: Image is up to date for {name}"}
    ground.ours("tag", name, f"{ground.closed.authority}/ours:1")
    assert "1: digest: sha256:" in ground.ours("push", f"{ground.closed.authority}/ours:1").stdout
    ground.clear()
    done = ground.ours("run", "--rm", name, "echo", "pulled")
    assert (done.stdout, "is not here: it is pulled" in done.stderr) == ("pulled\n", True)
    assert ground.ours("run", "--pull", "never", "--rm", f"{name}x", "true", check=False).returncode == 125
    assert "Removed" in ground.ours("logout", ground.closed.authority).stdout
    assert ground.ours("push", f"{ground.closed.authority}/ours:1", check=False).returncode == 125
    ground.clear()


def test_a_credential_helper(ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-test"
    helper.write_text(
        "#!/bin/sh\nfile=$(dirname $0)/kept\ncase $1 in\n"
        "store) cat >$file;;\n"
        "get) cat $file 2>/dev/null || { echo credentials not found in native keychain; exit 1; };;\n"
        "erase) rm -f $file;;\nesac\n"
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    place = ground.docker.place.top / "own"
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(json.dumps({"credsStore": "test", "other": 1}))
    registry = ground.closed.authority
    ground.ours("login", "-u", ANN[0], "--password-stdin", registry, input=f"{ANN[1]}\n")
    assert json.loads((tmp_path / "kept").read_text())["Secret"] == ANN[1]
    assert json.loads((place / "config.json").read_text()) == {
        "credsStore": "test", "other": 1, "auths": {registry: {}}
    }  # fmt: skip
    ground.ours("pull", "-q", f"{registry}/busybox")
    ground.ours("logout", registry)
    assert not (tmp_path / "kept").exists()
    (place / "config.json").unlink()
    ground.clear()


def test_docker_py(ground: Ground) -> None:
    client = docker.DockerClient(f"unix://{ground.docker.socket}", timeout=60)
    try:
        name = f"{ground.open.authority}/busybox"
        image = client.images.pull(name)
        assert image.tags == [f"{name}:latest"]
        assert image.attrs["RepoDigests"][0].startswith(f"{name}@sha256:")
        with pytest.raises(docker.errors.NotFound):
            client.images.pull(f"{name}-not")
        image.tag(f"{name}-py", "3")
        told = list(client.images.push(f"{name}-py", tag="3", stream=True, decode=True))
        assert told[-1]["aux"]["Tag"] == "3"
        data = client.images.get_registry_data(f"{name}-py:3")
        assert data.id == told[-1]["aux"]["Digest"]
        assert data.has_platform("linux/amd64")
        with pytest.raises(docker.errors.APIError, match="unauthorized"):
            client.login("ann", "wrong", registry=ground.closed.authority, reauth=True)
        said = client.login(*ANN, registry=ground.closed.authority, reauth=True)
        assert said["Status"] == "Login Succeeded"
        who = {"username": ANN[0], "password": ANN[1]}
        private = client.images.pull(f"{ground.closed.authority}/busybox", auth_config=who)
        assert private.id == image.id
        client.images.remove(image.id, force=True)
    finally:
        client.close()
    ground.clear()


def test_events(ground: Ground) -> None:
    begun = time.time()
    name = f"{ground.open.authority}/busybox:latest"
    ground.docker.docker("pull", "-q", name)
    ground.docker.docker("push", "-q", name)
    words = ["--since", str(begun), "--until", str(time.time()), "--format", "{{.Action}} {{.Actor.ID}}"]
    lines = ground.docker.said("events", *words)
    assert [line for line in lines.splitlines() if line.startswith("pu")] == [f"pull {name}", f"push {name}"]
    ground.clear()


def slow(layer: str, seconds: float) -> Any:
    """A sound registry that takes its time over one layer."""
    blobs, manifest = registries.of_image(BOX)
    sound = registries.repository(blobs, {"1": (images.MANIFEST, manifest)})

    def answer(said: Said) -> Reply:
        if said.path.endswith(layer):
            data = blobs[layer.removeprefix("sha256:")]

            def trickle(connection: Any) -> None:
                connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n".encode())
                at, piece = 0, max(1, int(len(data) / 2 / (seconds / 0.05)))
                while at < len(data) // 2:
                    connection.sendall(data[at : at + piece])
                    at += piece
                    time.sleep(0.05)
                connection.sendall(data[at:])

            return Reply(act=trickle)
        return sound(said)

    return answer


LAYER = digest(gzip.compress(BOX.layers[0], 1, mtime=0))


def begun_pull(ground: Ground, one: registries.Server) -> subprocess.Popen[bytes]:
    """A pull in whose middle the daemon is."""
    pulling = ground.docker.begin("pull", f"{one.authority}/slow:1")
    eventually(lambda: f"GET /v2/slow/blobs/{LAYER}" in one.paths(), "the layer is asked for")
    time.sleep(0.2)
    return pulling


def nothing_is_left(ground: Ground) -> None:
    data = ground.docker.place.data
    deadline = time.monotonic() + 15
    while True:
        left = [*(data / "content/ingest").iterdir(), *(data / "content/blobs/sha256").iterdir()]
        left += [one for one in (data / "layers").iterdir() if one.name != "0"]
        fetching = [line for line in ground.docker.place.processes().values() if "stockade-fetch" in line]
        if not left and not fetching:
            return
        assert time.monotonic() < deadline, (left, fetching)
        time.sleep(0.1)


def test_ctrl_c_ends_a_pull(ground: Ground) -> None:
    with registries.server(slow(LAYER, 30), ns=ground.ns) as one:
        pulling = begun_pull(ground, one)
        pulling.send_signal(signal.SIGINT)
        pulling.wait(20)
        for stream in (pulling.stdin, pulling.stdout, pulling.stderr):
            assert stream is not None
            stream.close()
        nothing_is_left(ground)


def test_two_clients_wait_for_one_pull_and_one_leaves(ground: Ground) -> None:
    with registries.server(slow(LAYER, 3), ns=ground.ns) as one:
        first, second = begun_pull(ground, one), begun_pull(ground, one)
        first.send_signal(signal.SIGINT)
        first.wait(20)
        out, errors = second.communicate(timeout=60)
        assert second.returncode == 0, errors
        assert f"Status: Downloaded newer image for {one.authority}/slow:1" in out.decode()
        assert one.paths().count("GET /v2/slow/manifests/1") == 1
        for stream in (first.stdin, first.stdout, first.stderr):
            assert stream is not None
            stream.close()
    ground.clear()


def test_the_daemon_is_killed_in_the_middle_of_a_pull(ground: Ground) -> None:
    with registries.server(slow(LAYER, 20), ns=ground.ns) as one:
        pulling = begun_pull(ground, one)
        ground.docker.restart()
        out, errors = pulling.communicate(timeout=30)
        assert pulling.returncode != 0, (out, errors)
        nothing_is_left(ground)
