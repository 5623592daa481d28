"""Archives go out: tools that know one form or the other read them."""

# ruff: noqa: ASYNC220, ASYNC221 - a story has its loop to itself

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade.errors import NotFound, RuntimeFailed
from support import images
from support.images import TestImage

from .conftest import Shop

pytestmark = pytest.mark.root
Run = Callable[..., None]
FIRST = images.busybox()
SECOND = TestImage((*FIRST.layers, images.layer({"second": b"2"})), {"Cmd": ["ls"]})


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive if one.isreg()}  # type: ignore[union-attr]


def skopeo(*words: str) -> str:
    return subprocess.run(["skopeo", *words], capture_output=True, text=True, check=True, timeout=60).stdout


def test_several_images_share_their_blobs_and_come_back(in_shop: Run) -> None:
    async def story(shop: Shop) -> None:
        await shop.load(FIRST.docker_archive("one:1", "one:2"))
        await shop.load(SECOND.oci_archive("two:1"))
        found = members(await shop.save("one", "two:1", "two:1"))
        listed = json.loads(found["manifest.json"])
        assert [one["RepoTags"] for one in listed] == [["one:1", "one:2"], ["two:1"]]
        names = [one["annotations"]["io.containerd.image.name"] for one in json.loads(found["index.json"])["manifests"]]
        assert names == ["docker.io/library/one:1", "docker.io/library/one:2", "docker.io/library/two:1"]
        assert len([name for name in found if name.startswith("blobs/")]) == 7
        data = await shop.save("one", "two:1")
        assert data == await shop.save("one", "two:1")
        for name in ("one:1", "one:2", "two:1"):
            await shop.images.remove(name)
        assert {one.id for one in await shop.load(data)} == {FIRST.id, SECOND.id}
        assert shop.images.names(FIRST.id) == ["one:1", "one:2"]

    in_shop(story)


def test_by_id_no_name_is_given(in_shop: Run) -> None:
    async def story(shop: Shop) -> None:
        await shop.load(SECOND.docker_archive("two:1"))
        found = members(await shop.save(SECOND.id[7:19]))
        assert json.loads(found["manifest.json"])[0]["RepoTags"] is None
        with pytest.raises(NotFound, match="No such image: three:latest"):
            await shop.save("three")

    in_shop(story)


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_skopeo_and_umoci_read_it(in_shop: Run, tmp_path: Path, form: str) -> None:
    async def story(shop: Shop) -> None:
        await shop.load(SECOND.docker_archive("two:1") if form == "docker" else SECOND.oci_archive("two:1"))
        path = tmp_path / "two.tar"
        path.write_bytes(await shop.save("two:1"))
        config = json.loads(skopeo("inspect", "--config", f"docker-archive:{path}:two:1"))
        assert config["config"]["Cmd"] == ["ls"]
        layout = tmp_path / "layout"
        skopeo("copy", "--insecure-policy", f"oci-archive:{path}", f"oci:{layout}:two")
        subprocess.run(["umoci", "unpack", "--image", f"{layout}:two", tmp_path / "out"], check=True, timeout=60)
        assert (tmp_path / "out/rootfs/second").read_text() == "2"
        again = tmp_path / "again.tar"
        skopeo("copy", "--insecure-policy", f"oci:{layout}:two", f"docker-archive:{again}:three:1")
        [loaded] = await shop.load(again.read_bytes())
        assert loaded == (SECOND.id, ("three:1",))

    in_shop(story)


def test_a_reader_that_goes_away_ends_it(in_shop: Run) -> None:
    async def story(shop: Shop) -> None:
        await shop.load(FIRST.docker_archive("one:1"))
        with subprocess.Popen(["head", "-c", "1000"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as reader:
            assert reader.stdin is not None
            with pytest.raises(RuntimeFailed):
                await shop.images.save(["one:1"], reader.stdin.fileno())

    in_shop(story)
