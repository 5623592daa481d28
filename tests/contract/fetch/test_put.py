"""`put`: a file into a registry, as it is or compressed; to docker-registry, and to servers that misbehave."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.fetch.answers import by_turns
from contract.fetch.conftest import Certificates, Serve
from support.fetch import Fetch, digest
from support.registries import Certificate, docker_registry
from support.server import Answer, Connection, Request

pytestmark = pytest.mark.root

DATA = os.urandom(3_000_000) + bytes(5_000_000) + b"some words and " * 300_000


def asked(fetch: Fetch, url: str, **more: Any) -> dict[str, Any]:
    source = fetch.room / "source"
    source.write_bytes(DATA)
    shown: dict[str, Any] = {name: more.pop(name) for name in ("headers", "ca") if name in more}
    target: dict[str, Any] = {"url": f"{url}/v2/some/name/blobs/uploads/", **shown}
    return {"target": target, "source": str(source), "stall": 20, **more}


def taking(name: Callable[[str], str] = lambda rest: rest) -> tuple[Answer, list[bytes]]:
    """A server that takes uploads; how it names where they go on."""
    taken: list[bytes] = []

    def answer(request: Request, to: Connection) -> None:
        if request.method == "POST":
            assert request.body == b""
            assert request.headers["content-length"] == "0"
            to.answer(202, location=name("/up/1?state=a%2Fb"))
        elif request.method == "PATCH":
            taken.append(request.body)
            to.answer(202, location=name("/up/1?state=c"))
        else:
            to.answer(201)

    return answer, taken


def test_into_a_registry_and_back(fetch: Fetch, room: Path, certificates: Certificates) -> None:
    pair = Certificate(*(Path(certificates.file(name)) for name in ("server.pem", "server.key", "ca.pem")))
    with docker_registry(room, fetch.ns) as plain, docker_registry(room, fetch.ns, tls=pair) as secure:
        for there in (plain, secure):
            trust = {"ca": [certificates.file("ca.pem")]}
            done = fetch.call("put", asked(fetch, there.url, digest=digest(DATA), **trust)).done
            assert done == {"size": len(DATA), "digest": digest(DATA)}
            done = fetch.call("put", asked(fetch, there.url, compress="gzip", **trust)).done
            packed = there.blob(done["digest"]).read_bytes()
            assert (len(packed), digest(packed)) == (done["size"], done["digest"])
            assert gzip.decompress(packed) == DATA
            assert len(packed) < len(DATA) / 2
            url = f"{there.url}/v2/some/name/blobs/{done['digest']}"
            assert fetch.get(packed, url, source=trust).done["size"] == len(packed)
            assert fetch.blob.read_bytes() == packed


def test_an_empty_file(fetch: Fetch, room: Path) -> None:
    with docker_registry(room, fetch.ns) as there:
        request = asked(fetch, there.url, compress="gzip")
        Path(request["source"]).write_bytes(b"")
        done = fetch.call("put", request).done
        assert gzip.decompress(there.blob(done["digest"]).read_bytes()) == b""


def test_what_is_asked_of_the_server(fetch: Fetch, serve: Serve) -> None:
    answer, taken = taking()
    server = serve(answer)
    said = fetch.call("put", asked(fetch, server.url, headers={"Authorization": "Bearer x"}, user_agent="who/1"))
    assert said.done["digest"] == digest(DATA)
    assert taken == [DATA]
    assert [(request.method, request.target) for request in server.requests] == [
        ("POST", "/v2/some/name/blobs/uploads/"),
        ("PATCH", "/up/1?state=a%2Fb"),
        ("PUT", f"/up/1?state=c&digest={digest(DATA).replace(':', '%3A')}"),
    ]
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer x"}
    assert {request.headers["user-agent"] for request in server.requests} == {"who/1"}
    assert server.requests[1].headers["content-type"] == "application/octet-stream"
    assert server.requests[1].headers["content-length"] == str(len(DATA))


def test_compressed_it_is_the_same_every_time(fetch: Fetch, serve: Serve) -> None:
    answer, taken = taking()
    server = serve(answer)
    digests = {fetch.call("put", asked(fetch, server.url, compress="gzip")).done["digest"] for _ in range(2)}
    assert digests == {digest(taken[0])} == {digest(taken[1])}
    assert server.requests[1].headers["transfer-encoding"] == "chunked"
    assert gzip.decompress(taken[0]) == DATA


def test_credentials_do_not_follow_an_upload_elsewhere(fetch: Fetch, serve: Serve) -> None:
    store_answer, taken = taking()
    store = serve(store_answer)
    answer, _ = taking(lambda rest: store.url + rest)
    registry_ = serve(answer)
    assert fetch.call("put", asked(fetch, registry_.url, headers={"Authorization": "Bearer x"})).done
    assert taken == [DATA]
    assert [request.method for request in registry_.requests] == ["POST"]
    assert [request.method for request in store.requests] == ["PATCH", "PUT"]
    assert not any("authorization" in request.headers for request in store.requests)


def test_a_challenge_is_handed_on(fetch: Fetch, serve: Serve) -> None:
    server = serve(lambda _, to: to.answer(401, www_authenticate='Basic realm="r"'))
    said = fetch.call("put", asked(fetch, server.url))
    assert (said.code, said.last["challenge"], said.last["source"]) == (3, 'Basic realm="r"', 0)


def test_what_fails_for_a_while_is_tried_again(fetch: Fetch, serve: Serve) -> None:
    answer, taken = taking()

    def cut(_: Request, to: Connection) -> None:
        to.cut()

    server = serve(by_turns(lambda _, to: to.answer(429, retry_after="1"), answer, cut, answer))
    said = fetch.call("put", asked(fetch, server.url))
    assert said.done["size"] == len(DATA)
    assert taken == [DATA]
    assert said.waits()[0] == 1
    assert len(said.waits()) == 2


def test_another_digest_than_was_said_is_not_named(fetch: Fetch, serve: Serve) -> None:
    answer, _ = taking()
    server = serve(answer)
    said = fetch.call("put", asked(fetch, server.url, digest=digest(b"another")))
    assert said.failed["kind"] == "digest"
    assert [request.method for request in server.requests] == ["POST", "PATCH", "DELETE"]


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_refusals_are_told(fetch: Fetch, serve: Serve, method: str) -> None:
    answer, _ = taking()

    def refuse(request: Request, to: Connection) -> None:
        if request.method == method:
            return to.answer(403, b'{"errors":[{"code":"DENIED"}]}')
        return answer(request, to)

    said = fetch.call("put", asked(fetch, serve(refuse).url))
    assert (said.failed["kind"], said.failed["status"]) == ("http", 403)
    assert "DENIED" in said.failed["detail"]


def test_answers_that_lead_nowhere(fetch: Fetch, serve: Serve) -> None:
    answer, _ = taking(lambda _: "ftp://elsewhere/")
    assert fetch.call("put", asked(fetch, serve(answer).url)).failed["kind"] == "redirect"
    loops = serve(lambda request, to: to.answer(307, location=request.target))
    assert fetch.call("put", asked(fetch, loops.url)).failed["kind"] == "redirect"
    assert len(loops.requests) == 6


def test_a_server_that_keeps_something_else(fetch: Fetch, serve: Serve) -> None:
    answer, _ = taking()

    def lie(request: Request, to: Connection) -> None:
        if request.method == "PUT":
            return to.answer(201, docker_content_digest=digest(b"else"))
        return answer(request, to)

    assert fetch.call("put", asked(fetch, serve(lie).url)).failed["kind"] == "http"


def test_files_that_are_none(fetch: Fetch, serve: Serve, room: Path) -> None:
    server = serve(lambda _, to: to.answer(500))
    os.mkfifo(room / "fifo")
    (room / "link").symlink_to(room / "source")
    for name in ("fifo", "link", "nowhere", "."):
        request = {**asked(fetch, server.url), "source": str(room / name)}
        assert fetch.call("put", request).failed["kind"] == "file"
    assert server.requests == []


# An upload that was cut -----------------------------------------------------------------------------------------------

KEPT = 2_000_000


def keeping(status: Answer) -> tuple[Answer, list[bytes]]:
    """A server that cuts the first PATCH and keeps a part of it; what it says when it is asked how far it got."""
    taken: list[bytes] = []

    def answer(request: Request, to: Connection) -> None:
        if request.method == "POST":
            to.answer(202, location="/up/1?state=a")
        elif request.method == "PATCH" and not taken:
            taken.append(request.body[:KEPT])
            to.cut()
        elif request.method == "PATCH":
            taken.append(request.body)
            to.answer(202, location="/up/1?state=c")
        elif request.method == "GET":
            status(request, to)
        else:
            to.answer(201)

    return answer, taken


@pytest.mark.parametrize("compress", [None, "gzip"])
def test_it_goes_on_where_the_server_has_got_to(fetch: Fetch, serve: Serve, compress: str | None) -> None:
    there = {"range": f"0-{KEPT - 1}", "location": "/up/1?state=b"}
    answer, taken = keeping(lambda _, to: to.answer(204, b"", **there))
    server = serve(answer)
    done = fetch.call("put", asked(fetch, server.url, compress=compress)).done
    whole = b"".join(taken)
    assert done == {"size": len(whole), "digest": digest(whole)}
    assert (gzip.decompress(whole) if compress else whole) == DATA
    methods = [(request.method, request.target.partition("&")[0]) for request in server.requests]
    assert methods == [
        ("POST", "/v2/some/name/blobs/uploads/"),
        ("PATCH", "/up/1?state=a"),
        ("GET", "/up/1?state=a"),
        ("PATCH", "/up/1?state=b"),
        ("PUT", "/up/1?state=c"),
    ]
    said = server.requests[3].headers.get("content-range")
    assert said == (None if compress else f"{KEPT}-{len(DATA) - 1}")


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (404, {}),
        (204, {}),
        (204, {"range": "0-0"}),
        (204, {"range": "bytes=17-99"}),
        (204, {"range": "0-99999999999999999999999"}),
        (204, {"range": f"0-{len(DATA) + 5}"}),
        (204, {"range": f"0-{KEPT - 1}", "location": "ftp://elsewhere/"}),
    ],
)
def test_who_does_not_say_is_sent_all_of_it_anew(
    fetch: Fetch, serve: Serve, status: int, headers: dict[str, str]
) -> None:
    answer, taken = keeping(lambda _, to: to.answer(status, b"", **headers))
    server = serve(answer)
    assert fetch.call("put", asked(fetch, server.url)).done["digest"] == digest(DATA)
    assert taken[1] == DATA
    assert [request.method for request in server.requests] == ["POST", "PATCH", "GET", "POST", "PATCH", "PUT"]
