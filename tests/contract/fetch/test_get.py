"""`get`: a blob comes whole or not at all, whatever the server does; and it is unpacked while it comes."""

from __future__ import annotations

import email.utils
import gzip
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from contract.fetch.answers import by_turns, content_range, cut_after, ranges, whole
from contract.fetch.conftest import Serve
from support.archives import archive, entry
from support.fetch import Fetch, digest
from support.patience import eventually
from support.server import Connection, Request, head

pytestmark = pytest.mark.root

SMALL = os.urandom(300_000)
LARGE = os.urandom(40 << 20)
PLAIN = archive(*(entry(b"f%d" % n, os.urandom(40_000)) for n in range(500)))
LAYER = gzip.compress(PLAIN, 1)


def kept(fetch: Fetch) -> bytes:
    return fetch.blob.read_bytes()


def stall(_: Connection) -> None:
    time.sleep(20)


# What comes ----------------------------------------------------------------------------------------------------------


def test_a_blob_of_known_size(fetch: Fetch, serve: Serve) -> None:
    server = serve(whole(SMALL))
    said = fetch.get(SMALL, f"{server.url}/v2/n/blobs/x?y=z", media_type="a/b", user_agent="who/1", sync=True)
    assert said.done == {"size": len(SMALL), "digest": digest(SMALL), "resumed": 0}
    assert kept(fetch) == SMALL
    assert fetch.blob.stat().st_mode == 0o100600
    [request] = server.requests
    assert (request.method, request.target) == ("GET", "/v2/n/blobs/x?y=z")
    assert request.headers["accept"] == "a/b, */*"
    assert request.headers["user-agent"] == "who/1"
    assert request.headers["accept-encoding"] == "identity"
    assert "range" not in request.headers


def test_a_blob_of_unknown_size(fetch: Fetch, serve: Serve) -> None:
    def chunked(_: Request, to: Connection) -> None:
        to.send(head(200, transfer_encoding="chunked"))
        to.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMALL), SMALL))

    assert fetch.get(SMALL, serve(chunked).url, size=0).done["size"] == len(SMALL)
    assert kept(fetch) == SMALL


def test_a_large_blob_comes_in_ranges(fetch: Fetch, serve: Serve) -> None:
    server = serve(ranges(LARGE))
    assert fetch.get(LARGE, server.url).done["size"] == len(LARGE)
    assert kept(fetch) == LARGE
    asked = sorted(request.range(len(LARGE)) or (0, 0) for request in server.requests)
    assert [first for first, _ in asked] == [n * (8 << 20) for n in range(5)]
    assert asked[-1][1] == len(LARGE)


@pytest.mark.parametrize("refusal", [200, 400, 416, 501])
def test_a_server_without_ranges(fetch: Fetch, serve: Serve, refusal: int) -> None:
    def answer(request: Request, to: Connection) -> None:
        if refusal == 200 or "range" not in request.headers:
            to.answer(200, LARGE)
        else:
            to.answer(refusal)

    assert fetch.get(LARGE, serve(answer).url).done["size"] == len(LARGE)
    assert kept(fetch) == LARGE


def test_a_layer_is_unpacked_as_it_comes(fetch: Fetch, serve: Serve, room: Path) -> None:
    (room / "out").mkdir()
    for data, compression in ((LAYER, "gzip"), (PLAIN, "none")):
        unpack = {"directory": str(room / "out"), "diff_id": digest(PLAIN), "lowers": [str(room)]}
        done = fetch.get(data, serve(ranges(data)).url, unpack=unpack).done
        assert (done["size"], done["digest"], done["diff_id"]) == (len(data), digest(data), digest(PLAIN))
        assert (done["compression"], done["entries"], done["bytes"]) == (compression, 500, 500 * 40_000)
        assert (done["implied"], done["tar_size"]) == (0, len(PLAIN))
        assert len(list((room / "out").iterdir())) == 500
        fetch.blob.unlink()


def test_unpacking_goes_on_while_the_download_does(fetch: Fetch, serve: Serve, room: Path) -> None:
    """The last byte is held back until most files are there."""
    (room / "out").mkdir()

    def answer(_: Request, to: Connection) -> None:
        to.send(head(200, content_length=str(len(LAYER))))
        to.send(LAYER[:-100])
        deadline = time.monotonic() + 60
        while len(list((room / "out").iterdir())) < 450 and time.monotonic() < deadline:
            time.sleep(0.01)
        # Progress is told ten times a second at most: long enough for some.
        time.sleep(0.5)
        to.send(LAYER[-100:])

    began = time.monotonic()
    said = fetch.get(LAYER, serve(answer).url, unpack={"directory": str(room / "out")}, stall=100)
    assert said.done["entries"] == 500
    assert time.monotonic() - began < 50
    told = {word for line in said.lines for word in line}
    assert told >= {"received", "unpacked", "done"}


# What is cut, stalls or is busy --------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_cut_is_gone_on_with(fetch: Fetch, serve: Serve, has_ranges: bool) -> None:
    server = serve(by_turns(cut_after(100_000, SMALL), ranges(SMALL) if has_ranges else whole(SMALL)))
    assert fetch.get(SMALL, server.url).done["size"] == len(SMALL)
    assert kept(fetch) == SMALL
    assert [request.range(len(SMALL)) for request in server.requests] == [None, (100_000, len(SMALL))]


def test_ranges_that_are_cut_are_gone_on_with(fetch: Fetch, serve: Serve) -> None:
    answers = {0: cut_after(3 << 20, LARGE), 8 << 20: cut_after(0, LARGE), 32 << 20: cut_after(1, LARGE)}

    def answer(request: Request, to: Connection) -> None:
        first, _ = request.range(len(LARGE)) or (0, 0)
        answers.pop(first, ranges(LARGE))(request, to)

    said = fetch.get(LARGE, serve(answer).url)
    assert said.done["size"] == len(LARGE)
    assert len(said.waits()) == 3
    assert kept(fetch) == LARGE


def test_a_stall_ends(fetch: Fetch, serve: Serve) -> None:
    server = serve(by_turns(cut_after(100_000, SMALL, stall), ranges(SMALL)))
    assert fetch.get(SMALL, server.url, stall=1).done["size"] == len(SMALL)
    assert kept(fetch) == SMALL


def test_a_trickle_is_a_stall(fetch: Fetch, serve: Serve) -> None:
    def trickle(to: Connection) -> None:
        while True:
            to.send(b"x")
            time.sleep(0.2)

    def answer(request: Request, to: Connection) -> None:
        cut_after(10, SMALL, trickle)(request, to)

    said = fetch.get(SMALL, serve(by_turns(answer, ranges(SMALL))).url, stall=1)
    # What trickled in was no part of the blob.
    assert said.failed["kind"] == "digest"
    assert not fetch.blob.exists()


def test_a_server_that_only_cuts_is_given_up(fetch: Fetch, serve: Serve) -> None:
    server = serve(cut_after(7, SMALL))
    said = fetch.get(SMALL, server.url)
    assert said.failed["kind"] == "cut"
    assert said.failed["source"] == 0
    assert said.waits() == [0.2, 0.4, 0.8, 1.6, 3.2]
    assert kept(fetch) == SMALL[: 7 * 6]
    # What stands is taken up by the next call.
    assert fetch.get(SMALL, serve(ranges(SMALL)).url).done["resumed"] == 42
    assert kept(fetch) == SMALL


def test_busy_servers_are_waited_for(fetch: Fetch, serve: Serve) -> None:
    def busy(status: int, after: str) -> object:
        return lambda _, to: to.answer(status, b"slow down", retry_after=after)

    soon = email.utils.formatdate(time.time() + 2, usegmt=True)
    server = serve(by_turns(busy(429, "1"), busy(503, soon), whole(SMALL)))  # type: ignore[arg-type]
    began = time.monotonic()
    said = fetch.get(SMALL, server.url)
    assert said.done["size"] == len(SMALL)
    assert said.waits()[0] == 1
    assert said.waits()[1] in (1, 2)
    assert time.monotonic() - began > sum(said.waits())
    assert "429" in next(line["why"] for line in said.lines if "why" in line)


def test_a_server_that_asks_for_an_hour_is_given_up(fetch: Fetch, serve: Serve) -> None:
    server = serve(lambda _, to: to.answer(429, b'{"errors":[]}', retry_after="3600"))
    assert fetch.get(SMALL, server.url).failed == {
        "kind": "http",
        "source": 0,
        "status": 429,
        "detail": '{"errors":[]}',
    }


def test_a_kill_while_ranges_stand_apart(fetch: Fetch, serve: Serve) -> None:
    def answer(request: Request, to: Connection) -> None:
        (cut_after(1000, LARGE, stall) if request.headers["range"].startswith("bytes=0-") else ranges(LARGE))(
            request, to
        )

    begun = fetch.start("get", fetch.asked(LARGE, serve(answer).url, stall=60))
    assert begun.stdout is not None
    try:
        eventually(
            lambda: fetch.blob.exists() and fetch.blob.stat().st_size == len(LARGE), "the blob is whole", patience=60
        )
        time.sleep(0.5)
    finally:
        begun.kill()
        begun.communicate()
    assert fetch.get(LARGE, serve(ranges(LARGE)).url).done["resumed"] == 0
    assert kept(fetch) == LARGE


def test_it_ends_when_nobody_listens_any_more(fetch: Fetch, serve: Serve) -> None:
    begun = fetch.start("get", fetch.asked(SMALL, serve(cut_after(10, SMALL, stall)).url, stall=60))
    try:
        assert begun.stdout is not None
        begun.stdout.readline()
        begun.stdout.close()
        assert begun.wait(5) == 1
    finally:
        begun.kill()
        begun.wait()


# Credentials and redirects -------------------------------------------------------------------------------------------


def test_a_challenge_is_handed_on_and_what_stands_stays(fetch: Fetch, serve: Serve) -> None:
    def answer(request: Request, to: Connection) -> None:
        asked = request.range(len(LARGE)) or (0, 0)
        if request.headers.get("authorization") == "Bearer new" or asked[0] == 0:
            return ranges(LARGE)(request, to)
        return to.answer(401, www_authenticate='Bearer realm="https://auth.test/token",service="r"')

    server = serve(answer)
    url = f"{server.url}/v2/n/blobs/x"
    said = fetch.get(LARGE, url, source={"headers": {"Authorization": "Bearer old"}})
    assert said.code == 3
    challenge = 'Bearer realm="https://auth.test/token",service="r"'
    assert said.last == {"challenge": challenge, "url": url, "source": 0}
    stands = fetch.blob.stat().st_size
    assert 0 <= stands < len(LARGE)
    done = fetch.get(LARGE, url, source={"headers": {"Authorization": "Bearer new"}}).done
    assert done["resumed"] == stands
    assert kept(fetch) == LARGE


def test_credentials_go_to_the_source_alone(fetch: Fetch, serve: Serve) -> None:
    store = serve(ranges(LARGE))
    secret = {"Authorization": "Basic c2VjcmV0", "X-Secret": "s", "Cookie": "c=d"}
    registry = serve(lambda _, to: to.answer(307, location=f"{store.url}/signed?sig=1"))
    assert fetch.get(LARGE, registry.url, source={"headers": secret}).done["size"] == len(LARGE)
    for request in registry.requests:
        assert request.headers["authorization"] == "Basic c2VjcmV0"
    for request in store.requests:
        assert not {"authorization", "x-secret", "cookie"} & set(request.headers)
        assert request.target == "/signed?sig=1"
    # The others go where the first one was led.
    assert len(registry.requests) < len(store.requests) == 5


def test_who_a_redirect_leads_to_gets_no_say(fetch: Fetch, serve: Serve) -> None:
    """Else he would be asked for a token with the password that is the registry's."""
    thief = serve(lambda _, to: to.answer(401, www_authenticate='Bearer realm="https://thief.test/"'))
    registry = serve(lambda _, to: to.answer(307, location=thief.url))
    said = fetch.get(SMALL, registry.url, source={"headers": {"Authorization": "Bearer x"}})
    assert (said.failed["kind"], said.failed["status"]) == ("http", 401)
    assert "authorization" not in thief.requests[0].headers


def test_an_address_that_a_redirect_gave_may_end(fetch: Fetch, serve: Serve) -> None:
    def signed(request: Request, to: Connection) -> None:
        if request.target == "/1" and not (request.headers["range"].startswith("bytes=0-")):
            return to.answer(403, b"expired")
        return ranges(LARGE)(request, to)

    store = serve(signed)
    count = iter(range(1, 100))
    registry = serve(lambda _, to: to.answer(307, location=f"{store.url}/{next(count)}"))
    assert fetch.get(LARGE, registry.url).done["size"] == len(LARGE)
    assert kept(fetch) == LARGE


def test_redirects_within_a_server(fetch: Fetch, serve: Serve) -> None:
    def answer(request: Request, to: Connection) -> None:
        assert request.headers["authorization"] == "Bearer x"
        if request.target == "/a/b?c":
            return to.answer(302, location="../d/./e?f=g")
        return whole(SMALL)(request, to)

    server = serve(answer)
    headers = {"headers": {"Authorization": "Bearer x"}}
    assert fetch.get(SMALL, f"{server.url}/a/b?c", source=headers).done["size"] == len(SMALL)
    assert server.requests[-1].target == "/d/e?f=g"


@pytest.mark.parametrize("location", ["/again", "ftp://h/x", "file:///etc/passwd", "http://u:p@h/", "", None])
def test_redirects_that_are_refused(fetch: Fetch, serve: Serve, location: str | None) -> None:
    said = {} if location is None else {"location": location}
    server = serve(lambda _, to: to.answer(302, **said))
    assert fetch.get(SMALL, server.url).failed["kind"] == "redirect"
    assert len(server.requests) == (6 if location == "/again" else 1)


# What is not what it should be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("unpacks", [True, False])
def test_another_digest_is_refused_and_the_blob_goes(fetch: Fetch, serve: Serve, room: Path, unpacks: bool) -> None:
    (room / "out").mkdir()
    wrong = bytearray(LAYER)
    wrong[len(wrong) // 2] ^= 1
    unpack = {"directory": str(room / "out")} if unpacks else None
    said = fetch.get(LAYER, serve(ranges(bytes(wrong))).url, unpack=unpack)
    assert said.failed["kind"] == "digest"
    assert digest(bytes(wrong)) in said.complaint
    assert digest(LAYER) in said.complaint
    assert not fetch.blob.exists()


@pytest.mark.parametrize("data", [b"", SMALL[:-1], SMALL + b"x"], ids=["empty", "short", "long"])
def test_another_size_is_refused(fetch: Fetch, serve: Serve, data: bytes) -> None:
    assert fetch.get(SMALL, serve(whole(data)).url).failed["kind"] == "size"


def test_an_endless_body_is_cut(fetch: Fetch, serve: Serve) -> None:
    def endless(_: Request, to: Connection) -> None:
        to.send(head(200))
        while True:
            to.send(SMALL)

    server = serve(endless)
    assert fetch.get(SMALL, server.url).done["size"] == len(SMALL)
    said = fetch.get(SMALL, server.url, size=0, max_bytes=1 << 20)
    assert said.failed["kind"] == "size"
    assert fetch.get(SMALL, serve(whole(SMALL)).url, size=0, max_bytes=1000).failed["kind"] == "size"


@pytest.mark.parametrize(
    "said",
    [
        "bytes 0-0/41943040",
        f"bytes 8-{(8 << 20) - 1}/41943040",
        f"bytes 0-{(8 << 20) - 1}/41943041",
        "bytes 0-99999999999999999999/41943040",
        "bytes */41943040",
        "what",
    ],
)
def test_ranges_that_were_not_asked_for(fetch: Fetch, serve: Serve, said: str) -> None:
    part = LARGE[: 8 << 20]

    def answer(_: Request, to: Connection) -> None:
        to.answer(206, part, content_range=said)

    assert fetch.get(LARGE, serve(answer).url).failed["kind"] in ("http", "size", "cut")


def test_a_range_may_be_shorter_than_asked_for(fetch: Fetch, serve: Serve) -> None:
    def answer(request: Request, to: Connection) -> None:
        first, last = request.range(len(LARGE)) or (0, len(LARGE))
        part = (first, min(last, first + (3 << 20)))
        to.answer(206, LARGE[slice(*part)], content_range=content_range(part, len(LARGE)))

    assert fetch.get(LARGE, serve(answer).url).done["size"] == len(LARGE)
    assert kept(fetch) == LARGE


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n",
        b"HTTP/1.1 999999 Huh\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 500_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        b"",
    ],
    ids=range(7),
)
def test_what_is_no_http_is_an_error(fetch: Fetch, serve: Serve, wire: bytes) -> None:
    def answer(_: Request, to: Connection) -> None:
        to.send(wire)
        to.cut()

    good = serve(whole(SMALL))
    assert fetch.get(SMALL, serve(answer).url, good.url).done["size"] == len(SMALL)
    assert kept(fetch) == SMALL


def test_a_layer_that_cannot_be_unpacked(fetch: Fetch, serve: Serve, room: Path) -> None:
    (room / "out").mkdir()
    bomb = gzip.compress(archive(entry(b"zeros", bytes(64 << 20))))
    outwards = gzip.compress(archive(entry(b"../../escape", b"x")))
    unpack = {"directory": str(room / "out"), "max_bytes": 1 << 20}
    for data, why in ((bomb, "1048576"), (outwards, "upwards"), (SMALL, "checksum")):
        said = fetch.get(data, serve(whole(data)).url, unpack=unpack)
        assert said.failed["kind"] == "layer"
        assert why in said.complaint
        assert not fetch.blob.exists()
    unpack = {"directory": str(room / "out"), "diff_id": digest(b"another")}
    assert fetch.get(LAYER, serve(whole(LAYER)).url, unpack=unpack).failed["kind"] == "layer"


# Sources and requests ------------------------------------------------------------------------------------------------


def test_sources_are_tried_in_order(fetch: Fetch, serve: Serve) -> None:
    gone = serve(whole(b""))
    gone.close()
    missing = serve(lambda _, to: to.answer(404, b"no"))
    cuts = serve(by_turns(cut_after(1000, SMALL), lambda _, to: to.answer(403)))
    good = serve(ranges(SMALL))
    never = serve(whole(SMALL))
    began = time.monotonic()
    said = fetch.get(SMALL, gone.url, missing.url, cuts.url, good.url, never.url)
    assert said.done["size"] == len(SMALL)
    assert kept(fetch) == SMALL
    assert good.requests[0].range(len(SMALL)) == (1000, len(SMALL))
    assert never.requests == []
    assert time.monotonic() - began < 20


def test_when_all_fail_the_first_failure_is_told(fetch: Fetch, serve: Serve) -> None:
    missing = serve(lambda _, to: to.answer(404, b"\x1b[31mno\nsuch\xff"))
    said = fetch.get(SMALL, missing.url, serve(lambda _, to: to.answer(403)).url)
    assert said.failed == {"kind": "http", "source": 0, "status": 404, "detail": "\x1b[31mno\nsuch\ufffd"}
    assert "\x1b" not in said.complaint
    assert said.complaint.count("\n") == 1


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        b'{"sources":[],"digest":"sha256:' + b"0" * 64 + b'","blob":"/b"}',
        b" " * (2 << 20),
    ],
    ids=range(5),
)
def test_requests_that_are_none(fetch: Fetch, request_: bytes) -> None:
    said = fetch.call("get", request_)
    assert said.code == 2
    assert said.last["failed"]["kind"] == "usage"


def test_what_cannot_be_written_is_told(fetch: Fetch, serve: Serve, room: Path) -> None:
    server = serve(whole(SMALL))
    (room / "link").symlink_to(room / "elsewhere")
    os.mkfifo(room / "fifo")
    for name in ("link", "fifo", "missing/blob", "."):
        assert fetch.get(SMALL, server.url, blob=str(room / name)).failed["kind"] == "file"
    unpack = {"directory": str(room / "nowhere")}
    assert fetch.get(SMALL, server.url, unpack=unpack).failed["kind"] == "file"
    bad = fetch.get(SMALL, server.url, source={"headers": {"X": "a\r\nb"}})
    assert (bad.code, bad.last["failed"]["kind"]) == (2, "usage")
    assert server.requests == []


def test_a_signal_ends_it_at_once(fetch: Fetch, serve: Serve) -> None:
    begun = fetch.start("get", fetch.asked(SMALL, serve(cut_after(10, SMALL, stall)).url, stall=60))
    try:
        assert begun.stdout is not None
        begun.stdout.readline()
        begun.send_signal(signal.SIGTERM)
        assert begun.wait(5) == -signal.SIGTERM
    finally:
        begun.kill()
        begun.communicate()


def test_help_and_version(fetch: Fetch) -> None:
    for word in ("help", "version"):
        done = subprocess.run([fetch.program, word], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("stockade-fetch")
    assert subprocess.run([fetch.program], capture_output=True).returncode == 2


# Without a digest --------------------------------------------------------------------------------------------------


def test_whatever_comes_is_kept_and_named(fetch: Fetch, serve: Serve) -> None:
    said = fetch.call("get", fetch.asked(SMALL, serve(whole(SMALL)).url, digest="", size=0))
    assert said.done == {"size": len(SMALL), "digest": digest(SMALL), "resumed": 0}
    assert kept(fetch) == SMALL


def test_what_nothing_holds_together_is_not_gone_on_with(fetch: Fetch, serve: Serve) -> None:
    server = serve(by_turns(cut_after(100_000, SMALL), whole(SMALL)))
    said = fetch.call("get", fetch.asked(SMALL, server.url, digest="", size=0))
    assert said.failed["kind"] == "cut"
    assert len(server.requests) == 1
    endless = serve(whole(SMALL))
    said = fetch.call("get", fetch.asked(SMALL, endless.url, digest="", size=0, max_bytes=1000))
    assert said.failed["kind"] == "size"


def test_who_gave_the_wrong_bytes_is_told(fetch: Fetch, serve: Serve) -> None:
    wrong, dead = serve(whole(SMALL[::-1])), serve(lambda _, to: to.answer(404))
    said = fetch.get(SMALL, dead.url, wrong.url, serve(whole(SMALL)).url)
    assert (said.failed["kind"], said.failed["source"]) == ("digest", 1)
