"""Which hosts serve a registry: containerd's hosts.toml and Docker's certs.d."""

from __future__ import annotations

from pathlib import Path

import pytest

from stockade.errors import BadValue
from stockade.registry import hosts
from stockade.registry.hosts import Host, find, parse


@pytest.mark.parametrize(
    ("domain", "wanted"),
    [
        ("docker.io", ["https://registry-1.docker.io/v2"]),
        ("registry.example.com", ["https://registry.example.com/v2"]),
        ("registry.example.com:5000", ["https://registry.example.com:5000/v2"]),
        ("localhost:5000", ["http://localhost:5000/v2", "https://localhost:5000/v2"]),
        ("127.8.9.1", ["http://127.8.9.1/v2", "https://127.8.9.1/v2"]),
        ("[::1]:5000", ["http://[::1]:5000/v2", "https://[::1]:5000/v2"]),
        ("localhost.example.com", ["https://localhost.example.com/v2"]),
        ("10.0.0.1", ["https://10.0.0.1/v2"]),
    ],
)
def test_without_a_word_of_the_administrator(domain: str, wanted: list[str], tmp_path: Path) -> None:
    found = find(domain, [str(tmp_path)])
    assert [one.base for one in found] == wanted
    assert all(one.own and not one.insecure and not one.namespace for one in found)


def test_a_whole_file() -> None:
    text = """
        server = "https://upstream.example.com"
        ca = ["a.pem", "/b.pem"]
        [host."https://one.example.com/v2/proxy"]
          capabilities = ["pull", "resolve"]
          override_path = true
          client = [["one.crt", "one.key"], "both.pem"]
          dial_timeout = "1500ms"
          [host."https://one.example.com/v2/proxy".header]
            x-team = ["a", "b"]
            x-one = "c"
        [host."http://two.example.com:5000/"]
          skip_verify = true
          ca = "c.pem"
        [host."three.example.com"]
          client = "three.pem"
    """
    one, two, three, upstream = parse(text, "registry.example.com", "/etc/x")
    assert one == Host(
        "https", "one.example.com", "/v2/proxy", frozenset({"pull", "resolve"}),
        client=(("/etc/x/one.crt", "/etc/x/one.key"), ("/etc/x/both.pem", "/etc/x/both.pem")),
        header=(("x-team", "a"), ("x-team", "b"), ("x-one", "c")),
        namespace="registry.example.com", own=False, dial_timeout=1.5,
    )  # fmt: skip
    assert two.base == "http://two.example.com:5000/v2"
    assert (two.insecure, two.ca, two.own, two.capabilities) == (True, ("/etc/x/c.pem",), False, hosts.EVERYTHING)
    assert (three.base, three.client) == (
        "https://three.example.com/v2", (("/etc/x/three.pem", "/etc/x/three.pem"),)
    )  # fmt: skip
    assert (upstream.base, upstream.ca, upstream.own) == (
        "https://upstream.example.com/v2", ("/etc/x/a.pem", "/b.pem"), True,
    )  # fmt: skip


def test_without_a_server_the_registry_itself_is_asked_last() -> None:
    mirror, upstream = parse('[host."http://m:1"]\n', "docker.io")
    assert (mirror.base, mirror.namespace) == ("http://m:1/v2", "docker.io")
    assert upstream == Host("https", "registry-1.docker.io")


def test_a_table_for_the_registry_itself_may_have_its_credentials() -> None:
    first, last = parse('server = "https://r.test"\n[host."https://r.test"]\n', "r.test")
    assert first.own
    assert last.own


def test_a_server_for_every_registry_is_told_nobodys_password() -> None:
    [one] = parse('server = "https://cache.test"\n', "r.test", of_all=True)
    assert (one.base, one.own, one.namespace) == ("https://cache.test/v2", False, "r.test")
    mirror, itself = parse('skip_verify = true\n[host."https://cache.test"]\n', "r.test", of_all=True)
    assert (mirror.own, itself.own, itself.insecure) == (False, True, True)


def test_durations_and_a_key_beside_its_certificate() -> None:
    words = 'client = [["a.pem", ""]]\ndial_timeout = "1m0.5s"\n'
    first, last = parse(f'[host."https://m.test"]\n{words}', "r.test", "/etc/x")
    assert (first.client, first.dial_timeout) == ((("/etc/x/a.pem", "/etc/x/a.pem"),), 60.5)
    assert last.dial_timeout == 0
    assert parse('dial_timeout = "1500ms"', "r.test")[0].dial_timeout == 1.5


@pytest.mark.parametrize("name", ["r.test_5000_", "r.test:5000", "_default"])
def test_where_a_file_lies(tmp_path: Path, name: str) -> None:
    (tmp_path / "second" / name).mkdir(parents=True)
    (tmp_path / "second" / name / "hosts.toml").write_text('server = "http://elsewhere"\n')
    found = find("r.test:5000", [str(tmp_path / "first"), str(tmp_path / "second")])
    assert [one.base for one in found] == ["http://elsewhere/v2"]


def test_certificates_as_docker_has_them(tmp_path: Path) -> None:
    place = tmp_path / "r.test:5000"
    place.mkdir()
    for name in ("ca.crt", "b.crt", "client.cert", "client.key", "note"):
        (place / name).touch()
    [one] = find("r.test:5000", [str(tmp_path)])
    assert one.ca == (f"{place}/b.crt", f"{place}/ca.crt")
    assert one.client == ((f"{place}/client.cert", f"{place}/client.key"),)
    (place / "client.key").unlink()
    with pytest.raises(BadValue, match="has no key beside it"):
        find("r.test:5000", [str(tmp_path)])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("server = ", "hosts.toml"),
        ("server = 1", "an address"),
        ('host = "x"', "`host` is a table"),
        ('skip_verfy = true\nserver = "x"', "'skip_verfy' is not known"),
        ('[host."ftp://x"]', "no address of a registry"),
        ('[host."https://u:p@x"]', "no address of a registry"),
        ('[host."https://x"]\ncapabilities = ["pul"]', "capability 'pul'"),
        ('[host."https://x"]\nskip_verify = "yes"', "`skip_verify` is true or false"),
        ('[host."https://x"]\nca = 1', "`ca` is a word"),
        ('[host."https://x"]\nclient = [["a", "b", "c"]]', "`client` is a file"),
        ('[host."https://x"]\ndial_timeout = "soon"', "is no duration"),
        ('[host."https://x"]\ndial_timeout = "1s5"', "is no duration"),
        ('[host."https://x"]\nclient = [["", ""]]', "`client` is a file"),
        ('[host."https://x".header]\nx = "a\\r\\nb"', "is no line of a header"),
        ('[host."https://x".header]\n"x: y" = "a"', "is no line of a header"),
    ],
)
def test_what_cannot_be_understood_is_refused(text: str, words: str) -> None:
    with pytest.raises(BadValue) as refusal:
        parse(text, "r.test", "/etc/x")
    assert words in refusal.value.message


def test_a_file_that_is_too_large_or_no_text(tmp_path: Path) -> None:
    place = tmp_path / "r.test"
    place.mkdir()
    for data in (b"#" * (2 << 20), b"\xff\xfe"):
        (place / "hosts.toml").write_bytes(data)
        with pytest.raises(BadValue, match=r"hosts\.toml"):
            find("r.test", [str(tmp_path)])
