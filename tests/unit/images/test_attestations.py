"""What is attested of an image, by the documents that came with it."""

from __future__ import annotations

from typing import Any

import pytest

from stockade.errors import BadValue, Unsupported
from stockade.images import attestations, documents
from stockade.images.values import Kept

PROVENANCE = "https://slsa.dev/provenance/v1"
STATEMENT = documents.encode({"_type": "https://in-toto.io/Statement/v1", "predicateType": PROVENANCE})
IMAGE = "sha256:" + "a" * 64


class Blobs:
    """Documents by digest."""

    def __init__(self) -> None:
        self.known: dict[str, bytes] = {}

    def put(self, document: Any) -> dict[str, Any]:
        data = document if isinstance(document, bytes) else documents.encode(document)
        digest = documents.digest_of(data)
        self.known[digest] = data
        return {"digest": digest, "size": len(data)}

    def has(self, digest: str) -> bool:
        return digest in self.known

    def read(self, digest: str, limit: int) -> bytes:
        return self.known[digest][: limit + 1]


def kept(index: str) -> Kept:
    return Kept("sha256:1", IMAGE, (), 1, 1, 1, index=index)


def world(*, of: str = IMAGE, statement: bytes = STATEMENT, nested: bool = False) -> tuple[Blobs, Kept, str]:
    blobs = Blobs()
    layer = {"mediaType": "application/vnd.in-toto+json", "annotations": {"in-toto.io/predicate-type": PROVENANCE}}
    other = {"mediaType": "application/octet-stream", **blobs.put(b"other")}
    config = {"mediaType": documents.CONFIG, **blobs.put(b"{}")}
    manifest = blobs.put({"config": config, "layers": [{**layer, **blobs.put(statement)}, other]})
    notes = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": of}
    entry = {"mediaType": documents.MANIFEST, **manifest, "annotations": notes}
    index = blobs.put({"manifests": [{"mediaType": documents.MANIFEST, "digest": IMAGE, "size": 1}, entry]})
    if nested:
        index = blobs.put({"manifests": [{"mediaType": documents.INDEX, **index}]})
    return blobs, kept(index["digest"]), manifest["digest"]


@pytest.mark.parametrize("nested", [False, True])
def test_statements_are_found_and_read(nested: bool) -> None:
    blobs, image, _ = world(nested=nested)
    [one] = attestations.of(image, blobs)  # type: ignore[arg-type]
    assert one.predicate == PROVENANCE
    assert attestations.statement(one, blobs) == STATEMENT  # type: ignore[arg-type]


def test_of_another_image_or_of_none() -> None:
    blobs, image, _ = world(of="sha256:" + "b" * 64)
    assert attestations.of(image, blobs) == []  # type: ignore[arg-type]
    assert attestations.of(kept(""), blobs) == []  # type: ignore[arg-type]


def test_what_did_not_come_along_is_refused() -> None:
    blobs, image, manifest = world()
    del blobs.known[manifest]
    with pytest.raises(Unsupported, match="is not here"):
        attestations.of(image, blobs)  # type: ignore[arg-type]


def test_a_statement_that_is_no_json() -> None:
    blobs, image, _ = world(statement=b"no")
    [one] = attestations.of(image, blobs)  # type: ignore[arg-type]
    with pytest.raises(BadValue):
        attestations.statement(one, blobs)  # type: ignore[arg-type]
