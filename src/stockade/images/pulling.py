"""How an image comes out of a registry.

resolve   the manifest and configuration are asked for and looked at    undone: what nobody needs is collected
fetch     layers come, each unpacked on its way                        the same
unpack    what could not be unpacked on the way                        the same
record    image and names, in one transaction                          the point of no return
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from stockade.errors import BadValue, NotFound, ProtocolBroken, RuntimeFailed, StockadeError
from stockade.registry import Credentials, Document, Reference, Registries, Repository
from stockade.registry.references import short
from stockade.registry.repositories import MAX_MANIFEST
from stockade.store import NAMESPACE, Step, Verb

from . import documents, platforms
from .archive import Planned, paired
from .base import Base
from .content import Content
from .documents import Descriptor, Platform
from .fetching import Fetches
from .intake import Intake
from .values import ImageConfig, Layer, Progress

MAX_DOCUMENTS = 8
"""How many indexes and manifests are looked at to find one image."""
_OLD = frozenset({
    "application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws",
})  # fmt: skip
KINDS = (*sorted(documents.MANIFESTS), *sorted(documents.INDEXES))


class Wanted(NamedTuple):
    """What is to be pulled, and for whom."""

    reference: Reference
    platform: str = ""
    """As people write it; empty: this machine's."""
    credentials: Credentials = Credentials()


class _Shape(msgspec.Struct, frozen=True):
    """Which kind of document it is, as it says itself."""

    media_type: str = msgspec.field(name="mediaType", default="")
    manifests: Any = None
    config: Any = None
    layers: Any = None


class Chosen(NamedTuple):
    """One manifest out of what a name leads to."""

    top: Document
    """What the name itself leads to; RepoDigests has its digest."""
    manifest: Document
    indexes: tuple[Document, ...]
    """From the top down to the manifest, without it."""


class Pull(Intake):
    """One pull on its way; the context of its verb."""

    def __init__(
        self, base: Base, wanted: Wanted, registries: Registries, fetches: Fetches, namespace: str = NAMESPACE
    ) -> None:
        super().__init__(base, namespace)
        self.wanted = wanted
        self.repository = registries.repository(wanted.reference, wanted.credentials)
        self.fetches = fetches
        self.digest = ""

    async def resolve(self) -> None:
        """Find the image that is meant, and keep its documents."""
        reference, content = self.wanted.reference, self.base.content
        platform = platforms.parse(self.wanted.platform, self.base.platform) if self.wanted.platform else None
        known = str(reference) in self.base.catalog.names(self.namespace)
        documents_ = Known(self.repository, self.base.content, reference) if known else self.repository
        chosen = await choose(documents_, reference, platform or self.base.platform, exactly=platform is not None)
        self.digest = chosen.top.digest
        self.tell(Progress(reference.digest or reference.tag, f"Pulling from {reference.path}"))
        manifest = documents.read_manifest(chosen.manifest.data, f"manifest {chosen.manifest.digest}")
        if manifest.config.media_type not in documents.CONFIGS:
            raise BadValue(
                f"{reference.familiar} is no image: the configuration of its manifest is"
                f" {_shown(manifest.config.media_type)}"
            )
        data = await self._config(manifest.config)
        config = documents.read_config(data, f"configuration {manifest.config.digest}")
        if platform is not None:
            _check_platform(reference, config, platform)
        layers = _layers(manifest.layers or (), config, chosen.manifest.digest)
        self._check_room(layers)
        kept = [*chosen.indexes, chosen.manifest]
        self.hold([one.digest for one in kept] + [manifest.config.digest])
        for one in kept:
            content.put(one.data)
        content.put(data)
        self.planned = (
            _planned(chosen, config, layers, (manifest.config.digest, len(data)), names(reference, chosen)),
        )

    async def _config(self, descriptor: Descriptor) -> bytes:
        content = self.base.content
        if content.has(descriptor.digest):
            return content.read(descriptor.digest, documents.MAX_DOCUMENT)
        data = await self.repository.small_blob(descriptor.digest, descriptor.size)
        if len(data) != descriptor.size:
            raise ProtocolBroken(f"{descriptor.digest} has {len(data)} bytes, its manifest says {descriptor.size}")
        return data

    def _check_room(self, layers: Sequence[Layer]) -> None:
        """Refuse what cannot fit on the disk before any of it is fetched."""
        missing = {one.digest: one.size for one in layers if not self.base.content.has(one.digest)}
        found = os.statvfs(self.base.content.ingest)
        free = found.f_bavail * found.f_frsize
        if sum(missing.values()) > free:
            raise RuntimeFailed(
                f"{self.wanted.reference.familiar} has {sum(missing.values())} bytes to fetch, and"
                f" {self.base.content.top} has {free} left",
                hint="stockade system prune",
            )

    async def fetch(self) -> None:
        """Bring the layers that are missing, side by side."""
        [planned] = self.planned
        chains = documents.chains_of([one.diff_id for one in planned.layers])
        self.hold([*chains, *(one.digest for one in planned.layers)])
        missing: dict[str, int] = {}
        for number, layer in enumerate(planned.layers):
            here = self.base.content.has(layer.digest)
            self.tell(Progress(short(layer.digest), "Already exists" if here else "Pulling fs layer"))
            if not here:
                missing.setdefault(layer.digest, number)
        try:
            async with asyncio.TaskGroup() as group:
                for number in missing.values():
                    group.create_task(self._bring(planned.layers[number], chains[: number + 1]), name="fetch a layer")
        except BaseExceptionGroup as failures:
            raise first_of(failures) from None

    async def _bring(self, layer: Layer, chains: Sequence[str]) -> None:
        await self.fetches.fetch(layer, chains, self.repository, self.tell)
        if chains[-1] in self.base.layers.known:
            self.tell(Progress(short(layer.digest), "Pull complete"))

    async def unpack(self) -> None:
        """Unpack what could not be unpacked on its way."""
        [planned] = self.planned
        late = [one for one, chain in zip(planned.layers, documents.chains_of(planned.config.diff_ids), strict=True)
                if chain not in self.base.layers.known]  # fmt: skip
        await super().unpack()
        for layer in late:
            self.tell(Progress(short(layer.digest), "Pull complete"))


async def _resolve(pull: Pull) -> None:
    await pull.resolve()


async def _fetch(pull: Pull) -> None:
    await pull.fetch()


async def _unpack(pull: Pull) -> None:
    await pull.unpack()


async def _record(pull: Pull) -> None:
    await pull.record()


async def _nothing(_: Intake) -> None:
    return None


async def _collect(pull: Intake) -> None:
    await pull.collect()


PULL: Verb[Pull] = Verb(
    "image-pull",
    (
        Step("resolve", _resolve, _collect),
        Step("fetch", _fetch, _collect),
        Step("unpack", _unpack, _collect),
        Step("record", _record),
    ),
    "record",
)
LEFT: Verb[Intake] = Verb(PULL.name, tuple(Step(one.name, _nothing, _collect) for one in PULL.steps), "record")
"""What a crash left of one: it is never gone on with, as what it has to show the registry is not kept."""


# Which image ------------------------------------------------------------------------------------------------------


class Known:
    """A repository of which something is here: its name is asked for by HEAD, a document that is here not at all."""

    def __init__(self, repository: Repository, content: Content, reference: Reference) -> None:
        self._repository = repository
        self._content = content
        self._top = reference.digest or reference.tag

    async def manifest(self, wanted: str, kinds: Sequence[str], size: int = MAX_MANIFEST) -> Document:
        """As of the repository itself."""
        digest = await self._repository.digest(wanted, kinds) if wanted == self._top else wanted
        if digest and self._content.has(digest):
            return Document(self._content.read(digest, documents.MAX_DOCUMENT), "", digest)
        return await self._repository.manifest(wanted, kinds, size)


async def choose(repository: Repository | Known, reference: Reference, wanted: Platform, *, exactly: bool) -> Chosen:
    """The manifest for a platform, through indexes if need be.

    Raises:
        NotFound: there is none, or none for this platform.
        BadValue: what the registry has is no image.
    """
    top = await repository.manifest(reference.digest or reference.tag, KINDS)
    indexes: list[Document] = []
    looked = 1
    pending: list[tuple[Document, tuple[Document, ...]]] = [(top, ())]
    offers: list[Platform | None] = []
    while pending:
        document, above = pending.pop(0)
        if kind_of(document) in documents.MANIFESTS:
            return Chosen(top, document, above)
        indexes.append(document)
        entries = documents.read_index(document.data, f"index {document.digest}")
        entry, found, nested = _entry(entries, wanted, exactly=exactly)
        offers += found
        for one in [entry] if entry is not None else nested:
            looked += 1
            if looked > MAX_DOCUMENTS:
                raise BadValue(f"{reference.familiar} leads through more than {MAX_DOCUMENTS} documents")
            data = await repository.manifest(one.digest, KINDS, one.size)
            pending.append((data, (*above, document)))
    raise NotFound(f"no matching manifest for {wanted} in the manifest list entries: {reference.familiar} is for"
                   f" {platforms.names(offers)}")  # fmt: skip


def _entry(
    entries: Sequence[Descriptor], wanted: Platform, *, exactly: bool
) -> tuple[Descriptor | None, list[Platform | None], list[Descriptor]]:
    """The entry of an index that fits best, what else there is, and indexes that say nothing of what is in them."""
    usable = [one for one in entries if not documents.is_extra(one)]
    images = [one for one in usable if one.media_type in documents.MANIFESTS or one.platform is not None]
    offers = [one.platform for one in images]
    number = platforms.best(offers, wanted, exactly=exactly)
    nested = [one for one in usable if one.media_type in documents.INDEXES and one.platform is None]
    if number is None and len(images) == 1 and not nested and images[0].platform is None:
        number = 0
    return (images[number] if number is not None else None), offers, nested


def kind_of(document: Document) -> str:
    """The media type of a document, which the registry and the document itself must agree on.

    Raises:
        BadValue: it is neither manifest nor index, or could be both.
    """
    try:
        shape = msgspec.json.decode(document.data, type=_Shape)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, UnicodeDecodeError):
        raise BadValue(f"manifest {document.digest} cannot be read: it is no JSON object") from None
    said = {one for one in (document.media_type, shape.media_type) if one in {*KINDS, *_OLD}}
    if shape.manifests is not None and (shape.layers is not None or shape.config is not None):
        raise BadValue(f"manifest {document.digest} is a manifest and an index at once")
    if said & _OLD:
        raise BadValue(
            f"manifest {document.digest} is of Docker's schema 1, which is not served",
            hint="whoever pushed it must push it again with a newer tool",
        )
    if len(said) > 1:
        raise BadValue(f"manifest {document.digest} is {' and '.join(sorted(said))} at once")
    if not said and shape.manifests is None and shape.config is None:
        raise BadValue(f"manifest {document.digest} is {_shown(document.media_type)}, which is no image's")
    found = said.pop() if said else documents.INDEX if shape.manifests is not None else documents.MANIFEST
    if (found in documents.INDEXES) == (shape.config is not None or shape.layers is not None):
        raise BadValue(f"manifest {document.digest} is not what its type {found} says")
    return found


def _layers(found: Sequence[Descriptor], config: ImageConfig, name: str) -> tuple[Layer, ...]:
    for one in found:
        if one.media_type not in documents.LAYERS:
            raise BadValue(f"image {name} has a layer of the type {_shown(one.media_type)}, which is not served")
    return paired(config, [(one.digest, one.size, one.media_type) for one in found], name)


def names(reference: Reference, chosen: Chosen) -> tuple[Reference, ...]:
    """What the image is called from now on: the tag, and the digest of what it led to."""
    by_digest = reference._replace(tag="", digest=chosen.top.digest)
    return (by_digest,) if reference.digest else (reference, by_digest)


def _planned(
    chosen: Chosen, config: ImageConfig, layers: Sequence[Layer], of_config: tuple[str, int],
    called: tuple[Reference, ...],
) -> Planned:  # fmt: skip
    return Planned(
        id=of_config[0],
        config=config,
        layers=tuple(layers),
        manifest=chosen.manifest.data,
        blobs={},
        config_size=of_config[1],
        origin=chosen.indexes[0].digest if chosen.indexes else "",
        more=tuple(one.digest for one in chosen.indexes[1:]),
        names=called,
        manifest_type=kind_of(chosen.manifest),
        partial=True,
        pulled=called[0].name,
    )


def _check_platform(reference: Reference, config: ImageConfig, wanted: Platform) -> None:
    found = Platform(config.architecture, config.os, config.variant)
    if platforms.preference(found, wanted, exactly=True) is None:
        raise NotFound(
            f"image with reference {reference.familiar} was found but does not provide the specified platform"
            f" ({wanted}): it is for {found}"
        )


def first_of(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that is told: the first that says something."""
    every = list(_flat(failures))
    return next((one for one in every if isinstance(one, StockadeError)), every[0])


def _flat(failures: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for one in failures.exceptions:
        found += _flat(one) if isinstance(one, BaseExceptionGroup) else [one]
    return found


def _shown(media_type: str) -> str:
    return repr(media_type[:100])
