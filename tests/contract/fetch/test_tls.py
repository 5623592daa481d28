"""Whom a connection believes, and what goes by a proxy."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading

import pytest

from contract.fetch.answers import ranges, whole
from contract.fetch.conftest import Certificates, Serve
from support.fetch import Fetch
from support.server import Connection, Request

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


def test_a_proxy_of_the_environment(fetch: Fetch, serve: Serve, certificates: Certificates) -> None:
    """It sees a CONNECT, and nothing of what follows."""
    server = serve(whole(SMALL), certificates.context())

    def connect(request: Request, to: Connection) -> None:
        host, port = request.target.split(":")
        assert request.method == "CONNECT"
        with fetch.ns.connect(host, int(port)) as far:
            to.send(b"HTTP/1.1 200 Connected\r\n\r\n")
            thread = threading.Thread(target=_pump, args=(far, to.socket))
            thread.start()
            _pump(to.socket, far)
            thread.join()

    proxy = serve(connect)
    asked = fetch.asked(SMALL, server.url, source={"ca": [certificates.file("ca.pem")]})
    environment = {**os.environ, "HTTPS_PROXY": proxy.url}
    environment.pop("NO_PROXY", None)
    environment.pop("no_proxy", None)
    assert fetch.call("get", asked, environment).done["size"] == len(SMALL)
    assert [request.target for request in proxy.requests] == [f"127.0.0.1:{server.port}"]
    fetch.blob.unlink()
    assert fetch.call("get", asked, {**environment, "NO_PROXY": "127.0.0.1"}).done["size"] == len(SMALL)
    assert len(proxy.requests) == 1


def _pump(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while select.select([one], [], [], 20)[0] and (data := one.recv(1 << 16)):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
