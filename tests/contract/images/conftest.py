"""Images in a place of their own: the real store, the real programs, no daemon."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from stockade.host import paths as host_paths
from stockade.images import Images, Loaded
from stockade.model.connection import Body
from stockade.store import Journal, Store
from support.place import Place


@dataclass
class Shop:
    """One installation's images; `images` is that of the process that opened it last."""

    place: Place
    images: Images
    store: Store

    @property
    def content(self) -> Path:
        return self.place.data / "content"

    @property
    def layers(self) -> Path:
        return self.place.data / "layers"

    async def load(self, data: bytes) -> list[Loaded]:
        with body(data) as sent:
            return await self.images.load(sent)

    async def reopen(self) -> None:
        """What the next process finds."""
        await self.images.close()
        self.store.close()
        self.images, self.store = await opened(self.place)

    def blobs(self) -> set[str]:
        return {f"sha256:{path.name}" for path in (self.content / "blobs/sha256").iterdir()}

    def directories(self) -> set[str]:
        names = {path.name for path in self.layers.iterdir()} - {"0"}
        layers = {name for name in names if not name.endswith(".json")}
        assert names - layers == {f"{name}.json" for name in layers if name.isdigit()}
        return layers

    async def save(self, *references: str) -> bytes:
        path = self.place.top / "saved.tar"
        with path.open("wb") as file:
            await self.images.save(references, file.fileno())
        return path.read_bytes()


@contextlib.contextmanager
def body(data: bytes, early: int = 0):  # type: ignore[no-untyped-def]
    """These bytes as a request's body."""
    descriptor = os.memfd_create("body")
    try:
        os.write(descriptor, data[early:])
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield Body(descriptor, f"length:{len(data)}", data[:early])
    finally:
        os.close(descriptor)


async def opened(place: Place) -> tuple[Images, Store]:
    paths = host_paths.find(place.environment())
    store = Store(f"{place.data}/store.db")
    return await Images.open(paths, store, Journal(store)), store


@contextlib.asynccontextmanager
async def shop(place: Place) -> AsyncIterator[Shop]:
    images, store = await opened(place)
    made = Shop(place, images, store)
    try:
        yield made
    finally:
        await made.images.close()
        made.store.close()


Story = Callable[[Shop], object]


@pytest.fixture
def in_shop(place: Place, bin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a story, an async function of a shop, on a loop of its own."""
    monkeypatch.setenv("STOCKADE_BIN_DIR", str(bin_dir))

    def run(story: Callable[[Shop], object]) -> None:
        async def whole() -> None:
            async with shop(place) as made:
                await story(made)  # type: ignore[misc]

        asyncio.run(whole())

    return run
