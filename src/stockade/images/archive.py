"""What an archive of images holds: OCI layout, Docker's format, or both at once. Pure but for a reader of small files.

Every file of the archive was written and digested already (`stockade-layer receive`); here it is decided which of
them are blobs of which image. A blob is what its digest says, whatever the archive called it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from stockade.errors import BadValue
from stockade.registry.references import Reference, parse, parse_tag

from . import documents
from .documents import FULL_NAME, REF_NAME, Descriptor, Platform
from .values import ImageConfig, Layer

_MAX_HOPS = 10
_MAX_DEPTH = 4
_MAX_IMAGES = 1000


class File(NamedTuple):
    """A file of the archive."""

    path: str
    """Where it lies on disk."""
    size: int
    digest: str


class Contents(NamedTuple):
    """An archive as it was received: files and links by name, and how to read a small file."""

    files: Mapping[str, File]
    links: Mapping[str, str]
    read: Callable[[File, int], bytes]
    """Its first bytes."""

    def find(self, name: str) -> File | None:
        """The file of that name, through the archive's own links."""
        for _ in range(_MAX_HOPS):
            name = posixpath.normpath(name).removeprefix("./")
            if name in self.files:
                return self.files[name]
            if name not in self.links:
                return None
            name = self.links[name]
        return None

    def blob(self, digest: str) -> File | None:
        """The file `blobs/sha256/HEX`; its bytes are what the name says.

        Raises:
            BadValue: they are not.
        """
        found = self.find(f"blobs/sha256/{digest.removeprefix('sha256:')}")
        if found is not None and found.digest != digest:
            raise BadValue(f"the archive's blob {digest} holds other bytes, of {found.digest}")
        return found

    def document(self, file: File) -> bytes:
        """All bytes of a small file."""
        return self.read(file, documents.MAX_DOCUMENT + 1)


class Planned(NamedTuple):
    """An image to be taken from the archive."""

    id: str
    config: ImageConfig
    layers: tuple[Layer, ...]
    manifest: bytes
    blobs: Mapping[str, File]
    """Files of the archive by digest: configuration, layers, and what else comes with it."""
    config_size: int
    origin: str = ""
    """The index that it was chosen from."""
    more: tuple[str, ...] = ()
    names: tuple[Reference, ...] = ()
    manifest_type: str = documents.MANIFEST
    partial: bool = False
    """Whether of the index only this image is here."""
    pulled: str = ""
    """The repository that it comes from."""


class _Choice(NamedTuple):
    """A manifest, and where it was chosen from."""

    manifest: Descriptor
    origin: str = ""
    more: tuple[str, ...] = ()


def plan(contents: Contents, own: Platform) -> tuple[Planned, ...]:
    """The images of an archive, in its order.

    Args:
        own: the machine's platform, which is chosen where there are several.

    Raises:
        BadValue: it is no archive of images, or one that says what its bytes do not.
    """
    index, archived = contents.find("index.json"), contents.find("manifest.json")
    if index is None and archived is None:
        raise BadValue(
            "the archive holds no image: neither index.json (OCI layout) nor manifest.json (docker save)",
            hint="for the tar of a root file system: import",
        )
    planned: dict[str, Planned] = {}
    if index is not None:
        for one in _of_layout(contents, index, own):
            _merge(planned, one)
    if archived is not None:
        for item in documents.read_archived(contents.document(archived)):
            _merge(planned, _of_archive(contents, item, planned))
    if len(planned) > _MAX_IMAGES:
        raise BadValue(f"the archive holds more than {_MAX_IMAGES} images")
    return tuple(planned.values())


def _merge(planned: dict[str, Planned], one: Planned) -> None:
    known = planned.get(one.id)
    if known is not None:
        names = (*known.names, *(name for name in one.names if name not in known.names))
        one = known._replace(names=names)
    planned[one.id] = one


# OCI layout (image-layout.md) ----------------------------------------------------------------------------------


def _of_layout(contents: Contents, index: File, own: Platform) -> Iterable[Planned]:
    groups: dict[str, list[Descriptor]] = {}
    for entry in documents.read_index(contents.document(index), "index.json"):
        groups.setdefault(_name_text(entry), []).append(entry)
    for name, entries in groups.items():
        names = _names(name)
        for choice in _choose(contents, entries, own, name):
            yield _of_manifest(contents, choice, names)


def _name_text(entry: Descriptor) -> str:
    return entry.note(FULL_NAME) or entry.note(REF_NAME)


def _names(text: str) -> tuple[Reference, ...]:
    """The name in an annotation; a tag alone names nothing."""
    if not text or not any(mark in text for mark in ":/@"):
        return ()
    try:
        return (parse(text).tagged(),)
    except BadValue as error:
        raise BadValue(f"index.json gives an image the name {text[:80]!r}: {error.message}") from error


def _choose(contents: Contents, entries: Sequence[Descriptor], own: Platform, name: str) -> list[_Choice]:
    """Which of the manifests under one name is the image: this machine's, or the only one."""
    singles = [
        entry for entry in entries if entry.media_type not in documents.INDEXES and not documents.is_extra(entry)
    ]
    chosen = [_choose_in(contents, entry, own) for entry in entries if entry.media_type in documents.INDEXES]
    if len({str(entry.platform) for entry in singles}) > 1 or (name and len(singles) > 1):
        fitting = [entry for entry in singles if _fits(contents, entry, own)]
        if not fitting:
            raise BadValue(_no_platform(name or "index.json", singles, own))
        singles = fitting[-1:] if name else fitting
    return chosen + [_Choice(entry) for entry in singles]


def _choose_in(contents: Contents, index: Descriptor, own: Platform) -> _Choice:
    """The machine's own manifest of an index, and all else of the index that the archive has."""
    blobs: list[str] = []
    manifests = list(_flatten(contents, index, blobs, 0))
    images = [entry for entry in manifests if not documents.is_extra(entry) and contents.blob(entry.digest)]
    fitting = [entry for entry in images if _fits(contents, entry, own)] or (images if len(images) == 1 else [])
    if not fitting:
        raise BadValue(_no_platform(_name_text(index) or index.digest, manifests, own))
    best = max(fitting, key=lambda entry: (entry.platform or Platform()).variant == own.variant)
    for entry in manifests:
        if entry.digest != best.digest:
            blobs += _everything(contents, entry)
    return _Choice(best, index.digest, tuple(dict.fromkeys(blobs)))


def _flatten(contents: Contents, index: Descriptor, seen: list[str], depth: int) -> Iterable[Descriptor]:
    file = contents.blob(index.digest)
    if file is None:
        raise BadValue(f"the archive lacks the index {index.digest}")
    if depth >= _MAX_DEPTH or len(seen) > _MAX_IMAGES:
        raise BadValue(f"the index {index.digest} leads to too many others")
    for entry in documents.read_index(contents.document(file), f"index {index.digest}"):
        if entry.media_type in documents.INDEXES and contents.blob(entry.digest) is not None:
            seen.append(entry.digest)
            yield from _flatten(contents, entry, seen, depth + 1)
        else:
            yield entry


def _everything(contents: Contents, entry: Descriptor) -> list[str]:
    """A manifest of another platform, or an attestation, with those of its blobs that are there."""
    file = contents.blob(entry.digest)
    if file is None:
        return []
    if entry.media_type not in documents.MANIFESTS:
        return [entry.digest]
    manifest = documents.read_manifest(contents.document(file), f"manifest {entry.digest}")
    below = (manifest.config.digest, *(layer.digest for layer in manifest.layers or ()))
    return [entry.digest, *(digest for digest in below if contents.blob(digest) is not None)]


def _fits(contents: Contents, entry: Descriptor, own: Platform) -> bool:
    platform = entry.platform or _platform_of(contents, entry)
    if platform is None:
        return False
    same = (platform.os, platform.architecture) == (own.os, own.architecture)
    return same and (not own.variant or platform.variant in ("", own.variant))


def _platform_of(contents: Contents, entry: Descriptor) -> Platform | None:
    """What the image's configuration says, where the index says nothing."""
    file = contents.blob(entry.digest)
    if file is None:
        return None
    manifest = documents.read_manifest(contents.document(file), f"manifest {entry.digest}")
    config = contents.blob(manifest.config.digest)
    if config is None:
        return None
    found = documents.read_config(contents.document(config), f"configuration {manifest.config.digest}")
    return Platform(found.architecture, found.os, found.variant)


def _no_platform(name: str, entries: Iterable[Descriptor], own: Platform) -> str:
    have = sorted({str(entry.platform) for entry in entries if entry.platform and not documents.is_extra(entry)})
    return f"{name} has no image for {own}, only for {', '.join(have) or 'platforms that it does not name'}"


def _of_manifest(contents: Contents, choice: _Choice, names: tuple[Reference, ...]) -> Planned:
    digest = choice.manifest.digest
    file = contents.blob(digest)
    if file is None:
        raise BadValue(f"the archive lacks the manifest {digest}")
    data = contents.document(file)
    manifest = documents.read_manifest(data, f"manifest {digest}")
    if manifest.config.media_type not in documents.CONFIGS:
        raise BadValue(f"manifest {digest} is no image's: its configuration is {manifest.config.media_type!r}")
    wanted = (manifest.config, *(manifest.layers or ()))
    found = {one.digest: contents.blob(one.digest) for one in wanted}
    missing = [one for one, there in found.items() if there is None]
    if missing:
        raise BadValue(f"the archive lacks blobs of the manifest {digest}: {', '.join(missing)}")
    blobs = {one: there for one, there in found.items() if there is not None}
    for one in wanted:
        if blobs[one.digest].size != one.size:
            raise BadValue(f"manifest {digest} gives {one.digest} {one.size} bytes; it has {blobs[one.digest].size}")
    more = (choice.origin, *choice.more) if choice.origin else choice.more
    further = {one: there for one in more if (there := contents.blob(one)) is not None}
    config_file = blobs[manifest.config.digest]
    config = documents.read_config(contents.document(config_file), f"configuration {manifest.config.digest}")
    layers = paired(config, [(one.digest, one.size, one.media_type) for one in manifest.layers or ()], digest)
    return Planned(
        id=manifest.config.digest,
        config=config,
        layers=layers,
        manifest=data,
        blobs=blobs | further,
        config_size=config_file.size,
        origin=choice.origin,
        more=choice.more,
        names=names,
        manifest_type=choice.manifest.media_type,
    )


def paired(config: ImageConfig, layers: Sequence[tuple[str, int, str]], name: str) -> tuple[Layer, ...]:
    """The layers of an image, each with what its configuration says that is in it.

    Args:
        layers: digest, size and media type of each.

    Raises:
        BadValue: these are not as many as those.
    """
    if len(layers) != len(config.diff_ids):
        raise BadValue(f"image {name} has {len(layers)} layers, and its configuration names {len(config.diff_ids)}")
    return tuple(
        Layer(digest, size, kind, diff_id)
        for (digest, size, kind), diff_id in zip(layers, config.diff_ids, strict=True)
    )


# Docker's format (docker save) -----------------------------------------------------------------------------------


def _of_archive(contents: Contents, item: documents.Archived, known: Mapping[str, Planned]) -> Planned:
    file = contents.find(item.config)
    if file is None:
        raise BadValue(f"the archive lacks the configuration {item.config[:200]!r} that manifest.json names")
    names = tuple(parse_tag(text) for text in item.repo_tags or ())
    if file.digest in known:
        return known[file.digest]._replace(names=names)
    data = contents.document(file)
    config = documents.read_config(data, f"configuration {item.config[:200]}")
    files = {name: contents.find(name) for name in item.layers or ()}
    missing = [name[:200] for name, there in files.items() if there is None]
    if missing:
        raise BadValue(f"the archive lacks layers of {item.config[:200]}: {', '.join(missing)}")
    found = [files[name] for name in item.layers or ()]
    rows = [_row(contents, one) for one in found if one is not None]
    layers = paired(config, rows, item.config[:200])
    manifest = documents.write_manifest((file.digest, file.size), layers)
    blobs = {one.digest: one for one in (file, *found) if one is not None}
    return Planned(file.digest, config, layers, manifest, blobs, file.size, names=names)


def _row(contents: Contents, file: File) -> tuple[str, int, str]:
    kind = documents.LAYER + documents.compression_of(contents.read(file, 4))
    return file.digest, file.size, kind
