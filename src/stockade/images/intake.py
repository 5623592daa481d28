"""How bytes come in: an archive of images, or one layer. They are written and digested by a Rust program.

receive   into a room of `content/ingest`        undone: the room is removed
adopt     each blob gets its name                undone: what nobody needs is collected
unpack    layers become directories              the same
record    images and names, in one transaction   the point of no return
clear     the room is removed
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import posixpath
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from stockade.errors import BadValue, NotFound, RuntimeFailed
from stockade.host.tool import Given
from stockade.model.connection import Body
from stockade.registry.references import Reference
from stockade.store import NAMESPACE, Operation, Step, Verb

from . import documents, platforms
from .archive import Contents, File, Planned, plan
from .base import Base
from .content import unlink
from .unpacking import silently
from .values import Image, Kept, Layer, Loaded, Name, Progress

MAX_BYTES = 1 << 40
"""Of one archive."""


class Intake:
    """One load, import or commit on its way; the context of its verb."""

    operation: Operation

    def __init__(self, base: Base, namespace: str = NAMESPACE) -> None:
        self.base = base
        self.namespace = namespace
        self.tell: Callable[[Progress], object] = silently
        self.body: Body | None = None
        self.platform: documents.Platform | None = None
        """What an archive's images are to be for; None: this machine, where there is a choice."""
        self.planned: tuple[Planned, ...] = ()
        self.parent = ""
        self.loaded: list[Loaded] = []
        self.images: list[Image] = []
        self._held = contextlib.ExitStack()

    @property
    def room(self) -> str:
        """The directory of its own."""
        return str(self.operation.data["room"])

    async def receive(self) -> None:
        """Write every file of an archive of images, and decide what they are."""
        assert self.body is not None
        os.mkdir(self.room, 0o700)
        try:
            contents = await received(self.base, self.body, self.room)
        except RuntimeFailed as error:
            raise RuntimeFailed(f"the archive of images cannot be read: {error.message}", hint=error.hint) from error
        self.planned = await asyncio.to_thread(plan, contents, self.platform or self.base.platform)
        if not self.planned:
            raise BadValue("the archive holds no image")
        for one in self.planned:
            self._check_platform(one)

    def _check_platform(self, one: Planned) -> None:
        found = documents.Platform(one.config.architecture, one.config.os, one.config.variant)
        if self.platform is not None and platforms.preference(found, self.platform, exactly=True) is None:
            raise NotFound(f"the archive has image {one.id} for {found} only, not for {self.platform}")

    async def adopt(self) -> None:
        """Give every blob that belongs to an image its name."""
        content = self.base.content
        for one in self.planned:
            manifest = documents.digest_of(one.manifest)
            self.hold([*one.blobs, manifest])
            for digest, file in one.blobs.items():
                content.adopt(digest, file.path)
            content.put(one.manifest)

    async def unpack(self) -> None:
        """Unpack what is missing, which checks the layers against what the configurations say."""
        layers = self.base.layers
        for one in self.planned:
            chains = documents.chains_of(one.config.diff_ids)
            self.hold(chains)
            await layers.unpack(one.layers, chains, self.tell)

    async def record(self) -> None:
        """Keep images and names."""
        now = time.time_ns()
        names: dict[str, Name] = {}
        for one in self.planned:
            image = self._image(one, now)
            names |= {str(name): Name(image.id, now) for name in one.names}
            self.images.append(image)
            self.loaded.append(Loaded(image.id, tuple(name.familiar for name in one.names)))
        self.base.catalog.add(self.images, names, self.namespace)

    def _image(self, one: Planned, now: int) -> Image:
        chains = documents.chains_of(one.config.diff_ids)
        sizes = tuple(self.base.layers.known[chain].bytes for chain in chains)
        known = self.base.catalog.get(one.id, self.namespace)
        kept = Kept(
            id=one.id,
            manifest=documents.digest_of(one.manifest),
            layers=one.layers,
            config_size=one.config_size,
            manifest_size=len(one.manifest),
            since=known.kept.since if known else now,
            manifest_type="" if one.manifest_type == documents.MANIFEST else one.manifest_type,
            index=one.origin,
            partial=one.partial and bool(one.origin),
            more=one.more,
            parent=self.parent or (known.parent if known else ""),
            size=sum(sizes),
            sizes=sizes,
            pulled=tuple(dict.fromkeys((*(known.kept.pulled if known else ()), *filter(None, (one.pulled,))))),
        )
        return Image(kept, one.config, chains)

    async def clear(self) -> None:
        """Remove what is left of the room."""
        await asyncio.to_thread(unlink, [self.room])

    def hold(self, names: Iterable[str]) -> None:
        """Keep a collection away from these until all is done or undone."""
        self._held.enter_context(self.base.content.hold(names))

    def let_go(self) -> None:
        """Nothing is held any more; what was brought and not kept is garbage."""
        self._held.close()

    async def collect(self) -> None:
        """Undo: what was adopted or unpacked and belongs to nobody goes by the next collection."""
        self.let_go()
        self.base.sweep()


async def _receive(intake: Intake) -> None:
    await intake.receive()


async def _adopt(intake: Intake) -> None:
    await intake.adopt()


async def _unpack(intake: Intake) -> None:
    await intake.unpack()


async def _record(intake: Intake) -> None:
    await intake.record()


async def _clear(intake: Intake) -> None:
    await intake.clear()


async def _collect(intake: Intake) -> None:
    await intake.collect()


_REST: tuple[Step[Intake], ...] = (
    Step("adopt", _adopt, _collect),
    Step("unpack", _unpack, _collect),
    Step("record", _record),
    Step("clear", _clear),
)
LOAD: Verb[Intake] = Verb("image-load", (Step("receive", _receive, _clear), *_REST), "record")
IMPORT: Verb[Intake] = Verb("image-import", _REST, "record")
COMMIT: Verb[Intake] = Verb("image-commit", _REST, "record")


# The Rust program -------------------------------------------------------------------------------------------------


async def received(base: Base, body: Body, room: str) -> Contents:
    """Write an archive's files into a directory.

    Raises:
        RuntimeFailed: it is no archive, or leads outside, or is too large.
    """
    files: dict[str, File] = {}
    links: dict[str, str] = {}
    with body_of(body) as (words, given):
        lines = base.program.lines("receive", *words, "--max-bytes", str(MAX_BYTES), room, given=given)
        async with contextlib.aclosing(lines):
            async for line in lines:
                name = posixpath.normpath(line["path"]).removeprefix("./")
                if "link" in line:
                    links[name] = line["link"]
                else:
                    files[name] = File(f"{room}/{line['file']}", line["size"], line["digest"])
    return Contents(files, links, _read)


async def received_layer(base: Base, body: Body, path: str) -> Layer:
    """Write one layer, as it comes, into a file.

    Raises:
        RuntimeFailed: it is no tar, plain or compressed as images are.
    """
    with body_of(body) as (words, given):
        [answer] = await base.program.call("keep", *words, "--max-bytes", str(MAX_BYTES), path, given=given)
    kind = documents.LAYER + {"none": "", "gzip": "+gzip", "zstd": "+zstd"}[answer["compression"]]
    return Layer(answer["digest"], answer["size"], kind, answer["diff_id"])


@contextlib.contextmanager
def body_of(body: Body) -> Iterator[tuple[list[str], Given]]:
    """The words and descriptors by which a program reads a request's body."""
    words = ["--body", str(body.descriptor), "--framing", body.framing]
    if not body.early:
        yield words, Given((body.descriptor,))
        return
    early = os.memfd_create("early", os.MFD_CLOEXEC)
    try:
        rest = memoryview(body.early)
        while rest:
            rest = rest[os.write(early, rest) :]
        os.lseek(early, 0, os.SEEK_SET)
        yield [*words, "--early", str(early)], Given((body.descriptor, early))
    finally:
        os.close(early)


def _read(file: File, limit: int) -> bytes:
    try:
        with open(file.path, "rb") as source:
            return source.read(limit)
    except OSError as error:
        raise RuntimeFailed(f"{file.path} cannot be read: {error.strerror}") from error


def single(config: dict[str, Any], layers: Sequence[Layer], files: dict[str, File], names: Sequence[Reference],
           room: str) -> Planned:  # fmt: skip
    """The plan of an image that is made here: its configuration is written into the room like the rest."""
    data = documents.encode(config)
    digest = documents.digest_of(data)
    path = f"{room}/configuration"
    with open(path, "wb") as file:
        file.write(data)
    return Planned(
        id=digest,
        config=documents.read_config(data, f"configuration {digest}"),
        layers=tuple(layers),
        manifest=documents.write_manifest((digest, len(data)), layers),
        blobs=files | {digest: File(path, len(data), digest)},
        config_size=len(data),
        names=tuple(names),
    )
