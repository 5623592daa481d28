"""The face of the package: one method a verb."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from stockade.errors import BadValue, NotFound, RuntimeFailed, StockadeError
from stockade.host.paths import Paths
from stockade.host.processes import Owner
from stockade.host.tool import Given
from stockade.model.connection import Body
from stockade.model.layers import LayerBlob
from stockade.model.moments import rfc3339
from stockade.registry import references
from stockade.store import NAMESPACE, Journal, Operation, Store

from . import addresses, attestations, documents, filters, intake, making, platforms, reports, saving
from .addresses import Address
from .archive import File
from .attestations import Attested
from .base import Base
from .collect import Present, Root, garbage, root_of
from .content import disk_errors, unlink
from .exchange import Exchange
from .filters import Facts, Filters
from .intake import Intake
from .making import Signed
from .moving import Mover
from .pulling import LEFT
from .removal import Removed, Shelf, Uses
from .shared import Tell
from .taking import PRUNE, REMOVE, Taking
from .unpacking import silently
from .values import (
    Accounts,
    Collected,
    Deleted,
    Image,
    Layer,
    Line,
    Loaded,
    Name,
    Progress,
    Pruned,
    Untagged,
    Usage,
)

List = list
"""The class has a method of that name."""
_PROCESS = "process:"
SETTLE_AFTER = 2.0
"""Seconds between the last thing that was brought and the sync of it."""


def _unused(_: str) -> Sequence[Any]:
    return ()


class Images:
    """The images of one installation. Made by `open`."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._catalog = base.catalog
        self._accounts = base.store.table("image-accounts", Accounts)
        self._known_accounts: dict[str, Accounts] = dict(self._accounts.items())
        self._sizes: dict[str, int] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._collecting = asyncio.Lock()
        self.exchange = Exchange(base, self._bring)
        """With registries."""
        base.sweep = lambda: self._later("collect images", self._collect_quietly())

    @classmethod
    async def open(cls, paths: Paths, store: Store, journal: Journal, *, lost: bool = False) -> Images:
        """Read what is there, finish or undo what an earlier process left, and sweep what is nobody's.

        Args:
            lost: the store's records are gone: they are made anew from their copies, and as nobody knows yet who uses
                what, nothing is swept.
        """
        base = Base(paths, store, journal)
        images = cls(base)
        lost = base.catalog.lost
        if lost:
            base.layers.rebuild()
            base.catalog.rebuild()
        await images._distrust()
        base.catalog.load()
        if lost:
            await images.rebuild()
            return images
        await images._recover()
        await asyncio.to_thread(unlink, [entry.path for entry in os.scandir(base.content.ingest)])
        base.layers.sweep()
        if not lost:
            # Leases are lost with the store; until they are given anew, what only they keep looks like garbage.
            await images.collect()
        if base.content.any_unsettled:
            images._settle_soon()
        return images

    async def close(self) -> None:
        """End what is under way; nothing of it is lost."""
        await self.exchange.close()
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._base.layers.close()

    @property
    def listeners(self) -> List[Callable[[Any], object]]:
        """Who is told what happens to images (`base.Happened`)."""
        return self._base.listeners

    @property
    def damaged(self) -> Mapping[str, str]:
        """Images that cannot be used, and why."""
        return self._catalog.damaged

    # Looking ------------------------------------------------------------------------------------------------------

    def find(self, reference: str, namespace: str = NAMESPACE) -> Image:
        """An image by `name[:tag][@digest]`, id, or the beginning of an id that is no other's.

        Raises:
            NotFound, BadValue: with Docker's words.
        """
        return self._catalog.find(reference, namespace)

    def list(self, namespace: str = NAMESPACE, *, all: bool = False, filters_: Filters | None = None) -> List[Image]:
        """Images, the newest first; without `all` none that is nothing but the parent of another.

        Raises:
            BadValue: a filter that is none.
        """
        wanted = filters_ or {}
        filters.check(wanted, filters.OF_LIST)
        parents = {image.parent for image in self._catalog.images(namespace)}
        now = time.time_ns()
        found = []
        for image in self._catalog.images(namespace):
            names = tuple(self._catalog.names_of(image.id, namespace))
            if (all or names or image.id not in parents) and filters.keeps(
                wanted, Facts(image, names), lambda text: self._created(text, namespace), now
            ):
                found.append(image)
        return sorted(found, key=lambda image: filters.nanoseconds(image.config.created), reverse=True)

    def _created(self, text: str, namespace: str) -> int:
        return filters.nanoseconds(self.find(text, namespace).config.created)

    def names(self, image: str, namespace: str = NAMESPACE) -> List[str]:
        """The tags of an image as people write them (Docker's RepoTags)."""
        return [one.familiar for one in self._references(image, namespace) if not one.digest]

    def digests(self, image: str, namespace: str = NAMESPACE) -> List[str]:
        """Its names by digest as people write them (Docker's RepoDigests)."""
        return [one.familiar for one in self._references(image, namespace) if one.digest]

    def last_tagged(self, image: str, namespace: str = NAMESPACE) -> int:
        """When it last got a name, nanoseconds since the epoch; 0: it has none."""
        given = [name.since for name in self._catalog.names(namespace).values() if name.image == image]
        return max(given, default=0)

    def _references(self, image: str, namespace: str) -> Iterable[references.Reference]:
        return (references.parse(text) for text in self._catalog.names_of(image, namespace))

    def history(self, reference: str, namespace: str = NAMESPACE) -> List[Line]:
        """How an image came about, the newest first."""
        image = self.find(reference, namespace)
        return reports.history(image, self.names(image.id, namespace))

    def attestations(self, image: Image) -> List[Attested]:
        """What is attested of an image, as far as it is here. See attestations.of."""
        return attestations.of(image.kept, self._base.content)

    def statement(self, attested: Attested) -> bytes:
        """A statement, as it is."""
        return attestations.statement(attested, self._base.content)

    def commit_config(self, image: Image) -> dict[str, Any]:
        """An image's own `config` object, with every field that it has."""
        config = self._raw(image).get("config")
        return config if isinstance(config, dict) else {}

    def _raw(self, image: Image) -> dict[str, Any]:
        data = self._base.content.read(image.id, documents.MAX_DOCUMENT)
        return documents.raw_object(data, f"configuration {image.id}")

    # Bringing -----------------------------------------------------------------------------------------------------

    async def load(
        self,
        body: Body,
        tell: Callable[[Progress], object] = silently,
        platform: documents.Platform | None = None,
        namespace: str = NAMESPACE,
    ) -> List[Loaded]:
        """Take the images of an archive: OCI layout, Docker's, or both at once; plain or compressed.

        Args:
            platform: which of several an image is to be for; None: this machine's, or the only one.

        Raises:
            BadValue: it is none, or says what its bytes do not.
            NotFound: it has an image for another platform only.
            RuntimeFailed: it cannot be read or unpacked; the text is the program's.
        """
        work = Intake(self._base, namespace)
        work.body, work.tell, work.platform = body, tell, platform
        await self._bring(intake.LOAD, work)
        for one in work.loaded:
            self._base.tell("load", one.id)
        return work.loaded

    async def import_(
        self,
        source: Body | Address | str,
        reference: str = "",
        changes: Sequence[str] = (),
        message: str = "Imported from -",
        *,
        platform: str = "",
        tell: Tell = silently,
        namespace: str = NAMESPACE,
    ) -> Image:
        """Make an image of a root file system: a tar, plain or compressed, or a directory of the host.

        Args:
            platform: what it is for, in words; empty: this machine's.

        Raises:
            BadValue: an instruction, name or platform that is none.
            RuntimeFailed: it is no tar, or cannot be had.
        """
        names = [references.parse_tag(reference)] if reference else []
        signed = Signed(rfc3339(time.time_ns()), message=message)
        for_ = platforms.parse(platform, self._base.platform) if platform else self._base.platform
        making.imported(for_, making.EMPTY_TAR, changes, signed)  # refuse before any byte is read
        work = Intake(self._base, namespace)
        room = self._base.content.room()
        try:
            with disk_errors():
                os.mkdir(room, 0o700)
                path = f"{room}/layer"
                layer = await self._layer_of(source, path, tell)
                config = making.imported(for_, layer.diff_id, changes, signed)
                file = File(path, layer.size, layer.digest)
                work.planned = (intake.single(config, [layer], {layer.digest: file}, names, room),)
            await self._bring(intake.IMPORT, work, room)
        finally:
            await asyncio.to_thread(unlink, [room])
        image = work.images[0]
        for name in names:
            self._base.tell("tag", image.id, name.familiar, image.config.labels)
        self._base.tell("import", image.id, "", image.config.labels)
        return image

    async def _layer_of(self, source: Body | Address | str, path: str, tell: Tell) -> Layer:
        if isinstance(source, Body):
            return await intake.received_layer(self._base, source, path)
        if isinstance(source, Address):
            await addresses.fetch(Mover(), source, f"{path}.came", tell)
            try:
                return await self._layer_of(f"{path}.came", path, tell)
            finally:
                os.unlink(f"{path}.came")
        if not os.path.isdir(source):
            descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return await intake.received_layer(self._base, Body(descriptor), path)
            finally:
                os.close(descriptor)
        [answer] = await self._base.program.call("diff", "--output", path, source)
        return Layer(answer["digest"], answer["size"], documents.LAYER, answer["diff_id"])

    async def commit(
        self,
        diff: LayerBlob,
        parent: Image | None,
        config: Mapping[str, Any],
        reference: str = "",
        *,
        author: str = "",
        message: str = "",
        created_by: str = "",
        namespace: str = NAMESPACE,
    ) -> Image:
        """Make an image of what a container changed.

        Args:
            diff: the layer; its file is taken.
            parent: the container's image.
            config: Docker's Config object, changes applied (`images.changes`).

        Raises:
            BadValue: a name that is none, or too many layers.
        """
        names = [references.parse_tag(reference)] if reference else []
        signed = Signed(rfc3339(time.time_ns()), author, message, created_by)
        raw = self._raw(parent) if parent is not None else {}
        whole = making.committed(raw, config, self._base.platform, diff.diff_id, signed)
        layer = Layer(diff.digest, diff.size, diff.media_type, diff.diff_id)
        layers = (parent.layers if parent is not None else ()) + (() if diff.diff_id == making.EMPTY_TAR else (layer,))
        work = Intake(self._base, namespace)
        work.parent = parent.id if parent is not None else ""
        room = self._base.content.room()
        try:
            with disk_errors():
                os.mkdir(room, 0o700)
                files = {diff.digest: File(diff.path, diff.size, diff.digest)} if layer in layers else {}
                work.planned = (intake.single(whole, layers, files, names, room),)
            await self._bring(intake.COMMIT, work, room)
        finally:
            await asyncio.to_thread(unlink, [room, diff.path])
        image = work.images[0]
        self._base.tell("create", image.id, "", image.config.labels)
        for name in names:
            self._base.tell("tag", image.id, name.familiar, image.config.labels)
        return image

    @staticmethod
    def spoken(reference: str) -> str:
        """A name that an image is to have, as it is said to people."""
        return references.parse_tag(reference).familiar if reference else ""

    async def _bring(self, verb: Any, work: Intake, room: str = "") -> None:
        """Perform a verb that brings something."""
        room = room or self._base.content.room()
        try:
            with disk_errors():
                await self._base.journal.run(verb, work, room, {"room": room})
        finally:
            work.let_go()
            self._settle_soon()
        for image in work.images:
            # Only so that the first container does not wait; what is wrong with them is said to whoever needs them.
            with contextlib.suppress(RuntimeFailed):
                await self.accounts(image)

    # Giving -------------------------------------------------------------------------------------------------------

    def can_save(self, wanted: Sequence[str], namespace: str = NAMESPACE) -> Sequence[saving.Chosen]:
        """What `save` will write.

        Raises:
            NotFound: an image, or a blob of one.
        """
        chosen = self._choose(wanted, namespace)
        blobs = [digest for one in chosen for digest in (one.image.id, one.image.manifest, *_digests(one.image))]
        missing = [digest for digest in dict.fromkeys(blobs) if not self._base.content.has(digest)]
        if missing:
            raise NotFound(f"blobs of the image are missing: {', '.join(missing)}")
        return chosen

    async def save(self, wanted: Sequence[str], out: int, namespace: str = NAMESPACE) -> None:
        """Write images to a descriptor as one archive that Docker and tools of OCI layouts read.

        Raises:
            NotFound: an image, or a blob of one.
            RuntimeFailed: the reader went away, or the disk failed.
        """
        chosen = self.can_save(wanted, namespace)
        with self._base.content.hold([digest for one in chosen for digest in one.image.kept.blobs]):
            lines = saving.members(chosen, self._base.content.path, self._size_of)
            text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
            await self._base.program.call("send", "--to", str(out), given=Given((out,), text))
        for one in chosen:
            self._base.tell("save", one.image.id)

    def _choose(self, wanted: Sequence[str], namespace: str) -> List[saving.Chosen]:
        """Images with the names that they were asked by; a repository alone means all of its tags."""
        found: dict[str, saving.Chosen] = {}

        def add(image: Image, names: Iterable[references.Reference]) -> None:
            known = found.get(image.id, saving.Chosen(image, ())).names
            found[image.id] = saving.Chosen(image, tuple(dict.fromkeys((*known, *names))))

        for text in wanted:
            tags = self._tags_of(text, namespace)
            for name, identity in tags:
                image = self._catalog.get(identity, namespace)
                if image is not None:
                    add(image, [name])
            if not tags:
                image, whole = self._catalog.resolve(text, namespace)
                add(image, [references.parse(whole)] if whole else [])
        return [*found.values()]

    def tags_of(self, repository: references.Reference, namespace: str = NAMESPACE) -> List[references.Reference]:
        """Every tag of a repository that is here."""
        return [name for name, _ in self._tags_of(repository.name, namespace)]

    def _tags_of(self, text: str, namespace: str) -> List[tuple[references.Reference, str]]:
        try:
            wanted = references.parse(text)
        except BadValue:
            return []
        if not wanted.bare:
            return []
        every = [(references.parse(name), one.image) for name, one in self._catalog.names(namespace).items()]
        return [(name, image) for name, image in every if name.name == wanted.name and name.tag]

    def _size_of(self, digest: str) -> int | None:
        try:
            return os.stat(self._base.content.path(digest)).st_size
        except FileNotFoundError:
            return None

    # Naming and removing ------------------------------------------------------------------------------------------

    def tag(self, source: str, target: str, namespace: str = NAMESPACE) -> Image:
        """Give an image one more name.

        Raises:
            NotFound, BadValue: with Docker's words.
        """
        image = self.find(source, namespace)
        name = references.parse_tag(target)
        self._catalog.add((), {str(name): Name(image.id, time.time_ns())}, namespace)
        self._base.tell("tag", image.id, name.familiar, image.config.labels)
        return image

    async def remove(
        self,
        reference: str,
        force: bool = False,
        prune: bool = True,
        *,
        used_by: Uses = _unused,
        namespace: str = NAMESPACE,
    ) -> List[Removed]:
        """Take a name from an image and, when it was the last, the image; by id all of it.

        Args:
            force: also what a stopped container stands on, or has several names.
            prune: whether parents that nobody needs go too.
            used_by: the containers that stand on an image.

        Raises:
            Conflict: with Docker's words; nothing is removed.
        """
        image, name = self._catalog.resolve(reference, namespace)
        shelf = self._shelf(used_by, namespace)
        shelf.remove(reference, name, image.id, force=force, prune=prune)
        return [*(await self._take(REMOVE, shelf.removed, namespace)).removed]

    async def prune(self, wanted: Filters, used_by: Uses = _unused, namespace: str = NAMESPACE) -> Pruned:
        """Remove images that nobody needs: those without a name, with `dangling=false` all that no container uses.

        Raises:
            BadValue: a filter that is none.
        """
        filters.check(wanted, filters.OF_PRUNE)
        dangling = filters.flag("dangling", wanted["dangling"]) if wanted.get("dangling") else True
        rest = {key: words for key, words in wanted.items() if key != "dangling"}
        shelf, now = self._shelf(used_by, namespace), time.time_ns()
        for image in self._catalog.images(namespace):
            names = tuple(self._catalog.names_of(image.id, namespace))
            if not names and shelf.children_of(image.id):
                continue
            if not used_by(image.id) and filters.keeps(rest, Facts(image, names), lambda _: 0, now):
                shelf.prune(image.id, dangling)
        return await self._take(PRUNE, shelf.removed, namespace)

    def _shelf(self, used_by: Uses, namespace: str) -> Shelf:
        names = {text: one.image for text, one in self._catalog.names(namespace).items()}
        return Shelf(names, {one.id: one.parent for one in self._catalog.images(namespace)}, used_by)

    async def _take(self, verb: Any, removed: Sequence[Removed], namespace: str) -> Pruned:
        """Perform a verb that takes something away."""
        if not removed:
            return Pruned((), 0)
        labels = {one.id: one.config.labels for one in self._catalog.images(namespace)}
        work = Taking(self._base, namespace, self.collect)
        names = [str(references.parse(one.name)) for one in removed if isinstance(one, Untagged)]
        images = [one.id for one in removed if isinstance(one, Deleted)]
        await self._base.journal.run(verb, work, "images", {"names": names, "images": images, "namespace": namespace})
        for one in removed:
            if isinstance(one, Untagged):
                self._base.tell("untag", one.image, "", labels.get(one.image))
            else:
                self._base.tell("delete", one.id, "", labels.get(one.id))
        layers = tuple(Deleted(chain) for chain in work.collected.chains)
        return Pruned((*removed, *layers), work.collected.reclaimed)

    # Standing on --------------------------------------------------------------------------------------------------

    async def unpacked(self, image: Image) -> tuple[str, ...]:
        """The directories of an image's layers, topmost first; what is missing is unpacked.

        Raises:
            RuntimeFailed: a layer cannot be unpacked.
        """
        found = self._base.layers.stack(image.chains)
        if found is not None:
            return found
        try:
            return await self._base.layers.unpack(image.layers, image.chains)
        finally:
            self._settle_soon()

    async def accounts(self, image: Image) -> Accounts:
        """Who is who in an image: /etc/passwd and /etc/group, read by a Rust program, once."""
        top = image.chains[-1] if image.chains else ""
        known = self._known_accounts.get(top)
        if known is not None or not top:
            return known or Accounts()
        words: List[str] = []
        for directory in await self.unpacked(image):
            words += ["--lower", directory]
        [answer] = await self._base.program.call("accounts", *words)
        found = msgspec.convert(answer, Accounts)
        self._accounts.put(top, found)
        self._known_accounts[top] = found
        return found

    def lease(self, image: str, holder: str, namespace: str = NAMESPACE) -> None:
        """Keep an image for somebody, whatever becomes of its names. Idempotent.

        Raises:
            NotFound: there is no such image.
        """
        self._catalog.lease(self.find(image, namespace), holder, namespace)

    def leased(self, holder: str, namespace: str = NAMESPACE) -> Image:
        """The image that is kept for somebody.

        Raises:
            NotFound: none is.
        """
        found = self._catalog.leased(holder, namespace)
        if found is None:
            raise NotFound(f"no image is kept for {holder}")
        return found

    def release(self, holder: str, namespace: str = NAMESPACE) -> None:
        """End a lease; what nobody needs any more goes soon. Idempotent."""
        image = self._catalog.leased(holder, namespace)
        released = self._catalog.release(holder, namespace)
        if released and image is not None and self._catalog.get(image.id, namespace) is None:
            self._base.sweep()

    def lend(self, image: str, owner: Owner, namespace: str = NAMESPACE) -> str:
        """Keep an image for a process, until `release` or its end; under which name.

        Raises:
            NotFound: there is no such image.
        """
        holder = f"{_PROCESS}{owner.pid}:{owner.start}:{owner.boot}:{os.urandom(6).hex()}"
        self.lease(image, holder, namespace)
        return holder

    def _forget_dead(self) -> None:
        """End the leases of processes that are gone."""
        for namespace, holder in self._catalog.holders():
            if holder.startswith(_PROCESS):
                pid, start, boot, _ = holder.removeprefix(_PROCESS).split(":")
                if not Owner(int(pid), int(start), boot).alive():
                    self._catalog.release(holder, namespace)

    # Room on the disk ---------------------------------------------------------------------------------------------

    async def usage(self, namespace: str = NAMESPACE) -> Usage:
        """What the disk holds for images; adds up to what du(1) says of `content` and `layers`."""
        layers = self._base.layers
        missing = [chain for chain in layers.known if chain not in self._sizes]
        for chain in missing:
            with contextlib.suppress(NotFound):
                [answer] = await self._base.program.call("usage", layers.directory(chain))
                self._sizes[chain] = answer["bytes"]
        blobs = await asyncio.to_thread(_disk, self._base.content.blobs)
        sizes = {chain: self._sizes.get(chain, 0) for chain in layers.known}
        return Usage(sum(sizes.values()), blobs, reports.shared(self._catalog.images(namespace)))

    async def collect(self) -> Collected:
        """Take away what no image, lease or work under way needs."""
        base = self._base
        self._forget_dead()
        async with self._collecting:
            before = await asyncio.to_thread(base.content.present), await asyncio.to_thread(base.layers.directories)
            # From here to the end nothing else runs: what came meanwhile is not in these lists, or is held.
            chains = {chain: one.directory for chain, one in base.layers.known.items()}
            found = garbage(self._roots(), Present(before[0], chains, before[1]), base.content.held)
            freed = sum(base.layers.known[chain].bytes for chain in found.chains)
            gone = base.content.discard(found.blobs)
            try:
                base.layers.discard(found.chains, found.directories)
                self.exchange.forget(frozenset(one.diff_id for one in base.layers.known.values()))
                for chain in found.chains:
                    self._sizes.pop(chain, None)
                    if self._known_accounts.pop(chain, None) is not None:
                        self._accounts.delete(chain)
            finally:
                # Also when the store refuses because the disk is full: this makes room.
                freed += await asyncio.to_thread(unlink, gone)
            return Collected(tuple(found.blobs), tuple(found.chains), freed)

    def _roots(self) -> Iterable[Root]:
        for kept in self._catalog.roots():
            yield root_of(kept, documents.chains_of([layer.diff_id for layer in kept.layers]))

    async def _collect_quietly(self) -> None:
        # What fails now is found again by the next collection.
        with contextlib.suppress(StockadeError):
            await self.collect()

    # From one process to the next ---------------------------------------------------------------------------------

    async def rebuild(self) -> List[str]:
        """Put records that the store lost back, out of the copies beside blobs and layers; the images."""
        self._base.layers.rebuild()
        found = self._catalog.rebuild()
        self._catalog.load()
        return found

    async def _distrust(self) -> None:
        """Look anew at what an earlier boot wrote and did not sync; drop what is not whole."""
        content, layers = self._base.content, self._base.layers
        names = content.doubtful()
        chains = layers.doubtful(names)
        layers.discard(chains, [name.removeprefix("layer:") for name in names if name.startswith("layer:")])
        for digest in names:
            if digest.startswith("sha256:") and not await content.verify(digest):
                await asyncio.to_thread(unlink, content.discard([digest]))

    async def _recover(self) -> None:
        """Finish or undo the verbs that a crash cut."""
        mine = {verb.name: verb for verb in (intake.LOAD, intake.IMPORT, intake.COMMIT)}
        for operation in self._base.journal.unfinished():
            if operation.verb in mine:
                await self._base.journal.recover(mine[operation.verb], Intake(self._base), operation)
            elif operation.verb == LEFT.name:
                await self._base.journal.recover(LEFT, Intake(self._base), operation)
            elif operation.verb in (REMOVE.name, PRUNE.name):
                await self._recover_taking(operation)

    async def _recover_taking(self, operation: Operation) -> None:
        verb = REMOVE if operation.verb == REMOVE.name else PRUNE
        namespace = operation.data.get("namespace", NAMESPACE)
        await self._base.journal.recover(verb, Taking(self._base, namespace, self.collect), operation)

    def _settle_soon(self) -> None:
        self._later("sync images", self._settle())

    async def _settle(self) -> None:
        await asyncio.sleep(SETTLE_AFTER)
        with contextlib.suppress(OSError):
            await self._base.content.settle()

    def _later(self, name: str, work: Any) -> None:
        """One task of a name at a time; a later one takes an earlier one's place."""
        earlier = self._tasks.get(name)
        if earlier is not None:
            earlier.cancel()
        task = asyncio.create_task(work, name=name)
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._tasks.pop(name) if self._tasks.get(name) is done else None)


def _digests(image: Image) -> tuple[str, ...]:
    return tuple(layer.digest for layer in image.layers)


def _disk(directory: str) -> int:
    return sum(entry.stat().st_blocks * 512 for entry in os.scandir(directory))
