"""What stays, what goes and when: names, removal, prune, leases, collection; also when the process is killed."""

# ruff: noqa: ASYNC110, ASYNC221 - a story has its loop to itself

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade.errors import Conflict, NotFound, RuntimeFailed
from stockade.images import Deleted, Untagged, Use
from stockade.images.values import Unsettled
from stockade.model.connection import Body
from stockade.model.layers import LayerBlob
from support import crashes, images, registries
from support.images import TestImage

from .conftest import Shop, body, opened

pytestmark = pytest.mark.root
Run = Callable[..., None]
SMALL = TestImage((images.layer({"a": b"1" * 10_000}), images.layer({"b": b"2"})), {"Cmd": ["a"]})
SIBLING = TestImage((SMALL.layers[0], images.layer({"c": b"3"})), {"Cmd": ["c"]})


async def quiet(shop: Shop) -> None:
    """Nothing is under way any more."""
    while shop.images._tasks.get("collect images"):
        await asyncio.sleep(0.01)
    await shop.images._base.layers.removed()


def test_tags_come_and_go_and_the_last_takes_the_image(in_shop: Run) -> None:
    async def story(shop: Shop) -> None:
        await shop.load(SMALL.docker_archive("a:1"))
        shop.images.tag("a:1", "b")
        shop.images.tag(SMALL.id[7:15], "example.com:5000/x/y:z")
        assert shop.images.names(SMALL.id) == ["a:1", "b:latest", "example.com:5000/x/y:z"]
        assert await shop.images.remove("b") == [Untagged("b:latest", SMALL.id)]
        with pytest.raises(Conflict, match=r"must be forced\) - image is referenced in multiple repositories"):
            await shop.images.remove(SMALL.id[7:19])
        assert await shop.images.remove("example.com:5000/x/y:z") == [Untagged("example.com:5000/x/y:z", SMALL.id)]
        removed = await shop.images.remove("a:1")
        assert removed[:2] == [Untagged("a:1", SMALL.id), Deleted(SMALL.id)]
        assert len(removed) == 4
        await quiet(shop)
        assert (shop.blobs(), shop.directories(), list((shop.content / "images").iterdir())) == (set(), set(), [])
        with pytest.raises(NotFound, match="No such image: a:1"):
            shop.images.find("a:1")

    in_shop(story)


def test_what_two_images_share_stays_with_the_other(in_shop: Run) -> None:
    async def story(shop: Shop) -> None:
        await shop.load(SMALL.docker_archive("a:1"))
        await shop.load(SIBLING.docker_archive("c:1"))
        assert len(shop.directories()) == 3
        await shop.images.remove("a:1")
        await quiet(shop)
        assert len(shop.directories()) == 2
        assert len(await shop.images.unpacked(shop.images.find("c:1"))) == 2

    in_shop(story)


def test_containers_keep_their_image(in_shop: Run) -> None:
    uses = [Use("c" * 64, True)]

    async def story(shop: Shop) -> None:
        await shop.load(SMALL.docker_archive("a:1"))
        shop.images.lease(SMALL.id, "c" * 64)
        with pytest.raises(Conflict) as refusal:
            await shop.images.remove("a:1", used_by=lambda _: uses)
        assert refusal.value.message == (
            'conflict: unable to remove repository reference "a:1" (must force) - container cccccccccccc is using its'
            f" referenced image {SMALL.id[7:19]}"
        )
        with pytest.raises(Conflict) as refusal:
            await shop.images.remove(SMALL.id[7:19], force=True, used_by=lambda _: uses)
        assert refusal.value.message == (
            f"conflict: unable to delete {SMALL.id[7:19]} (cannot be forced)"
            " - image is being used by running container cccccccccccc"
        )
        uses[0] = Use("c" * 64, False)
        await shop.images.remove(SMALL.id[7:19], force=True, used_by=lambda _: uses)
        with pytest.raises(NotFound):
            shop.images.find(SMALL.id)
        kept = shop.images.leased("c" * 64)
        assert len(await shop.images.unpacked(kept)) == 2
        await shop.reopen()
        await quiet(shop)
        assert len(shop.directories()) == 2
        assert shop.images.leased("c" * 64).config.cmd == ("a",)
        shop.images.release("c" * 64)
        await quiet(shop)
        assert (shop.blobs(), shop.directories()) == (set(), set())

    in_shop(story)


def test_prune(in_shop: Run) -> None:
    async def story(shop: Shop) -> None:
        await shop.load(SMALL.docker_archive("a:1"))
        await shop.load(SIBLING.docker_archive())
        pruned = await shop.images.prune({}, lambda _: [])
        assert pruned.removed[0] == Deleted(SIBLING.id)
        assert pruned.reclaimed > 0
        assert await shop.images.prune({"dangling": ["true"]}, lambda _: []) == ((), 0)
        in_use = await shop.images.prune({"dangling": ["false"]}, lambda _: [Use("c" * 64, False)])
        assert in_use.removed == ()
        later = await shop.images.prune({"dangling": ["0"], "until": ["2020-01-01"]}, lambda _: [])
        assert later.removed == ()
        every = await shop.images.prune({"dangling": ["0"], "until": ["1h"]}, lambda _: [])
        assert every.removed[:2] == (Untagged("a:1", SMALL.id), Deleted(SMALL.id))

    in_shop(story)


def test_commits_stand_on_their_parent(in_shop: Run) -> None:
    async def story(shop: Shop) -> None:
        await shop.load(SMALL.docker_archive("a:1"))
        parent = shop.images.find("a:1")
        tar = images.layer({"new": b"n"})
        path = shop.content / "ingest/diff"
        path.write_bytes(tar)
        digest = f"sha256:{images.sha256(tar)}"
        config = {**shop.images.commit_config(parent), "Env": ["A=b"]}
        made = await shop.images.commit(
            LayerBlob(str(path), digest, digest, len(tar)), parent, config, "d:1", author="me", message="why"
        )
        assert made.config.env == ("A=b",)
        assert made.config.cmd == ("a",)
        assert (made.config.author, made.config.comment, made.parent) == ("me", "why", parent.id)
        assert len(await shop.images.unpacked(made)) == 3
        assert [line.comment for line in shop.images.history("d:1")] == ["why", "", "", ""]
        with pytest.raises(Conflict, match="image has dependent child images"):
            await shop.images.remove(parent.id, force=True)
        # Without its name the parent goes with its last child.
        await shop.images.remove("a:1")
        assert shop.images.find(parent.id).id == parent.id
        await shop.images.remove("d:1")
        await quiet(shop)
        assert shop.blobs() == set()

    in_shop(story)


def test_import_of_a_tar_and_of_a_directory(in_shop: Run, tmp_path: Path) -> None:
    async def story(shop: Shop) -> None:
        tar = images.layer({"bin/x": b"#!", "etc/passwd": b"root:x:0:0::/root:/bin/sh\n"})
        with body(tar, early=700) as sent:
            image = await shop.images.import_(sent, "r:1", ["CMD x y", 'ENV A=b C="d e"', "EXPOSE 80"], "hello")
        assert image.config.cmd == ("/bin/sh", "-c", "x y")
        assert image.config.env == ("A=b", "C=d e")
        assert image.config.exposed_ports == ("80/tcp",)
        assert image.config.comment == "hello"
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub/file").write_text("1")
        other = await shop.images.import_(str(tmp_path), "r:2")
        [layer] = await shop.images.unpacked(other)
        assert Path(layer, "sub/file").read_text() == "1"

    in_shop(story)


def test_usage_is_what_the_disk_says(in_shop: Run) -> None:
    async def story(shop: Shop) -> None:
        await shop.load(images.busybox().docker_archive("busybox"))
        await shop.load(SMALL.oci_archive("a:1"))
        await shop.load(SIBLING.docker_archive("c:1"))
        usage = await shop.images.usage()
        words = ["du", "-s", "--block-size=1", *(str(shop.layers / name) for name in shop.directories())]
        lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
        assert usage.layers == sum(int(line.split()[0]) for line in lines)
        files = (shop.content / "blobs/sha256").iterdir()
        assert usage.blobs == sum(file.stat().st_blocks * 512 for file in files)
        assert usage.images[SMALL.id] == (10_001, 10_000)

    in_shop(story)


def test_a_store_that_is_lost_is_made_anew_from_what_lies_beside_the_data(in_shop: Run) -> None:
    async def story(shop: Shop) -> None:
        await shop.load(SMALL.docker_archive("a:1", "b:2"))
        before = shop.blobs(), shop.directories(), await shop.images.unpacked(shop.images.find("a:1"))
        await shop.images.close()
        shop.store.close()
        for path in shop.place.data.glob("store.db*"):
            path.unlink()
        shop.images, shop.store = await opened(shop.place)
        found = shop.images.find("b:2")
        assert (shop.blobs(), shop.directories(), await shop.images.unpacked(found)) == before
        assert shop.images.names(found.id) == ["a:1", "b:2"]
        await shop.images.collect()
        assert (shop.blobs(), shop.directories()) == before[:2]

    in_shop(story)


def test_what_another_boot_left_unsynced_is_looked_at_anew(in_shop: Run) -> None:
    async def story(shop: Shop) -> None:
        await shop.load(SMALL.docker_archive("a:1"))
        image = shop.images.find("a:1")
        content = shop.images._base.content
        for name in (*image.kept.blobs, "layer:1", "layer:2"):
            content._unsettled.put(name, Unsettled("another boot"))
        (shop.content / "blobs/sha256" / image.layers[1].digest[7:]).write_bytes(b"cut")
        await shop.reopen()
        await quiet(shop)
        assert image.layers[1].digest not in shop.blobs()
        assert shop.directories() == set()
        with pytest.raises(RuntimeFailed):
            await shop.images.unpacked(shop.images.find("a:1"))
        await shop.load(SMALL.docker_archive("a:1"))
        assert len(await shop.images.unpacked(shop.images.find("a:1"))) == 2

    in_shop(story)


def test_a_load_that_is_given_up_leaves_nothing(in_shop: Run) -> None:
    async def story(shop: Shop) -> None:
        read, write = os.pipe()
        os.write(write, images.busybox().docker_archive("b:1")[:60_000])
        task = asyncio.create_task(shop.images.load(Body(read, "raw")))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        os.close(read)
        os.close(write)
        assert list((shop.content / "ingest").iterdir()) == []
        assert not shop.place.processes()

    in_shop(story)


def test_many_at_once(in_shop: Run) -> None:
    """Loads, removals and collections of images that share layers, all at the same time."""

    async def story(shop: Shop) -> None:
        async def cycle(image: TestImage, name: str) -> None:
            for _ in range(5):
                await shop.load(image.docker_archive(name))
                assert len(await shop.images.unpacked(shop.images.find(name))) == 2
                await shop.images.remove(name)

        async def collect() -> None:
            for _ in range(30):
                await shop.images.collect()
                await asyncio.sleep(0.01)

        await asyncio.gather(cycle(SMALL, "a:1"), cycle(SIBLING, "c:1"), cycle(SMALL, "a:2"), collect())
        await shop.images.collect()
        await quiet(shop)
        assert (shop.blobs(), shop.directories()) == (set(), set())

    in_shop(story)


GIVEN = """
import hashlib, os
from stockade.model.connection import Body
from stockade.model.layers import LayerBlob
def body(path):
    return Body(os.open(path, os.O_RDONLY), f"length:{os.stat(path).st_size}")
def layer(path):
    with open(path, "rb") as file:
        digest = "sha256:" + hashlib.sha256(file.read()).hexdigest()
    return LayerBlob(path, digest, digest, os.stat(path).st_size)
"""
CRASH = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from stockade.host import paths
from stockade.images import Images, Wanted
from stockade.registry.references import parse
from stockade.store import Journal, Store
from contract_images import body, layer
async def main():
    found = paths.find({{"STOCKADE_RUN_DIR": {run!r}, "STOCKADE_DATA_DIR": {data!r}}})
    store = Store({data!r} + "/store.db")
    images = await Images.open(found, store, Journal(store))
    {act}
asyncio.run(main())
"""
PORT = registries.free_port()
PULLED = f"localhost:{PORT}/c:1"
STEPS = [
    *[("image-load", step) for step in ("receive", "adopt", "unpack", "record", "clear")],
    *[("image-import", step) for step in ("adopt", "unpack", "record", "clear")],
    *[("image-commit", step) for step in ("adopt", "unpack", "record", "clear")],
    *[("image-pull", step) for step in ("resolve", "fetch", "unpack", "record")],
    *[("image-remove", step) for step in ("record", "sweep")],
    *[("image-prune", step) for step in ("record", "sweep")],
]
ACTS = {
    "image-load": 'await images.load(body("b.tar"))',
    "image-import": 'await images.import_("layer.tar", "i:1")',
    "image-commit": 'await images.commit(layer("taken.tar"), images.find("a:1"), {}, "d:1")',
    "image-pull": f'await images.exchange.pull(Wanted(parse("{PULLED}")))',
    "image-remove": 'await images.remove("a:1")',
    "image-prune": 'await images.prune({"dangling": ["0"]}, lambda _: [])',
}

NAMES = {
    "image-load": {"a:1", "c:1"},
    "image-import": {"a:1", "i:1"},
    "image-commit": {"a:1", "d:1"},
    "image-pull": {"a:1", PULLED},
}
"""That are there when it is done."""


def expected(verb: str, step: str, moment: str) -> list[set[str]]:
    """The names that may be there after a crash: the step `record` decides, and while it is made either will do."""
    new = NAMES.get(verb, set())
    if step == "record" and moment == "between":
        return [new, {"a:1"}]
    steps = [one for other, one in STEPS if other == verb]
    past = steps.index(step) > steps.index("record") or (step == "record" and moment == "after")
    return [new if past else {"a:1"}]


@pytest.mark.storm
@pytest.mark.timeout(0)
@pytest.mark.parametrize("moment", crashes.MOMENTS)
@pytest.mark.parametrize(("verb", "step"), STEPS)
def test_killed_at_each_step(
    in_shop: Run, verb: str, step: str, moment: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    (tmp_path / "b.tar").write_bytes(SIBLING.docker_archive("c:1"))
    (tmp_path / "layer.tar").write_bytes(SIBLING.layers[1])
    (tmp_path / "taken.tar").write_bytes(SIBLING.layers[1])
    (tmp_path / "contract_images.py").write_text(GIVEN)

    async def story(shop: Shop) -> None:
        await shop.load(SMALL.docker_archive("a:1"))
        await shop.images.close()
        shop.store.close()
        place = shop.place
        text = CRASH.format(tests=str(tmp_path), run=str(place.run), data=str(place.data), act=ACTS[verb])
        point = f"{verb}:{step}" if moment == "between" else f"{verb}:{step}:{moment}"
        blobs, manifest = registries.of_image(SIBLING)
        with registries.server(registries.repository(blobs, {"1": (images.MANIFEST, manifest)}), port=PORT):
            done = await asyncio.to_thread(
                subprocess.run, [sys.executable, "-c", text], cwd=tmp_path, env={**os.environ, "STOCKADE_CRASH": point}
            )
        assert done.returncode == -9
        shop.images, shop.store = await opened(place)
        await quiet(shop)
        names = {name for image in shop.images.list(all=True) for name in shop.images.names(image.id)}
        assert names in expected(verb, step, moment)
        for image in shop.images.list(all=True):
            assert await shop.images.unpacked(image)
        for name in names:
            await shop.images.remove(name)
        await quiet(shop)
        assert (shop.blobs(), shop.directories()) == (set(), set())
        assert list((shop.content / "ingest").iterdir()) == []
        assert shop.images._base.journal.unfinished() == []
        result = "finished" if names == NAMES.get(verb, set()) else "undone"
        record_property(crashes.PROPERTY, crashes.point(verb, row, moment, result))

    row = f"{[one for other, one in STEPS if other == verb].index(step) + 1} {step}"
    record_property(crashes.PROPERTY, crashes.point(verb, row, moment))
    in_shop(story)
