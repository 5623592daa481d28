"""Docker's grammar of names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.errors import BadValue
from stockade.registry import references
from stockade.registry.references import parse

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "whole", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1", "docker.io/library/busybox:1", "busybox:1"),
        ("library/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("docker.io/a/b:c", "docker.io/a/b:c", "a/b:c"),
        ("a/b", "docker.io/a/b", "a/b"),
        ("localhost/a", "localhost/a", "localhost/a"),
        ("localhost:5000/a:b", "localhost:5000/a:b", "localhost:5000/a:b"),
        ("example.com/a__b/c-d.e", "example.com/a__b/c-d.e", "example.com/a__b/c-d.e"),
        ("[::1]:80/a", "[::1]:80/a", "[::1]:80/a"),
        (f"a@{DIGEST}", f"docker.io/library/a@{DIGEST}", f"a@{DIGEST}"),
        (f"a:t@{DIGEST}", f"docker.io/library/a:t@{DIGEST}", f"a:t@{DIGEST}"),
        ("UPPER/a", "UPPER/a", "UPPER/a"),
    ],
)
def test_names(text: str, whole: str, familiar: str) -> None:
    found = parse(text)
    assert (str(found), found.familiar) == (whole, familiar)
    assert parse(str(found)) == found
    assert parse(found.familiar) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "invalid reference format"),
        ("a:", "invalid reference format"),
        ("a:b:c", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a/b-", "invalid reference format"),
        (":5000/a", "invalid reference format"),
        ("a:" + "t" * 129, "invalid reference format"),
        ("a@sha256:12", "invalid reference format"),
        ("a\n", "invalid reference format"),
        ("Busybox", "invalid reference format: repository name (library/Busybox) must be lowercase"),
        ("a" * 256, "repository name must not be more than 255 characters"),
        ("ab" * 32, f"invalid repository name ({'ab' * 32}), cannot specify 64-byte hexadecimal strings"),
    ],
)
def test_what_is_no_name(text: str, words: str) -> None:
    with pytest.raises(BadValue) as refusal:
        parse(text)
    assert refusal.value.message == words


@given(st.text(max_size=80))
def test_any_text_is_a_name_that_stays_itself_or_is_refused(text: str) -> None:
    try:
        found = parse(text)
    except BadValue:
        return
    assert parse(str(found)) == found
    assert not set(str(found)) & set(" \n\0\\")


def test_a_tag_is_given_without_a_digest() -> None:
    assert str(references.parse_tag("a")) == "docker.io/library/a:latest"
    with pytest.raises(BadValue, match="refusing to create a tag with a digest reference"):
        references.parse_tag(f"a@{DIGEST}")


def test_beginnings_of_ids() -> None:
    assert references.identifier("sha256:0af") == references.identifier("0af") == "0af"
    assert references.identifier("0AF") is references.identifier("g") is references.identifier("") is None
