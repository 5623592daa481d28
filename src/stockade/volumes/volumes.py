"""The volumes of one installation.

    volumes/NAME/_data          what containers see; ids as in the container, mounted id-mapped
    volumes/NAME/volume.json    its record: the directory is the state, there is no other
    volumes/.new-…, .gone-…     on their way in, and out

A volume comes and goes by one rename, so that a crash leaves it whole or not at all. One of another namespace than
Docker's has `NAMESPACE@` before its name on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from stockade.errors import BadValue, Conflict, NotFound, RuntimeFailed
from stockade.host.paths import Paths
from stockade.host.tool import Program

from . import mounting
from .values import NAMESPACE, Asked, Volume, check_driver, check_name, device

_MAX_RECORD = 1 << 20


class Volumes:
    """Made by `open`, within a running loop."""

    def __init__(self, paths: Paths) -> None:
        self.top = f"{paths.data}/volumes"
        self._program = Program("stockade-layer")
        self._known: dict[tuple[str, str], Volume] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._removals: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, paths: Paths) -> Volumes:
        """Find every volume again; what a crash left half done is finished or taken away."""
        self = cls(paths)
        os.makedirs(self.top, 0o700, exist_ok=True)
        left = []
        for name in os.listdir(self.top):
            if name.startswith("."):
                left.append(f"{self.top}/{name}")
                continue
            found = _read(self.top, name)
            self._known[found.namespace, found.name] = found
            if os.path.exists(f"{self.top}/{name}/_data.new"):
                await self._program.call("fill", "--dir", "/", "--into", f"{self.top}/{name}/_data", "/")
        self._remove_later(left)
        return self

    async def close(self) -> None:
        """End what is under way; the next `open` goes on with it."""
        for task in self._removals:
            task.cancel()
        await asyncio.gather(*self._removals, return_exceptions=True)

    # Finding -----------------------------------------------------------------------------------------------------

    def find(self, name: str, namespace: str = NAMESPACE) -> Volume:
        """The volume of that name.

        Raises:
            NotFound: there is none.
        """
        found = self._known.get((namespace, name))
        if found is None:
            raise NotFound(f"get {name}: no such volume")
        return found

    def has(self, name: str, namespace: str = NAMESPACE) -> bool:
        """Whether there is a volume of that name."""
        return (namespace, name) in self._known

    def list(self, namespace: str = NAMESPACE) -> Sequence[Volume]:
        """Every volume, by name."""
        return sorted((one for one in self._known.values() if one.namespace == namespace), key=lambda one: one.name)

    def place(self, volume: Volume) -> str:
        """Its directory on this machine (Docker's Mountpoint)."""
        return f"{self._home(volume)}/_data"

    def source(self, volume: Volume) -> str:
        """What a container binds."""
        asked = device(volume.name, volume.options)
        return asked.source if asked is not None and asked.bind else self.place(volume)

    def _home(self, volume: Volume) -> str:
        return f"{self.top}/{_entry(volume.name, volume.namespace)}"

    # Coming and going --------------------------------------------------------------------------------------------

    def create(self, asked: Asked, namespace: str = NAMESPACE) -> Volume:
        """The volume of that name, made if there is none.

        Raises:
            BadValue: the name, the driver or an option makes no sense.
        """
        check_name(asked.name)
        check_driver(asked.name, asked.driver)
        device(asked.name, asked.options)
        known = self._known.get((namespace, asked.name))
        if known is not None:
            return known
        made = Volume(asked.name, time.time_ns(), dict(asked.labels), dict(asked.options), namespace)
        fresh = f"{self.top}/.new-{os.urandom(8).hex()}"
        os.makedirs(f"{fresh}/_data", 0o755)
        os.chmod(f"{fresh}/_data", 0o755)
        with open(f"{fresh}/volume.json", "xb") as file:
            file.write(msgspec.json.encode(made))
        os.rename(fresh, self._home(made))
        self._known[namespace, made.name] = made
        return made

    async def remove(self, name: str, namespace: str = NAMESPACE) -> None:
        """Remove a volume that nobody uses; its files go in the background.

        Raises:
            NotFound: there is none.
            Conflict: what its options mount cannot be unmounted.
        """
        found = self.find(name, namespace)
        async with self.lock(found):
            await self.unmount(found)
            gone = f"{self.top}/.gone-{os.urandom(8).hex()}"
            with contextlib.suppress(FileNotFoundError):
                os.rename(self._home(found), gone)
            self._known.pop((namespace, name), None)
        self._remove_later([gone])

    def lock(self, volume: Volume) -> asyncio.Lock:
        """Whoever fills, mounts or removes a volume holds this."""
        return self._locks.setdefault(_entry(volume.name, volume.namespace), asyncio.Lock())

    def _remove_later(self, paths: Iterable[str]) -> None:
        names = list(paths)
        if names:
            task = asyncio.create_task(self._remove_all(names), name="remove volumes")
            self._removals.add(task)
            task.add_done_callback(self._removals.discard)

    async def _remove_all(self, paths: Sequence[str]) -> None:
        # What fails stays out of sight, and is tried again at the next start.
        with contextlib.suppress(RuntimeFailed):
            await self._program.call("remove", *paths)

    # Being used --------------------------------------------------------------------------------------------------

    async def fill(self, volume: Volume, layers: Sequence[str], path: str) -> None:
        """Give an empty volume what an image has at the path where it is mounted.

        Args:
            layers: of the image, topmost first.
        """
        if device(volume.name, volume.options) is not None:
            return
        async with self.lock(volume):
            words = [word for layer in layers for word in ("--lower", layer)]
            await self._program.call("fill", *words, "--into", self.place(volume), path)

    async def mount(self, volume: Volume) -> None:
        """Mount what its options ask for, unless it is mounted.

        Raises:
            RuntimeFailed: mount(8) failed; the message is its own sentence.
        """
        asked = device(volume.name, volume.options)
        if asked is None:
            return
        if asked.bind:
            if not os.path.isdir(asked.source):
                raise BadValue(f"volume {volume.name}: its device {asked.source} is no directory of this machine")
            return
        async with self.lock(volume):
            if not os.path.ismount(self.place(volume)):
                await mounting.mount(volume.name, asked, self.place(volume))

    async def unmount(self, volume: Volume) -> None:
        """Undo `mount`, after the last container that used it. Idempotent."""
        asked = device(volume.name, volume.options)
        if asked is None or asked.bind:
            return
        if os.path.ismount(self.place(volume)):
            await mounting.unmount(volume.name, self.place(volume))

    async def dismiss(self, used: Callable[[Volume], bool]) -> None:
        """Unmount what no container uses any more: a crash may have left it."""
        for volume in self._known.values():
            if volume.options and not used(volume):
                with contextlib.suppress(Conflict):
                    await self.unmount(volume)

    async def size(self, volume: Volume) -> int:
        """Bytes of its files."""
        if device(volume.name, volume.options) is not None:
            return -1
        [answer] = await self._program.call("usage", self.place(volume))
        return int(answer["size"])


def _entry(name: str, namespace: str) -> str:
    return name if namespace == NAMESPACE else f"{namespace}@{name}"


def _read(top: str, entry: str) -> Volume:
    """The record of a directory; one that a power cut took is made anew from its name: the data is what counts."""
    namespace, _, name = entry.rpartition("@")
    try:
        with open(f"{top}/{entry}/volume.json", "rb") as file:
            found = msgspec.json.decode(file.read(_MAX_RECORD), type=Volume)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        found = Volume("")
    if _entry(found.name, found.namespace) == entry:
        return found
    return Volume(name, time.time_ns(), namespace=namespace or NAMESPACE)
