"""What an engine holds on the machine, counted before a storm and after it: equal, or something leaked."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from support import reach
from support.daemon import IMAGE, Daemon
from support.place import CGROUPS, portrait

IDS = Path("/var/lib/stockade/ids")
NOTHING = (
    "nothing left: no process or namespace, mount, cgroup, range of ids, lease, link, address, route, rule, port, "
    "setting, file or descriptor"
)
SPARE = 4
"""Descriptors more than before that are nobody's: a pooled thread's, a cached directory's."""
_STAYS = ("link", "address", "route", "rule", "setting")
"""What was there before a storm is there after it."""
_FADES = "link veth"
"""But an end that was over already, and was still on its way out."""
# What of the kernel's settings is changed for networks; these are those of the namespace of whoever reads them.
_SETTINGS = (
    "cd /proc/sys/net && grep . ipv4/ip_forward ipv4/conf/*/route_localnet ipv4/conf/*/forwarding "
    "ipv4/conf/*/arp_notify ipv6/conf/*/forwarding ipv6/conf/*/accept_ra ipv6/conf/*/disable_ipv6"
)


class Census:
    """One look at a daemon that rests, and the names of its containers as the storm tells them."""

    def __init__(self, docker: Daemon) -> None:
        self.docker = docker
        # The default network and its resolver are there from their first use on.
        docker.docker("run", "--rm", "--network", "bridge", IMAGE, "true")
        self._give_up()
        self.known: set[str] = set()
        self.before = set(self._lines())
        self.descriptors = {name: len(_targets(pid)) for name, pid in self._holders().items()}

    def learn(self) -> None:
        """Remember the containers of this moment: their names lead to what they might leave."""
        self.known.update(_names(self.docker.place.data / "engine"))

    def left(self, patience: float = 20.0) -> list[str]:
        """What is there that was not there before, once everything had its time to go."""
        self._give_up()
        deadline = time.monotonic() + patience
        while True:
            now = set(self._lines())
            found = sorted(now - self.before)
            gone = [line for line in self.before - now if line.startswith(_STAYS) and not line.startswith(_FADES)]
            found += sorted(f"not any more: {line}" for line in gone)
            for name, pid in self._holders().items():
                targets = _targets(pid)
                if (more := len(targets) - self.descriptors[name]) > SPARE:
                    found.append(f"{more} descriptors of {name}: {', '.join(targets[-8:])}")
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.1)

    def _give_up(self) -> None:
        """Have what was made ahead of the next containers given up."""
        self.docker.docker("container", "prune", "-f")

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
        own = self._daemon()
        names = [str(self.docker.place.top).encode(), *(name.encode() for name in self.known)]
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) in (own, os.getpid()):
                continue
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes() + (entry / "cgroup").read_bytes()
                if any(name in words for name in names):
                    yield f"process {portrait(int(entry.name)).split(' old')[0].rpartition(',')[0]}: {words[:200]!r}"

    def _networks(self) -> Iterator[str]:
        """Links, addresses, routes, settings and our table of the daemon's network namespace; what serves them.

        The kernel's own link-local addresses come a second or two after the first cable of a bridge.
        """
        if self.docker.ns is None:
            return
        for line in self.docker.ns.run(["ip", "-o", "link"]).splitlines():
            yield f"link {line.split()[1].partition('@')[0]}"
        for line in self.docker.ns.run(["ip", "-o", "address"]).splitlines():
            if "fe80::" not in line:
                yield f"address {' '.join(line.split()[1:4])}"
        for family in ("-4", "-6"):
            for line in self.docker.ns.run(["ip", family, "route", "show", "table", "all"]).splitlines():
                if "fe80::" not in line:
                    yield f"route {' '.join(word for word in line.split() if word != 'linkdown')}"
        said = self.docker.ns.run(["nft", "list", "ruleset"], check=False)
        yield from (f"rule {number} {line.strip()}" for line, number in _numbered(said.splitlines()))
        yield from (f"setting {line}" for line in self.docker.ns.run(["sh", "-c", _SETTINGS]).splitlines())
        for pid in (self._daemon(), reach.serving(self.docker)):
            yield from (f"descriptor of {target}" for target in _targets(pid) if target.startswith("net:["))

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

    def _daemon(self) -> int:
        return self.docker.process.pid if self.docker.process else 0

    def _holders(self) -> dict[str, int]:
        """Who holds descriptors for the containers."""
        return {"the daemon": self._daemon(), "stockade-net serve": reach.serving(self.docker)}


def resident(docker: Daemon) -> int:
    """KiB that the daemon has written to and shares with nobody."""
    assert docker.process is not None
    return reach.private(docker.process.pid)


def _targets(pid: int) -> list[str]:
    """What the descriptors of a process lead to."""
    found = []
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.append(os.readlink(entry))
    return found


def _numbered(lines: list[str]) -> Iterator[tuple[str, int]]:
    """Each line with how often it was there before."""
    seen: Counter[str] = Counter()
    for line in lines:
        yield line, seen[line]
        seen[line] += 1


def _names(directory: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return os.listdir(directory)
    return []
