"""What one installation's containers leave on the host, found by their names: the proof that nothing outlives them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.place import CGROUPS, Place, portrait

IDS = Path("/var/lib/stockade/ids")


@dataclass(slots=True)
class Traces:
    """A place and every name that a container in it ever had."""

    place: Place
    known: set[str] = field(default_factory=set)

    def containers(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return os.listdir(self.place.data / "containers")
        return []

    def learn(self) -> None:
        self.known.update(name.lstrip(".") for name in self.containers())

    def look(self) -> Iterator[str]:
        """Everything that is there, in words."""
        self.learn()
        for name in self.containers():
            yield f"directory {name}"
        for directory in (self.place.run / "s", self.place.run / "oci"):
            with contextlib.suppress(FileNotFoundError):
                yield from (f"{directory.name}: {name}" for name in os.listdir(directory))
        for link in IDS.iterdir() if IDS.is_dir() else ():
            if link.is_symlink() and os.readlink(link).startswith(f"{self.place.data}/") and link.exists():
                yield f"ids {link.name}"
        for base, _, _ in os.walk(CGROUPS):
            if os.path.basename(base) in self.known or self.place.tag in os.path.basename(base):
                yield f"cgroup {base}"
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            if str(self.place.top) in line:
                yield f"mount {line}"
        yield from self.processes()

    def processes(self) -> Iterator[str]:
        """Those of containers, by cgroup or words; their namespaces live as long as they do, and no longer."""
        names = [name.encode() for name in self.known] + [self.place.tag.encode()]
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes() + (entry / "cgroup").read_bytes()
                if any(name in words for name in names) and not _is_broom(words):
                    yield f"process {portrait(int(entry.name))}: {words[:300]!r}"

    def settle(self, patience: float = 8.0) -> list[str]:
        """What stays, once everything had its time to go."""
        return settle(lambda: list(self.look()), patience)


def _is_broom(words: bytes) -> bool:
    """Old versions of the cached tree are removed in the background, which may take its time and ends by itself."""
    return words.startswith(b"stockade-layer\0remove") and b"/data/view/" in words


def settle(look: Callable[[], list[str]], patience: float) -> list[str]:
    deadline = time.monotonic() + patience
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found
