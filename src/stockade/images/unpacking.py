"""Layers as directories: one a chain id, unpacked once, whoever asks and however often at the same time.

    layers/N            an unpacked layer, ids as in the image; N is short, because overlayfs bounds its options
    layers/N.json       a copy of its record, for repair
    layers/0            an empty directory: what an image without layers stands on
    layers/.gone-…      on its way out

A directory that the store does not know is nobody's. Layers are unpacked side by side; only one that implies
directories which it does not name (their owner and mode are those below) waits for the layers below it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from stockade.errors import NotFound, RuntimeFailed
from stockade.host import locks
from stockade.host.paths import Paths
from stockade.host.tool import Program
from stockade.store import Store

from .content import Content
from .values import Layer, Progress, Unpacked

EMPTY = "0"
_AT_ONCE = 2
_PREFIX = "layer:"
_MAX_COPY = 1 << 16
_HEADER = 512
_PEEK = 4096


def silently(_: Progress) -> None:
    """Nobody is told."""


def _begins_at_the_top(path: str) -> bool:
    """Whether a layer seems to name its directories before what lies in them, by its first header: a guess."""
    try:
        with open(path, "rb") as file:
            head = file.read(_PEEK)
    except OSError:
        return True
    if head.startswith(b"\x1f\x8b"):
        with contextlib.suppress(zlib.error):
            head = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, _HEADER)
    name, kind = head[:100].rstrip(b"\0").removeprefix(b"./"), head[156:157]
    return kind == b"5" or b"/" not in name


Into = Callable[[str, Sequence[str]], Awaitable[dict[str, Any]]]
"""Unpacks into a directory, above others (the topmost first); what it says of it: `bytes`, `implied`."""


class Copy(Struct, frozen=True):
    """What stands beside a layer's directory."""

    chain: str
    layer: Unpacked


class Layers:
    """The unpacked layers of one installation."""

    def __init__(self, paths: Paths, store: Store, content: Content, program: Program) -> None:
        self.top = f"{paths.data}/layers"
        self._content = content
        self._program = program
        self._table = store.table("layer", Unpacked)
        self._known = dict(self._table.items())
        self._under_way: dict[str, asyncio.Task[Unpacked]] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._removals: set[asyncio.Task[None]] = set()
        os.makedirs(f"{self.top}/{EMPTY}", 0o755, exist_ok=True)
        os.chmod(self.top, 0o700)
        self._next = 1 + max((int(name) for name in os.listdir(self.top) if name.isdigit()), default=0)

    @property
    def known(self) -> dict[str, Unpacked]:
        """Every layer that is there, by chain id."""
        return self._known

    def directory(self, chain: str) -> str:
        """Where a layer lies.

        Raises:
            NotFound: it is not unpacked.
        """
        if chain not in self._known:
            raise NotFound(f"layer {chain} is not unpacked")
        return f"{self.top}/{self._known[chain].directory}"

    def stack(self, chains: Sequence[str]) -> tuple[str, ...] | None:
        """The directories of a chain, topmost first; None if one is missing."""
        if not chains:
            return (f"{self.top}/{EMPTY}",)
        found = [self._known.get(chain) for chain in reversed(chains)]
        return tuple(f"{self.top}/{one.directory}" for one in found if one) if all(found) else None

    async def unpack(
        self, layers: Sequence[Layer], chains: Sequence[str], tell: Callable[[Progress], object] = silently
    ) -> tuple[str, ...]:
        """Unpack what is missing of a chain; its directories, topmost first.

        Raises:
            RuntimeFailed: a layer cannot be unpacked, or is not what the image says; the text names it.
        """
        with self._content.hold([*chains, *(layer.digest for layer in layers)]):
            tasks = [self._begin(layers, chains, number, tell) for number in range(len(layers))]
            wanted = [task for task in tasks if task is not None]
            if wanted:
                await asyncio.wait(wanted)
                for task in wanted:
                    task.result()
        found = self.stack(chains)
        assert found is not None, "every task has recorded its layer"
        return found

    def _begin(
        self, layers: Sequence[Layer], chains: Sequence[str], number: int, tell: Callable[[Progress], object]
    ) -> asyncio.Task[Unpacked] | None:
        chain = chains[number]
        if chain in self._known:
            return None
        task = self._under_way.get(chain)
        if task is None:
            work = self._one(layers[number], tuple(chains[: number + 1]), tell)
            task = asyncio.create_task(work, name=f"unpack {chain}")
            self._under_way[chain] = task
            task.add_done_callback(lambda done: self._done(chain, done))
        return task

    def _done(self, chain: str, task: asyncio.Task[Unpacked]) -> None:
        self._under_way.pop(chain, None)
        if not task.cancelled():
            task.exception()  # who asked may be gone; it is known that it was raised

    async def _one(self, layer: Layer, chains: tuple[str, ...], tell: Callable[[Progress], object]) -> Unpacked:
        chain, below = chains[-1], chains[:-1]
        with self._content.hold([layer.digest, *chains]):
            known = self.stack(below) if below else ()
            if known is None and not await asyncio.to_thread(_begins_at_the_top, self._content.path(layer.digest)):
                known = await self._wait_for(layer, below)
            async with self._room:
                directory, answer = await self._into_new(layer, known or ())
            if answer["implied"] and known is None:
                await self._remove(directory)
                lowers = await self._wait_for(layer, below)
                async with self._room:
                    directory, answer = await self._into_new(layer, lowers)
            made = self._keep(chain, layer, directory, answer["bytes"])
        tell(Progress(layer.diff_id.removeprefix("sha256:")[:12], "Loading layer", layer.size, layer.size))
        return made

    async def receive(self, layer: Layer, chains: Sequence[str], into: Into) -> None:
        """Have whoever brings a layer's blob unpack it on the way, if that can be; else `unpack` does it later.

        Args:
            chains: its chain id and those below it, the lowest first.
            into: is called once, with a new directory, or without one where there is nothing to be made.
        """
        chain, below = chains[-1], chains[:-1]
        if chain in self._known or chain in self._under_way:
            await into("", ())
            return
        lowers = self.stack(below) if below else ()
        number, self._next = self._next, self._next + 1
        directory = f"{self.top}/{number}"
        with self._content.hold([str(number)]):
            os.mkdir(directory, 0o755)
            try:
                answer = await into(directory, lowers or ())
            except BaseException:
                self._out_of_sight([directory])
                raise
            if chain in self._known or (answer["implied"] and lowers is None):
                self._out_of_sight([directory])
            else:
                self._keep(chain, layer, directory, answer["bytes"])

    def _keep(self, chain: str, layer: Layer, directory: str, size: int) -> Unpacked:
        """Write down that a layer is there."""
        made = Unpacked(os.path.basename(directory), layer.diff_id, size)
        self._content.doubt(_PREFIX + made.directory)
        locks.replace(f"{directory}.json", msgspec.json.encode(Copy(chain, made)).decode(), synced=False)
        self._table.put(chain, made)
        self._known[chain] = made
        return made

    async def _wait_for(self, layer: Layer, below: Sequence[str]) -> tuple[str, ...]:
        """The directories of the layers below one, topmost first, once they are there."""
        pending = [self._under_way[one] for one in below if one in self._under_way]
        if pending:
            await asyncio.wait(pending)
        found = self.stack(below)
        if found is None:
            raise RuntimeFailed(f"layer {layer.digest} needs the layers below it, which are missing")
        return found

    async def _into_new(self, layer: Layer, lowers: Sequence[str]) -> tuple[str, dict[str, Any]]:
        number, self._next = self._next, self._next + 1
        directory = f"{self.top}/{number}"
        with self._content.hold([str(number)]):
            os.mkdir(directory, 0o755)
            try:
                words = ["--expect-digest", layer.digest, "--expect-diff-id", layer.diff_id]
                for lower in lowers:
                    words += ["--lower", lower]
                blob = self._content.path(layer.digest)
                [answer] = await self._program.call("unpack", "--input", blob, *words, directory)
            except BaseException:
                self._out_of_sight([directory])
                raise
        return directory, answer

    # On the way out ----------------------------------------------------------------------------------------------

    def discard(self, chains: Iterable[str], directories: Iterable[str] = ()) -> None:
        """Forget layers at once; their files go in the background."""
        names = list(directories)
        for chain in chains:
            self._table.delete(chain)
            gone = self._known.pop(chain, None)
            if gone is not None and gone.directory not in names:
                names.append(gone.directory)
        self._out_of_sight([f"{self.top}/{name}" for name in names])

    def directories(self) -> frozenset[str]:
        """The names of the directories that lie there, but the empty one and those on their way out."""
        return frozenset(name for name in os.listdir(self.top) if name.isdigit() and name != EMPTY)

    def doubtful(self, names: Iterable[str]) -> list[str]:
        """The chain ids of those of `names` (of what is in doubt) that are layers."""
        wanted = {name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)}
        return [chain for chain, one in self._known.items() if one.directory in wanted]

    def rebuild(self) -> None:
        """Put what the copies say into a store that lost it."""
        for name in os.listdir(self.top):
            if not name.endswith(".json"):
                continue
            with open(f"{self.top}/{name}", "rb") as file:
                data = file.read(_MAX_COPY)
            # A copy that cannot be read leaves its layer unknown: it is unpacked anew when it is needed.
            with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):
                copy = msgspec.json.decode(data, type=Copy)
                if copy.layer.directory in self.directories() and copy.chain not in self._known:
                    self._table.put(copy.chain, copy.layer)
                    self._known[copy.chain] = copy.layer

    def sweep(self) -> None:
        """Go on removing what an earlier process took out of sight, and copies of records that it left."""
        known = {f"{one.directory}.json" for one in self._known.values()}
        for name in os.listdir(self.top):
            if ".json" in name and name not in known:
                os.unlink(f"{self.top}/{name}")
        left = [f"{self.top}/{name}" for name in os.listdir(self.top) if name.startswith(".gone-")]
        if left:
            self._remove_later(left)

    async def close(self) -> None:
        """End what is under way."""
        tasks = [*self._under_way.values(), *self._removals]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def removed(self) -> None:
        """Wait until what was discarded is gone from the disk."""
        while self._removals:
            await asyncio.wait(set(self._removals))

    async def _remove(self, directory: str) -> None:
        await self._program.call("remove", directory)

    def _out_of_sight(self, directories: list[str]) -> None:
        gone = []
        for directory in directories:
            name = os.path.basename(directory)
            place = f"{self.top}/.gone-{name}-{os.urandom(4).hex()}"
            with contextlib.suppress(FileNotFoundError):
                os.rename(directory, place)
                gone.append(place)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{directory}.json")
            self._content.trust(_PREFIX + name)
        if gone:
            self._remove_later(gone)

    def _remove_later(self, paths: list[str]) -> None:
        task = asyncio.create_task(self._remove_all(paths), name="remove layers")
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)

    async def _remove_all(self, paths: list[str]) -> None:
        # What fails stays out of sight, and is tried again at the next start.
        with contextlib.suppress(RuntimeFailed):
            await self._program.call("remove", *paths)
