"""Images made here, in seconds and without any engine: of Debian's busybox-static and of roots of its packages.

An image is layers (tars) and a configuration; it is written as what `docker save` wrote before its version 25, as what
it writes since, and as a plain OCI layout.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import roots
from support.programs import TOP

CACHE = TOP / "build" / "images"
BUSYBOX = Path("/bin/busybox")
CREATED = "2026-01-02T03:04:05.678901234Z"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
TAR = "application/vnd.oci.image.layer.v1.tar"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def dump(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


@dataclass(frozen=True)
class TestImage:
    """Layers, the lowest first, and what is run in them."""

    __test__ = False

    layers: tuple[bytes, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    architecture: str = "amd64"
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the configuration file."""

    @property
    def document(self) -> bytes:
        history = [{"created": CREATED, "created_by": f"layer {number}"} for number in range(len(self.layers))]
        return dump({
            "architecture": self.architecture,
            "os": "linux",
            "created": CREATED,
            "config": dict(self.config),
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer)}" for layer in self.layers]},
            "history": [*history, {"created": CREATED, "created_by": "CMD", "empty_layer": True}],
            **self.more,
        })  # fmt: skip

    @property
    def id(self) -> str:
        return f"sha256:{sha256(self.document)}"

    # As archives ----------------------------------------------------------------------------------------------------

    def docker_archive(self, *names: str) -> bytes:
        """As `docker save` wrote it until 2024: a directory a layer; a layer that is there already is a link."""
        members: dict[str, bytes | str] = {}
        places: list[str] = []
        seen: dict[str, str] = {}
        for number, layer in enumerate(self.layers):
            digest = sha256(layer)
            directory = sha256(f"{number} {digest}".encode())
            members[f"{directory}/VERSION"] = b"1.0"
            members[f"{directory}/json"] = dump({"id": directory})
            members[f"{directory}/layer.tar"] = f"../{seen[digest]}/layer.tar" if digest in seen else layer
            seen.setdefault(digest, directory)
            places.append(f"{directory}/layer.tar")
        config = f"{sha256(self.document)}.json"
        members[config] = self.document
        tags = list(names) or None
        members["manifest.json"] = dump([{"Config": config, "RepoTags": tags, "Layers": places}])
        return pack(members)

    def blobs(self, compress: bool = False) -> dict[str, bytes]:
        """Everything by digest: layers, configuration, manifest (the last)."""
        layers = [gzip.compress(layer, 1, mtime=0) if compress else layer for layer in self.layers]
        kind = f"{TAR}+gzip" if compress else TAR
        manifest = dump({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": self.id, "size": len(self.document)},
            "layers": [
                {"mediaType": kind, "digest": f"sha256:{sha256(layer)}", "size": len(layer)} for layer in layers
            ],
        })  # fmt: skip
        return {sha256(data): data for data in (*layers, self.document, manifest)}

    def descriptor(self, compress: bool = False, **more: Any) -> dict[str, Any]:
        digest, manifest = list(self.blobs(compress).items())[-1]
        return {"mediaType": MANIFEST, "digest": f"sha256:{digest}", "size": len(manifest), **more}

    def oci_archive(self, name: str = "", compress: bool = True) -> bytes:
        """An OCI layout in a tar."""
        note = {"annotations": {"org.opencontainers.image.ref.name": name}} if name else {}
        return layout([self.descriptor(compress, **note)], self.blobs(compress))


def layout(entries: list[dict[str, Any]], blobs: Mapping[str, bytes], more: Mapping[str, bytes] | None = None) -> bytes:
    """An OCI layout of these blobs."""
    members: dict[str, bytes | str] = {
        "oci-layout": dump({"imageLayoutVersion": "1.0.0"}),
        "index.json": dump({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}),
        **{f"blobs/sha256/{digest}": data for digest, data in blobs.items()},
        **(more or {}),
    }
    return pack(members)


def pack(members: Mapping[str, bytes | str]) -> bytes:
    """A tar of files (bytes) and symbolic links (text)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                archive.addfile(info)
            else:
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def layer(files: Mapping[str, bytes | str | None], *, mode: int = 0o755, owner: int = 0) -> bytes:
    """A layer: text is a symbolic link, None a directory, `.wh.x` hides x; parents are named too."""
    out = io.BytesIO()
    seen: set[str] = set()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            for parent in reversed(Path(name).parents):
                if str(parent) != "." and str(parent) not in seen:
                    _add(archive, str(parent), None, 0o755, 0)
                    seen.add(str(parent))
            seen.add(name)
            _add(archive, name, data, mode, owner)
    return out.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes | str | None, mode: int, owner: int) -> None:
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid, info.mtime = mode, owner, owner, 1_700_000_000
    if data is None:
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
    elif isinstance(data, str):
        info.type, info.linkname = tarfile.SYMTYPE, data
        archive.addfile(info)
    else:
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))


def applets() -> list[str]:
    done = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    return done.stdout.split()


def busybox(**config: Any) -> TestImage:
    """A static busybox with its links, passwd and group: 2 MB, one layer."""
    files: dict[str, bytes | str | None] = {"bin/busybox": BUSYBOX.read_bytes()}
    files |= {f"bin/{name}": "busybox" for name in applets() if name != "busybox"}
    files |= {
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        "etc/group": b"root:x:0:\nwheel:x:10:nobody\nnobody:x:65534:\n",
        **dict.fromkeys(("root", "tmp", "var/run", "home", "dev", "proc", "sys")),
    }
    usual = {"Cmd": ["sh"], "Env": ["PATH=/bin:/usr/bin:/sbin"]}
    return TestImage((layer(files),), {**usual, **config})


def deep(count: int) -> TestImage:
    """Busybox and so many layers above it, each with a file of its own and one that they all replace."""
    base = busybox()
    above = (
        layer({f"layers/{number}": str(number).encode(), "top": str(number).encode()}, mode=0o644)
        for number in range(1, count)
    )
    return TestImage((*base.layers, *above), base.config)


def tree(root: Path) -> bytes:
    """A directory as one layer, owners as they are."""
    words = ["tar", "--numeric-owner", "--sort=name", "-C", str(root), "-cf", "-", "."]
    return subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout


def debian() -> TestImage:
    """The root of a few of Debian's packages, 100 MB or so."""
    return TestImage((tree(roots.small()),), {"Cmd": ["bash"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]})


def cached(name: str, make: Any) -> Path:
    """A file that is made once a checkout: `make` gives its bytes, or a parts of them."""
    CACHE.mkdir(parents=True, exist_ok=True)
    path = CACHE / f"{name}-{sha256(Path(__file__).read_bytes())[:12]}"
    with (CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            made: bytes | Iterable[bytes] = make()
            fresh = path.with_suffix(f".new{os.getpid()}")
            with fresh.open("wb") as file:
                file.writelines([made] if isinstance(made, bytes) else made)
            fresh.rename(path)
    return path


def busybox_archive(name: str = "busybox:latest") -> Path:
    """A file for `docker load`."""
    return cached(f"busybox-{sha256(name.encode())[:8]}", lambda: busybox().docker_archive(name))
