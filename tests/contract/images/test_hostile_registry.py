"""Registries that lie, stall, flood and send elsewhere: a pull fails by name, soon, and leaves nothing."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade.errors import BadValue, NotFound, StockadeError
from stockade.registry import Credentials
from support import images, registries
from support.images import MANIFEST, TestImage, dump
from support.registries import Reply, Said, digest

from .conftest import Shop
from .test_keep import quiet
from .test_pull import pull

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]
Run = Callable[..., None]
IMAGE = TestImage((images.layer({"a": b"1" * 50_000}), images.layer({"b": b"2"})), {"Cmd": ["a"]})
BLOBS, DOCUMENT = registries.of_image(IMAGE)
LAYER = gzip.compress(IMAGE.layers[0], 1, mtime=0)
SOUND = registries.repository(BLOBS, {"1": (MANIFEST, DOCUMENT)})
WHO = Credentials("ann", "word")
Act = Callable[[Said], Reply]


@pytest.fixture(autouse=True)
def _certs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOCKADE_CERTS_DIR", str(tmp_path / "certs"))


def instead(path: str, reply: Reply | Act) -> Act:
    """A sound registry but for what ends so."""

    def answer(said: Said) -> Reply:
        if not said.path.endswith(path):
            return SOUND(said)
        return reply(said) if callable(reply) else reply

    return answer


def refused(in_shop: Run, answer: Act, *, who: Credentials | None = None) -> tuple[StockadeError, registries.Server]:
    """What a pull from such a registry raises; nothing is left of it."""
    found: list[tuple[StockadeError, registries.Server]] = []

    async def story(shop: Shop) -> None:
        with registries.server(answer) as one:
            with pytest.raises(StockadeError) as refusal:
                await pull(shop, f"{one.authority}/x:1", credentials=who or Credentials())
            found.append((refusal.value, one))
        await quiet(shop)
        assert (shop.blobs(), shop.directories()) == (set(), set())
        assert list((shop.content / "ingest").iterdir()) == []
        assert shop.images._base.journal.unfinished() == []

    in_shop(story)
    return found[0]


def manifest(**changes: object) -> Act:
    return instead("/manifests/1", Reply(200, dump({**json.loads(DOCUMENT), **changes}), {
        "Content-Type": str(changes.get("mediaType", MANIFEST))
    }))  # fmt: skip


CONFIG_DIGEST = IMAGE.id
BAD_DOCUMENTS: dict[str, tuple[Act, str]] = {
    "no JSON": (instead("/manifests/1", Reply(200, b"<html>", {"Content-Type": MANIFEST})), "is no JSON object"),
    "other bytes than promised": (
        instead("/manifests/1", Reply(200, DOCUMENT, {"Docker-Content-Digest": f"sha256:{'0' * 64}"})),
        "sent other bytes than sha256:0000",
    ),
    "too large": (instead("/manifests/1", Reply(200, b" " * (5 << 20))), "answers with more than 4194304 bytes"),
    "both at once": (manifest(manifests=[]), "is a manifest and an index at once"),
    "another type inside": (
        instead("/manifests/1", Reply(200, DOCUMENT, {"Content-Type": images.INDEX})), "at once",
    ),
    "schema 1": (
        manifest(mediaType="application/vnd.docker.distribution.manifest.v1+prettyjws"), "Docker's schema 1",
    ),
    "no digest": (manifest(config={"mediaType": images.CONFIG, "digest": "../../etc/passwd", "size": 1}), "no sha256"),
    "a negative size": (
        manifest(config={"mediaType": images.CONFIG, "digest": CONFIG_DIGEST, "size": -1}), "a size of -1",
    ),
    "a huge configuration": (
        manifest(config={"mediaType": images.CONFIG, "digest": CONFIG_DIGEST, "size": 1 << 40}), "would have",
    ),
    "no image": (
        manifest(config={"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": CONFIG_DIGEST, "size": 2}),
        "is no image: the configuration of its manifest is 'application/vnd.cncf.helm",
    ),
    "too many layers": (
        manifest(layers=[{"mediaType": f"{images.TAR}+gzip", "digest": CONFIG_DIGEST, "size": 1}] * 501), "500 layers",
    ),
    "layers that the configuration lacks": (manifest(layers=[]), "has 0 layers, and its configuration names 2"),
    "a layer of another kind": (
        manifest(layers=[{"mediaType": "application/vnd.oci.image.layer.v1.tar+encrypted", "digest": CONFIG_DIGEST,
                          "size": 1}] * 2),
        "has a layer of the type 'application/vnd.oci.image.layer.v1.tar+encrypted'",
    ),
    "more than the disk holds": (
        manifest(layers=[{"mediaType": f"{images.TAR}+gzip", "digest": digest(str(number).encode()), "size": 1 << 48}
                         for number in range(2)]),
        "bytes to fetch",
    ),
    "a configuration of other bytes": (
        instead(f"/blobs/{CONFIG_DIGEST}", Reply(200, b"x" * len(IMAGE.document))), "sent other bytes than",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_DOCUMENTS)
def test_documents(in_shop: Run, kind: str) -> None:
    answer, words = BAD_DOCUMENTS[kind]
    refusal, _ = refused(in_shop, answer)
    assert words in refusal.message


def test_an_index_that_leads_in_circles(in_shop: Run) -> None:
    made: dict[str, bytes] = {}
    below = DOCUMENT
    for _ in range(20):
        entry = {"mediaType": images.INDEX, "digest": digest(below), "size": len(below)}
        below = dump({"schemaVersion": 2, "mediaType": images.INDEX, "manifests": [entry] * 3})
        made[digest(below)] = below

    def answer(said: Said) -> Reply:
        name = said.path.rpartition("/")[2]
        data = below if name == "1" else made.get(name, b"")
        return Reply(200, data, {"Content-Type": images.INDEX})

    refusal, one = refused(in_shop, answer)
    assert isinstance(refusal, BadValue)
    assert "leads through more than 8 documents" in refusal.message
    assert len(one.said) <= 8


def test_a_layer_of_other_bytes(in_shop: Run) -> None:
    wrong = gzip.compress(images.layer({"a": b"2" * 50_000}), 1, mtime=0).ljust(len(LAYER), b"\0")[: len(LAYER)]
    refusal, _ = refused(in_shop, instead(digest(LAYER), Reply(200, wrong)))
    assert digest(LAYER)[7:19] in refusal.message


def test_a_body_without_end(in_shop: Run) -> None:
    sent: list[int] = []

    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"10000\r\n" + LAYER[:100].ljust(1 << 16, b"\0") + b"\r\n"
        while len(sent) < 4000:
            connection.sendall(piece)
            sent.append(1)

    refusal, _ = refused(in_shop, instead(digest(LAYER), Reply(act=flood)))
    assert digest(LAYER)[7:19] in refusal.message
    assert len(sent) < 1000


def test_an_endless_manifest_and_an_endless_header(in_shop: Run) -> None:
    def header(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for _ in range(100_000):
            connection.sendall(b"X-More: " + b"y" * 1000 + b"\r\n")

    refusal, _ = refused(in_shop, instead("/manifests/1", Reply(act=header)))
    assert "does not speak HTTP" in refusal.message


def test_redirects_carry_no_credentials_elsewhere(in_shop: Run) -> None:
    """Of manifests and of layers: the other host, which is sound, sees neither password nor token."""

    async def story(shop: Shop) -> None:
        with registries.server(SOUND) as other:

            def answer(said: Said) -> Reply:
                if "authorization" not in said.headers:
                    return Reply(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})
                return Reply(307, b"", {"Location": f"http://127.0.0.1:{other.port}{said.path}"})

            with registries.server(answer) as one:
                await pull(shop, f"{one.authority}/x:1", credentials=WHO)
                assert any("authorization" in said.headers for said in one.said)
            assert len(other.said) >= 4
            assert not any("authorization" in said.headers for said in other.said)

    in_shop(story)


def test_a_loop_of_redirects(in_shop: Run) -> None:
    refusal, one = refused(in_shop, lambda said: Reply(302, b"", {"Location": f"{said.path}x"}))
    assert "redirects more than 5 times" in refusal.message
    assert len(one.said) < 30


def test_a_redirect_to_plain_text_of_another_machine(in_shop: Run) -> None:
    refusal, _ = refused(in_shop, lambda _: Reply(302, b"", {"Location": "http://192.0.2.1/v2/x/manifests/1"}))
    assert "in plain text, which is not followed" in refusal.message


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://x/", "http://", "//\x00", "http://[::1"])
def test_a_redirect_to_what_is_no_address(in_shop: Run, target: str) -> None:
    refused(in_shop, instead("/manifests/1", Reply(302, b"", {"Location": target})))


def test_a_token_server_in_plain_text_of_another_machine(in_shop: Run, tmp_path: Path) -> None:
    challenge = {"WWW-Authenticate": 'Bearer realm="http://192.0.2.1/token",service="x"'}
    tls = registries.certificate(tmp_path)

    async def story(shop: Shop) -> None:
        with registries.server(lambda _: Reply(401, b"", challenge), tls) as one:
            registries.write_hosts(
                tmp_path / "certs", one.authority, f'server = "https://{one.authority}"\nca = "{tls.authority}"\n'
            )
            with pytest.raises(StockadeError, match=r"sends to a token server at 'http://192.0.2.1/token'"):
                await pull(shop, f"{one.authority}/x:1", credentials=WHO)

    in_shop(story)


def test_a_registry_that_is_busy_is_asked_again(in_shop: Run) -> None:
    """429 with Retry-After, of a manifest and of a layer."""
    busy = {"/manifests/1": 2, digest(LAYER): 2}

    def answer(said: Said) -> Reply:
        for path, left in busy.items():
            if said.path.endswith(path) and left:
                busy[path] -= 1
                return Reply(429, b"", {"Retry-After": "1"})
        return SOUND(said)

    async def story(shop: Shop) -> None:
        with registries.server(answer) as one:
            begun = time.monotonic()
            done, _ = await pull(shop, f"{one.authority}/x:1")
            assert done.id == IMAGE.id
            assert time.monotonic() - begun >= 4

    in_shop(story)


@pytest.mark.parametrize("times", [1, 2])
def test_a_registry_that_stumbles_is_asked_once_more(in_shop: Run, times: int) -> None:
    left = [times]

    def answer(said: Said) -> Reply:
        if said.path.endswith("/manifests/1") and left[0]:
            left[0] -= 1
            return Reply(500, b"{}")
        return SOUND(said)

    if times == 1:
        in_shop(lambda shop: pulled(shop, answer))
    else:
        refusal, _ = refused(in_shop, answer)
        assert "status 500" in refusal.message


async def pulled(shop: Shop, answer: Callable[[Said], Reply]) -> None:
    with registries.server(answer) as one:
        done, _ = await pull(shop, f"{one.authority}/x:1")
        assert done.id == IMAGE.id


def test_a_registry_that_is_busy_for_ever(in_shop: Run) -> None:
    refusal, one = refused(in_shop, lambda _: Reply(429, b"", {"Retry-After": "100000"}))
    assert "too many requests" in refusal.message
    assert len(one.said) <= 2


def test_a_cut_in_the_middle_of_a_layer_is_gone_on_from(in_shop: Run) -> None:
    cuts: list[str] = []

    def cut(said: Said) -> Reply:
        if len(cuts) < 2:
            cuts.append(said.headers.get("range", ""))
            half = LAYER[: len(LAYER) // 2]
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(LAYER)}\r\nAccept-Ranges: bytes\r\n\r\n".encode()
            return Reply(act=lambda connection: connection.sendall(head + half))
        start = int((said.headers.get("range") or "bytes=0-")[6:].partition("-")[0])
        where = {"Content-Range": f"bytes {start}-{len(LAYER) - 1}/{len(LAYER)}"}
        return Reply(206, LAYER[start:], where) if start else Reply(200, LAYER)

    async def story(shop: Shop) -> None:
        with registries.server(instead(digest(LAYER), cut)) as one:
            done, _ = await pull(shop, f"{one.authority}/x:1")
            assert done.id == IMAGE.id

    in_shop(story)


def test_nothing_is_said_of_a_password_that_nobody_asked_for(in_shop: Run) -> None:
    async def story(shop: Shop) -> None:
        with registries.server(SOUND) as one:
            await pull(shop, f"{one.authority}/x:1", credentials=WHO)
            assert not any("authorization" in said.headers for said in one.said)

    in_shop(story)


def test_who_asks_for_a_password_for_ever(in_shop: Run) -> None:
    challenge = {"WWW-Authenticate": 'Basic realm="x"'}
    refusal, one = refused(in_shop, instead(digest(LAYER), Reply(401, b"", challenge)), who=WHO)
    assert digest(LAYER)[7:19] in refusal.message or "pull access denied" in refusal.message
    assert len(one.said) < 20
    refusal, one = refused(in_shop, lambda _: Reply(401, b"", challenge), who=WHO)
    assert isinstance(refusal, NotFound)


def test_tokens_that_end_in_the_middle_of_a_pull(in_shop: Run) -> None:
    """Each is good for two answers: the daemon and the program that fetches are let in anew, and go on."""
    given: dict[str, int] = {}

    def answer(said: Said) -> Reply:
        if said.path == "/token":
            given[f"t{len(given)}"] = 2
            return Reply(200, dump({"token": f"t{len(given) - 1}"}))
        token = said.headers.get("authorization", "").removeprefix("Bearer ")
        if given.get(token, 0) == 0:
            realm = f"http://{said.headers['host']}/token"
            return Reply(401, b"", {"WWW-Authenticate": f'Bearer realm="{realm}",service="s",scope="a:b:pull"'})
        given[token] -= 1
        return SOUND(said)

    async def story(shop: Shop) -> None:
        with registries.server(answer) as one:
            done, _ = await pull(shop, f"{one.authority}/x:1")
            assert done.id == IMAGE.id
        assert len(given) >= 2

    in_shop(story)


def test_a_mirror_that_wants_a_password_is_passed_by(in_shop: Run, tmp_path: Path) -> None:
    """Of a layer, when it gave the manifest to everybody; it is never told the registry's own password."""
    closed = instead(digest(LAYER), Reply(401, b"", {"WWW-Authenticate": 'Basic realm="x"'}))

    async def story(shop: Shop) -> None:
        with registries.server(SOUND) as upstream, registries.server(closed) as mirror:
            text = f'server = "{upstream.url}"\n[host."{mirror.url}"]\n'
            registries.write_hosts(tmp_path / "certs", "r.example.test", text)
            done, _ = await pull(shop, "r.example.test/x:1", credentials=WHO)
            assert done.id == IMAGE.id
            assert not any("authorization" in said.headers for said in mirror.said)
            assert mirror.said[0].query["ns"] == ["r.example.test"]
            assert any(said.path.endswith(digest(LAYER)) for said in upstream.said)

    in_shop(story)


def test_a_mirror_that_lies_about_a_layer(in_shop: Run, tmp_path: Path) -> None:
    """The registry itself is asked for what a mirror sent wrong bytes of, which are never kept."""
    wrong = gzip.compress(images.layer({"a": b"2" * 50_000}), 1, mtime=0).ljust(len(LAYER), b"\0")[: len(LAYER)]

    async def story(shop: Shop) -> None:
        liar = instead(digest(LAYER), Reply(200, wrong))
        with registries.server(SOUND) as upstream, registries.server(liar) as mirror:
            text = f'server = "{upstream.url}"\n[host."{mirror.url}"]\n'
            registries.write_hosts(tmp_path / "certs", "r.example.test", text)
            await pull(shop, "r.example.test/x:1")
            assert [one for one in mirror.paths() if digest(LAYER) in one]
            await quiet(shop)
            for found in shop.blobs():
                data = (shop.content / "blobs/sha256" / found[7:]).read_bytes()
                assert digest(data) == found

    in_shop(story)


def test_control_characters_of_a_registry_reach_nobody(in_shop: Run) -> None:
    body = dump({"errors": [{"code": "DENIED\x1b[2J", "message": "\x1b]0;x\x07" + "y" * 100_000}]})
    refusal, _ = refused(in_shop, lambda _: Reply(403, body))
    assert refusal.message.isprintable()
    assert len(refusal.message) < 1000


def test_a_registry_that_says_nothing(in_shop: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stockade.registry.transport.WHOLE", 1.0)
    over = threading.Event()

    def wait(_: socket.socket) -> None:
        over.wait(20)

    with contextlib.ExitStack() as stack:
        stack.callback(over.set)
        begun = time.monotonic()

        async def story(shop: Shop) -> None:
            with registries.server(lambda _: Reply(act=wait)) as one:
                with pytest.raises(StockadeError, match="did not answer within 1 s"):
                    await pull(shop, f"{one.authority}/x:1")
                over.set()

        in_shop(story)
        assert time.monotonic() - begun < 15
