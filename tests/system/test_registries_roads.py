"""The roads to a registry, by the unmodified docker CLI: through a proxy, past a mirror that lies, and the shortest."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from support import images, registries
from support import place as places
from support.daemon import Daemon, daemon
from support.images import MANIFEST
from support.proxy import Proxy, proxy
from support.registries import DockerRegistry, Reply, Said, digest

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]
BOX = images.busybox()
FAR = "far.test"
PLAIN = "plain.test:5000"


@pytest.fixture(scope="module", name="docker")
def _docker() -> Iterator[Daemon]:
    with places.place() as place, daemon(place) as made:
        begin(made)
        yield made


def begin(docker: Daemon, **more: str) -> None:
    """Start it anew, with an environment."""
    docker.stop()
    docker.start(STOCKADE_CERTS_DIR=str(docker.place.top / "certs"), **more)


@pytest.fixture(autouse=True)
def _without_images(docker: Daemon) -> Iterator[None]:
    yield
    docker.docker("image", "prune", "-af")
    assert docker.said("images", "-q") == ""


# Through a proxy -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", name="far")
def _far(docker: Daemon) -> Iterator[tuple[DockerRegistry, DockerRegistry, Proxy]]:
    """A registry with TLS and one without, both of names that only a proxy knows."""
    top, ns = docker.place.top, docker.ns
    assert ns is not None
    pair = registries.certificate(top)
    with (
        registries.docker_registry(top, ns, tls=pair) as secure,
        registries.docker_registry(top, ns) as plain,
        proxy(ns, {f"{FAR}:443": secure.port, PLAIN: plain.port}, user="who:secret") as there,
    ):
        # The certificate is for localhost.
        registries.write_hosts(top / "certs", FAR, f'server = "https://{FAR}"\nskip_verify = true\n')
        registries.write_hosts(top / "certs", PLAIN, f'server = "http://{PLAIN}"\n')
        begin(docker, HTTPS_PROXY=there.url, http_proxy=there.url, NO_PROXY=".near.test,10.0.0.0/8")
        yield secure, plain, there
        begin(docker)


@pytest.mark.parametrize("authority", [FAR, PLAIN])
def test_pull_and_push_by_a_proxy(
    docker: Daemon, far: tuple[DockerRegistry, DockerRegistry, Proxy], authority: str
) -> None:
    secure, plain, there = far
    registry = secure if authority == FAR else plain
    registry.put(BOX, "busybox")
    there.asked.clear()
    docker.docker("pull", f"{authority}/busybox")
    docker.docker("tag", f"{authority}/busybox", f"{authority}/other/box:2")
    docker.docker("push", f"{authority}/other/box:2")
    assert registry.manifest("other/box", "2")["layers"]
    assert {asked.split()[1] for asked in there.asked} == {f"{FAR}:443" if authority == FAR else PLAIN}
    assert {asked.split()[0] for asked in there.asked if authority == FAR} <= {"CONNECT"}


def test_what_the_proxy_does_not_lead_to(docker: Daemon, far: tuple[DockerRegistry, DockerRegistry, Proxy]) -> None:
    said = docker.docker("pull", "elsewhere.test/busybox", check=False).stderr
    assert "does not lead to elsewhere.test:443: 502" in said
    far[2].asked.clear()
    near = docker.docker("pull", "registry.near.test/busybox", check=False)
    assert near.returncode != 0
    assert far[2].asked == []
    local = registries.docker_registry(docker.place.top, docker.ns)
    with local as open_one:
        open_one.put(BOX, "busybox")
        docker.docker("pull", f"{open_one.authority}/busybox")
    assert far[2].asked == []


def test_a_mirror_that_wants_to_know_whom_it_serves(docker: Daemon) -> None:
    """The daemon asks for documents, a program for layers: both show the certificate and the headers, to it alone."""
    blobs, manifest = registries.of_image(BOX)
    top, domain = docker.place.top, "mutual.test"
    (top / "mutual").mkdir()
    tls = registries.certificate(top / "mutual")
    sound = registries.repository(blobs, {"1": (MANIFEST, manifest), digest(manifest): (MANIFEST, manifest)})

    def answer(said: Said) -> Reply:
        if said.headers.get("x-team") != "blue" or said.query.get("ns") != [domain]:
            return Reply(403, b"{}")
        return sound(Said(said.method, said.path.removeprefix("/cache"), said.query, said.headers, said.body))

    def refuse(said: Said) -> Reply:
        return Reply(500 if "x-team" in said.headers else 404, b"{}")

    with (
        registries.server(answer, tls, docker.ns, mutual=True) as mirror,
        registries.server(refuse, ns=docker.ns) as other,
    ):
        text = (
            f'server = "{other.url}"\n'
            f'[host."{other.url}/first"]\n'
            f'[host."{mirror.url}/cache/v2"]\ncapabilities = ["pull", "resolve"]\noverride_path = true\n'
            f'ca = "{tls.authority}"\nclient = [["{tls.certificate}", "{tls.key}"]]\n'
            f'header = {{ x-team = "blue" }}\n'
        )
        registries.write_hosts(top / "certs", domain, text)
        docker.docker("pull", f"{domain}/team/box:1")
        layer = next(path for path in mirror.paths() if "/blobs/" in path)
        assert layer.startswith("GET /cache/v2/team/box/blobs/sha256:")
        docker.docker("image", "prune", "-af")
        registries.write_hosts(top / "certs", domain, text.replace("client =", "# client ="))
        assert docker.docker("pull", f"{domain}/team/box:1", check=False).returncode == 1


# Only what is needed ---------------------------------------------------------------------------------------------


def test_an_image_that_is_up_to_date_costs_one_question(docker: Daemon) -> None:
    blobs, manifest = registries.of_image(BOX)
    index = images.dump(
        {
            "schemaVersion": 2,
            "mediaType": images.INDEX,
            "manifests": [BOX.descriptor(True, platform={"os": "linux", "architecture": BOX.architecture})],
        }
    )
    sound = registries.repository(blobs, {"1": (images.INDEX, index), digest(manifest): (MANIFEST, manifest)})
    names = True

    def answer(said: Said) -> Reply:
        reply = sound(said)
        if names and "/manifests/" in said.path and reply.status == 200:
            reply.headers["Docker-Content-Digest"] = digest(reply.body)
        return reply

    with registries.server(answer, ns=docker.ns) as there:
        name = f"{there.authority}/team/box:1"
        docker.docker("pull", name)
        assert "HEAD /v2/team/box/manifests/1" not in there.paths()
        for wanted in (name, f"{there.authority}/team/box@{digest(index)}"):
            there.said.clear()
            assert f"Status: Image is up to date for {wanted}" in docker.said("pull", wanted).splitlines()
            assert there.paths() == [f"HEAD /v2/team/box/manifests/{wanted.removeprefix(name.removesuffix('1'))[-71:]}"
                                     if "@" in wanted else "HEAD /v2/team/box/manifests/1"]  # fmt: skip
        names = False  # a registry that names no digests is asked as before
        there.said.clear()
        assert "up to date" in docker.said("pull", name)
        assert there.paths() == [f"{method} /v2/team/box/manifests/1" for method in ("HEAD", "GET")]
        there.said.clear()
        other = docker.docker("pull", "--platform", "linux/s390x", name, check=False)
        assert "no matching manifest for linux/s390x" in other.stderr


# Past a liar -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("about", ["blobs", "manifests"])
def test_what_a_mirror_sends_wrong_is_had_elsewhere(docker: Daemon, about: str) -> None:
    blobs, manifest = registries.of_image(BOX)
    sound = registries.repository(blobs, {"1": (MANIFEST, manifest)})

    def lying(said: Said) -> Reply:
        reply = named(said)
        if f"/{about}/" in said.path and reply.status == 200:
            reply.body = bytes(len(reply.body))
        return reply

    def named(said: Said) -> Reply:
        reply = sound(said)
        if "/manifests/" in said.path and reply.status == 200:
            reply.headers["Docker-Content-Digest"] = digest(reply.body)
        return reply

    both: list[Callable[[Said], Reply]] = [named, lying]
    with registries.server(both[0], ns=docker.ns) as there, registries.server(both[1], ns=docker.ns) as mirror:
        domain = f"{about}.example.test"
        text = f'server = "{there.url}"\n[host."{mirror.url}"]\n'
        registries.write_hosts(docker.place.top / "certs", domain, text)
        docker.docker("pull", f"{domain}/box:1")
        assert any(f"/{about}/" in one.path for one in mirror.said)
        assert any(f"/{about}/" in one.path for one in there.said)
        done = docker.docker("run", "--rm", "--network", "none", f"{domain}/box:1", "echo", "sound")
        assert done.stdout == "sound\n"
