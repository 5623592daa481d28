"""How an image goes to a registry: its layers, its configuration, and last the manifest under a tag.

Nothing is kept on the way, so nothing is to be undone: the last act here is to write down what the image is called by
digest from now on. A layer that lies here as a plain tar goes out compressed, by a Rust program on its way; what came
of it is remembered, so that the next push finds it there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from stockade.errors import RuntimeFailed
from stockade.registry import Credentials, Document, Reference, Registries, Repository
from stockade.registry.references import parse, short
from stockade.store import NAMESPACE

from . import documents
from .base import Base
from .moving import Mover
from .pulling import first_of, kind_of
from .shared import Tell
from .values import Image, Layer, Name, Progress

AT_ONCE = 3
_ADMISSIONS = 4
_MOUNTS = 4
"""How many repositories of the same registry are asked for a layer before it is sent."""


class Sent(Struct, frozen=True):
    """A plain layer as it was compressed; its key is its diff id."""

    digest: str
    size: int


class Pushed(NamedTuple):
    """What a push left at the registry."""

    tag: str
    digest: str
    size: int
    """Bytes of the manifest."""


class Wish(NamedTuple):
    """What of an image is to be sent."""

    alone: bool = False
    """Whether it is sent without the index that it was chosen from."""
    namespace: str = NAMESPACE


WISH = Wish()


class Pushes:
    """What goes to registries."""

    def __init__(self, base: Base, registries: Registries) -> None:
        self._base = base
        self._registries = registries
        self._sent = base.store.table("layer-sent", Sent)
        self._room = asyncio.Semaphore(AT_ONCE)
        self._mover = Mover()

    async def push(
        self, image: Image, reference: Reference, credentials: Credentials, tell: Tell, wish: Wish = WISH
    ) -> Pushed:
        """Send an image under a tag; with the index that it was chosen from, if all that this names is here.

        Raises:
            Unauthorized, Refused: this user may not.
            RuntimeFailed: the registry does not take it.
        """
        repository = self._registries.repository(reference, credentials, push=True)
        family = () if wish.alone else self._family(image, wish.namespace)
        with self._base.content.hold([blob for one in (image, *family) for blob in one.kept.blobs]):
            await repository.greet()
            for one in family:
                await self._image(one, one.manifest, repository, tell, wish.namespace)
            if family:
                index = self._base.content.read(image.kept.index, documents.MAX_DOCUMENT)
                kind = kind_of(Document(index, "", image.kept.index))
                digest, size = await repository.put_manifest(reference.tag, index, kind), len(index)
            else:
                digest, size = await self._image(image, reference.tag, repository, tell, wish.namespace)
        name = reference._replace(tag="", digest=digest)
        self._base.catalog.add(
            self._known_there(image, reference, wish.namespace),
            {str(name): Name(image.id, time.time_ns())},
            wish.namespace,
        )
        return Pushed(reference.tag, digest, size)

    def _known_there(self, image: Image, reference: Reference, namespace: str) -> tuple[Image, ...]:
        """The image's record with the repository that has it now; none where it has that, or is gone meanwhile."""
        found = self._base.catalog.get(image.id, namespace)
        if found is None or reference.name in found.kept.pulled:
            return ()
        kept = msgspec.structs.replace(found.kept, pulled=(*found.kept.pulled, reference.name))
        return (msgspec.structs.replace(found, kept=kept),)

    async def _image(
        self, image: Image, wanted: str, repository: Repository, tell: Tell, namespace: str
    ) -> tuple[str, int]:
        """Send one image, its manifest under a tag or digest; the manifest's digest and size."""
        for layer in reversed(image.layers):
            tell(Progress(short(layer.diff_id), "Preparing"))
        layers = await self._layers(image, repository, tell, namespace)
        data = self._base.content.read(image.id, documents.MAX_DOCUMENT)
        await repository.put_small_blob(data)
        kept = list(layers) == list(image.layers)
        manifest = self._base.content.read(image.manifest, documents.MAX_DOCUMENT) if kept else \
            documents.write_manifest((image.id, len(data)), layers)  # fmt: skip
        kind = (image.kept.manifest_type if kept else "") or documents.MANIFEST
        return await repository.put_manifest(wanted, manifest, kind), len(manifest)

    def _family(self, image: Image, namespace: str) -> tuple[Image, ...]:
        """The images that the index of one names, if it names several and all that it names is here as it came."""
        index = image.kept.index
        if not index or not self._base.content.has(index):
            return ()
        entries = documents.read_index(self._base.content.read(index, documents.MAX_DOCUMENT), f"index {index}")
        by_manifest = {one.manifest: one for one in self._base.catalog.images(namespace)}
        found = [by_manifest.get(entry.digest) for entry in entries]
        here = tuple(one for one in found if one is not None and self._is_as_it_came(one))
        return here if len(here) == len(entries) > 1 else ()

    def _is_as_it_came(self, image: Image) -> bool:
        plain = any(layer.media_type in documents.PLAIN_LAYERS for layer in image.layers)
        return not plain and all(self._base.content.has(layer.digest) for layer in image.layers)

    def forget(self, diff_ids: frozenset[str]) -> None:
        """What was remembered of layers that are no more: all but these."""
        for diff_id, _ in self._sent.items():
            if diff_id not in diff_ids:
                self._sent.delete(diff_id)

    async def _layers(self, image: Image, repository: Repository, tell: Tell, namespace: str) -> Sequence[Layer]:
        """Send what is missing, side by side; the layers as the registry has them."""
        elsewhere = self._elsewhere(image, repository.reference, namespace)
        try:
            async with asyncio.TaskGroup() as group:
                once = {
                    one.digest: group.create_task(self._layer(one, repository, elsewhere, tell)) for one in image.layers
                }
        except BaseExceptionGroup as failures:
            raise first_of(failures) from None
        return [once[one.digest].result() for one in image.layers]

    def _elsewhere(self, image: Image, reference: Reference, namespace: str) -> list[str]:
        """Repositories of the same registry that may have the image's layers."""
        shared = {one.diff_id for one in image.layers}
        known = [one for one in self._base.catalog.images(namespace) if shared & {two.diff_id for two in one.layers}]
        names = [parse(name) for one in known for name in self._base.catalog.names_of(one.id, namespace)]
        found = [one.path for one in names if one.domain == reference.domain and one.digest]
        return [path for path in dict.fromkeys(found) if path != reference.path][:_MOUNTS]

    async def _layer(self, layer: Layer, repository: Repository, elsewhere: Sequence[str], tell: Tell) -> Layer:
        name = short(layer.diff_id)
        plain = layer.media_type in documents.PLAIN_LAYERS
        known = self._as_sent(layer) if plain else layer
        async with self._room:
            if known is not None:
                if await repository.has(known.digest):
                    tell(Progress(name, "Layer already exists"))
                    return known
                for source in elsewhere:
                    if await repository.mount(known.digest, source):
                        tell(Progress(name, f"Mounted from {source}"))
                        return known
            done = await self._put(layer, repository, plain, tell)
        tell(Progress(name, "Pushed"))
        if not plain:
            return layer
        sent = Sent(done["digest"], done["size"])
        self._sent.put(layer.diff_id, sent)
        return layer_of(layer, sent)

    def _as_sent(self, layer: Layer) -> Layer | None:
        sent = self._sent.get(layer.diff_id)
        return layer_of(layer, sent) if sent is not None else None

    async def _put(self, layer: Layer, repository: Repository, compress: bool, tell: Tell) -> dict[str, Any]:
        """Run the program until it has sent the layer, authorised anew where it is asked who we are."""
        name = short(layer.diff_id)

        def say(line: dict[str, Any]) -> None:
            if "sent" in line:
                tell(Progress(name, "Pushing", line["sent"], layer.size))

        for _ in range(_ADMISSIONS):
            target = await repository.upload()
            wanted = {
                "target": target,
                "source": self._base.content.path(layer.digest),
                "compress": "gzip" if compress else None,
                "digest": "" if compress else layer.digest,
            }
            moved = await self._mover.run("put", wanted, f"layer {name}", say)
            if moved.done is not None:
                return moved.done
            if moved.challenge is not None:
                await repository.admit(moved.challenge["url"], [moved.challenge["challenge"]], [target])
        raise RuntimeFailed(f"layer {name}: the registry goes on asking who sends it")


def layer_of(layer: Layer, sent: Sent) -> Layer:
    """A plain layer as the registry has it."""
    return Layer(sent.digest, sent.size, f"{documents.LAYER}+gzip", layer.diff_id)
