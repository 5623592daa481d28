"""Through a proxy: which requests go there, and what becomes of its refusals."""

from __future__ import annotations

import os

import pytest

from contract.fetch.answers import whole
from contract.fetch.conftest import Certificates, Serve
from support.fetch import Fetch
from support.netns import Netns
from support.proxy import proxy

pytestmark = pytest.mark.root

DATA = os.urandom(100_000)


def environment(url: str, **more: str) -> dict[str, str]:
    return {"PATH": os.defpath, "HTTPS_PROXY": url, "HTTP_PROXY": url, **more}


def test_both_schemes_go_by_connect(fetch: Fetch, serve: Serve, ns: Netns, certificates: Certificates) -> None:
    plain, secure = serve(whole(DATA)), serve(whole(DATA), certificates.context())
    leads = {"plain.test:80": plain.port, "192.0.2.1:443": secure.port}
    with proxy(ns, leads, user="who:secret") as there:
        assert fetch.call("get", fetch.asked(DATA, "http://plain.test/b"), environment(there.url)).done
        fetch.blob.unlink()
        untrusted = fetch.call("get", fetch.asked(DATA, "https://192.0.2.1/b"), environment(there.url))
        assert untrusted.failed["kind"] == "tls"
        request = fetch.asked(DATA, "https://192.0.2.1/b", source={"insecure": True})
        assert fetch.call("get", request, environment(there.url)).done
        assert set(there.asked) == {"CONNECT plain.test:80", "CONNECT 192.0.2.1:443"}
    assert "proxy-authorization" not in plain.requests[0].headers


def test_what_goes_straight(fetch: Fetch, serve: Serve, ns: Netns) -> None:
    near = serve(whole(DATA))
    with proxy(ns, {}) as there:
        assert fetch.call("get", fetch.asked(DATA, near.url), environment(there.url)).done
        fetch.blob.unlink()
        without = environment(there.url, NO_PROXY=".test, 192.0.2.0/24")
        straight = fetch.call("get", fetch.asked(DATA, "http://192.0.2.9:1/b"), without)
        assert straight.failed["kind"] == "connect"
        assert there.asked == []


def test_refusals(fetch: Fetch, ns: Netns) -> None:
    with proxy(ns, {}, user="who:secret") as there:
        wrong = there.url.replace("secret", "guess")
        for url, said in ((wrong, "407"), (there.url, "502")):
            failed = fetch.call("get", fetch.asked(DATA, "https://far.test/b"), environment(url))
            assert failed.failed["kind"] == "connect"
            assert said in failed.complaint
            assert "guess" not in failed.complaint
        for bad in ("socks5://127.0.0.1:1", "https://127.0.0.1:1"):
            refused = fetch.call("get", fetch.asked(DATA, "https://far.test/b"), environment(bad))
            assert (refused.code, refused.last["failed"]["kind"]) == (2, "usage")
            assert "HTTP_PROXY names no proxy that is served" in refused.complaint
