"""What is asked of registries, and what is said to whom: Debian's docker-registry in each of its ways."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from stockade.errors import NotFound, StockadeError, Unauthorized, Unavailable
from stockade.images import documents, platforms, pulling
from stockade.images.documents import Platform
from stockade.registry import Credentials, Registries
from stockade.registry.references import parse
from support import registries
from support.images import TestImage, layer
from support.registries import DockerRegistry, Reply, Said, write_hosts

T = TypeVar("T")
ANN = ("ann", "secret: word")
WHO = Credentials(*ANN)
STRANGER = Credentials()
SMALL = TestImage((layer({"a": b"1" * 5000}), layer({"b": b"2"})), {"Cmd": ["a"]})
AMD = Platform("amd64", "linux")


def asked(certs: Path, act: Callable[[Registries], Awaitable[T]]) -> T:
    """What registries answer to somebody whose files are in `certs`."""

    async def whole() -> T:
        found = Registries([str(certs)])
        try:
            return await act(found)
        finally:
            found.close()

    return asyncio.run(whole())


def manifest(name: str, who: Credentials = STRANGER) -> Callable[[Registries], Awaitable[str]]:
    async def act(found: Registries) -> str:
        reference = parse(name).tagged()
        chosen = await pulling.choose(found.repository(reference, who), reference, AMD, exactly=False)
        return chosen.manifest.digest

    return act


def login(domain: str, who: Credentials) -> Callable[[Registries], Awaitable[str]]:
    return lambda found: found.login(domain, who)


@pytest.fixture(scope="module", name="plain")
def _plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with registries.docker_registry(tmp_path_factory.mktemp("plain")) as made:
        yield made


def test_a_manifest_by_tag_and_by_digest(plain: DockerRegistry, tmp_path: Path) -> None:
    wanted = plain.put(SMALL, "team/app", "1")
    assert asked(tmp_path, manifest(f"{plain.authority}/team/app:1")) == wanted
    assert asked(tmp_path, manifest(f"{plain.authority}/team/app@{wanted}")) == wanted


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("app:9", "manifest for {}/app:9 not found: manifest unknown: manifest unknown"),
        ("nobody/is:1", "manifest for {}/nobody/is:1 not found: manifest unknown: manifest unknown"),
    ],
)
def test_what_is_not_there_is_said_as_docker_says_it(
    plain: DockerRegistry, tmp_path: Path, name: str, words: str
) -> None:
    plain.put(SMALL, "app", "1")
    with pytest.raises(NotFound) as refusal:
        asked(tmp_path, manifest(f"{plain.authority}/{name}"))
    assert refusal.value.message == words.format(plain.authority)


def test_tags_of_several_pages(plain: DockerRegistry, tmp_path: Path) -> None:
    for number in range(5):
        plain.put(SMALL, "many", f"t{number}")
    found = asked(tmp_path, lambda one: one.repository(parse(f"{plain.authority}/many")).tags())
    assert sorted(found) == [f"t{number}" for number in range(5)]


def test_nobody_there(tmp_path: Path) -> None:
    port = registries.free_port()
    with pytest.raises(Unavailable, match=f"localhost:{port} cannot be reached: Connection refused"):
        asked(tmp_path, manifest(f"localhost:{port}/x"))


def test_basic(tmp_path: Path) -> None:
    with registries.docker_registry(tmp_path, user=ANN) as one:
        wanted = one.put(SMALL, "private")
        name = f"{one.authority}/private"
        assert asked(tmp_path, manifest(name, WHO)) == wanted
        with pytest.raises(NotFound) as refusal:
            asked(tmp_path, manifest(name))
        assert refusal.value.message == (
            f"pull access denied for {name}, repository does not exist or may require 'docker login':"
            " unauthorized: authentication required"
        )
        with pytest.raises(NotFound, match="pull access denied"):
            asked(tmp_path, manifest(name, Credentials("ann", "wrong")))
        assert asked(tmp_path, login(one.authority, WHO)) == ""
        with pytest.raises(Unauthorized, match=f"login to {one.authority} was not accepted: unauthorized"):
            asked(tmp_path, login(one.authority, Credentials("ann", "wrong")))


def test_tokens(tmp_path: Path) -> None:
    with (
        registries.token_server(tmp_path, dict([ANN]), public="open/") as tokens,
        registries.docker_registry(tmp_path, token=tokens.settings) as one,
    ):

        async def fill(found: Registries) -> None:
            for name in ("open/app", "closed/app"):
                repository = found.repository(parse(f"{one.authority}/{name}:1"), WHO, push=True)
                assert await repository.put_small_blob(b"{}") == registries.digest(b"{}")
                assert await repository.has(registries.digest(b"{}"))
                assert not await repository.has(registries.digest(b"other"))
                document = documents.write_manifest((registries.digest(b"{}"), 2), ())
                await repository.put_manifest("1", document, documents.MANIFEST)
            other = found.repository(parse(f"{one.authority}/closed/other:1"), WHO, push=True)
            assert not await other.has(registries.digest(b"{}"))
            assert await other.mount(registries.digest(b"{}"), "closed/app")
            assert await other.has(registries.digest(b"{}"))
            assert not await other.mount(registries.digest(b"nowhere"), "closed/app")

        asked(tmp_path, fill)
        assert asked(tmp_path, manifest(f"{one.authority}/open/app:1"))
        assert asked(tmp_path, manifest(f"{one.authority}/closed/app:1", WHO))
        with pytest.raises(NotFound, match="pull access denied"):
            asked(tmp_path, manifest(f"{one.authority}/closed/app:1"))
        with pytest.raises(NotFound, match=r"pull access denied .*: incorrect username or password"):
            asked(tmp_path, manifest(f"{one.authority}/closed/app:1", Credentials("ann", "wrong")))
        token = asked(tmp_path, login(one.authority, WHO))
        assert tokens.refresh[token] == "ann"
        assert asked(tmp_path, manifest(f"{one.authority}/closed/app:1", Credentials(identity_token=token)))
        with pytest.raises(Unauthorized, match="incorrect username or password"):
            asked(tmp_path, login(one.authority, Credentials("ann", "wrong")))


def test_tls(tmp_path: Path) -> None:
    tls = registries.certificate(tmp_path)
    with registries.docker_registry(tmp_path, tls=tls) as one:
        wanted = one.put(SMALL, "app")
        name = f"{one.authority}/app"
        with pytest.raises(Unavailable, match=r"the certificate of localhost:.* is not to be trusted") as refusal:
            asked(tmp_path / "empty", manifest(name))
        assert f"/etc/stockade/certs.d/{one.authority}/ca.crt" in refusal.value.hint
        certs = tmp_path / "toml"
        write_hosts(certs, one.authority, f'server = "https://{one.authority}"\nca = "{tls.authority}"\n')
        assert asked(certs, manifest(name)) == wanted
        certs = tmp_path / "insecure"
        write_hosts(certs, one.authority, f'server = "https://{one.authority}"\nskip_verify = true\n')
        assert asked(certs, manifest(name)) == wanted
        place = tmp_path / "docker" / one.authority
        place.mkdir(parents=True)
        (place / "ca.crt").write_bytes(tls.authority.read_bytes())
        assert asked(tmp_path / "docker", manifest(name)) == wanted


def test_an_authority_that_is_renewed_is_believed_at_once(tmp_path: Path) -> None:
    old, new = (tmp_path / name for name in ("old", "new"))
    old.mkdir()
    new.mkdir()
    first, tls = registries.certificate(old), registries.certificate(new)
    with registries.docker_registry(tmp_path, tls=tls) as one:
        wanted = one.put(SMALL, "app")
        place = tmp_path / "certs" / one.authority
        place.mkdir(parents=True)
        (place / "ca.crt").write_bytes(first.authority.read_bytes())

        async def twice(found: Registries) -> str:
            with pytest.raises(Unavailable, match="is not to be trusted"):
                await manifest(f"{one.authority}/app")(found)
            (place / "ca.crt").write_bytes(tls.authority.read_bytes())
            return await manifest(f"{one.authority}/app")(found)

        assert asked(tmp_path / "certs", twice) == wanted


def test_mirrors(plain: DockerRegistry, tmp_path: Path) -> None:
    wanted = plain.put(SMALL, "mirrored", "1")
    only_here = plain.put(SMALL, "proxied/mirrored", "2")
    with registries.docker_registry(tmp_path, user=ANN) as upstream:
        upstream.put(SMALL, "mirrored", "3")
        domain = "registry.example.test"
        write_hosts(
            tmp_path,
            domain,
            f'server = "http://{upstream.authority}"\n'
            f'[host."http://localhost:{registries.free_port()}"]\n'
            f'[host."http://{plain.authority}"]\n'
            'capabilities = ["pull", "resolve"]\n'
            f'[host."http://{plain.authority}/v2/proxied"]\n'
            "override_path = true\n",
        )
        assert asked(tmp_path, manifest(f"{domain}/mirrored:1")) == wanted
        assert asked(tmp_path, manifest(f"{domain}/mirrored:2")) == only_here
        assert asked(tmp_path, manifest(f"{domain}/mirrored:3", WHO)) == wanted
        with pytest.raises(NotFound, match=f"pull access denied for {domain}/mirrored"):
            asked(tmp_path, manifest(f"{domain}/mirrored:3"))
        with pytest.raises(NotFound, match=f"manifest for {domain}/mirrored:4 not found"):
            asked(tmp_path, manifest(f"{domain}/mirrored:4", WHO))


def test_a_server_for_every_registry_hears_nobodys_password(tmp_path: Path) -> None:
    def demanding(_: Said) -> Reply:
        return Reply(401, b"{}", {"WWW-Authenticate": 'Basic realm="cache"'})

    with registries.server(demanding) as cache, registries.docker_registry(tmp_path, user=ANN) as one:
        certs = tmp_path / "certs"
        write_hosts(certs, "_default", f'server = "{cache.url}"\n')
        with pytest.raises(NotFound, match="pull access denied"):
            asked(certs, manifest(f"{one.authority}/app", WHO))
        assert cache.said
        assert not any("authorization" in said.headers for said in cache.said)
        cache.said.clear()
        assert asked(certs, login(one.authority, WHO)) == ""
        assert not cache.said


def test_platforms(plain: DockerRegistry, tmp_path: Path) -> None:
    entries = []
    for architecture, variant in (("arm64", "v8"), ("arm", "v6"), ("arm", "v7"), ("amd64", ""), ("s390x", "")):
        image = TestImage(SMALL.layers, SMALL.config, architecture, {"variant": variant} if variant else {})
        plain.put(image, "multi", f"{architecture}{variant}")
        said = {"os": "linux", "architecture": architecture, **({"variant": variant} if variant else {})}
        entries.append(image.descriptor(compress=True, platform=said))
    plain.put_index("multi", "latest", entries)
    plain.put_index("multi", "old", entries, "application/vnd.docker.distribution.manifest.list.v2+json")
    whole = plain.put_index("multi", "inner", entries)

    async def chosen(found: Registries, tag: str, platform: str) -> str:
        reference = parse(f"{plain.authority}/multi:{tag}")
        wanted = platforms.parse(platform, AMD)
        repository = found.repository(reference)
        return (await pulling.choose(repository, reference, wanted, exactly=True)).manifest.digest

    digests = [entry["digest"] for entry in entries]
    for tag in ("latest", "old", "inner", whole):
        for platform, number in (("linux/amd64", 3), ("linux/arm64", 0), ("arm", 2), ("linux/arm/v6", 1), ("s390x", 4)):
            if not tag.startswith("sha256"):
                assert asked(tmp_path, lambda one, t=tag, p=platform: chosen(one, t, p)) == digests[number], platform  # type: ignore[misc]
    with pytest.raises(NotFound, match="no matching manifest for linux/riscv64 in the manifest list entries"):
        asked(tmp_path, lambda one: chosen(one, "latest", "riscv64"))


def test_every_failure_is_a_condition_of_ours(tmp_path: Path) -> None:
    for act in (lambda _: registries.Reply(500, b"<html>"), lambda _: registries.Reply(404, b"\xff" * 10_000)):
        with registries.server(act) as one, pytest.raises(StockadeError):
            asked(tmp_path, manifest(f"{one.authority}/x"))
