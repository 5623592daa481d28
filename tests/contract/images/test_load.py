"""Archives come in: every form that tools write, and what is refused of them."""

# ruff: noqa: ASYNC230 - a story has its loop to itself

from __future__ import annotations

import gzip
import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable

import pytest

from stockade.errors import BadValue, NotFound, RuntimeFailed
from support import images
from support.images import TestImage, dump, layout, sha256

from .conftest import Shop

pytestmark = pytest.mark.root
Run = Callable[..., None]


def forms(image: TestImage) -> dict[str, bytes]:
    blobs = image.blobs()
    config = f"blobs/sha256/{image.id.removeprefix('sha256:')}"
    layers = [f"blobs/sha256/{sha256(layer)}" for layer in image.layers]
    names = {
        "io.containerd.image.name": "docker.io/library/busybox:1.0",
        "org.opencontainers.image.ref.name": "1.0",
    }
    listed = dump([{"Config": config, "RepoTags": ["busybox:1.0"], "Layers": layers}])
    old = image.docker_archive("busybox:1.0")
    return {
        "docker, old": old,
        "docker, old, gzip": gzip.compress(old, 1),
        "docker, old, zstd": subprocess.run(["zstd", "-qc"], input=old, capture_output=True, check=True).stdout,
        "docker, new": layout([image.descriptor(annotations=names)], blobs, {"manifest.json": listed}),
        "oci": image.oci_archive("busybox:1.0"),
        "oci, plain layers": image.oci_archive("docker.io/library/busybox:1.0", compress=False),
    }


@pytest.mark.parametrize("form", list(forms(TestImage((images.layer({"x": b""}),)))))
def test_every_form_is_the_same_image(in_shop: Run, form: str) -> None:
    base = images.busybox()
    image = TestImage((*base.layers, images.layer({"a": b"1"}), base.layers[0]), base.config)

    async def story(shop: Shop) -> None:
        [loaded] = await shop.load(forms(image)[form])
        assert loaded.sentences == ("Loaded image: busybox:1.0",)
        found = shop.images.find("busybox:1.0")
        assert found.id == image.id == shop.images.find(image.id[7:19]).id
        assert found.config.cmd == ("sh",)
        assert found.config.env == ("PATH=/bin:/usr/bin:/sbin",)
        assert found.config.created == images.CREATED
        stack = await shop.images.unpacked(found)
        assert len(stack) == 3
        with open(f"{stack[1]}/a") as file:
            assert file.read() == "1"
        assert shop.directories() == {"1", "2", "3"}
        assert list((shop.content / "ingest").iterdir()) == []
        accounts = await shop.images.accounts(found)
        assert [(user.name, user.uid, user.home) for user in accounts.users] == [
            ("root", 0, "/root"), ("nobody", 65534, "/"),
        ]  # fmt: skip
        assert [(group.name, group.gid, group.members) for group in accounts.groups][1] == ("wheel", 10, ("nobody",))

    in_shop(story)


def test_a_name_moves_to_the_image_that_came_last(in_shop: Run) -> None:
    first, second = images.busybox(), images.busybox(Cmd=["ls"])

    async def story(shop: Shop) -> None:
        await shop.load(first.docker_archive("busybox:latest"))
        await shop.load(second.docker_archive("busybox:latest"))
        assert shop.images.find("busybox").id == second.id
        assert shop.images.names(first.id) == []
        assert len(shop.directories()) == 1
        await shop.reopen()
        assert shop.images.find("busybox").id == second.id
        assert shop.images.find(first.id).id == first.id

    in_shop(story)


def test_images_without_a_name(in_shop: Run) -> None:
    image = images.busybox()

    async def story(shop: Shop) -> None:
        [loaded] = await shop.load(image.docker_archive())
        assert loaded.sentences == (f"Loaded image ID: {image.id}",)
        with pytest.raises(NotFound, match="No such image: busybox:latest"):
            shop.images.find("busybox")

    in_shop(story)


def test_of_several_platforms_the_machines_own_is_chosen_and_the_others_are_given_back(in_shop: Run) -> None:
    ours = images.busybox()
    theirs = TestImage((images.layer({"arm": b"64"}),), architecture="s390x")
    note = {"vnd.docker.reference.type": "attestation-manifest"}
    proof = TestImage((), more={"comment": "proof"})
    index = dump({
        "schemaVersion": 2,
        "mediaType": images.INDEX,
        "manifests": [
            theirs.descriptor(platform={"architecture": "s390x", "os": "linux"}),
            ours.descriptor(platform={"architecture": "amd64", "os": "linux"}),
            proof.descriptor(platform={"architecture": "unknown", "os": "unknown"}, annotations=note),
        ],
    })  # fmt: skip
    entry = {
        "mediaType": images.INDEX,
        "digest": f"sha256:{sha256(index)}",
        "size": len(index),
        "annotations": {"org.opencontainers.image.ref.name": "many:1"},
    }
    blobs = ours.blobs() | theirs.blobs() | proof.blobs() | {sha256(index): index}

    async def story(shop: Shop) -> None:
        [loaded] = await shop.load(layout([entry], blobs))
        assert loaded == (ours.id, ("many:1",))
        await shop.images.collect()
        assert shop.blobs() == {f"sha256:{digest}" for digest in blobs}
        saved = await shop.save("many:1")
        await shop.images.remove("many:1")
        assert shop.blobs() == set()
        [again] = await shop.load(saved)
        assert again == loaded
        assert shop.blobs() == {f"sha256:{digest}" for digest in blobs}

    in_shop(story)


def broken(image: TestImage) -> dict[str, tuple[bytes, str]]:
    blobs = image.blobs()
    first = sha256(image.layers[0])
    manifest = image.descriptor()
    other = TestImage(image.layers, {"Cmd": ["other"]}, architecture="s390x")
    fewer = TestImage(image.layers[:1], more={"rootfs": {"type": "layers", "diff_ids": []}})
    lying = TestImage(image.layers, more={"rootfs": {"type": "layers", "diff_ids": [f"sha256:{'0' * 64}"]}})
    twice = dump({
        "mediaType": images.INDEX,
        "manifests": [other.descriptor(platform={"architecture": "s390x", "os": "linux"})] * 2,
    })  # fmt: skip
    nested = {"mediaType": images.INDEX, "digest": f"sha256:{sha256(twice)}", "size": len(twice)}
    return {
        "nothing": (images.pack({"a": b"1"}), "neither index.json .* nor manifest.json"),
        "no tar": (b"x" * 2000, "the archive of images cannot be read"),
        "cut": (image.docker_archive("a:1")[:-30000], "the archive of images cannot be read"),
        "other bytes": (layout([manifest], {**blobs, first: b"other"}), f"sha256:{first} holds other bytes"),
        "no layer": (layout([manifest], {k: v for k, v in blobs.items() if k != first}), f"lacks blobs.*{first}"),
        "no manifest": (layout([manifest], {}), "lacks the manifest"),
        "fewer diff ids": (fewer.docker_archive("a:1"), "1 layers, and its configuration names 0"),
        "lying diff id": (lying.docker_archive("a:1"), "diff_id"),
        "bad json": (images.pack({"index.json": b"{"}), "index.json cannot be read"),
        "deep json": (images.pack({"manifest.json": b"[" * 200_000}), "manifest.json cannot be read"),
        "bad digest": (layout([{**manifest, "digest": "sha256:../../x"}], blobs), "no sha256 digest"),
        "upwards": (images.pack({"../x": b"1"}), "upwards"),
        "link out": (images.pack({"manifest.json": "../../etc/passwd"}), "links out"),
        "bad name": (image.docker_archive("Bad:1"), "must be lowercase"),
        "no platform": (layout([nested], {**other.blobs(), sha256(twice): twice}), "has no image for linux/amd64"),
        "sizes": (layout([{**manifest, "size": -1}], blobs), "a size of -1"),
        "types": (
            TestImage(image.layers, {"Cmd": "text"}).docker_archive("a:1"),
            "configuration .* cannot be read: Expected `array",
        ),
    }


@pytest.mark.parametrize("kind", list(broken(TestImage((images.layer({"x": b""}),)))))
def test_what_is_wrong_is_refused_and_leaves_nothing(in_shop: Run, kind: str) -> None:
    data, words = broken(TestImage((images.layer({"x": b"1" * 40000}),)))[kind]

    async def story(shop: Shop) -> None:
        with pytest.raises((BadValue, RuntimeFailed), match=words):
            await shop.load(data)
        await shop.images.collect()
        await shop.images._base.layers.removed()
        assert (shop.blobs(), shop.directories()) == (set(), set())
        assert list((shop.content / "ingest").iterdir()) == []
        assert shop.images.list(all=True) == []

    in_shop(story)


@pytest.mark.parametrize("first", ["a directory of its own", "a file of another's"])
def test_a_directory_that_a_layer_does_not_name_is_as_below(in_shop: Run, first: str) -> None:
    """Whatever order the layers are unpacked in: owner and mode are those of the layer below."""
    below = io.BytesIO()
    with tarfile.open(fileobj=below, mode="w") as archive:
        entry = tarfile.TarInfo("shared")
        entry.type, entry.mode, entry.uid = tarfile.DIRTYPE, 0o1777, 7
        archive.addfile(entry)
        big = tarfile.TarInfo("big")
        big.size = 3_000_000
        archive.addfile(big, io.BytesIO(bytes(big.size)))
    members = {"own/x": b"1", "shared/y": b"2"} if first.startswith("a dir") else {"shared/y": b"2"}
    above = images.layer({"own": None}) if first.startswith("a dir") else b""
    image = TestImage((below.getvalue(), above[:512] + images.pack(members)))

    async def story(shop: Shop) -> None:
        await shop.load(image.docker_archive("a:1"))
        top, _ = await shop.images.unpacked(shop.images.find("a:1"))
        found = os.stat(f"{top}/shared")
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o1777, 7)
        assert len(shop.directories()) == 2

    in_shop(story)
