"""Files of containers: cp both ways, export, diff and commit, whether they run or not.

The bytes pass between a client's descriptor and `stockade-layer`. What runs is reached by the descriptor of its root
that its shim keeps; what does not is mounted privately by the program while the container's lock is held, so that no
start mounts a second overlay on the same upper directory. A reader of a root whose container ended is waited for
before that container starts anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import Any, NamedTuple

from stockade.engine import committing, processes
from stockade.engine.frame import Frame
from stockade.engine.records import Record, Status
from stockade.engine.requests import CommitOptions, PathStat, PutOptions
from stockade.errors import BadValue, Conflict, NotFound, RuntimeFailed, StockadeError
from stockade.host import spawn
from stockade.images import changes
from stockade.runtime import handover, shim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

    from stockade.host.ids import Ids
    from stockade.host.spawn import Answer
    from stockade.model import IdMap
    from stockade.model.connection import Body
    from stockade.model.layers import Change

_LIVE = (Status.RUNNING, Status.PAUSED)
_STAT_TIMEOUT = 30.0
_READERS_TIMEOUT = 10.0
"""Seconds that a start waits for those who still read the root of the run before."""
_ROOT, _CLIENT, _EARLY = 3, 4, 5
"""The numbers of descriptors in the program."""


class Root(NamedTuple):
    """A container's root, in words for `stockade-layer`."""

    words: tuple[str, ...]
    descriptors: dict[int, int]


class Archive:
    """The files of all containers."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._program = shim.program("stockade-layer")
        self._readers: dict[str, set[asyncio.Task[Answer]]] = {}

    async def stat(self, reference: str, path: str) -> PathStat:
        """What is at a path.

        Raises:
            NotFound: nothing, in Docker's words.
        """
        record = self._frame.find(reference)
        async with self._root(record) as root:
            return await self._stat(record, root, reference, path)

    async def get(self, reference: str, path: str, take: Callable[[PathStat], Awaitable[int]]) -> None:
        """Write an archive of what is at a path to a client. Returns when it is written.

        Args:
            take: called with what is there; writes the head of the answer and gives the client's descriptor away.

        Raises:
            NotFound: nothing is there, in Docker's words.
        """
        record = self._frame.find(reference)
        async with self._root(record) as root:
            found = await self._stat(record, root, reference, path)
            descriptor = await take(found)
            try:
                answer = await self._call(
                    record, "copy-out", root, [_inside(path), "--to", str(_CLIENT)], {_CLIENT: descriptor}
                )
            finally:
                os.close(descriptor)
        self._frame.tell("archive-path", record)
        _check(answer, reference, path)

    async def put(self, reference: str, path: str, body: Body, options: PutOptions) -> None:
        """Lay an archive into a directory.

        Raises:
            NotFound: the directory is not there.
            BadValue: it is none, or cannot be written to, in Docker's words.
        """
        record = self._frame.find(reference)
        wanted = record.wanted
        if wanted.security.readonly_root and not _within_mount(record, path):
            raise BadValue("container rootfs is marked read-only")
        words = [_inside(path), "--body", str(_CLIENT), "--framing", body.framing, "--early", str(_EARLY)]
        if options.no_overwrite_dir_non_dir:
            words.append("--no-overwrite-dir-non-dir")
        if options.copy_uid_gid:
            user = processes.of_bundle(self._frame.directory(wanted.id))["user"]
            words += ["--owner", f"{user.get('uid', 0)}:{user.get('gid', 0)}"]
        early = _early(body.early)
        try:
            async with self._root(record) as root:
                descriptors = {_CLIENT: body.descriptor, _EARLY: early}
                answer = await self._call(record, "copy-in", root, words, descriptors)
        finally:
            os.close(early)
        _check(answer, reference, path, _within_mount(record, path))
        self._frame.tell("extract-to-dir", record)

    async def export(self, reference: str, take: Callable[[], Awaitable[int]]) -> None:
        """Write an archive of the whole root to a client; returns when it is written."""
        record = self._frame.find(reference)
        _refuse_dying(record, "export")
        async with self._root(record, binds=False) as root:
            descriptor = await take()
            try:
                answer = await self._call(record, "export", root, ["--to", str(_CLIENT)], {_CLIENT: descriptor})
            finally:
                os.close(descriptor)
        self._frame.tell("export", record)
        _check(answer, reference, "/")

    async def changes(self, reference: str) -> list[Change]:
        """What the container changed of its image."""
        record = self._frame.find(reference)
        identity = record.wanted.id
        layers, ids = await self._frame.footing(identity)
        directory = self._frame.directory(identity)
        return await self._frame.snapshots.changes(directory, layers, ids, committing.made_by_runtime(record.wanted))

    async def commit(self, reference: str, options: CommitOptions) -> str:
        """Make an image of the container; its id. One that runs is paused meanwhile, unless told not to be.

        Raises:
            Conflict: it is being removed.
            BadValue: an instruction that means nothing.
        """
        record = self._frame.find(reference)
        _refuse_dying(record, "commit")
        wanted = record.wanted
        images = self._frame.images
        parent = images.leased(wanted.id) if wanted.image_id else None
        config = committing.config(wanted, images.commit_config(parent) if parent else {}, options.config)
        config = changes.apply(config, committing.instructions(options.changes))
        async with self._still(record, options.pause):
            layers, ids = await self._frame.footing(wanted.id)
            hidden = committing.made_by_runtime(wanted)
            diff = await self._frame.snapshots.diff(self._frame.directory(wanted.id), layers, ids, hidden)
        image = await images.commit(
            diff,
            parent,
            config,
            options.reference,
            author=options.author,
            message=options.message,
            created_by=" ".join(wanted.command),
        )
        said = {"comment": options.message, "imageID": image.id, "imageRef": images.spoken(options.reference)}
        self._frame.tell("commit", record, said)
        return image.id

    async def starting(self, identity: str) -> None:
        """Its root is about to be mounted anew: who reads the one of the run before is waited for, then cut."""
        readers = self._readers.get(identity)
        if not readers:
            return
        _, late = await asyncio.wait(readers, timeout=_READERS_TIMEOUT)
        for reader in late:
            reader.cancel()
        if late:
            await asyncio.wait(late)

    def cut(self, identity: str) -> None:
        """It is about to be removed: nobody reads it any more, however slowly."""
        for reader in self._readers.get(identity, ()):
            reader.cancel()

    async def close(self) -> None:
        """Cut whoever is served."""
        readers = [reader for found in self._readers.values() for reader in found]
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)

    # ------------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _root(self, record: Record, binds: bool = True) -> AsyncIterator[Root]:
        """The root, which stays what it is meanwhile. `binds`: with what is mounted from the host."""
        identity = record.wanted.id
        living = await self._living_root(identity)
        if living is not None:
            try:
                _, ids = await self._frame.footing(identity)
                yield Root(("--root", str(_ROOT), *_maps(ids)), {_ROOT: living})
            finally:
                os.close(living)
            return
        async with self._frame.lock(identity):
            if self._frame.find(identity).state.status in _LIVE:
                raise Conflict(f"container {identity} started meanwhile")
            layers, ids = await self._frame.footing(identity)
            options = self._frame.snapshots.options(self._frame.directory(identity), layers, ids)
            words = ["--overlay", ",".join(options), *_maps(ids)]
            if binds:
                words += _binds(record, self._frame.storage.sources(record.wanted), ids is not None)
            yield Root(tuple(words), {})

    async def _living_root(self, identity: str) -> int | None:
        """A descriptor of the root of a container that runs; None: it does not, or no more."""
        if self._frame.find(identity).state.status not in _LIVE:
            return None
        try:
            return await handover.root(handover.Door(shim.attach_address(self._frame.directory(identity)), identity))
        except StockadeError:
            # It may have ended just now: then its lock is free soon, and tells.
            return None

    @contextlib.asynccontextmanager
    async def _still(self, record: Record, pause: bool) -> AsyncIterator[None]:
        """While nothing in the container writes, if that is wanted."""
        identity = record.wanted.id
        if self._frame.find(identity).state.status not in _LIVE:
            async with self._frame.lock(identity):
                yield
            return
        paused = pause and self._frame.find(identity).state.status is Status.RUNNING
        if paused:
            with contextlib.suppress(Conflict):
                await self._frame.pause(identity)
        try:
            yield
        finally:
            if paused:
                with contextlib.suppress(Conflict, NotFound):
                    await self._frame.unpause(identity)

    async def _stat(self, record: Record, root: Root, reference: str, path: str) -> PathStat:
        answer = await self._call(record, "stat", root, [_inside(path)], {}, _STAT_TIMEOUT)
        _check(answer, reference, path)
        return stat_of(json.loads(answer.out))

    async def _call(
        self,
        record: Record,
        verb: str,
        root: Root,
        words: Sequence[str],
        descriptors: dict[int, int],
        timeout: float | None = None,
    ) -> Answer:
        """One call of the program, known as a reader of the container's root while it lasts."""
        identity = record.wanted.id
        call = spawn.run(
            [self._program, verb, *root.words, *words], {**root.descriptors, **descriptors}, timeout=timeout
        )
        reader = asyncio.create_task(call, name=f"{verb} {identity[:12]}")
        readers = self._readers.setdefault(identity, set())
        readers.add(reader)
        try:
            return await reader
        except asyncio.CancelledError:
            reader.cancel()
            await asyncio.wait([reader])
            raise
        finally:
            readers.discard(reader)
            if not readers:
                self._readers.pop(identity, None)


def stat_of(answer: dict[str, Any]) -> PathStat:
    """The value of the program's line."""
    return PathStat(
        str(answer["name"]), int(answer["size"]), int(answer["mode"]), str(answer["mtime"]), str(answer["linkTarget"])
    )


def _check(answer: Answer, reference: str, path: str, mounted: bool = False) -> None:
    """Raise what an exit code of stockade-layer says (docs/layer.md), in Docker's words."""
    said = answer.complaint.decode(errors="replace").strip().rpartition("\n")[2].removeprefix("stockade-layer: ")
    match answer.status:
        case 0:
            return
        case 4:
            raise NotFound(f"Could not find the file {path} in container {reference}")
        case 5:
            raise BadValue("extraction point is not a directory")
        case 6:
            raise BadValue(said)
        case 7:
            raise BadValue(f"{'mounted volume' if mounted else 'container rootfs'} is marked read-only")
        case 8:
            raise RuntimeFailed(f"Error processing tar file: {said}")
        case _:
            raise RuntimeFailed(said or f"stockade-layer ended with status {answer.status}")


def _refuse_dying(record: Record, verb: str) -> None:
    identity, status = record.wanted.id, record.state.status
    if status is Status.DEAD:
        raise Conflict(f"You cannot {verb} container {identity} which is Dead")
    if status is Status.REMOVING:
        raise Conflict(f"You cannot {verb} container {identity} which is being removed")


def _within_mount(record: Record, path: str) -> bool:
    """Whether something of the host's is mounted there; whether it can be written to, the program sees."""
    wanted = os.path.normpath(f"/{path.lstrip('/')}")
    targets = [point.target for point in record.wanted.mounts if point.kind in ("bind", "volume")]
    return any(wanted == target or wanted.startswith(f"{target}/") for target in targets)


def _binds(record: Record, volumes: Mapping[str, str], mapped: bool) -> list[str]:
    """What of the host's is mounted in it, for a root that is mounted privately; `mapped`: to the container's ids."""
    words: list[str] = []
    for point in record.wanted.mounts:
        source = point.source if point.kind == "bind" else volumes.get(point.target, "")
        if source:
            source, target = (path.replace("\\", "\\\\").replace(":", "\\:") for path in (source, point.target))
            options = [word for word, wanted in (("ro", "ro" in point.options), ("idmap", mapped)) if wanted]
            words += ["--bind", ":".join((source, target, ",".join(options))) if options else f"{source}:{target}"]
    return words


def _inside(path: str) -> str:
    """A path as the program takes it: from the root, with the ending that says what is meant."""
    return "/" + path.lstrip("/")


def _maps(ids: Ids | None) -> list[str]:
    if ids is None or not ids.uid:
        return []
    return ["--uid-map", _map(ids.uid), "--gid-map", _map(ids.gid)]


def _map(maps: Iterable[IdMap]) -> str:
    return ",".join(f"{one.container}:{one.host}:{one.size}" for one in maps)


def _early(data: bytes) -> int:
    """What was read of a body already, as a descriptor."""
    descriptor = os.memfd_create("early", os.MFD_CLOEXEC)
    with open(os.dup(descriptor), "wb") as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
