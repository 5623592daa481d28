"""What is attested of an image: in-toto statements in manifests that its index names beside it (BuildKit's layout).

Nothing of it is verified: a statement is what whoever made the image says, and the digests say that it is unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from stockade.errors import BadValue, Unsupported

from . import documents
from .content import Content
from .documents import Descriptor
from .values import Kept

_KIND = "attestation-manifest"
_OF = "vnd.docker.reference.digest"
_STATEMENT = "application/vnd.in-toto+json"
_PREDICATE = "in-toto.io/predicate-type"
_MOST_INDEXES = 8


class Attested(NamedTuple):
    """One statement."""

    descriptor: Descriptor
    predicate: str
    """The URI of its predicate's type; empty: its manifest does not say."""


def of(image: Kept, content: Content) -> list[Attested]:
    """The statements about an image; none where its index names none.

    Raises:
        Unsupported: the index names some, and they did not come with the image.
        BadValue: a document is none.
    """
    found = []
    for entry in _entries(image, content):
        if entry.note(documents.REFERENCE_TYPE) != _KIND or entry.note(_OF) != image.manifest:
            continue
        for layer in documents.read_manifest(_read(entry, content), f"manifest {entry.digest}").layers or ():
            if layer.media_type == _STATEMENT:
                found.append(Attested(layer, layer.note(_PREDICATE)))
    return found


def statement(attested: Attested, content: Content) -> bytes:
    """The statement itself, which is JSON.

    Raises:
        Unsupported: it did not come with the image.
        BadValue: it is too long, or no JSON.
    """
    data = _read(attested.descriptor, content)
    documents.raw_object(data, f"statement {attested.descriptor.digest}")
    return data


def _entries(image: Kept, content: Content) -> Iterator[Descriptor]:
    """All that is named by the index that an image was chosen from, and by indexes in it."""
    todo, seen = [image.index] if image.index else [], 0
    while todo and seen < _MOST_INDEXES:
        digest, seen = todo.pop(0), seen + 1
        data = content.read(digest, documents.MAX_DOCUMENT)
        for entry in documents.read_index(data, f"index {digest}"):
            if entry.media_type in documents.INDEXES:
                todo += [entry.digest] * content.has(entry.digest)
            else:
                yield entry


def _read(of: Descriptor, content: Content) -> bytes:
    if not content.has(of.digest):
        raise Unsupported(
            f"what the image's index names as attested ({of.digest}) is not here: a pull takes the image alone",
            hint="docker load takes an archive with all of it, as skopeo copy --all makes one",
        )
    data = content.read(of.digest, documents.MAX_DOCUMENT)
    if len(data) > documents.MAX_DOCUMENT:
        raise BadValue(f"{of.digest} is longer than {documents.MAX_DOCUMENT} bytes")
    return data
