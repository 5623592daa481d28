"""Unpacking a gzip layer of some hundred megabytes with both digests: ours beside containerd's own unpack and GNU tar.

All on one RAM disk. containerd holds the image already (import without unpack, not timed); what is timed is the
unpack that `ctr images mount` does first. GNU tar checks no digest. The layer is made of this machine's /usr.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.figures import OURS, Context, Failed, Figure, Unavailable, take_turns

SOURCES = (
    "usr/share",
    "usr/include",
    "usr/bin",
    "usr/sbin",
    "usr/lib/python3",
    "usr/lib/gcc",
    "usr/lib/x86_64-linux-gnu",
)
ENOUGH = 850 << 20  # bytes of tar; gzip makes about a third of it
TURNS = 3  # each takes seconds
IMAGE = "stockade.invalid/bench:layer"


def measure(context: Context) -> list[Figure]:
    missing = [name for name in ("containerd", "ctr", "tar", "gzip") if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        raise Unavailable(f"needs {', '.join(missing)}" if missing else "needs root")
    with tempfile.TemporaryDirectory(prefix="stockade-bench-layer-", dir="/dev/shm") as scratch:
        layer = make_layer(Path(scratch))
        with containerd(Path(scratch), layer) as peer:
            contestants: dict[str, Callable[[], float]] = {
                OURS: Ours(context.programs / "stockade-layer", layer),
                "containerd": peer,
                "tar": Tar(layer),
            }
            samples = take_turns(contestants, min(context.turns, TURNS))
    size = layer.size >> 20
    return [
        Figure(
            "unpack a gzip layer",
            "s",
            samples,
            "containerd",
            at_most=0.4,
            note=f"{size} MB, {layer.tar_size >> 20} MB of tar",
        )
    ]


@dataclass(frozen=True, slots=True)
class Layer:
    gzip: Path
    digest: str
    diff_id: str
    size: int
    tar_size: int


def make_layer(scratch: Path) -> Layer:
    """A tar of system directories, one after the other until there is enough, compressed as registries have it."""
    plain, packed = scratch / "layer.tar", scratch / "layer.tar.gz"
    for source in SOURCES:
        if (Path("/") / source).is_dir():
            subprocess.run(["tar", "-C", "/", "-rf", plain, source], check=True)
        if plain.stat().st_size > ENOUGH:
            break
    with packed.open("wb") as out:
        subprocess.run(["gzip", "-6", "-n", "-c", plain], stdout=out, check=True)
    made = Layer(packed, digest(packed), digest(plain), packed.stat().st_size, plain.stat().st_size)
    plain.unlink()
    return made


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


@dataclass(frozen=True, slots=True)
class Ours:
    program: Path
    layer: Layer

    def __call__(self) -> float:
        out = Path(tempfile.mkdtemp(dir=self.layer.gzip.parent))
        words: list[str | Path] = [
            self.program,
            "unpack",
            "--expect-digest",
            self.layer.digest,
            "--expect-diff-id",
            self.layer.diff_id,
        ]
        try:
            return timed([*words, "--input", self.layer.gzip, out])
        finally:
            subprocess.run([self.program, "remove", out], check=True)


@dataclass(frozen=True, slots=True)
class Tar:
    layer: Layer

    def __call__(self) -> float:
        out = Path(tempfile.mkdtemp(dir=self.layer.gzip.parent))
        try:
            return timed(["tar", "-C", out, "-xzf", self.layer.gzip])
        finally:
            shutil.rmtree(out)


@dataclass(frozen=True, slots=True)
class Peer:
    socket: Path
    mount: Path
    diff_id: str

    def ctr(self, *words: str | Path) -> list[str | Path]:
        return ["ctr", "--address", self.socket, *words]

    def __call__(self) -> float:
        try:
            return timed(self.ctr("images", "mount", "--snapshotter", "overlayfs", IMAGE, self.mount))
        finally:
            subprocess.run(self.ctr("images", "unmount", "--rm", self.mount), check=False, capture_output=True)
            subprocess.run(self.ctr("snapshots", "rm", self.diff_id), check=True, capture_output=True)


def timed(words: list[str | Path]) -> float:
    begun = time.perf_counter()
    done = subprocess.run(words, capture_output=True)
    spent = time.perf_counter() - begun
    if done.returncode != 0:
        raise Failed(f"{words}: {done.stderr.decode()}")
    return spent


@contextlib.contextmanager
def containerd(scratch: Path, layer: Layer) -> Iterator[Peer]:
    """A daemon of its own that holds the image, not unpacked."""
    top = scratch / "containerd"
    (top / "mount").mkdir(parents=True)
    config = top / "config.toml"
    config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    socket = top / "socket"
    words: list[str | Path] = [
        "containerd",
        "--config",
        config,
        "--root",
        top / "root",
        "--state",
        top / "state",
        "--address",
        socket,
    ]
    with (top / "log").open("wb") as log:
        daemon = subprocess.Popen(words, stdout=log, stderr=log)
    peer = Peer(socket, top / "mount", layer.diff_id)
    try:
        deadline = time.monotonic() + 20
        while subprocess.run(peer.ctr("version"), capture_output=True).returncode != 0:
            if time.monotonic() > deadline:
                raise Unavailable("containerd does not answer")
            time.sleep(0.1)
        subprocess.run(peer.ctr("images", "import", "--no-unpack", image(top, layer)), check=True, capture_output=True)
        yield peer
    finally:
        daemon.terminate()
        daemon.wait()


def image(top: Path, layer: Layer) -> Path:
    """An OCI layout of that one layer, as a tar."""
    blobs: dict[str, bytes] = {}

    def put(document: object) -> dict[str, object]:
        data = json.dumps(document).encode()
        name = f"sha256:{hashlib.sha256(data).hexdigest()}"
        blobs[name] = data
        return {"digest": name, "size": len(data)}

    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    base = "application/vnd.oci.image"
    config = put(
        {
            "architecture": machine,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
        }
    )
    described = {"mediaType": f"{base}.layer.v1.tar+gzip", "digest": layer.digest, "size": layer.size}
    manifest = put(
        {"schemaVersion": 2, "config": {"mediaType": f"{base}.config.v1+json", **config}, "layers": [described]}
    )
    named = {"annotations": {"io.containerd.image.name": IMAGE}, "platform": {"architecture": machine, "os": "linux"}}
    index = {"schemaVersion": 2, "manifests": [{"mediaType": f"{base}.manifest.v1+json", **manifest, **named}]}
    layout = top / "layout"
    (layout / "blobs/sha256").mkdir(parents=True)
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_text(json.dumps(index))
    for name, data in blobs.items():
        (layout / "blobs" / name.replace(":", "/")).write_bytes(data)
    os.link(layer.gzip, layout / "blobs" / layer.digest.replace(":", "/"))
    with tarfile.open(top / "image.tar", "w") as out:
        out.add(layout, ".")
    shutil.rmtree(layout)
    return top / "image.tar"
