"""Which image of an index a machine can run, and which of two documents a manifest is."""

from __future__ import annotations

import pytest

from stockade.errors import BadValue
from stockade.images import platforms, pulling
from stockade.images.documents import INDEX, MANIFEST, Platform
from stockade.registry import Document
from support.images import dump

AMD, ARM64, ARM7 = Platform("amd64", "linux"), Platform("arm64", "linux", "v8"), Platform("arm", "linux", "v7")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("linux/amd64", AMD),
        ("amd64", AMD),
        ("x86_64", AMD),
        ("Linux/ARM64", Platform("arm64", "linux")),
        ("aarch64", Platform("arm64", "linux")),
        ("linux/arm/v6", Platform("arm", "linux", "v6")),
        ("armhf", ARM7),
        ("linux", AMD),
        ("windows/amd64", Platform("amd64", "windows")),
    ],
)
def test_platforms_as_people_write_them(text: str, wanted: Platform) -> None:
    assert platforms.parse(text, AMD) == wanted


@pytest.mark.parametrize("text", ["", "a/b/c/d", "linux//v8", "toaster", "linux/am d64", "/"])
def test_no_platform(text: str) -> None:
    with pytest.raises(BadValue):
        platforms.parse(text, AMD)


def chosen(wanted: Platform, *offers: str, exactly: bool = False) -> str | None:
    found = [None if not one else Platform(*_swap(one.split("/"))) for one in offers]
    number = platforms.best(found, wanted, exactly=exactly)
    return None if number is None else offers[number]


def _swap(words: list[str]) -> list[str]:
    return [words[1], words[0], *words[2:]]


@pytest.mark.parametrize(
    ("wanted", "offers", "best"),
    [
        (AMD, ("linux/arm64", "linux/amd64"), "linux/amd64"),
        (AMD, ("windows/amd64", ""), None),
        (AMD, ("linux/amd64/v3", "linux/amd64/v1"), "linux/amd64/v1"),
        (AMD, ("linux/amd64/v3",), None),
        (Platform("amd64", "linux", "v3"), ("linux/amd64", "linux/amd64/v2", "linux/amd64/v4"), "linux/amd64/v2"),
        (AMD, ("linux/386",), "linux/386"),
        (ARM64, ("linux/arm64", "linux/arm/v7"), "linux/arm64"),
        (ARM64, ("linux/arm/v6", "linux/arm/v7"), "linux/arm/v7"),
        (ARM7, ("linux/arm/v5", "linux/arm/v6"), "linux/arm/v6"),
        (ARM7, ("linux/arm",), "linux/arm"),
        (Platform("arm", "linux", "v6"), ("linux/arm/v7",), None),
        (AMD, ("linux/amd64", "linux/amd64"), "linux/amd64"),
    ],
)
def test_the_best_of_an_index(wanted: Platform, offers: tuple[str, ...], best: str | None) -> None:
    assert chosen(wanted, *offers) == best


def test_who_asks_by_name_gets_no_other_architecture() -> None:
    assert chosen(AMD, "linux/386", exactly=True) is None
    assert chosen(Platform("arm64", "linux"), "linux/arm/v7", exactly=True) is None


def document(kind: str, **members: object) -> Document:
    return Document(dump(members), kind, "sha256:x")


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (document(MANIFEST, config={}), MANIFEST),
        (document("", config={}), MANIFEST),
        (document("application/octet-stream", mediaType=INDEX, manifests=[]), INDEX),
        (document("", manifests=[{}]), INDEX),
    ],
)
def test_what_a_document_is(found: Document, kind: str) -> None:
    assert pulling.kind_of(found) == kind


@pytest.mark.parametrize(
    "found",
    [
        document(MANIFEST, manifests=[]),
        document(INDEX, config={}, layers=[]),
        document(INDEX, mediaType=MANIFEST, manifests=[]),
        document(MANIFEST, config={}, manifests=[]),
        document("text/html"),
        document("application/vnd.docker.distribution.manifest.v1+json", fsLayers=[]),
        Document(b"[" * 100_000, MANIFEST, "sha256:x"),
        Document(b"\xff", MANIFEST, "sha256:x"),
    ],
)
def test_what_is_neither(found: Document) -> None:
    with pytest.raises(BadValue):
        pulling.kind_of(found)
