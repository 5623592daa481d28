"""Whom a connection believes, and what goes by a proxy."""

from __future__ import annotations

import os

import pytest

from contract.fetch.answers import ranges, whole
from contract.fetch.conftest import Certificates, Serve
from support.fetch import Fetch

pytestmark = pytest.mark.root

LARGE = os.urandom(20 << 20)
SMALL = os.urandom(100_000)


def test_a_ca_that_is_given(fetch: Fetch, serve: Serve, certificates: Certificates) -> None:
    server = serve(ranges(LARGE), certificates.context())
    ca = certificates.file("ca.pem")
    assert fetch.get(LARGE, server.url, source={"ca": [ca]}).done["size"] == len(LARGE)
    assert fetch.blob.read_bytes() == LARGE
    environment = {**os.environ, "SSL_CERT_FILE": ca}
    assert fetch.call("get", fetch.asked(LARGE, server.url), environment).done["size"] == len(LARGE)
    assert fetch.get(LARGE, server.url, source={"insecure": True}).done["size"] == len(LARGE)


def test_a_stranger_is_not_believed(fetch: Fetch, serve: Serve, certificates: Certificates) -> None:
    server = serve(whole(SMALL), certificates.context())
    assert fetch.get(SMALL, server.url).failed["kind"] == "tls"
    # The certificate is for 127.0.0.1 alone.
    other = server.url.replace("127.0.0.1", "127.0.0.2")
    assert fetch.get(SMALL, other, source={"ca": [certificates.file("ca.pem")]}).failed["kind"] != ""
    assert server.requests == []
    plain = serve(whole(SMALL))
    said = fetch.get(SMALL, plain.url.replace("http:", "https:"), stall=1)
    assert said.failed["kind"] in ("tls", "cut", "connect", "stalled")


def test_a_client_that_says_who_it_is(fetch: Fetch, serve: Serve, certificates: Certificates) -> None:
    server = serve(whole(SMALL), certificates.context(ask=True))
    source = {
        "ca": [certificates.file("ca.pem")],
        "client_cert": certificates.file("client.pem"),
        "client_key": certificates.file("client.key"),
    }
    assert fetch.get(SMALL, server.url, source=source).done["size"] == len(SMALL)
    assert fetch.get(SMALL, server.url, source={"ca": source["ca"]}).code == 1


def test_files_that_hold_no_such_thing_are_named(fetch: Fetch, serve: Serve, certificates: Certificates) -> None:
    server = serve(whole(SMALL), certificates.context())
    pem, key = certificates.file("client.pem"), certificates.file("client.key")
    for source in (
        {"ca": ["/nonexistent"]},
        {"ca": ["/dev/null"]},
        {"ca": [key]},
        {"client_cert": pem},
        {"client_key": key},
        {"client_cert": pem, "client_key": certificates.file("server.key")},
        {"client_cert": pem, "client_key": pem},
    ):
        said = fetch.get(SMALL, server.url, source=source)
        assert said.failed["kind"] == "tls"
        assert "/" in said.complaint
    assert server.requests == []


def test_a_redirect_from_https_to_http_is_refused(fetch: Fetch, serve: Serve, certificates: Certificates) -> None:
    plain = serve(whole(SMALL))
    server = serve(lambda _, to: to.answer(302, location=plain.url), certificates.context())
    said = fetch.get(SMALL, server.url, source={"ca": [certificates.file("ca.pem")]})
    assert said.failed["kind"] == "redirect"
    assert "hint:" in said.complaint
    assert plain.requests == []
