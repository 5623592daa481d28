"""What an engine holds on the machine, counted before a storm and after it: equal, or something leaked."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from support.daemon import IMAGE, Daemon
from support.place import CGROUPS, portrait

IDS = Path("/var/lib/stockade/ids")
NOTHING = "nothing left: no process or namespace, mount, cgroup, range of ids, lease, link, port, file or descriptor"
SPARE = 4
"""Descriptors more than before that are nobody's: a pooled thread's, a cached directory's."""


class Census:
    """One look at a daemon that rests, and the names of its containers as the storm tells them."""

    def __init__(self, docker: Daemon) -> None:
        self.docker = docker
        # The default network and its resolver are there from their first use on.
        docker.docker("run", "--rm", "--network", "bridge", IMAGE, "true")
        self.known: set[str] = set()
        self.before = set(self._lines())
        self.descriptors = self._descriptors()

    def learn(self) -> None:
        """Remember the containers of this moment: their names lead to what they might leave."""
        self.known.update(_names(self.docker.place.data / "engine"))

    def left(self, patience: float = 20.0) -> list[str]:
        """What is there that was not there before, once everything had its time to go."""
        deadline = time.monotonic() + patience
        while True:
            found = sorted(set(self._lines()) - self.before)
            if (more := self._descriptors() - self.descriptors) > SPARE:
                found.append(f"{more} descriptors of the daemon: {', '.join(self._targets()[-8:])}")
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.1)

    def _lines(self) -> Iterator[str]:
        place = self.docker.place
        for top in (place.data, place.run):
            for base, directories, files in os.walk(top):
                yield from (f"file {base}/{name}" for name in (*directories, *files))
        for link in _names(IDS):
            with contextlib.suppress(OSError):
                if os.readlink(IDS / link).startswith(f"{place.data}/"):
                    yield f"ids {link}"
        for base, _, _ in os.walk(CGROUPS):
            if os.path.basename(base) in self.known:
                yield f"cgroup {base}"
        yield from (f"mount {point}" for point in place.mounts())
        yield from self._processes()
        yield from self._records()
        yield from self._networks()

    def _processes(self) -> Iterator[str]:
        """Of containers, by cgroup or words. Namespaces live as long as they do, or by mounts and descriptors."""
        own = self.docker.process.pid if self.docker.process else 0
        names = [str(self.docker.place.top).encode(), *(name.encode() for name in self.known)]
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) in (own, os.getpid()):
                continue
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes() + (entry / "cgroup").read_bytes()
                if any(name in words for name in names):
                    yield f"process {portrait(int(entry.name)).split(' old')[0].rpartition(',')[0]}: {words[:200]!r}"

    def _networks(self) -> Iterator[str]:
        """Links of the daemon's network namespace, and the elements of its table's maps."""
        if self.docker.ns is None:
            return
        for line in self.docker.ns.run(["ip", "-o", "link"]).splitlines():
            yield f"link {line.split()[1].partition('@')[0]}"
        for name in ("ports4", "ports6", "bound4", "bound6"):
            said = self.docker.ns.run(["nft", "-j", "list", "map", "inet", "stockade", name], check=False)
            if '"elem"' in said:
                yield f"elements of {name}: {said}"

    def _records(self) -> Iterator[str]:
        """Rows of the store: containers, leases, operations that were begun."""
        with contextlib.closing(sqlite3.connect(f"file:{self.docker.place.data}/store.db?mode=ro", uri=True)) as store:
            tables = [name for (name,) in store.execute("select name from sqlite_master where type = 'table'")]
            for table in tables:
                columns = [column[1] for column in store.execute(f"pragma table_info({table})")]
                if {"kind", "key"} <= set(columns):
                    rows = store.execute(f"select kind, key from {table}")
                else:
                    rows = store.execute(f"select '{table}', count(*) from {table}")
                yield from (f"record {kind} {key}" for kind, key in rows)

    def _descriptors(self) -> int:
        return len(self._targets())

    def _targets(self) -> list[str]:
        if self.docker.process is None:
            return []
        found = []
        for entry in Path(f"/proc/{self.docker.process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.append(os.readlink(entry))
        return found


def resident(docker: Daemon) -> int:
    """KiB that the daemon has written to and shares with nobody. What it maps of files is not among them: whose that
    is depends on who else runs.
    """
    assert docker.process is not None
    lines = Path(f"/proc/{docker.process.pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))


def _names(directory: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return os.listdir(directory)
    return []
