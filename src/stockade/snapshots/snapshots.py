"""A container's root file system: an overlay of its image's layers and a directory of its own.

    BUNDLE/upper, BUNDLE/work    what the container changes; owned by its root
    layers/N                     an image's, ids as in the image: mounted id-mapped to the container's range

Where the file system of the layers knows no id-mapped mounts, a layer is copied once a range with owners changed
(`shifted/BASE/N`), and the copy stays for the next container of that range.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable, Sequence

from stockade.host.ids import Ids, owner
from stockade.host.paths import Paths
from stockade.host.tool import Program
from stockade.model import IdMap, RootfsMount
from stockade.model.layers import Change, LayerBlob

from . import probe, within
from .report import Row, changes_of

MAX_CHANGES = 1_000_000
# Whatever the kernel's defaults are: a rename of a lower directory and a change of mode copy up, so that the upper
# directory alone says what changed (overlayfs.rst, "redirect_dir", "Metadata only copy up").
_OPTIONS = ("index=off", "redirect_dir=off", "metacopy=off")


class Snapshots:
    """The root file systems of one installation's containers."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._program = Program("stockade-layer")
        self._mapped: dict[int, bool] = {}
        self._copies: dict[str, asyncio.Task[None]] = {}
        self.shifted = f"{paths.data}/shifted"

    # Making ----------------------------------------------------------------------------------------------------------

    async def prepare(self, bundle: str, layers: Sequence[str], ids: Ids | None) -> None:
        """Make the directories of a container's own, and copies of layers where they are needed. Idempotent.

        Args:
            bundle: the container's directory, which exists.
            layers: topmost first.
            ids: None: the host's own, as they are.
        """
        self.make(bundle, ids)
        os.chmod(f"{bundle}/upper", os.stat(layers[0]).st_mode & 0o7777)
        if ids is not None and not self._is_mapped(layers[0]):
            await self._join(f"{self.shifted}/{ids.base}/{os.path.basename(one)}" for one in layers)
            for layer in layers:
                await self._copy(layer, ids)

    @staticmethod
    def make(bundle: str, ids: Ids | None) -> None:
        """Make the directories alone, for whichever layers will be beneath. Idempotent."""
        for name in ("upper", "work"):
            path = f"{bundle}/{name}"
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o755)
            os.chown(path, *owner(ids))

    def mounts(self, bundle: str, layers: Sequence[str], ids: Ids | None) -> tuple[RootfsMount, ...]:
        """The rootfs list of CreateTask."""
        return (RootfsMount("overlay", "overlay", "", self.options(bundle, layers, ids)),)

    def image(self, layers: Sequence[str], ids: Ids | None, target: str, subpath: str = "") -> tuple[RootfsMount, ...]:
        """An image's files, or those of a directory of it, at a path of a container's, to be read only.

        Raises:
            BadValue: it has no such directory.
        """
        empty = f"{self._paths.data}/layers/0"
        found = [layer for layer in layers if layer != empty]
        # An overlay without an upper directory has two lower ones at least.
        lowers = self._lowers(found, ids)
        if subpath:
            lowers = within.directories(lowers, subpath)
        options = [f"lowerdir={':'.join((*lowers, empty))}", "ro"]
        if ids is not None and found and self._is_mapped(found[0]):
            options += [f"uidmap={_map(ids.uid)}", f"gidmap={_map(ids.gid)}"]
        return (RootfsMount("overlay", "overlay", target, tuple(options)),)

    def options(self, bundle: str, layers: Sequence[str], ids: Ids | None) -> tuple[str, ...]:
        """The options of the one overlay; programs of ours mount it privately with the same."""
        found = (f"upperdir={bundle}/upper", f"workdir={bundle}/work", *_OPTIONS)
        if ids is None:
            return (f"lowerdir={':'.join(layers)}", *found)
        if not self._is_mapped(layers[0]):
            copies = (self._copy_of(layer, ids) for layer in layers)
            return (f"lowerdir={':'.join(copies)}", *found)
        return (f"lowerdir={':'.join(layers)}", *found, f"uidmap={_map(ids.uid)}", f"gidmap={_map(ids.gid)}")

    # What a container changed ----------------------------------------------------------------------------------------

    async def changes(
        self, bundle: str, layers: Sequence[str], ids: Ids | None, hidden: Iterable[str] = ()
    ) -> list[Change]:
        """What a container changed, as Docker counts it: with the directories on the way.

        Args:
            hidden: paths that the runtime made to mount something there.
        """
        words = [word for layer in self._lowers(layers, ids) for word in ("--lower", layer)]
        for path in hidden:
            words += ["--hide", path]
        upper = ["--upper", f"{bundle}/upper", *words, "--at", "/"]
        rows: list[Row] = []
        async for line in self._program.lines("changes", *upper, "--hide", "/", "--max", str(MAX_CHANGES)):
            if "path" in line:
                rows.append(Row(line["path"], line["kind"]))
        return changes_of(rows)

    async def usage(self, bundle: str) -> int:
        """Bytes of the files that a container wrote (Docker's SizeRw)."""
        [answer] = await self._program.call("usage", f"{bundle}/upper")
        return int(answer["size"])

    async def diff(self, bundle: str, layers: Sequence[str], ids: Ids | None, hidden: Iterable[str] = ()) -> LayerBlob:
        """What a container changed as a layer, ids as in an image; the file is the caller's.

        Args:
            hidden: paths that the runtime made to mount something there.
        """
        path = f"{self._paths.data}/content/ingest/{os.urandom(8).hex()}"
        words = [word for layer in self._lowers(layers, ids) for word in ("--lower", layer)]
        if ids is not None:
            words += ["--uid-map", _map(ids.uid), "--gid-map", _map(ids.gid)]
        for hide in hidden:
            words += ["--hide", hide]
        [answer] = await self._program.call("diff", *words, "--output", path, f"{bundle}/upper")
        return LayerBlob(path, answer["digest"], answer["diff_id"], answer["size"])

    def _lowers(self, layers: Sequence[str], ids: Ids | None) -> Sequence[str]:
        if ids is None or self._is_mapped(layers[0]):
            return layers
        return [self._copy_of(layer, ids) for layer in layers]

    # Where mounts cannot be id-mapped --------------------------------------------------------------------------------

    def _is_mapped(self, layer: str) -> bool:
        """Whether the file system of a layer can be mounted id-mapped; tried once for each."""
        device = os.stat(layer).st_dev
        if device not in self._mapped:
            self._mapped[device] = probe.id_mapped_mounts(layer)
        return self._mapped[device]

    async def warm(self) -> None:
        """Find out now what the first container would wait for."""
        await asyncio.to_thread(self._is_mapped, self._paths.data)

    def _copy_of(self, layer: str, ids: Ids) -> str:
        return f"{self.shifted}/{ids.base}/{os.path.basename(layer)}"

    async def _copy(self, layer: str, ids: Ids) -> None:
        """Make the copy of a layer for a range, unless it is there; whoever else wants it waits for the same."""
        copy = self._copy_of(layer, ids)
        if os.path.exists(copy):
            return
        task = self._copies.get(copy)
        if task is None:
            task = asyncio.create_task(self._make_copy(layer, copy, ids), name=f"copy {layer}")
            self._copies[copy] = task
            task.add_done_callback(lambda _: self._copies.pop(copy, None))
        await asyncio.shield(task)

    async def _make_copy(self, layer: str, copy: str, ids: Ids) -> None:
        fresh = f"{copy}.new-{os.urandom(4).hex()}"
        os.makedirs(os.path.dirname(copy), 0o700, exist_ok=True)
        maps = ("--uid-map", _map(ids.uid), "--gid-map", _map(ids.gid))
        try:
            await self._program.call("copy-shifted", *maps, layer, fresh)
            os.rename(fresh, copy)
        except BaseException:
            await self._program.call("remove", fresh)
            raise

    async def _join(self, copies: Iterable[str]) -> None:
        pending = [self._copies[copy] for copy in copies if copy in self._copies]
        if pending:
            await asyncio.wait(pending)

    async def sweep(self, layers: Iterable[str]) -> None:
        """Remove copies of layers that are no more, and half-made ones."""
        known = {os.path.basename(layer) for layer in layers}
        gone = []
        for base in _names(self.shifted):
            gone += [f"{self.shifted}/{base}/{name}" for name in _names(f"{self.shifted}/{base}") if name not in known]
        gone = [path for path in gone if path not in self._copies and not self._is_growing(path)]
        if gone:
            await self._program.call("remove", *gone)

    def _is_growing(self, path: str) -> bool:
        return path.partition(".new-")[0] in self._copies


def _map(maps: Iterable[IdMap]) -> str:
    return ",".join(f"{one.container}:{one.host}:{one.size}" for one in maps)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
