"""Images out of registries and into them: Debian's docker-registry, skopeo on the other side, and hostile ones."""

# ruff: noqa: ASYNC221 - a story has its loop to itself

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stockade.errors import BadValue, NotFound, Unauthorized
from stockade.images import Progress, Pulled, Sending, Wanted
from stockade.registry import Credentials
from stockade.registry.references import parse, short
from support import images, registries
from support.images import TestImage
from support.registries import DockerRegistry, digest

from .conftest import Shop
from .test_keep import quiet

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]
Run = Callable[..., None]
SMALL = TestImage((images.layer({"a": b"1" * 100_000}), images.layer({"b": b"2"})), {"Cmd": ["a"]})
SIBLING = TestImage((SMALL.layers[0], images.layer({"c": b"3"})), {"Cmd": ["c"]})
WHO = Credentials("ann", "word")


@pytest.fixture(scope="module", name="registry")
def _registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with registries.docker_registry(tmp_path_factory.mktemp("registry")) as made:
        yield made


@pytest.fixture(name="certs", autouse=True)
def _certs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STOCKADE_CERTS_DIR", str(tmp_path / "certs"))
    return tmp_path / "certs"


async def pull(shop: Shop, name: str, **more: object) -> tuple[Pulled, list[Progress]]:
    said: list[Progress] = []
    wanted = Wanted(parse(name).tagged(), **more)  # type: ignore[arg-type]
    return await shop.images.exchange.pull(wanted, said.append), said


async def push(shop: Shop, name: str, who: Credentials | None = None) -> list[Progress]:
    said: list[Progress] = []
    reference = parse(name).tagged()
    await shop.images.exchange.push(shop.images.find(name), reference, who or Credentials(), said.append)
    return said


def of(said: list[Progress], name: str) -> list[str]:
    """The states of one layer, each once."""
    return list(dict.fromkeys(one.status for one in said if one.id == name))


def test_pull(in_shop: Run, registry: DockerRegistry) -> None:
    wanted = registry.put(SMALL, "app", "1")
    name = f"{registry.authority}/app:1"

    async def story(shop: Shop) -> None:
        done, said = await pull(shop, name)
        assert (done.id, done.digest, done.newer) == (SMALL.id, wanted, True)
        image = shop.images.find(name)
        assert shop.images.names(image.id) == [name]
        assert shop.images.digests(image.id) == [f"{registry.authority}/app@{wanted}"]
        first = short(image.layers[0].digest)
        assert of(said, "1") == ["Pulling from app"]
        assert of(said, first)[0] == "Pulling fs layer"
        assert of(said, first)[-1] == "Pull complete"
        assert "Download complete" in of(said, first)
        top, *_ = await shop.images.unpacked(image)
        assert Path(top, "b").read_bytes() == b"2"
        again, said = await pull(shop, name)
        assert (again.newer, of(said, first)) == (False, ["Already exists"])
        by_digest, _ = await pull(shop, f"{registry.authority}/app@{wanted}")
        assert by_digest.id == SMALL.id
        await shop.reopen()
        assert shop.images.find(name).config.cmd == ("a",)
        await shop.images.remove(name)
        await quiet(shop)
        assert (shop.blobs(), shop.directories()) == (set(), set())

    in_shop(story)


def test_a_tag_that_moved_leaves_the_old_image_without_its_name(in_shop: Run, registry: DockerRegistry) -> None:
    name = f"{registry.authority}/moving:1"
    old = registry.put(SMALL, "moving", "1")

    async def story(shop: Shop) -> None:
        await pull(shop, name)
        registry.put(SIBLING, "moving", "1")
        done, said = await pull(shop, name)
        assert (done.id, done.newer) == (SIBLING.id, True)
        shared = short(shop.images.find(name).layers[0].digest)
        assert of(said, shared) == ["Already exists", "Pull complete"][:1]
        assert shop.images.names(SMALL.id) == []
        assert shop.images.digests(SMALL.id) == [f"{registry.authority}/moving@{old}"]

    in_shop(story)


def test_an_index_and_its_platforms(in_shop: Run, registry: DockerRegistry) -> None:
    arm = TestImage(SIBLING.layers, {"Cmd": ["arm"]}, "arm64", {"variant": "v8"})
    entries = []
    for image, platform in ((arm, "arm64"), (SMALL, "amd64")):
        registry.put(image, "multi", platform)
        entries.append(image.descriptor(True, platform={"os": "linux", "architecture": platform}))
    note = {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
    unknown = {"os": "unknown", "architecture": "unknown"}
    entries.append(SMALL.descriptor(True, platform=unknown, **note))
    whole = registry.put_index("multi", "latest", entries)
    name = f"{registry.authority}/multi:latest"

    async def story(shop: Shop) -> None:
        done, _ = await pull(shop, name)
        assert (done.id, done.digest) == (SMALL.id, whole)
        assert whole in shop.blobs()
        done, _ = await pull(shop, name, platform="linux/arm64")
        assert done.id == arm.id
        with pytest.raises(NotFound, match="no matching manifest for linux/s390x"):
            await pull(shop, name, platform="linux/s390x")
        with pytest.raises(BadValue, match="is no platform"):
            await pull(shop, name, platform="linux/arm64/v8/x")
        with pytest.raises(NotFound, match="does not provide the specified platform"):
            await pull(shop, f"{registry.authority}/multi:amd64", platform="linux/arm64")
        saved = await shop.save(name)
        assert b"index.json" in saved
        await shop.images.remove(name, force=True)
        await shop.load(saved)
        assert shop.images.find(name).id == arm.id

    in_shop(story)


def test_an_index_is_pushed_with_all_that_it_names(in_shop: Run, registry: DockerRegistry) -> None:
    arm = TestImage(SIBLING.layers, {"Cmd": ["arm"]}, "arm64", {"variant": "v8"})
    entries = []
    for image, platform in ((arm, "arm64"), (SMALL, "amd64")):
        registry.put(image, "pair", platform)
        entries.append(image.descriptor(True, platform={"os": "linux", "architecture": platform}))
    whole = registry.put_index("pair", "latest", entries)

    async def story(shop: Shop) -> None:
        name = f"{registry.authority}/pair:latest"
        await pull(shop, name, platform="linux/arm64")
        shop.images.tag(name, f"{registry.authority}/half:1")
        await push(shop, f"{registry.authority}/half:1")
        assert "layers" in registry.manifest("half", "1")  # the other half is not here
        await pull(shop, name)
        shop.images.tag(name, f"{registry.authority}/both:1")
        await push(shop, f"{registry.authority}/both:1")
        assert [one["digest"] for one in registry.manifest("both", "1")["manifests"]] == [
            one["digest"] for one in entries
        ]
        for platform, image in (("arm64", arm), ("amd64", SMALL)):
            done, _ = await pull(shop, f"{registry.authority}/both:1", platform=f"linux/{platform}")
            assert (done.id, done.digest) == (image.id, whole)
        reference = parse(f"{registry.authority}/alone:1")
        await shop.images.exchange.push(
            shop.images.find(name), reference, Credentials(), lambda _: None, Sending(alone=True)
        )
        assert "layers" in registry.manifest("alone", "1")

    in_shop(story)


@pytest.mark.parametrize("options", [(), ("--format", "v2s2"), ("--dest-compress-format", "zstd", "--format", "oci")])
def test_what_skopeo_pushed(in_shop: Run, registry: DockerRegistry, tmp_path: Path, options: tuple[str, ...]) -> None:
    # One of its own each: skopeo takes a layer that it knows to be there already as it is.
    image = TestImage((images.layer({"bin/sh": "busybox", f"of/{tmp_path.name}": b"1" * 5000}),), {"Cmd": ["sh"]})
    (tmp_path / "image.tar").write_bytes(image.docker_archive("box:1"))
    name = f"{registry.authority}/skopeo:{len(options)}"
    words = ["skopeo", "copy", "-q", "--dest-tls-verify=false", *options]
    words += ["--dest-compress"] if "zstd" in options else []
    subprocess.run([*words, f"docker-archive:{tmp_path}/image.tar", f"docker://{name}"], check=True, timeout=60)
    kind = registry.manifest("skopeo", str(len(options)))["layers"][0]["mediaType"]
    assert kind.endswith("zstd") == ("zstd" in options)

    async def story(shop: Shop) -> None:
        await pull(shop, name)
        image = shop.images.find(name)
        assert image.layers[0].media_type == kind
        [layer] = await shop.images.unpacked(image)
        assert Path(layer, "bin/sh").is_symlink()
        (tmp_path / "saved.tar").write_bytes(await shop.save(name))
        for form in ("docker-archive", "oci-archive"):
            look = ["skopeo", "inspect", "--config", f"{form}:{tmp_path}/saved.tar"]
            seen = json.loads(subprocess.run(look, capture_output=True, check=True, timeout=60).stdout)
            assert seen["rootfs"]["diff_ids"] == [one.diff_id for one in image.layers], form
        await shop.images.remove(name)
        await quiet(shop)
        assert shop.blobs() == set()

    in_shop(story)


def test_push_and_what_skopeo_makes_of_it(in_shop: Run, registry: DockerRegistry) -> None:
    name = f"{registry.authority}/out/app:2"

    async def story(shop: Shop) -> None:
        await shop.load(SMALL.docker_archive("local:1"))
        shop.images.tag("local:1", name)
        said = await push(shop, name)
        image = shop.images.find(name)
        top = short(image.layers[1].diff_id)
        assert of(said, top)[0] == "Preparing"
        assert of(said, top)[-1] == "Pushed"
        [pushed] = shop.images.digests(image.id)
        words = ["skopeo", "inspect", "--tls-verify=false", f"docker://{name}"]
        seen = json.loads(subprocess.run(words, capture_output=True, check=True, timeout=60).stdout)
        assert pushed == f"{registry.authority}/out/app@{seen['Digest']}"
        assert len(seen["Layers"]) == 2
        assert of(await push(shop, name), top) == ["Preparing", "Layer already exists"]
        other = f"{registry.authority}/out/other:1"
        shop.images.tag(name, other)
        assert of(await push(shop, other), top) == ["Preparing", "Mounted from out/app"]
        await shop.images.remove(name)
        await shop.images.remove(other)
        await shop.images.remove("local:1")
        await quiet(shop)
        assert shop.blobs() == set()
        assert shop.images.exchange._pushes._sent.items() == []
        done, _ = await pull(shop, name)
        assert done.id == SMALL.id

    in_shop(story)


def test_what_was_pulled_goes_back_as_it_came(in_shop: Run, registry: DockerRegistry) -> None:
    came = registry.put(SMALL, "came", "1")
    name = f"{registry.authority}/came:1"

    async def story(shop: Shop) -> None:
        await pull(shop, name)
        other = f"{registry.authority}/went:1"
        shop.images.tag(name, other)
        await push(shop, other)
        assert digest(registry.ask("GET", "/v2/went/manifests/1", headers={"Accept": images.MANIFEST})[2]) == came

    in_shop(story)


def test_pulls_of_one_image_join_and_all_are_told(in_shop: Run, registry: DockerRegistry) -> None:
    image = TestImage((images.layer({"big": bytes(range(256)) * 40_000}), *SMALL.layers), {"Cmd": ["big"]})
    registry.put(image, "joined", "1")
    name = f"{registry.authority}/joined:1"

    async def story(shop: Shop) -> None:
        registries_asked = []
        ask = shop.images.exchange._registries._transport.ask

        async def counted(request, **more):  # type: ignore[no-untyped-def]
            registries_asked.append(request.url)
            return await ask(request, **more)

        shop.images.exchange._registries._transport.ask = counted  # type: ignore[method-assign]
        found = await asyncio.gather(*[pull(shop, name) for _ in range(8)])
        assert {done.id for done, _ in found} == {image.id}
        assert len([url for url in registries_asked if "/manifests/" in url]) == 1
        first = short(shop.images.find(name).layers[0].digest)
        assert all(of(said, first)[-1] == "Pull complete" for _, said in found)

    in_shop(story)


def test_the_last_who_leaves_ends_a_pull_and_nothing_is_left(in_shop: Run) -> None:
    blobs, manifest = registries.of_image(SMALL)
    served = registries.repository(blobs, {"1": (images.MANIFEST, manifest)})
    slow = digest(gzip.compress(SMALL.layers[0], 1, mtime=0))

    def answer(said: registries.Said) -> registries.Reply:
        if said.path.endswith(slow):
            return registries.Reply(act=lambda _: time.sleep(3))
        return served(said)

    async def story(shop: Shop) -> None:
        with registries.server(answer) as one:
            name = f"{one.authority}/slow:1"
            tasks = [asyncio.create_task(pull(shop, name)) for _ in range(3)]
            while not any(path.endswith(slow) for path in one.paths()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            for task in tasks[:2]:
                task.cancel()
            await asyncio.wait(tasks[:2])
            assert shop.images.exchange._under_way
            tasks[2].cancel()
            await asyncio.wait(tasks)
            assert not shop.images.exchange._under_way
            assert not shop.images.exchange._fetches._under_way
            await quiet(shop)
            assert (shop.blobs(), shop.directories()) == (set(), set())
            assert list((shop.content / "ingest").iterdir()) == []
            assert shop.images._base.journal.unfinished() == []
            assert not shop.place.processes()

    in_shop(story)


def test_a_mirror_that_keeps_what_went_through_it(in_shop: Run, tmp_path: Path, certs: Path) -> None:
    """docker-registry as a pull-through cache: what it brought once is had from it when the registry is gone."""

    async def story(shop: Shop) -> None:
        name = "r.example.test/team/app:1"
        with contextlib.ExitStack() as stack:
            upstream = stack.enter_context(registries.docker_registry(tmp_path))
            wanted = upstream.put(SMALL, "team/app", "1")
            with registries.docker_registry(tmp_path, proxy=f"http://{upstream.authority}") as mirror:
                text = f'server = "http://{upstream.authority}"\n[host."http://{mirror.authority}"]\n'
                registries.write_hosts(certs, "r.example.test", text + 'capabilities = ["pull", "resolve"]\n')
                await pull(shop, name)
                await shop.images.remove(name)
                await quiet(shop)
                # What it passed on it keeps a little later.
                for value in list(SMALL.blobs(compress=True))[:-1]:
                    await asyncio.to_thread(mirror.keep, "team/app", value)
                stack.close()
                done, _ = await pull(shop, f"r.example.test/team/app@{wanted}")
                assert done.id == SMALL.id

    in_shop(story)


def test_one_image_of_many_shares_what_is_on_its_way(in_shop: Run, registry: DockerRegistry) -> None:
    registry.put(SMALL, "one", "1")
    registry.put(SIBLING, "two", "1")

    async def story(shop: Shop) -> None:
        names = [f"{registry.authority}/{name}:1" for name in ("one", "two")]
        await asyncio.gather(*[pull(shop, name) for name in names])
        assert len(shop.directories()) == 3
        for name in names:
            assert len(await shop.images.unpacked(shop.images.find(name))) == 2

    in_shop(story)


def test_with_a_password_and_with_tokens_that_end(in_shop: Run, tmp_path: Path) -> None:
    async def story(shop: Shop) -> None:
        with registries.docker_registry(tmp_path, user=("ann", "word")) as one:
            one.put(SMALL, "private", "1")
            name = f"{one.authority}/private:1"
            with pytest.raises(NotFound, match="pull access denied"):
                await pull(shop, name)
            await pull(shop, name, credentials=WHO)
            shop.images.tag(name, f"{one.authority}/mine:1")
            with pytest.raises(Unauthorized, match="unauthorized"):
                await push(shop, f"{one.authority}/mine:1")
            await push(shop, f"{one.authority}/mine:1", WHO)
            await shop.images.remove(SMALL.id, force=True)
            await quiet(shop)
        with registries.token_server(tmp_path, {"ann": "word"}) as tokens:
            with registries.docker_registry(tmp_path, token=tokens.settings) as one:
                name = f"{one.authority}/deep/private:1"
                await shop.load(SMALL.docker_archive(name))
                await push(shop, name, WHO)
                await shop.images.remove(name)
                await quiet(shop)
                done, _ = await pull(shop, name, credentials=WHO)
                assert done.id == SMALL.id

    in_shop(story)
