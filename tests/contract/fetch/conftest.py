"""What every test of `stockade-fetch` needs: the program in a network namespace, a directory, servers, certificates."""

from __future__ import annotations

import contextlib
import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.fetch import Fetch
from support.netns import Netns, netns
from support.server import Answer, Server, server

Serve = Callable[..., Server]


@pytest.fixture(scope="module")
def ns() -> Iterator[Netns]:
    with netns() as made:
        yield made


@pytest.fixture
def room() -> Iterator[Path]:
    """A directory on a RAM disk."""
    made = Path(tempfile.mkdtemp(prefix=f"stockade-fetch-{os.getpid()}-", dir="/dev/shm"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


@pytest.fixture
def fetch(bin_dir: Path, ns: Netns, room: Path) -> Fetch:
    return Fetch(bin_dir / "stockade-fetch", ns, room)


@pytest.fixture
def serve(ns: Netns) -> Iterator[Serve]:
    """Starts servers, which end with the test."""
    with contextlib.ExitStack() as stack:

        def start(answer: Answer, tls: ssl.SSLContext | None = None) -> Server:
            return stack.enter_context(server(ns, answer, tls))

        yield start


@dataclass(frozen=True, slots=True)
class Certificates:
    """A CA, a server's certificate for 127.0.0.1 and a client's, all by that CA; files in PEM."""

    at: Path

    def file(self, name: str) -> str:
        return str(self.at / name)

    def context(self, ask: bool = False) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.file("server.pem"), self.file("server.key"))
        if ask:
            made.verify_mode = ssl.CERT_REQUIRED
            made.load_verify_locations(self.file("ca.pem"))
        return made


@pytest.fixture(scope="session")
def certificates() -> Iterator[Certificates]:
    with tempfile.TemporaryDirectory(prefix="stockade-fetch-tls-") as at:
        top = Path(at)
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        _openssl(top, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=stockade test CA")
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"]
        for name in ("server", "client"):
            names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
            _openssl(top, "req", "-x509", *key, *signed, *names, "-keyout", f"{name}.key", "-out", f"{name}.pem")
        yield Certificates(top)


def _openssl(at: Path, *words: str) -> None:
    done = subprocess.run(["openssl", *words], cwd=at, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
