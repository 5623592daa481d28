"""Registries of a test's own: Debian's docker-registry, a token server for it, and one that does what a test says.

They listen on a loopback, this process's or that of a network namespace that the test made.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import http.client
import json
import secrets
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.images import INDEX, MANIFEST, TestImage, dump, sha256
from support.netns import Netns
from support.patience import eventually

PROGRAM = "/usr/bin/docker-registry"
SALT = b"$2y$05$abcdefghijklmnopqrstuu"


def digest(data: bytes) -> str:
    return f"sha256:{sha256(data)}"


def free_port(ns: Netns | None = None) -> int:
    made = ns.socket() if ns else socket.socket()
    with made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


# Debian's docker-registry ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class DockerRegistry:
    """One that serves; `authority` is what stands before a repository's name."""

    port: int
    top: Path
    ns: Netns | None = None
    certificate: Path | None = None
    user: tuple[str, str] | None = None
    log: list[str] = field(default_factory=list)

    @property
    def authority(self) -> str:
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"

    def blob(self, name: str) -> Path:
        """Where it keeps a blob."""
        algorithm, _, value = name.partition(":")
        return self.top / "data/docker/registry/v2/blobs" / algorithm / value[:2] / value / "data"

    def keep(self, repository: str, value: str) -> None:
        """Wait until it keeps the blob of this SHA-256, and as one of a repository."""
        link = self.top / "data/docker/registry/v2/repositories" / repository / "_layers/sha256" / value / "link"
        eventually(lambda: link.exists() and self.blob(f"sha256:{value}").exists(), f"the registry keeps {value}")

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Any:
        """One request by a plain client: status, headers, body."""
        made: http.client.HTTPConnection
        if self.certificate is not None:
            context = ssl.create_default_context(cafile=str(self.certificate))
            made = http.client.HTTPSConnection("localhost", self.port, timeout=20, context=context)
        else:
            made = http.client.HTTPConnection("localhost", self.port, timeout=20)
        if self.ns is not None:
            made.sock = self.ns.connect("127.0.0.1", self.port, 20)
            if self.certificate is not None:
                made.sock = context.wrap_socket(made.sock, server_hostname="127.0.0.1")
        more = dict(headers or {})
        if self.user is not None:
            more["Authorization"] = "Basic " + base64.b64encode(":".join(self.user).encode()).decode()
        try:
            made.request(method, path, body, more)
            answer = made.getresponse()
            return answer.status, dict(answer.headers), answer.read()
        finally:
            made.close()

    def put_blob(self, name: str, data: bytes) -> None:
        status, headers, _ = self.ask("POST", f"/v2/{name}/blobs/uploads/")
        assert status == 202, status
        split = urlsplit(headers["Location"])
        target = f"{split.path}?{split.query}&digest={digest(data)}"
        status, _, said = self.ask("PUT", target, data, {"Content-Type": "application/octet-stream"})
        assert status == 201, (status, said)

    def put_manifest(self, name: str, tag: str, data: bytes, kind: str) -> str:
        status, _, said = self.ask("PUT", f"/v2/{name}/manifests/{tag}", data, {"Content-Type": kind})
        assert status == 201, (status, said)
        return digest(data)

    def put(self, image: TestImage, name: str, tag: str = "latest", *, compress: bool = True) -> str:
        """An image under a name; the digest of its manifest."""
        *blobs, manifest = image.blobs(compress).values()
        for data in blobs:
            self.put_blob(name, data)
        return self.put_manifest(name, tag, manifest, MANIFEST)

    def put_index(self, name: str, tag: str, entries: list[dict[str, Any]], kind: str = INDEX) -> str:
        return self.put_manifest(
            name, tag, dump({"schemaVersion": 2, "mediaType": kind, "manifests": entries}), kind
        )  # fmt: skip

    def manifest(self, name: str, tag: str) -> dict[str, Any]:
        kinds = {"Accept": f"{MANIFEST}, {INDEX}, application/vnd.docker.distribution.manifest.v2+json"}
        status, _, data = self.ask("GET", f"/v2/{name}/manifests/{tag}", headers=kinds)
        assert status == 200, (status, data)
        found: dict[str, Any] = json.loads(data)
        return found


@contextlib.contextmanager
def docker_registry(
    top: Path, ns: Netns | None = None, *, user: tuple[str, str] | None = None, tls: Certificate | None = None,
    token: Mapping[str, Any] | None = None, proxy: str = "",
) -> Iterator[DockerRegistry]:  # fmt: skip
    """Debian's docker-registry on loopback, until the end of the context.

    Args:
        user: it lets only this one in (htpasswd).
        token: it believes what this token server says (the members of auth.token).
        proxy: it is a pull-through cache of that address.
    """
    place = top / f"registry-{secrets.token_hex(4)}"
    place.mkdir(parents=True)
    port = free_port(ns)
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(place / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "of a test"},
    }
    if user is not None:
        (place / "htpasswd").write_text(f"{user[0]}:{_bcrypt(user[1])}\n")
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(place / "htpasswd")}}
    if token is not None:
        config["auth"] = {"token": dict(token)}
    if tls is not None:
        config["http"]["tls"] = {"certificate": str(tls.certificate), "key": str(tls.key)}
    if proxy:
        config["proxy"] = {"remoteurl": proxy}
    (place / "config.yml").write_text(json.dumps(config))
    words = [PROGRAM, "serve", str(place / "config.yml")]
    with (place / "out").open("wb") as said:
        process = ns.popen(words, stdout=said, stderr=said) if ns else subprocess.Popen(words, stdout=said, stderr=said)
    made = DockerRegistry(port, place, ns, tls.authority if tls else None, user)
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                made.ask("GET", "/v2/")
                break
            assert process.poll() is None, (place / "out").read_text()
            assert time.monotonic() < deadline, "docker-registry does not answer"
            time.sleep(0.05)
        yield made
    finally:
        process.kill()
        process.wait()


def _bcrypt(password: str) -> str:
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    return bytes(crypt(password.encode(), SALT)).decode()


@dataclass(frozen=True)
class Certificate:
    """A server's certificate for localhost, and the authority that signed it."""

    certificate: Path
    key: Path
    authority: Path


def certificate(top: Path) -> Certificate:
    """Made by openssl, for a day."""
    made = Certificate(top / "server.pem", top / "server.key", top / "ca.pem")
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    _openssl(*words, "-keyout", top / "ca.key", "-out", made.authority, "-subj", "/CN=authority of a test",
             "-addext", "basicConstraints=critical,CA:true", "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    _openssl(*words, "-keyout", made.key, "-out", made.certificate, "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:false",
             "-CA", made.authority, "-CAkey", top / "ca.key")  # fmt: skip
    return made


def _openssl(*words: object) -> bytes:
    done = subprocess.run([str(word) for word in words], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


# A server that does as it is told ------------------------------------------------------------------------------------


@dataclass
class Said:
    """What a client said."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """What it is answered."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    act: Callable[[socket.socket], None] | None = None
    """Does with the connection what it wants, in place of an answer."""


@dataclass
class Server:
    """An HTTP server on loopback whose answers a test gives."""

    port: int
    answer: Callable[[Said], Reply]
    said: list[Said] = field(default_factory=list)
    secure: bool = False

    @property
    def authority(self) -> str:
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        return f"http{'s' if self.secure else ''}://{self.authority}"

    def paths(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.said]


@contextlib.contextmanager
def server(
    answer: Callable[[Said], Reply], tls: Certificate | None = None, ns: Netns | None = None, port: int = 0,
    mutual: bool = False,
) -> Iterator[Server]:  # fmt: skip
    """Such a server, until the end of the context; without a port at one that is free.

    With `mutual` whoever asks must have a certificate of the same authority.
    """
    made = Server(0, answer, secure=tls is not None)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            split = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            said = Said(self.command, split.path, parse_qs(split.query), headers, body)
            made.said.append(said)
            reply = made.answer(said)
            if reply.act is not None:
                with contextlib.suppress(OSError):
                    reply.act(self.connection)
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in ({"Content-Length": str(len(reply.body))} | reply.headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

        def log_message(self, *_: object) -> None:
            return

    class Listening(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            return

    listening = Listening(("127.0.0.1", port), Handler, bind_and_activate=False)
    if ns is not None:
        listening.socket.close()
        listening.socket = ns.socket()
    listening.server_bind()
    listening.server_activate()
    if tls is not None:
        listening.socket = _secured(listening.socket, tls, mutual)
    made.port = int(listening.socket.getsockname()[1])
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def _secured(listener: socket.socket, tls: Certificate, mutual: bool) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(tls.authority)
    return context.wrap_socket(listener, server_side=True, do_handshake_on_connect=False)


def repository(blobs: Mapping[str, bytes], tags: Mapping[str, tuple[str, bytes]]) -> Callable[[Said], Reply]:
    """The answers of a registry that has these blobs (by hex digest), and manifests by tag and digest."""
    manifests = dict(tags) | {digest(data): (kind, data) for kind, data in tags.values()}

    def answer(said: Said) -> Reply:
        *_, kind, name = said.path.split("/")
        if said.path == "/v2/":
            return Reply(200, b"{}")
        if kind == "manifests" and name in manifests:
            return Reply(200, manifests[name][1], {"Content-Type": manifests[name][0]})
        if kind == "blobs" and name.removeprefix("sha256:") in blobs:
            return Reply(200, blobs[name.removeprefix("sha256:")], {"Content-Type": "application/octet-stream"})
        code = "MANIFEST_UNKNOWN" if kind == "manifests" else "BLOB_UNKNOWN"
        return Reply(404, dump({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}))

    return answer


def of_image(image: TestImage) -> tuple[dict[str, bytes], bytes]:
    """The blobs of an image by hex digest, and its manifest."""
    blobs = image.blobs(compress=True)
    *_, manifest = blobs.values()
    return blobs, manifest


# A token server ------------------------------------------------------------------------------------------------------


@dataclass
class TokenServer:
    """Gives tokens that docker-registry believes (distribution's docs/spec/auth: token.md, jwt.md)."""

    server: Server
    settings: dict[str, Any]
    """For `docker_registry(token=…)`."""
    users: dict[str, str]
    life: int = 300
    refresh: dict[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def token_server(
    top: Path, users: Mapping[str, str], *, public: str = "", ns: Netns | None = None
) -> Iterator[TokenServer]:  # fmt: skip
    """One that lets its users do everything, and strangers pull what begins with `public`."""
    key, cert = top / "token.key", top / "token.pem"
    _openssl("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", key, "-out", cert,
             "-subj", "/CN=token server of a test")  # fmt: skip
    x5c = "".join(cert.read_text().splitlines()[1:-1])

    def answer(said: Said) -> Reply:
        user = ""
        given = said.query
        if said.method == "POST":
            given = parse_qs(said.body.decode())
            user = made.refresh.get(given.get("refresh_token", [""])[0], "")
            if not user:
                return Reply(401, dump({"details": "no such refresh token"}))
        elif said.headers.get("authorization", "").startswith("Basic "):
            user, _, password = base64.b64decode(said.headers["authorization"][6:]).decode().partition(":")
            if made.users.get(user) != password:
                return Reply(401, dump({"details": "incorrect username or password"}))
        scopes = [one for text in given.get("scope", []) for one in text.split()]
        access = [_granted(scope, user, public) for scope in scopes]
        body: dict[str, Any] = {"token": _jwt(key, x5c, access, made.life), "expires_in": made.life}
        if user and "offline_token" in given:
            token = secrets.token_hex(8)
            made.refresh[token] = user
            body["refresh_token"] = token
        return Reply(200, dump(body), {"Content-Type": "application/json"})

    with server(answer, ns=ns) as serving:
        settings = {
            "realm": f"{serving.url}/token",
            "service": "registry of a test",
            "issuer": "a test",
            "rootcertbundle": str(cert),
        }
        made = TokenServer(serving, settings, dict(users))
        yield made


def _granted(scope: str, user: str, public: str) -> dict[str, Any]:
    kind, name, actions = scope.split(":", 2)
    wanted = actions.split(",")
    if not user:
        wanted = [one for one in wanted if one == "pull" and public and name.startswith(public)]
    return {"type": kind, "name": name, "actions": wanted}


def _jwt(key: Path, x5c: str, access: list[dict[str, Any]], life: int) -> str:
    now = int(time.time())
    head = {"typ": "JWT", "alg": "RS256", "x5c": [x5c]}
    claims = {
        "iss": "a test", "sub": "", "aud": "registry of a test", "iat": now, "nbf": now - 10, "exp": now + life,
        "jti": secrets.token_hex(4), "access": access,
    }  # fmt: skip
    text = b".".join(_encoded(dump(one)) for one in (head, claims))
    done = subprocess.run(["openssl", "dgst", "-sha256", "-sign", str(key)], input=text, capture_output=True)
    assert done.returncode == 0, done.stderr
    return (text + b"." + _encoded(done.stdout)).decode()


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def write_hosts(certs: Path, domain: str, text: str) -> None:
    """A hosts.toml of one registry."""
    host, _, port = domain.partition(":")
    place = certs / (f"{host}_{port}_" if port else host)
    place.mkdir(parents=True, exist_ok=True)
    (place / "hosts.toml").write_text(text)
