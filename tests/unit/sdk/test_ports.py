"""Ports in docker's words."""

from __future__ import annotations

import pytest

from stockade.errors import BadValue
from stockade.sdk.ports import bindings
from stockade.sdk.wanted import Wanted


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("80", {"80/tcp": [("", "")]}),
        ("8080:80", {"80/tcp": [("", "8080")]}),
        ("127.0.0.1:8080:80/udp", {"80/udp": [("127.0.0.1", "8080")]}),
        ("127.0.0.1::80", {"80/tcp": [("127.0.0.1", "")]}),
        ("[::1]:8080:80", {"80/tcp": [("::1", "8080")]}),
        ("8000-8010:80", {"80/tcp": [("", "8000-8010")]}),
        ("8000-8001:90-91", {"90/tcp": [("", "8000")], "91/tcp": [("", "8001")]}),
    ],
)
def test_words(word: str, found: dict[str, list[tuple[str, str]]]) -> None:
    assert {
        name: [(one["HostIp"], one["HostPort"]) for one in places] for name, places in bindings([word]).items()
    } == (found)


@pytest.mark.parametrize("word", ["", "x", "80:", "0:80", "70000:80", "1-3:80-81", "[::1:80:80", "8080:80-"])
def test_what_is_none(word: str) -> None:
    with pytest.raises(BadValue, match="--publish"):
        bindings([word])


def test_the_body() -> None:
    body = Wanted("i", network="n", aliases=("a",), links=("b:c",), addresses=("10.0.0.9", ""), ports=("1:2",)).body()
    assert body["NetworkingConfig"] == {
        "EndpointsConfig": {"n": {"Aliases": ["a"], "Links": ["b:c"], "IPAMConfig": {"IPv4Address": "10.0.0.9"}}}
    }
    assert body["HostConfig"]["PortBindings"] == {"2/tcp": [{"HostIp": "", "HostPort": "1"}]}
    assert "NetworkingConfig" not in Wanted("i").body()


def test_several_networks() -> None:
    body = Wanted("i", network="a", mac="02:00:00:00:00:01", link_local=("169.254.1.1",), further={"b": {}}).body()
    assert body["HostConfig"]["NetworkMode"] == "a"
    assert body["NetworkingConfig"]["EndpointsConfig"] == {
        "a": {"IPAMConfig": {"LinkLocalIPs": ["169.254.1.1"]}, "MacAddress": "02:00:00:00:00:01"},
        "b": {},
    }
    assert list(Wanted("i", network="a", further={"b": {}}).body()["NetworkingConfig"]["EndpointsConfig"]) == ["a", "b"]
