"""What registries say, read: challenges, and refusals in Docker's words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.errors import NotFound, Refused, RuntimeFailed, Unauthorized, Unavailable, http_status
from stockade.registry import challenges, refusals
from stockade.registry.challenges import Challenge
from support.images import dump


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        (['Basic realm="x"'], [Challenge("basic", {"realm": "x"})]),
        (
            ['Bearer realm="https://a/t?x=1,2",service="s",scope="repository:a/b:pull,push"'],
            [
                Challenge(
                    "bearer", {"realm": "https://a/t?x=1,2", "service": "s", "scope": "repository:a/b:pull,push"}
                )
            ],
        ),
        (["Negotiate", 'BASIC realm = "a \\"b\\""'],
         [Challenge("negotiate", {}), Challenge("basic", {"realm": 'a "b"'})]),
        (['Basic realm="x", Bearer realm=y, error=z'],
         [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y", "error": "z"})]),
        (['realm="nobody"', ""], []),
    ],
)  # fmt: skip
def test_challenges(headers: list[str], wanted: list[Challenge]) -> None:
    assert list(challenges.parse(headers)) == wanted


@given(st.lists(st.text()))
def test_challenges_of_anybody(headers: list[str]) -> None:
    assert len(challenges.parse(headers)) <= 16


def said(status: int, code: str = "", message: str = "") -> refusals.Said:
    return refusals.read(status, dump({"errors": [{"code": code, "message": message}]}) if code else b"")


@pytest.mark.parametrize(
    ("one", "kind", "words"),
    [
        (
            said(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            NotFound,
            "manifest for r/x:1 not found: manifest unk",
        ),
        (
            said(404, "NAME_UNKNOWN", "repository name not known to registry"),
            NotFound,
            "repository r/x not found: name",
        ),
        (
            said(401),
            NotFound,
            "pull access denied for r/x, repository does not exist or may require 'docker login'",
        ),
        (said(403, "DENIED", "no"), NotFound, "pull access denied for r/x, repository does not exist or may require"),
        (said(404), NotFound, "repository r/x not found: it answered with status 404"),
        (said(429), Unavailable, "r: toomanyrequests: too many requests"),
        (said(500, "UNKNOWN", "disk full"), Unavailable, "r: unknown: disk full"),
        (said(418), RuntimeFailed, "r: it answered with status 418"),
    ],
)
def test_refusals_of_pulls(one: refusals.Said, kind: type[Exception], words: str) -> None:
    found = refusals.of_pull(one, "r/x", "r/x:1", "r")
    assert type(found) is kind
    assert found.message.startswith(words)


def test_refusals_of_pushes() -> None:
    assert type(refusals.of_push(said(401), "r")) is Unauthorized
    assert http_status(refusals.of_push(said(401), "r")) == 401
    denied = refusals.of_push(said(403, "DENIED", "requested access to the resource is denied"), "r")
    assert type(denied) is Refused
    assert denied.message == "denied: requested access to the resource is denied"


@given(st.binary(), st.integers(100, 599))
def test_refusals_of_anybody(body: bytes, status: int) -> None:
    assert str(refusals.read(status, body, manifest=True)).isprintable()
