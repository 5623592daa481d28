"""Images under blows: a process that is killed at random, a disk that is full."""

# ruff: noqa: ASYNC221 - a story has its loop to itself

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stockade.errors import StockadeError
from support import images
from support.images import TestImage
from support.place import Place
from support.storm import Storm

from .conftest import Shop, opened, shop

pytestmark = pytest.mark.root
BIG = images.layer({f"file{number}": bytes(20_000) for number in range(60)})
IMAGES = [TestImage((BIG, images.layer({str(number): b"1"})), {"Cmd": [str(number)]}) for number in range(4)]

WORKER = """
import asyncio, os, random, sys
from stockade.errors import StockadeError
from stockade.host import paths
from stockade.images import Images
from stockade.model.connection import Body
from stockade.store import Journal, Store
run, data, top = sys.argv[1:]
async def act(images, number):
    name = f"i{number}:1"
    while True:
        path = f"{top}/{number}.tar"
        descriptor = os.open(path, os.O_RDONLY)
        await images.load(Body(descriptor, f"length:{os.stat(path).st_size}"))
        os.close(descriptor)
        images.tag(name, f"t{number}")
        images.lease(name, f"holder{number}")
        await images.remove(f"t{number}")
        await images.remove(name)
        images.release(f"holder{number}")
        await asyncio.sleep(random.random() / 50)
async def main():
    store = Store(data + "/store.db")
    images = await Images.open(paths.find({"STOCKADE_RUN_DIR": run, "STOCKADE_DATA_DIR": data}), store, Journal(store))
    print("open", flush=True)
    await asyncio.gather(*(act(images, number) for number in range(4)))
asyncio.run(main())
"""


@pytest.mark.storm
@pytest.mark.timeout(0)
def test_killed_at_random(
    in_shop: Callable[..., None], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    storm = Storm(4, 100)
    for number, image in enumerate(IMAGES):
        (tmp_path / f"{number}.tar").write_bytes(image.docker_archive(f"i{number}:1"))

    def blow(shop: Shop) -> None:
        words = [sys.executable, "-c", WORKER, str(shop.place.run), str(shop.place.data), str(tmp_path)]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"open\n"
            time.sleep(random.random() / 4)
            worker.send_signal(signal.SIGKILL)

    async def story(shop: Shop) -> None:
        while storm.lasts():
            await shop.images.close()
            shop.store.close()
            await asyncio.to_thread(blow, shop)
            storm.strikes += 1
            shop.images, shop.store = await opened(shop.place)
            for image in shop.images.list(all=True):
                assert len(await shop.images.unpacked(image)) == 2
                assert shop.images.can_save([image.id])
        for number in range(4):
            shop.images.release(f"holder{number}")
        for image in shop.images.list(all=True):
            await shop.images.remove(image.id, force=True)
        await shop.images.collect()
        await shop.images._base.layers.removed()
        assert (shop.blobs(), shop.directories()) == (set(), set())

    in_shop(story)
    record_property("images", f"{storm.strikes} kills while four load, tag and remove, every image whole, nothing left")


@contextlib.contextmanager
def small_disk(place: Place, size: str) -> Iterator[None]:
    """The data directory on a file system of its own."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place.data], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place.data], check=True)


@pytest.mark.parametrize("size", ["1500k", "2500k"])
def test_a_full_disk(place: Place, bin_dir: Path, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    """It is full while the archive comes, or while it is unpacked: a sentence, nothing left, and room made is used."""
    monkeypatch.setenv("STOCKADE_BIN_DIR", str(bin_dir))

    async def story() -> None:
        async with shop(place) as made:
            small = TestImage((images.layer({"a": b"1"}),))
            await made.load(small.docker_archive("small:1"))
            with pytest.raises(StockadeError, match=r"No space left|disk is full"):
                await made.load(IMAGES[0].docker_archive("big:1"))
            await made.images.collect()
            await made.images._base.layers.removed()
            assert made.images.names(small.id) == ["small:1"]
            assert len(made.images.list(all=True)) == 1
            assert list((made.content / "ingest").iterdir()) == []
            subprocess.run(["mount", "-o", "remount,size=20m", str(place.data)], check=True)
            await made.load(IMAGES[0].docker_archive("big:1"))
            assert len(await made.images.unpacked(made.images.find("big:1"))) == 2

    with small_disk(place, size):
        asyncio.run(story())
