"""The engines that are measured as engines: our daemon, and Debian's dockerd (with its containerd) and podman.

Each is private: data, sockets and cgroups of its own, gone at the end. Docker's, containerd's and podman's live in one
cell. All store their data on the same disk, with overlay file systems; the image is the same archive.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.figures import OURS, Failed, Program, Unavailable
from bench.wire import Client
from conformance.peers.cell import Cell, cell
from support.daemon import IMAGE, Daemon, daemon, image
from support.patience import eventually
from support.place import place

# The machine may have no CAP_SYS_RESOURCE: podman would raise both limits beyond what it may.
_LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


@dataclass(slots=True)
class Engines:
    """What runs, and how each is asked."""

    ours: Daemon
    inside: Cell
    ready: set[str]
    """The peers beside docker that took the image."""

    def clients(self) -> dict[str, Client]:
        return {OURS: Client(str(self.ours.socket)), "docker": Client(self.docker_socket)}

    @property
    def docker_socket(self) -> str:
        return f"{self.inside.top}/docker.sock"

    def docker(self, who: str, *words: str) -> Program:
        """The docker CLI on our socket or on dockerd's."""
        socket = str(self.ours.socket) if who == OURS else self.docker_socket
        environment = {**os.environ, "DOCKER_CONFIG": str(self.inside.top), "HOME": str(self.inside.top)}
        return Program(["docker", "-H", f"unix://{socket}", *words], environment=environment)

    def stockade(self, *words: str) -> Program:
        """Our own command."""
        command = Path(sys.executable).parent / "stockade"
        return Program([str(command), *words], environment=self.ours.environment)

    def ctr(self, *words: str) -> list[str]:
        socket = f"{self.inside.top}/exec/containerd/containerd.sock"
        return self.inside.command("ctr", "--address", socket, "--namespace", "bench", *words)

    def podman(self, *words: str) -> list[str]:
        top = self.inside.top
        flags = ["--root", f"{top}/podman", "--runroot", f"{top}/podman-run", "--tmpdir", f"{top}/podman-tmp"]
        flags += ["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]
        return self.inside.command("podman", *flags, "--runtime", "runc", *words)

    def runs(self, *command: str) -> dict[str, Program]:
        """How the peers beside docker run a command to its end and leave nothing."""
        found: dict[str, Program] = {}
        if "containerd" in self.ready:
            group = ("--cgroup", f"/{self.inside.tag}/ctr")
            found["containerd"] = Program(
                self.ctr("run", "--rm", *group, f"docker.io/library/{IMAGE}", "run", *command)
            )
        if "podman" in self.ready:
            parent = ("--cgroup-parent", f"/{self.inside.tag}", "--log-driver", "k8s-file", *_LIMITS)
            found["podman"] = Program(self.podman("run", "--rm", "--network", "none", *parent, IMAGE, *command))
        return found


@contextlib.contextmanager
def engines(networks: bool = False) -> Iterator[Engines]:
    """All of them, warm, with the image `IMAGE` unpacked.

    Args:
        networks: whether dockerd has its bridge and its rules, as it comes; else it has none, and saves their time.
    """
    if os.geteuid() != 0:
        raise Unavailable("needs root")
    for program in ("dockerd", "docker"):
        if not shutil.which(program):
            raise Unavailable(f"{program} is not installed")
    with place() as made, daemon(made) as ours, cell() as inside:
        ours.load()
        found = Engines(ours, inside, set())
        _start_docker(found, networks)
        _ask(found, "containerd", found.ctr("images", "import", str(inside.top / "image.tar")))
        for name in ("podman", "podman-run", "podman-tmp"):
            (inside.top / name).mkdir()
        _ask(found, "podman", found.podman("load", "-i", str(inside.top / "image.tar")))
        try:
            yield found
        finally:
            client = found.clients()["docker"]
            for one in client("GET", "/containers/json?all=1"):
                client.remove(one["Id"])
            client.close()


def _start_docker(found: Engines, networks: bool) -> None:
    top = found.inside.top
    without = () if networks else ("--iptables=false", "--ip6tables=false", "--bridge=none")
    found.inside.daemon(
        "dockerd", "--host", f"unix://{found.docker_socket}", "--data-root", top / "docker",
        "--exec-root", top / "exec",
        "--pidfile", top / "docker.pid", *without,
        "--storage-driver=overlay2", "--cgroup-parent", f"/{found.inside.tag}",
    )  # fmt: skip
    command = ["docker", "-H", f"unix://{found.docker_socket}"]
    eventually(lambda: found.inside(*command, "version").code == 0, "dockerd answers", 60)
    (top / "image.tar").write_bytes(image())
    found.inside.ok(*command, "load", "-i", top / "image.tar")


def _ask(found: Engines, peer: str, words: list[str]) -> None:
    """Whether a peer takes the image; where it does not, its column is missing and that is said."""
    if not shutil.which("ctr" if peer == "containerd" else peer):
        print(f"engine: {peer} is not installed", flush=True)
        return
    try:
        Program(words)()
    except Failed as error:
        print(f"engine: {peer} is not measured: {error}", flush=True)
        return
    found.ready.add(peer)


__all__ = ["IMAGE", "Engines", "engines"]
