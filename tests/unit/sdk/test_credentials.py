"""Docker's config.json, as it is found in the world."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from stockade.errors import BadValue, Unavailable
from stockade.sdk import credentials
from stockade.sdk.credentials import Login, registry_of


@pytest.fixture(name="config")
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path / "config.json"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("name", "registry"),
    [
        ("busybox", "docker.io"),
        ("team/box:1", "docker.io"),
        ("docker.io/box", "docker.io"),
        ("index.docker.io/box", "docker.io"),
        ("localhost/box", "localhost"),
        ("localhost:5000/a/box@sha256:x", "localhost:5000"),
        ("r.example.com/box", "r.example.com"),
        ("Team/box", "Team"),
    ],
)
def test_whose_a_name_is(name: str, registry: str) -> None:
    assert registry_of(name) == registry


@pytest.mark.parametrize(
    ("auths", "registry", "wanted"),
    [
        ({"r.test": {"auth": encoded("a:b:c")}}, "r.test", Login("a", "b:c")),
        ({"https://r.test/v1/": {"auth": encoded("a:b")}}, "r.test", Login("a", "b")),
        ({"r.test": {"username": "a", "password": "b"}}, "r.test", Login("a", "b")),
        ({"r.test": {"auth": encoded("a:"), "identitytoken": "t"}}, "r.test", Login("a", "", "t")),
        ({"https://index.docker.io/v1/": {"auth": encoded("a:b")}}, "docker.io", Login("a", "b")),
        ({"r.test:5000": {"auth": encoded("a:b")}}, "r.test", Login()),
        (
            {"https://r.test/v1/": {"auth": encoded("old:x")}, "r.test": {"auth": encoded("a:b")}},
            "r.test",
            Login("a", "b"),
        ),
        ({"r.test": {}}, "r.test", Login()),
        ({}, "r.test", Login()),
    ],
)
def test_what_is_found(config: Path, auths: object, registry: str, wanted: Login) -> None:
    config.write_text(json.dumps({"auths": auths}))
    assert credentials.find(registry) == wanted


@pytest.mark.parametrize(
    "text", ["[]", "{", json.dumps({"auths": {"r.test": {"auth": "%"}}}), json.dumps({"credsStore": "../x"}), "\0"]
)
def test_what_cannot_be_read(config: Path, text: str) -> None:
    config.write_text(text)
    with pytest.raises(BadValue, match=r"config\.json"):
        credentials.find("r.test")


def test_a_file_that_is_not_there_knows_nothing(config: Path) -> None:
    assert credentials.find("r.test") == Login()
    assert not credentials.erase("r.test")
    assert not config.exists()


def test_a_login_is_kept_as_docker_keeps_it(config: Path) -> None:
    credentials.store("docker.io", Login("a", "b"))
    credentials.store("r.test", Login("a", "", "token"))
    kept = json.loads(config.read_text())
    assert kept["auths"] == {
        "https://index.docker.io/v1/": {"auth": encoded("a:b")},
        "r.test": {"auth": encoded("a:"), "identitytoken": "token"},
    }
    assert config.stat().st_mode & 0o777 == 0o600
    assert credentials.find("docker.io") == Login("a", "b")
    assert credentials.erase("docker.io")
    assert list(json.loads(config.read_text())["auths"]) == ["r.test"]


def test_a_helper_that_is_missing_is_named(config: Path) -> None:
    config.write_text(json.dumps({"credHelpers": {"r.test": "nobody-has-it"}}))
    with pytest.raises(Unavailable, match="docker-credential-nobody-has-it, which is not installed"):
        credentials.find("r.test")
    assert credentials.find("other.test") == Login()


def test_an_empty_helper_is_the_file_itself(config: Path) -> None:
    auths = {"r.test": {"auth": encoded("a:b")}}
    config.write_text(json.dumps({"credsStore": "nobody-has-it", "credHelpers": {"r.test": ""}, "auths": auths}))
    assert credentials.find("r.test") == Login("a", "b")
    with pytest.raises(Unavailable):
        credentials.find("other.test")


def test_the_header() -> None:
    header = Login("a", "ü", "").header("docker.io")["X-Registry-Auth"]
    assert json.loads(base64.urlsafe_b64decode(header)) == {
        "username": "a", "password": "ü", "serveraddress": "https://index.docker.io/v1/"
    }  # fmt: skip
    assert Login().header("r.test") == {}
