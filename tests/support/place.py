"""A private place for one test, and the proof that nothing outlived it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Place:
    """Directories of one test, and a tag that its container ids start with."""

    tag: str
    top: Path

    @property
    def run(self) -> Path:
        return self.top / "run"

    @property
    def data(self) -> Path:
        return self.top / "data"

    def environment(self) -> dict[str, str]:
        """What keeps the product's files inside this place."""
        return {**os.environ, "STOCKADE_RUN_DIR": str(self.run), "STOCKADE_DATA_DIR": str(self.data)}

    def name(self, suffix: str = "c") -> str:
        """A container id that no other test uses."""
        return f"{self.tag}-{suffix}"

    def mounts(self) -> list[str]:
        """Mount points beneath this place that this process sees."""
        points = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        return [point for point in points if point.startswith(f"{self.top}/")]

    def processes(self) -> dict[int, str]:
        """Processes that name this place in their arguments, by pid; zombies have none."""
        found: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if self.tag in line or str(self.top) in line:
                        found[int(entry.name)] = line.strip()
        return found

    def cgroups(self) -> list[Path]:
        return [Path(base) for base, _, _ in os.walk(CGROUPS) if self.tag in os.path.basename(base)]

    def leftovers(self, patience: float = 2.0) -> list[str]:
        """What is still there once the asynchronous ends had their time.

        Old trees are removed beside the work by processes of their own, which take as long as the disk does.
        """
        deadline = time.monotonic() + patience
        removed_by = time.monotonic() + 60
        while True:
            if any("stockade-layer remove" in line for line in self.processes().values()):
                deadline = min(time.monotonic() + patience, removed_by)
            found = [f"mount {point}" for point in self.mounts()]
            found += [f"process {portrait(pid)}: {line}" for pid, line in self.processes().items()]
            found += [f"cgroup {path}" for path in self.cgroups()]
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.02)

    def destroy(self) -> None:
        """Take everything away by force; used after a failure too."""
        for _ in range(50):
            for pid in [*self.processes(), *self.members()]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not self.processes() and not self.members():
                break
            time.sleep(0.02)
        for point in sorted(self.mounts(), key=len, reverse=True):
            os.system(f"umount -l '{point}' 2>/dev/null")
        for path in sorted(self.cgroups(), key=lambda p: len(p.parts), reverse=True):
            with contextlib.suppress(OSError):
                path.rmdir()
        if not self.mounts():
            shutil.rmtree(self.top, ignore_errors=True)

    def members(self) -> list[int]:
        found: list[int] = []
        for path in self.cgroups():
            with contextlib.suppress(OSError):
                found += [int(pid) for pid in (path / "cgroup.procs").read_text().split() if pid != "0"]
        return found


def portrait(pid: int) -> str:
    """Who a process is, for people who read of it when it is gone: name, state, parent, age, what it waits in, root."""
    place = Path(f"/proc/{pid}")
    words = [str(pid)]
    with contextlib.suppress(OSError, ValueError, IndexError):
        name, _, rest = (place / "stat").read_text().partition("(")[2].rpartition(") ")
        state, parent, *more = rest.split()
        age = float(Path("/proc/uptime").read_text().split()[0]) - int(more[17]) / os.sysconf("SC_CLK_TCK")
        words += [f"({name})", f"state {state}", f"child of {parent}", f"{age:.1f} s old"]
        words += [f"in {(place / 'wchan').read_text()}", f"root {os.readlink(place / 'root')}"]
    return " ".join(words)


@contextlib.contextmanager
def place(under: str = "/tmp") -> Iterator[Place]:
    """A place that is checked for leftovers at its end and then removed, whatever happened in between."""
    tag = f"t{os.getpid():x}{secrets.token_hex(3)}"
    made = Place(tag, Path(tempfile.mkdtemp(prefix=f"stockade-{tag}-", dir=under)))
    made.top.chmod(0o755)
    made.run.mkdir(mode=0o711)
    made.data.mkdir(mode=0o711)
    try:
        yield made
        left = made.leftovers()
    finally:
        made.destroy()
    assert not left, f"left behind: {left}"
