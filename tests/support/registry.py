"""Debian's docker-registry in a network namespace: other people's end of the distribution-spec."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from support import programs
from support.netns import Netns

PORT = 5000


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry that serves; its blobs lie in `files`."""

    url: str
    files: Path

    def blob(self, digest: str) -> Path:
        algorithm, _, value = digest.partition(":")
        return self.files / "docker/registry/v2/blobs" / algorithm / value[:2] / value / "data"


@contextlib.contextmanager
def registry(ns: Netns, room: Path, tls: Sequence[str] = (), port: int = PORT) -> Iterator[Registry]:
    """Serve on 127.0.0.1 of the namespace until the end of the block.

    Args:
        room: a directory for its files.
        tls: certificate and key, in PEM.
    """
    files = room / f"registry-{port}"
    files.mkdir()
    http: dict[str, object] = {"addr": f"127.0.0.1:{port}"}
    if tls:
        http["tls"] = dict(zip(("certificate", "key"), tls, strict=True))
    storage = {"filesystem": {"rootdirectory": str(files)}, "delete": {"enabled": True}}
    config = room / f"registry-{port}.yml"
    # What is JSON is YAML, too.
    config.write_text(json.dumps({"version": 0.1, "log": {"level": "error"}, "storage": storage, "http": http}))
    words = [str(programs.tool("docker-registry")), "serve", str(config)]
    served = ns.popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                ns.connect("127.0.0.1", port).close()
                break
            except OSError:
                given_up = served.poll() is not None or time.monotonic() > deadline
                assert not given_up, "docker-registry does not serve"
                time.sleep(0.05)
        yield Registry(f"{'https' if tls else 'http'}://127.0.0.1:{port}", files)
    finally:
        served.kill()
        served.wait()
