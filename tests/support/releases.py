"""Releases of Stockade as pip installs them: this tree and its programs in a wheel, under its own number or another."""

from __future__ import annotations

import base64
import hashlib
import stat
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from support.programs import NAMES, TOP, program

NUMBER = "0.1.0"
"""This tree's."""


def wheel(folder: Path, number: str = NUMBER, more: Mapping[str, str] | None = None) -> Path:
    """Release `number`. Its programs are ours: what they answer for `-v` is not changed.

    Args:
        more: what is appended to modules, by their paths below `src`.
    """
    made = folder / f"stockade-{number}-py3-none-any.whl"
    record = f"stockade-{number}.dist-info/RECORD"
    lines = []
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in _files(number):
            data = content + (more or {}).get(name, "").encode()
            entry = zipfile.ZipInfo(name)
            # pip takes who may execute a file from here.
            entry.external_attr = (stat.S_IFREG | (0o755 if ".data/scripts/" in name else 0o644)) << 16
            archive.writestr(entry, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            lines.append(f"{name},sha256={digest},{len(data)}\n")
        archive.writestr(record, "".join([*lines, f"{record},,\n"]))
    return made


def _files(number: str) -> Iterator[tuple[str, bytes]]:
    for path in sorted((TOP / "src/stockade").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield str(path.relative_to(TOP / "src")), path.read_bytes()
    scripts, described = f"stockade-{number}.data/scripts", f"stockade-{number}.dist-info"
    for name in NAMES:
        yield f"{scripts}/{name}", program(name).read_bytes()
    yield f"{scripts}/stockade-cli", (TOP / "packaging/wheel-data/scripts/stockade-cli").read_bytes()
    yield f"{described}/METADATA", f"Metadata-Version: 2.1\nName: stockade\nVersion: {number}\n".encode()
    yield f"{described}/WHEEL", b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dataclass(frozen=True, slots=True)
class Installation:
    """A virtual environment that holds one release after the other."""

    top: Path

    @property
    def python(self) -> Path:
        return self.top / "bin/python"

    @property
    def shim(self) -> Path:
        return self.top / "bin/containerd-shim-stockade-v2"

    def install(self, release: Path) -> None:
        """As `pip install -U`: files of the release that is there are replaced, whoever runs them."""
        words = ["install", "-q", "--no-index", "--no-deps", "--disable-pip-version-check", str(release)]
        subprocess.run([sys.executable, "-m", "pip", "--python", self.python, *words], check=True, timeout=120)


def environment(top: Path) -> Installation:
    """A new one with what the daemon depends on, and nothing of ours yet."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", top], check=True, timeout=120)
    made = Installation(top)
    [site] = (top / "lib").glob("python3*/site-packages")
    # Of a path file in there nothing is read: our own tree is not reached by it.
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return made
