"""Blobs between a registry and this machine: images pulled and unpacked, a fresh layer pushed; all on one RAM disk.

The registry is Debian's docker-registry, on loopback in the cell of the peers, in which our program runs, too. Ours is
`stockade-fetch` alone, three layers at a time, as the daemon has them fetched: the manifests are not timed.
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
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.figures import OURS, Context, Failed, Figure, Program, Unavailable, take_turns
from conformance.peers.cell import Cell, cell, eventually

TURNS = 3  # each takes seconds
AT_A_TIME = 3
REGISTRY = "127.0.0.1:5000"
LARGE = ("one", 5, 300 << 20)
MANY = ("many", 40, 100 << 20)
PUSHED = 300 << 20
TYPE = "application/vnd.oci.image"
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
    """A cell on a RAM disk with a registry, dockerd and its containerd in it."""

    inside: Cell
    fetch: Path

    @property
    def top(self) -> Path:
        return self.inside.top

    def docker(self, *words: str | Path) -> list[str]:
        return self.inside.command("docker", "-H", f"unix://{self.top}/docker.sock", *words)

    def ctr(self, *words: str | Path) -> list[str]:
        return self.inside.command("ctr", "--address", f"{self.top}/containerd.sock", *words)

    def podman(self, *words: str | Path) -> list[str]:
        flags = ["--root", f"{self.top}/podman", "--runroot", f"{self.top}/podman-run"]
        flags += ["--tmpdir", f"{self.top}/podman-tmp", "--storage-driver", "overlay", "--events-backend", "file"]
        return self.inside.command("podman", *flags, *words)

    def transfer(self, verb: str, request: dict[str, object]) -> dict[str, object]:
        words = self.inside.command(self.fetch, verb)
        done = subprocess.run(words, input=json.dumps(request).encode(), capture_output=True)
        if done.returncode != 0:
            raise Failed(f"stockade-fetch {verb}: {done.stderr.decode()}")
        answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])["done"]
        return answer


@contextlib.contextmanager
def ground(context: Context) -> Iterator[Ground]:
    with contextlib.ExitStack() as stack:
        inside = stack.enter_context(cell(under="/dev/shm"))
        top = inside.top
        for name in ("registry", "podman", "podman-run", "podman-tmp"):
            (top / name).mkdir()
        storage = {"filesystem": {"rootdirectory": str(top / "registry")}, "delete": {"enabled": True}}
        config = {"version": 0.1, "log": {"level": "error"}, "storage": storage, "http": {"addr": REGISTRY}}
        (top / "registry.yml").write_text(json.dumps(config))  # what is JSON is YAML, too
        (top / "containerd.toml").write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        inside.daemon("docker-registry", "serve", top / "registry.yml")
        inside.daemon(
            "containerd", "--config", top / "containerd.toml", "--root", top / "containerd",
            "--state", top / "containerd-run", "--address", top / "containerd.sock",
        )  # fmt: skip
        inside.daemon(
            "dockerd", "--host", f"unix://{top}/docker.sock", "--data-root", top / "docker",
            "--exec-root", top / "exec", "--pidfile", top / "docker.pid", "--iptables=false", "--ip6tables=false",
            "--bridge=none", "--storage-driver=overlay2", "--cgroup-parent", f"/{inside.tag}",
        )  # fmt: skip
        found = Ground(inside, context.programs / "stockade-fetch")
        for words in (found.docker("version"), found.ctr("version")):
            eventually(lambda words=words: _runs(words), words[-1], 60)  # type: ignore[misc]
        yield found


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
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in files:
            with contextlib.suppress(OSError):
                tar.add(path, str(path).lstrip("/"), recursive=False)
            if out.tell() > packed * 2.8:
                return out.getvalue()
    raise Unavailable("this machine has too few files")


def _upload(found: Ground, name: str, data: bytes, compress: str | None = None) -> Blob:
    path = found.top / "upload"
    path.write_bytes(data)
    url = f"http://{REGISTRY}/v2/{name}/blobs/uploads/"
    done = found.transfer("put", {"upload": url, "source": str(path), "compress": compress})
    path.unlink()
    return Blob(str(done["digest"]), int(str(done["size"])))


# Pulling --------------------------------------------------------------------------------------------------------------


def pulling(context: Context, found: Ground, image: Image) -> Figure:
    reference = f"{REGISTRY}/{image.name}:1"
    policy = found.top / "policy.json"
    policy.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
    contestants: dict[str, Callable[[], float]] = {
        OURS: lambda: fetched(found, image),
        "docker": _seconds(found.docker("pull", "-q", reference), found.docker("rmi", "-f", reference)),
        "containerd": _seconds(
            found.ctr("images", "pull", "--plain-http", reference),
            found.ctr("images", "rm", "--sync", reference),
        ),
        "podman": _seconds(
            found.podman("pull", "-q", "--tls-verify=false", "--signature-policy", policy, reference),
            found.podman("rmi", "-f", reference),
        ),
    }
    samples = take_turns(contestants, min(context.turns, TURNS))
    best = min((name for name in samples if name != OURS), key=lambda name: samples[name].median)
    note = f"{image.size / 1e6:.0f} MB, {len(image.layers)} layers; stockade-fetch alone"
    return Figure(f"pull and unpack: {image.name}", "s", samples, best, at_most=0.5, note=note)


def _seconds(words: list[str], cleanup: list[str]) -> Callable[[], float]:
    program, after = Program(words), Program(cleanup)

    def timed() -> float:
        spent = program() / 1000
        after()
        return spent

    return timed


def fetched(found: Ground, image: Image) -> float:
    """Every layer into a file and a directory."""
    room = Path(tempfile.mkdtemp(dir=found.top))

    def layer(number: int) -> None:
        blob = image.layers[number]
        (room / f"{number}").mkdir()
        found.transfer(
            "get",
            {
                "sources": [{"url": f"http://{REGISTRY}/v2/{image.name}/blobs/{blob.digest}"}],
                "digest": blob.digest,
                "size": blob.size,
                "blob": str(room / f"{number}.blob"),
                "unpack": {"directory": str(room / f"{number}")},
            },
        )

    begun = time.perf_counter()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        list(pool.map(layer, range(len(image.layers))))
    spent = time.perf_counter() - begun
    shutil.rmtree(room)
    return spent


# Pushing --------------------------------------------------------------------------------------------------------------


def pushing(context: Context, found: Ground) -> Figure:
    """A layer that nobody compressed before; each turn another one, to the same contents but for a line."""
    data = _layer(_files(), PUSHED * 10 // 28)
    contestants: dict[str, Callable[[], float]] = {
        OURS: lambda: put(found, fresh(found, data)),
        "docker": lambda: pushed(found, fresh(found, data)),
    }
    samples = take_turns(contestants, min(context.turns, TURNS))
    note = f"{len(data) / 1e6:.0f} MB of tar; stockade-fetch alone"
    return Figure("push a fresh layer", "s", samples, "docker", at_most=0.6, note=note)


def fresh(found: Ground, data: bytes) -> Path:
    path = found.top / "fresh.tar"
    with tarfile.open(path, "w") as tar:
        line = os.urandom(16)
        entry = tarfile.TarInfo("fresh")
        entry.size = len(line)
        tar.addfile(entry, io.BytesIO(line))
        blob = tarfile.TarInfo("files")
        blob.size = len(data)
        tar.addfile(blob, io.BytesIO(data))
    return path


def put(found: Ground, path: Path) -> float:
    begun = time.perf_counter()
    upload = f"http://{REGISTRY}/v2/pushed/blobs/uploads/"
    found.transfer("put", {"upload": upload, "source": str(path), "compress": "gzip"})
    return time.perf_counter() - begun


def pushed(found: Ground, path: Path) -> float:
    name = f"{REGISTRY}/pushed:1"
    Program(found.docker("import", path, name))()
    return _seconds(found.docker("push", "-q", name), found.docker("rmi", "-f", name))()
