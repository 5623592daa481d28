"""`stockade-fetch` by its own words, in a network namespace."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.netns import Netns


@dataclass(frozen=True, slots=True)
class Said:
    """What one call answered."""

    code: int
    lines: list[dict[str, Any]]
    complaint: str

    @property
    def last(self) -> dict[str, Any]:
        return self.lines[-1] if self.lines else {}

    @property
    def done(self) -> dict[str, Any]:
        assert self.code == 0, self
        done: dict[str, Any] = self.last["done"]
        return done

    @property
    def failed(self) -> dict[str, Any]:
        assert self.code == 1, self
        failed: dict[str, Any] = self.last["failed"]
        return failed

    def waits(self) -> list[float]:
        return [line["waiting"] for line in self.lines if "waiting" in line]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Runs the program; every file of it lies in `room`."""

    program: Path
    ns: Netns
    room: Path

    @property
    def blob(self) -> Path:
        return self.room / "blob"

    def start(self, verb: str, request: dict[str, Any], **more: Any) -> subprocess.Popen[bytes]:
        begun = self.ns.popen([str(self.program), verb], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **more)
        assert begun.stdin is not None
        begun.stdin.write(json.dumps(request).encode())
        begun.stdin.close()
        begun.stdin = None
        return begun

    def call(self, verb: str, request: dict[str, Any] | bytes, env: dict[str, str] | None = None) -> Said:
        text = request if isinstance(request, bytes) else json.dumps(request).encode()
        words = self.ns.words([str(self.program), verb])
        done = subprocess.run(words, input=text, capture_output=True, timeout=100, env=env)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return Said(done.returncode, lines, done.stderr.decode())

    def asked(self, data: bytes, *urls: str, **more: Any) -> dict[str, Any]:
        """A request for a blob of these bytes; `source`: what all sources have besides their URL."""
        common = more.pop("source", {})
        sources = [{"url": url, **common} for url in urls]
        whole = {"digest": digest(data), "size": len(data), "blob": str(self.blob), "stall": 20}
        return {"sources": sources, **whole, **more}

    def get(self, data: bytes, *urls: str, **more: Any) -> Said:
        return self.call("get", self.asked(data, *urls, **more))


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
