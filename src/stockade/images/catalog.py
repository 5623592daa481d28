"""Which images there are and what they are called: the store's records, all of them in memory.

To find an image takes microseconds and no disk: configurations are read once, when the daemon starts or the image
comes. Each image has a copy of its record beside the blobs (`content/images`), from which `rebuild` makes the store
anew.
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from stockade.errors import BadValue, NotFound, StockadeError
from stockade.host import locks
from stockade.registry import references
from stockade.registry.references import Reference
from stockade.store import NAMESPACE, Store

from . import documents
from .content import Content
from .values import Image, Kept, Lease, Name


class Copy(Struct, frozen=True):
    """What stands beside the blobs of an image."""

    namespace: str
    image: Kept
    names: dict[str, Name]


class _Shelf:
    """The images of one namespace."""

    def __init__(self) -> None:
        self.images: dict[str, Image] = {}
        self.names: dict[str, Name] = {}
        self.sorted: list[str] = []


class Catalog:
    """The images of one installation, by namespace."""

    def __init__(self, store: Store, content: Content) -> None:
        self._store = store
        self._content = content
        self._kept = store.table("image", Kept)
        self._names = store.table("image-name", Name)
        self._leases = store.table("image-lease", Lease)
        self._shelves: dict[str, _Shelf] = {}
        self._leased: dict[tuple[str, str], Image] = {}
        self.damaged: dict[str, str] = {}
        """Images whose configuration cannot be read, and why."""

    def load(self, namespaces: Iterable[str] = (NAMESPACE,)) -> None:
        """Read what the store has."""
        for namespace in namespaces:
            shelf = self._shelf(namespace)
            for kept in self._kept.all(namespace):
                with self._noting_damage(kept.id):
                    self._place(shelf, self.read(kept))
            for text, name in self._names.items(namespace):
                if name.image in shelf.images:
                    shelf.names[text] = name
            for holder, lease in self._leases.items(namespace):
                with self._noting_damage(lease.image.id):
                    self._leased[namespace, holder] = self.read(lease.image)
            known = {self._copy_name(kept.id, namespace) for kept in self._kept.all(namespace)}
            for copy in os.listdir(self._content.copies):
                if copy.startswith(f"{namespace}-") and copy not in known:
                    os.unlink(f"{self._content.copies}/{copy}")

    def read(self, kept: Kept) -> Image:
        """An image by what is kept of it.

        Raises:
            Damaged, BadValue: its configuration is gone, or not what it was.
        """
        data = self._content.read(kept.id, documents.MAX_DOCUMENT)
        if documents.digest_of(data) != kept.id:
            raise BadValue(f"the configuration of image {kept.id} holds other bytes")
        config = documents.read_config(data, f"configuration {kept.id}")
        return Image(kept, config, documents.chains_of(config.diff_ids))

    # Finding -------------------------------------------------------------------------------------------------------

    def find(self, text: str, namespace: str = NAMESPACE) -> Image:
        """An image by name, id, or the beginning of an id that is no other's.

        Raises:
            NotFound, BadValue: with Docker's words.
        """
        return self.resolve(text, namespace)[0]

    def resolve(self, text: str, namespace: str = NAMESPACE) -> tuple[Image, str | None]:
        """The image, and the whole name if `text` is one."""
        shelf = self._shelf(namespace)
        digits = references.identifier(text)
        whole = f"sha256:{digits}"
        if digits and len(digits) == 64:
            if whole in shelf.images:
                return shelf.images[whole], None
            by_digest = [one for one in shelf.images.values() if whole in (one.manifest, one.kept.index)]
            if by_digest:
                return by_digest[0], None
            raise NotFound(f"No such image: {whole}")
        if not text.startswith("sha256:"):
            reference = references.parse(text).tagged()
            named = self._by_name(shelf, reference)
            if named is not None:
                return named
        if digits and (found := _with_prefix(shelf.sorted, digits)):
            return shelf.images[found], None
        raise NotFound(f"No such image: {text if text.startswith('sha256:') else reference.familiar}")

    def _by_name(self, shelf: _Shelf, reference: Reference) -> tuple[Image, str] | None:
        key = str(reference if not reference.digest else reference._replace(tag=""))
        name = shelf.names.get(key)
        if name is not None:
            return shelf.images[name.image], key
        if not reference.digest:
            return None
        # A digest that the repository's tags lead to, though nobody gave it as a name.
        for text, name in shelf.names.items():
            image = shelf.images[name.image]
            fits = reference.digest in (image.manifest, image.kept.index, image.id)
            if fits and references.parse(text).name == reference.name:
                return image, text
        return None

    def images(self, namespace: str = NAMESPACE) -> list[Image]:
        """Every image."""
        return list(self._shelf(namespace).images.values())

    def get(self, image: str, namespace: str = NAMESPACE) -> Image | None:
        """An image by its whole id."""
        return self._shelf(namespace).images.get(image)

    def names(self, namespace: str = NAMESPACE) -> dict[str, Name]:
        """Every name, whole."""
        return self._shelf(namespace).names

    def names_of(self, image: str, namespace: str = NAMESPACE) -> list[str]:
        """The whole names of an image."""
        return sorted(text for text, name in self._shelf(namespace).names.items() if name.image == image)

    def leased(self, holder: str, namespace: str = NAMESPACE) -> Image | None:
        """The image that somebody leased."""
        return self._leased.get((namespace, holder))

    def roots(self) -> list[Kept]:
        """Whatever is to stay, of every namespace, damaged or not."""
        return [*self._kept.all(None), *(lease.image for lease in self._leases.all(None))]

    # Changing: the store first, then memory --------------------------------------------------------------------------

    def add(self, images: Iterable[Image], names: dict[str, Name], namespace: str = NAMESPACE) -> None:
        """Keep images and give names, all or nothing."""
        images = list(images)
        shelf = self._shelf(namespace)
        before = {shelf.names[text].image for text in names if text in shelf.names}
        with self._store.transaction():
            for image in images:
                self._kept.put(image.id, image.kept, namespace=namespace)
            for text, name in names.items():
                self._names.put(text, name, namespace=namespace)
        for image in images:
            self._place(shelf, image)
        shelf.names |= names
        self._copy({*(image.id for image in images), *(name.image for name in names.values()), *before}, namespace)

    def remove(self, names: Iterable[str], images: Iterable[str], namespace: str = NAMESPACE) -> None:
        """Forget names and images, all or nothing. Idempotent."""
        names, images = list(names), list(images)
        shelf = self._shelf(namespace)
        touched = {shelf.names[text].image for text in names if text in shelf.names} | set(images)
        with self._store.transaction():
            for text in names:
                self._names.delete(text, namespace)
            for image in images:
                self._kept.delete(image, namespace)
        for text in names:
            shelf.names.pop(text, None)
        for image in images:
            if shelf.images.pop(image, None) is not None:
                shelf.sorted.remove(image)
        self._copy(touched, namespace)

    def lease(self, image: Image, holder: str, namespace: str = NAMESPACE) -> None:
        """Somebody needs an image."""
        self._leases.put(holder, Lease(image.kept), namespace=namespace)
        self._leased[namespace, holder] = image

    def holders(self) -> list[tuple[str, str]]:
        """Everybody who leased an image: (namespace, holder)."""
        return list(self._leased)

    def release(self, holder: str, namespace: str = NAMESPACE) -> bool:
        """Somebody needs his image no more; whether he did. Idempotent."""
        self._leases.delete(holder, namespace)
        return self._leased.pop((namespace, holder), None) is not None

    def _shelf(self, namespace: str) -> _Shelf:
        return self._shelves.setdefault(namespace, _Shelf())

    @staticmethod
    def _place(shelf: _Shelf, image: Image) -> None:
        if image.id not in shelf.images:
            insort(shelf.sorted, image.id)
        shelf.images[image.id] = image

    @contextlib.contextmanager
    def _noting_damage(self, image: str) -> Iterator[None]:
        try:
            yield
        except StockadeError as error:
            self.damaged[image] = error.message

    # Copies for repair -----------------------------------------------------------------------------------------------

    def _copy(self, images: Iterable[str], namespace: str) -> None:
        shelf = self._shelf(namespace)
        for identity in images:
            path = f"{self._content.copies}/{self._copy_name(identity, namespace)}"
            image = shelf.images.get(identity)
            if image is None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                continue
            names = {text: name for text, name in shelf.names.items() if name.image == identity}
            copy = Copy(namespace, image.kept, names)
            locks.replace(path, msgspec.json.encode(copy).decode(), synced=False)

    @staticmethod
    def _copy_name(image: str, namespace: str) -> str:
        return f"{namespace}-{image.removeprefix('sha256:')}.json"

    @property
    def lost(self) -> bool:
        """Whether the store knows no image, and copies of records lie there."""
        copies = any(name.endswith(".json") for name in os.listdir(self._content.copies))
        return copies and not self._kept.all(None) and not self._leases.all(None)

    def rebuild(self) -> list[str]:
        """Put what the copies say into a store that lost it; the ids of the images that are there again."""
        found = []
        for name in sorted(os.listdir(self._content.copies)):
            if not name.endswith(".json"):
                continue
            with open(f"{self._content.copies}/{name}", "rb") as file:
                data = file.read(documents.MAX_DOCUMENT)
            try:
                copy = msgspec.json.decode(data, type=Copy)
            except (msgspec.DecodeError, msgspec.ValidationError):
                self.damaged[name] = "the copy of its record cannot be read"
                continue
            with self._store.transaction():
                self._kept.put(copy.image.id, copy.image, namespace=copy.namespace)
                for text, one in copy.names.items():
                    self._names.put(text, one, namespace=copy.namespace)
            found.append(copy.image.id)
        return found


def _with_prefix(ids: list[str], digits: str) -> str | None:
    """The one id that begins so; None if there is none, or more than one."""
    start = bisect_left(ids, f"sha256:{digits}")
    found = [one for one in ids[start : start + 2] if one.startswith(f"sha256:{digits}")]
    return found[0] if len(found) == 1 else None
