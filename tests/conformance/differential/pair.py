"""Our daemon and a dockerd beside it, each in a network of its own, with the same image."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from conformance.differential import shape
from conformance.differential.sides import Side
from conformance.peers.cell import cell
from support.daemon import daemon, image
from support.patience import eventually
from support.place import place

Story = Callable[[Side], None]


@dataclass(frozen=True, slots=True)
class Pair:
    docker: Side
    ours: Side

    def compare(self, story: Story) -> list[tuple[str, str]]:
        """Tell a story to both; where what they say differs, and how."""
        for side in (self.docker, self.ours):
            side.said.clear()
        with ThreadPoolExecutor(2) as both:
            list(both.map(lambda side: self._tell(side, story), (self.docker, self.ours)))
        one, other = (shape.normal(side.said, {str(side.top): "<top>"}) for side in (self.docker, self.ours))
        return list(shape.differences(one, other))

    @staticmethod
    def _tell(side: Side, story: Story) -> None:
        try:
            story(side)
        finally:
            side.clear()


@contextlib.contextmanager
def pair(programs: Path) -> Iterator[Pair]:
    """Both, with the newest version of the API that both speak.

    Args:
        programs: where dockerd is, and containerd, its shim and runc.
    """
    with place() as made, daemon(made) as ours, cell() as inside:
        ours.load()
        socket = inside.top / "docker.sock"
        path = f"PATH={programs}:{os.environ['PATH']}:/usr/sbin:/sbin"
        places = ("--data-root", inside.top / "docker", "--exec-root", inside.top / "exec")
        more = ("--pidfile", inside.top / "docker.pid", "--cgroup-parent", f"/{inside.tag}", "--userland-proxy=false")
        inside.daemon("env", path, programs / "dockerd", "--host", f"unix://{socket}", *places, *more)
        command = ["docker", "-H", f"unix://{socket}"]
        eventually(lambda: inside(*command, "version").code == 0, "dockerd answers", 60)
        archive = inside.top / "image.tar"
        archive.write_bytes(image())
        inside.ok(*command, "load", "-i", archive)
        theirs, own = (_version(one) for one in (socket, ours.socket))
        version = ".".join(map(str, min(theirs, own)))
        found = Pair(Side("docker", socket, inside.top, version), Side("ours", ours.socket, made.top, version))
        try:
            yield found
        finally:
            found.docker.clear()


def _version(socket: Path) -> tuple[int, ...]:
    words = ["docker", "-H", f"unix://{socket}", "version", "--format", "{{json .Server}}"]
    said = json.loads(subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout)
    return tuple(int(part) for part in said["ApiVersion"].split("."))
