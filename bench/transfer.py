"""Images pulled and unpacked, and a fresh layer pushed, beside docker, containerd and podman; all on one RAM disk.

The registry is docker-registry, on loopback of the cell in which all of them live. Ours and docker are asked by
the docker CLI, the others by their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.figures import OURS, Context, Failed, Figure, Program, Unavailable, take_turns
from conformance.peers.cell import Cell, cell
from support.daemon import Daemon
from support.netns import Netns
from support.patience import eventually
from support.place import place
from support.programs import newest_containerd, tool

TURNS = 3  # each takes seconds
REGISTRY = "127.0.0.1:5000"
LARGE = ("one", 5, 300 << 20)
MANY = ("many", 40, 100 << 20)
PUSHED = 300 << 20
TYPE = "application/vnd.oci.image"
# Two of them, by their directories. Without their CRI, which would look for CNI.
DEBIANS, NEWEST = "containerd", "containerd-2.4"
CONFIG = """\
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
"""
SOURCES = ("usr/share", "usr/lib/python3", "usr/lib/gcc", "usr/include", "usr/bin", "usr/lib/x86_64-linux-gnu")


def measure(context: Context) -> list[Figure]:
    needed = ("docker-registry", "dockerd", "docker", "containerd", "ctr", "podman")
    missing = [name for name in needed if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        raise Unavailable(f"needs {', '.join(missing)}" if missing else "needs root")
    with ground(context) as found:
        images = [make_image(found, *LARGE), make_image(found, *MANY)]
        figures = [pulling(context, found, image) for image in images]
        return [*figures, pushing(context, found)]


@dataclass(frozen=True, slots=True)
class Blob:
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Image:
    name: str
    layers: tuple[Blob, ...]

    @property
    def size(self) -> int:
        return sum(layer.size for layer in self.layers)


@dataclass(frozen=True, slots=True)
class Ground:
    """A cell on a RAM disk with a registry, our daemon, dockerd and a containerd in it."""

    inside: Cell
    ours: Daemon
    fetch: Path
    podman_run: Path
    """Podman wants it short."""

    @property
    def top(self) -> Path:
        return self.inside.top

    def docker(self, who: str, *words: str | Path) -> list[str]:
        socket = self.ours.socket if who == OURS else self.top / "docker.sock"
        return ["docker", "--config", str(self.top), "-H", f"unix://{socket}", *map(str, words)]

    def ctr(self, which: str, *words: str | Path) -> list[str]:
        return self.inside.command(_containerd(which, "ctr"), "--address", f"{self.top}/{which}.sock", *words)

    def podman(self, *words: str | Path) -> list[str]:
        flags: list[str | Path] = ["--root", self.top / "podman", "--runroot", self.podman_run]
        flags += ["--tmpdir", self.podman_run / "tmp", "--storage-driver", "overlay", "--events-backend", "file"]
        return self.inside.command("podman", *flags, *words)

    def put(self, path: Path, name: str, compress: str | None) -> Blob:
        """A file straight into the registry."""
        url = f"http://{REGISTRY}/v2/{name}/blobs/uploads/"
        request = json.dumps({"target": {"url": url}, "source": str(path), "compress": compress})
        words = self.inside.command(self.fetch, "put")
        done = subprocess.run(words, input=request.encode(), capture_output=True)
        if done.returncode != 0:
            raise Failed(f"stockade-fetch put: {done.stderr.decode()}")
        answer = json.loads(done.stdout.splitlines()[-1])["done"]
        return Blob(answer["digest"], answer["size"])


@contextlib.contextmanager
def ground(context: Context) -> Iterator[Ground]:
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(place(under="/dev/shm"))
        inside = stack.enter_context(cell(under="/dev/shm"))
        podman_run = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pm-", dir="/dev/shm")))
        top = inside.top
        (top / "registry").mkdir()
        storage = {"filesystem": {"rootdirectory": str(top / "registry")}, "delete": {"enabled": True}}
        config = {"version": 0.1, "log": {"level": "error"}, "storage": storage, "http": {"addr": REGISTRY}}
        (top / "registry.yml").write_text(json.dumps(config))  # what is JSON is YAML, too
        (top / "policy.json").write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
        inside.daemon("docker-registry", "serve", top / "registry.yml")
        (top / "containerd.toml").write_text(CONFIG)
        for one in (DEBIANS, NEWEST):
            inside.daemon(
                _containerd(one, "containerd"), "--config", top / "containerd.toml", "--root", top / one,
                "--state", top / f"{one}-run", "--address", top / f"{one}.sock",
            )  # fmt: skip
        inside.daemon(
            "dockerd", "--host", f"unix://{top}/docker.sock", "--data-root", top / "docker",
            "--exec-root", top / "exec", "--pidfile", top / "docker.pid", "--iptables=false", "--ip6tables=false",
            "--bridge=none", "--storage-driver=overlay2", "--cgroup-parent", f"/{inside.tag}",
        )  # fmt: skip
        ours = Daemon(made, Netns(inside.pid))
        ours.start()
        stack.callback(ours.stop)
        found = Ground(inside, ours, context.programs / "stockade-fetch", podman_run)
        ready = [found.docker("docker", "version"), *(found.ctr(one, "version") for one in (DEBIANS, NEWEST))]
        for words in ready:
            eventually(lambda words=words: _runs(words), words[-1], 60)  # type: ignore[misc]
        yield found


def _containerd(which: str, program: str) -> Path:
    return newest_containerd() / program if which == NEWEST else tool(program)


def _runs(words: list[str]) -> bool:
    return subprocess.run(words, capture_output=True).returncode == 0


# An image of this machine's files -----------------------------------------------------------------------------------


def make_image(found: Ground, name: str, layers: int, size: int) -> Image:
    """Pushed to the registry: files of this machine's /usr, dealt out to layers of about the same size."""
    blobs, diff_ids = [], []
    files = _files()
    for _ in range(layers):
        data = _layer(files, size // layers)
        diff_ids.append(f"sha256:{hashlib.sha256(data).hexdigest()}")
        blobs.append(_upload(found, name, data, "gzip"))
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = {"architecture": machine, "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    described = _upload(found, name, json.dumps(config).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{TYPE}.manifest.v1+json",
        "config": {"mediaType": f"{TYPE}.config.v1+json", "digest": described.digest, "size": described.size},
        "layers": [
            {"mediaType": f"{TYPE}.layer.v1.tar+gzip", "digest": blob.digest, "size": blob.size} for blob in blobs
        ],
    }
    (found.top / "manifest").write_text(json.dumps(manifest))
    url = f"http://{REGISTRY}/v2/{name}/manifests/1"
    header = f"Content-Type: {manifest['mediaType']}"
    found.inside.ok("curl", "-sf", "-X", "PUT", "-H", header, "--data-binary", f"@{found.top}/manifest", url)
    return Image(name, tuple(blobs))


def _files() -> Iterator[Path]:
    for source in SOURCES:
        for base, directories, names in os.walk(Path("/") / source):
            directories.sort()
            yield from (Path(base, name) for name in sorted(names))


def _layer(files: Iterator[Path], packed: int) -> bytes:
    """A tar that is expected to take up about so many bytes compressed."""
    out, named = io.BytesIO(), {Path("/")}
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in files:
            # As builders do: a layer names the directories of its files.
            above = [one for one in reversed(path.parents) if one not in named]
            named.update(above)
            with contextlib.suppress(OSError):
                for one in (*above, path):
                    tar.add(one, str(one).lstrip("/"), recursive=False)
            if out.tell() > packed * 2.8:
                return out.getvalue()
    raise Unavailable("this machine has too few files")


def _upload(found: Ground, name: str, data: bytes, compress: str | None = None) -> Blob:
    path = found.top / "upload"
    path.write_bytes(data)
    return found.put(path, name, compress)


# Pulling --------------------------------------------------------------------------------------------------------------


def pulling(context: Context, found: Ground, image: Image) -> Figure:
    reference = f"{REGISTRY}/{image.name}:1"
    unsigned = ("--tls-verify=false", "--signature-policy", found.top / "policy.json")
    contestants: dict[str, Callable[[], float]] = {
        who: _seconds(found.docker(who, "pull", "-q", reference), found.docker(who, "rmi", "-f", reference))
        for who in (OURS, "docker")
    }
    for one in (DEBIANS, NEWEST):
        contestants[one] = _seconds(
            found.ctr(one, "images", "pull", "--plain-http", reference),
            found.ctr(one, "images", "rm", "--sync", reference),
        )
    contestants["podman"] = _seconds(
        found.podman("pull", "-q", *unsigned, reference), found.podman("rmi", "-f", reference)
    )
    samples = take_turns(contestants, min(context.turns, TURNS))
    best = min((name for name in samples if name != OURS), key=lambda name: samples[name].median)
    note = f"{image.size / 1e6:.0f} MB, {len(image.layers)} layers, gzip"
    return Figure(f"pull and unpack: {len(image.layers)} layers", "s", samples, best, at_most=0.5, note=note)


def _seconds(words: list[str], cleanup: list[str]) -> Callable[[], float]:
    program, after = Program(words), Program(cleanup)

    def timed() -> float:
        spent = program() / 1000
        after()
        return spent

    return timed


# Pushing --------------------------------------------------------------------------------------------------------------


def pushing(context: Context, found: Ground) -> Figure:
    """A layer that nobody compressed before; each turn another one, to the same contents but for a line."""
    data = _layer(_files(), PUSHED * 10 // 28)
    contestants: dict[str, Callable[[], float]] = {
        OURS: lambda: pushed(found, OURS, data),
        "docker": lambda: pushed(found, "docker", data),
    }
    samples = take_turns(contestants, min(context.turns, TURNS))
    return Figure("push a fresh layer", "s", samples, "docker", at_most=0.6, note=f"{len(data) / 1e6:.0f} MB of tar")


def pushed(found: Ground, who: str, data: bytes) -> float:
    name = f"{REGISTRY}/pushed:1"
    path = found.top / "fresh.tar"
    with path.open("wb") as out:
        line = os.urandom(16)
        entry = tarfile.TarInfo("fresh")
        entry.size = len(line)
        out.write(entry.tobuf() + line.ljust(tarfile.BLOCKSIZE, b"\0") + data)
    Program(found.docker(who, "import", path, name))()
    path.unlink()
    return _seconds(found.docker(who, "push", "-q", name), found.docker(who, "rmi", "-f", name))()
