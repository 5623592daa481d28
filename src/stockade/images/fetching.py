"""Layers out of registries: a Rust program fetches each, checks it and unpacks it on the way, in one pass.

Three at a time for the whole daemon. Who wants a layer that is on its way already waits for it with the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from stockade.errors import RuntimeFailed, StockadeError
from stockade.registry import Repository
from stockade.registry.references import short

from .content import Content, unlink
from .moving import Mover, Spoiled
from .shared import Shared, Tell
from .unpacking import Layers
from .values import Layer, Progress

AT_ONCE = 3
_ADMISSIONS = 4
"""How often a registry may ask within one fetch who we are: tokens end after a minute."""
MAX_LAYER = 1 << 40


class Fetches:
    """The layers that are on their way here."""

    def __init__(self, content: Content, layers: Layers) -> None:
        self._content = content
        self._layers = layers
        self._room = asyncio.Semaphore(AT_ONCE)
        self._under_way: dict[str, Shared[None]] = {}
        self._mover = Mover()

    async def fetch(self, layer: Layer, chains: Sequence[str], repository: Repository, tell: Tell) -> None:
        """Bring a layer's blob here, and its directory if it can be made on the way.

        Args:
            chains: its chain id and those below it, the lowest first.

        Raises:
            RuntimeFailed: it cannot be had, or is not what it should be; the text is the program's.
            NotFound: this user may not have it.
        """
        while not self._content.has(layer.digest):
            others = self._under_way.get(layer.digest)
            if others is None:
                await self._begin(layer, chains, repository).wait(tell)
                return
            try:
                await others.wait(tell)
            except StockadeError:
                # Another's failure is not ours: his registry or his rights may be to blame.
                continue

    def _begin(self, layer: Layer, chains: Sequence[str], repository: Repository) -> Shared[None]:
        def ended() -> None:
            del self._under_way[layer.digest]

        shared = Shared(f"fetch {layer.digest}", lambda say: self._one(layer, chains, repository, say), ended)
        self._under_way[layer.digest] = shared
        return shared

    async def _one(self, layer: Layer, chains: Sequence[str], repository: Repository, tell: Tell) -> None:
        """Fetch it, from other sources than those that gave something else."""
        tell(Progress(short(layer.digest), "Waiting"))
        liars: set[str] = set()
        with self._content.hold([layer.digest, *chains]):
            async with self._room:
                while not await self._from(layer, chains, repository, liars, tell):
                    tell(Progress(short(layer.digest), "Retrying in 0 seconds"))

    async def _from(
        self, layer: Layer, chains: Sequence[str], repository: Repository, liars: set[str], tell: Tell
    ) -> bool:
        """Fetch it into a new directory; False: there is another liar, and somebody else to be asked."""
        path = self._content.room()

        async def into(directory: str, lowers: Sequence[str]) -> dict[str, Any]:
            done = await self._get(layer, repository, liars, (path, directory, lowers), tell)
            self._content.adopt(layer.digest, path)
            return done

        try:
            await self._layers.receive(layer, chains, into)
        except Spoiled:
            if all(one.url in liars for one in repository.sources(layer.digest)):
                raise
            return False
        finally:
            await asyncio.to_thread(unlink, [path])
        return True

    async def _get(
        self, layer: Layer, repository: Repository, liars: set[str], to: tuple[str, str, Sequence[str]], tell: Tell
    ) -> dict[str, Any]:
        """Run the program until it has the layer, authorised anew where it is asked who we are."""
        path, directory, lowers = to
        for _ in range(_ADMISSIONS):
            sources = [one for one in repository.sources(layer.digest) if one.url not in liars]
            wanted = {
                "sources": sources,
                "digest": layer.digest,
                "size": layer.size,
                "max_bytes": MAX_LAYER,
                "media_type": layer.media_type,
                "blob": path,
                "unpack": {"directory": directory, "diff_id": layer.diff_id, "lowers": list(lowers)}
                if directory
                else None,
            }
            try:
                moved = await self._mover.run(
                    "get", wanted, f"layer {short(layer.digest)}", lambda line: _say(line, layer, tell)
                )
            except Spoiled as spoiled:
                liars.add(sources[spoiled.source].url)
                raise
            if moved.done is not None:
                return moved.done
            if moved.challenge is not None:
                await repository.admit(moved.challenge["url"], [moved.challenge["challenge"]], sources)
        raise RuntimeFailed(f"layer {layer.digest}: the registry goes on asking who wants it")


def _say(line: dict[str, Any], layer: Layer, tell: Callable[[Progress], object]) -> None:
    name = short(layer.digest)
    if "received" in line:
        tell(Progress(name, "Downloading", line["received"], layer.size))
    elif "unpacked" in line:
        tell(Progress(name, "Extracting", min(line["unpacked"], layer.size), layer.size))
    elif "waiting" in line:
        tell(Progress(name, f"Retrying in {round(line['waiting'])} seconds"))
    elif "done" in line:
        tell(Progress(name, "Download complete"))
