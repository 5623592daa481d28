"""An image made of busybox-static, as an OCI layout in a tar archive: what `ctr images import` takes."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

from support.programs import tool

NAME = "stockade.test/busybox:latest"
APPLETS = ("sh", "cat", "echo", "sleep", "true", "false", "ls", "id", "stty", "tty", "head", "seq", "yes", "kill", "ps",
           "test", "printf", "wc", "dd", "trap", "touch", "env", "tail", "mkdir", "rm")  # fmt: skip


def layer() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name in ("bin", "dev", "proc", "sys", "tmp", "etc"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
        busybox, program = tool("busybox"), tarfile.TarInfo("bin/busybox")
        program.mode, program.size = 0o755, busybox.stat().st_size
        with busybox.open("rb") as data:
            tar.addfile(program, data)
        for name in APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        passwd = b"root:x:0:0:root:/:/bin/sh\n"
        user = tarfile.TarInfo("etc/passwd")
        user.size = len(passwd)
        tar.addfile(user, io.BytesIO(passwd))
    return made.getvalue()


def unpack(root: Path) -> None:
    """The layer as a directory; by tar, for the filters that `tarfile` asks for are not in Debian 12's Python."""
    subprocess.run(["tar", "-xC", root, "-f", "-"], input=layer(), check=True)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def archive(path: Path) -> Path:
    """Write the archive to `path`."""
    content = layer()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(content)]},
        }
    ).encode()
    kind = "application/vnd.oci.image"

    def descriptor(data: bytes, of: str) -> dict[str, object]:
        return {"mediaType": f"{kind}.{of}", "digest": _digest(data), "size": len(data)}

    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": descriptor(config, "config.v1+json"),
            "layers": [descriptor(content, "layer.v1.tar")],
        }
    ).encode()
    entry = descriptor(manifest, "manifest.v1+json") | {"annotations": {"io.containerd.image.name": NAME}}
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    files = {f"blobs/sha256/{_digest(data)[7:]}": data for data in (content, config, manifest)}
    files |= {"index.json": index, "oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path
