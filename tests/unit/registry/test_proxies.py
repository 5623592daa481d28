"""Which proxy leads where; `crates/fetch/src/proxy.rs` has the same table."""

from __future__ import annotations

import pytest

from stockade.errors import BadValue
from stockade.registry import proxies
from stockade.registry.proxies import Proxy

BOTH = {"HTTP_PROXY": "http://plain:3128", "https_proxy": "secure:3129"}


def led(without: str, scheme: str, host: str, port: int = 0) -> str:
    found = proxies.of({**BOTH, "NO_PROXY": without}).of(scheme, host, port or {"http": 80, "https": 443}[scheme])
    return str(found or "")


def test_each_scheme_has_its_own() -> None:
    assert led("", "https", "r.io") == "secure:3129"
    assert led("", "http", "r.io") == "plain:3128"
    for near in ("localhost", "127.0.0.9", "::1"):
        assert led("", "https", near) == ""
    assert proxies.of({}).of("https", "r.io", 443) is None
    assert proxies.of({"HTTPS_PROXY": "first:1", "https_proxy": "second:2"}).https == "first:1"


@pytest.mark.parametrize(
    ("host", "straight"),
    [
        ("example.com", True),
        ("a.EXAMPLE.com", True),
        ("notexample.com", False),
        ("below.org", False),
        ("a.below.org", True),
        ("star.net", False),
        ("a.star.net", True),
        ("10.200.0.1", True),
        ("11.0.0.1", False),
        ("192.0.2.7:5000", True),
        ("192.0.2.7", False),
        ("fd00::1", True),
        ("fd00::2", False),
        ("at.io", True),
        ("at.io:80", False),
    ],
)
def test_what_goes_without(host: str, straight: bool) -> None:
    words = " Example.com , .below.org,*.star.net,10.0.0.0/8,192.0.2.7:5000,[fd00::1],at.io:443,junk/9x,:"
    name, colon, port = host.rpartition(":") if host.count(":") == 1 else (host, "", "")
    assert (led(words, "https", name, int(port) if colon else 0) == "") is straight
    assert led("*", "https", name) == ""


def test_credentials_of_the_proxy() -> None:
    found = proxies.of({"HTTPS_PROXY": "http://who:a%20word@p.test:1"}).of("https", "r.io", 443)
    assert found == Proxy("p.test", 1, "Basic d2hvOmEgd29yZA==")


@pytest.mark.parametrize("bad", ["socks5://p:1", "https://p:1", "http://", "http://p:none"])
def test_proxies_of_other_kinds_are_refused(bad: str) -> None:
    with pytest.raises(BadValue, match="HTTPS_PROXY"):
        proxies.of({"HTTPS_PROXY": bad}).of("https", "r.io", 443)


def test_what_a_program_is_told() -> None:
    told = {"HTTPS_PROXY": "a", "no_proxy": "b", "SSL_CERT_FILE": "/c"}
    assert proxies.passed_on({**told, "PATH": "/bin", "SECRET": "x"}) == told
