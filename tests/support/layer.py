"""`stockade-layer` by its own words, and an overlay to point it at."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Layer:
    """Runs the program and reads its answer."""

    program: Path

    def run(self, *arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([self.program, *arguments], input=stdin, capture_output=True, timeout=60)

    def lines(self, *arguments: str | Path, stdin: bytes = b"") -> list[dict[str, Any]]:
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        return [json.loads(line) for line in done.stdout.splitlines()]

    def answer(self, *arguments: str | Path, stdin: bytes = b"") -> dict[str, Any]:
        (line,) = self.lines(*arguments, stdin=stdin)
        return line

    def refusal(self, *arguments: str | Path, stdin: bytes = b"", code: int = 1) -> str:
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stderr.decode()


@dataclass(frozen=True, slots=True)
class Overlay:
    """An overlay whose mount is `merged` until it is closed."""

    lower: Path
    upper: Path
    merged: Path

    def mount(self) -> None:
        options = f"lowerdir={self.lower},upperdir={self.upper},workdir={self.upper.parent / 'work'}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, self.merged], check=True)

    def close(self) -> None:
        subprocess.run(["umount", self.merged], check=True)
