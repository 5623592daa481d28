"""Programs that people keep in containers, as images made of Debian's packages by `docker import --change`.

Only unpacked: what a maintainer script would have made (users, directories of state) is said beside each image.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support import images, roots
from support import place as places
from support.daemon import Daemon, daemon
from support.patience import eventually

Owned = tuple[str, int, int]
"""A directory, its owner and group, its mode."""


@dataclass(frozen=True, slots=True)
class Made:
    """What an image is made of."""

    name: str
    packages: tuple[str, ...]
    changes: tuple[str, ...]
    users: tuple[tuple[str, int], ...] = ()
    directories: tuple[Owned, ...] = ()
    files: dict[str, str] = field(default_factory=dict)

    def stage(self, root: Path) -> None:
        """Add what packages do not bring, without writing into files that others share."""
        for name, number in self.users:
            _append(root / "etc/passwd", f"{name}:x:{number}:{number}:{name}:/nonexistent:/bin/sh\n")
            _append(root / "etc/group", f"{name}:x:{number}:\n")
        for path, owner, mode in self.directories:
            made = root / path
            made.mkdir(parents=True, exist_ok=True)
            made.chmod(mode)
            shutil.chown(made, owner, owner)
        for path, text in self.files.items():
            _replace(root / path, text)

    def archive(self) -> Path:
        """A tar for `docker import`, made once for these packages."""
        root = roots.make((*roots.SMALL, *self.packages))
        name = f"service-{self.name}-{images.sha256(repr((self, root.name)).encode())[:12]}"
        with tempfile.TemporaryDirectory(dir=root.parent, prefix="stage-") as folder:
            stage = Path(folder, "root")

            def make() -> bytes:
                subprocess.run(["cp", "-al", root, stage], check=True, timeout=120)
                self.stage(stage)
                return images.tree(stage)

            return images.cached(name, make)


def _append(path: Path, text: str) -> None:
    _replace(path, path.read_text() + text)


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o755 if text.startswith("#!") else 0o644)


@dataclass(frozen=True, slots=True)
class Ground:
    """A daemon, and what is asked of its machine."""

    docker: Daemon

    def image(self, made: Made) -> str:
        """Import it, if it is not there yet."""
        if self.docker.docker("image", "inspect", made.name, check=False).returncode:
            changes = [word for change in made.changes for word in ("--change", change)]
            self.docker.docker("import", *changes, str(made.archive()), made.name, timeout=300)
        return made.name

    def curl(self, *words: str, check: bool = True) -> str:
        assert self.docker.ns is not None
        flags = ("--silent", "--show-error", "--fail", "--max-time", "10", "--noproxy", "*")
        return self.docker.ns.run(["curl", *flags, *words], check=check)

    def address(self, name: str, port: int) -> str:
        return f"127.0.0.1:{self.docker.said('port', name, str(port)).splitlines()[0].rpartition(':')[2]}"

    def healthy(self, name: str) -> None:
        eventually(
            lambda: self.docker.inspect(name, "{{json .State.Health.Status}}") == "healthy", f"{name} is healthy", 60
        )

    def hardened(self, name: str) -> None:
        """Its first process has a user namespace of its own, a filter, and cannot gain privileges."""
        status = dict(
            line.split(":", 1) for line in self.docker.said("exec", name, "cat", "/proc/1/status").splitlines()
        )
        assert status["Seccomp"].strip() == "2"
        assert status["NoNewPrivs"].strip() == "1"
        [line] = self.docker.said("exec", name, "cat", "/proc/1/uid_map").splitlines()
        inside, outside, count = map(int, line.split())
        assert inside == 0
        assert outside >= 65536
        assert count == 65536


@pytest.fixture(scope="session", name="served")
def _served() -> Iterator[Ground]:
    with places.place() as place, daemon(place) as made:
        yield Ground(made)


@pytest.fixture(name="ground")
def _ground(served: Ground) -> Iterator[Ground]:
    yield served
    served.docker.clear()
    served.docker.docker("network", "prune", "-f")
    served.docker.docker("volume", "prune", "-af")
