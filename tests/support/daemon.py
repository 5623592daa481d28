"""A daemon of a test's own, and the unmodified docker CLI against it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support import place as places
from support.netns import Netns, netns
from support.place import Place

BUSYBOX = Path("/bin/busybox")
IMAGE = "box:1"
_APPLETS = (
    "sh cat echo sleep id ls true false stty env head seq kill yes touch rm mkdir stat wc dd date tail test chmod "
    "chown ln readlink tar hostname pwd printf sort tty ps".split()
)


@dataclass(slots=True)
class Daemon:
    """`python -m stockade.daemon` in a place; killed and started anew at will."""

    place: Place
    ns: Netns | None = None
    """Where its network is; None: where the test is."""
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable
    module: str = "stockade.daemon"

    @property
    def socket(self) -> Path:
        return self.place.run / "stockade.sock"

    def start(self, **more: str) -> None:
        self.environment = {**self.place.environment(), **more}
        with (self.place.top / "daemon.out").open("ab") as said:
            words = [self.python, "-m", self.module]
            self.process = subprocess.Popen(
                words if self.ns is None else self.ns.words(words),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        deadline = time.monotonic() + 120
        while not self.answers():
            assert self.process.poll() is None, (self.place.top / "daemon.out").read_text()
            assert time.monotonic() < deadline, "the daemon does not answer"
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether it is there and has found what there was."""
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.settimeout(60)
            client.connect(str(self.socket))
            client.sendall(b"GET /version HTTP/1.0\r\n\r\n")
            return client.recv(12).endswith(b" 200")
        return False

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(30)
            self.process = None

    def restart(self, number: int = signal.SIGKILL) -> None:
        self.stop(number)
        self.start()

    def words(self, *words: str) -> list[str]:
        return ["docker", "-H", f"unix://{self.socket}", *words]

    def docker(
        self, *words: str, input: bytes | None = None, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """The docker CLI to its end."""
        environment = {**os.environ, "DOCKER_CONFIG": str(self.place.top), "HOME": str(self.place.top)}
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            self.words(*words), env=environment, capture_output=True, timeout=timeout, check=False, input=input or b""
        )
        out = subprocess.CompletedProcess(words, done.returncode, done.stdout.decode(), done.stderr.decode())
        if check:
            assert out.returncode == 0, f"docker {' '.join(words)}: {out.returncode}\n{out.stdout}\n{out.stderr}"
        return out

    def said(self, *words: str, **more: object) -> str:
        """What a docker command that succeeds prints, without its last line's end."""
        return self.docker(*words, **more).stdout.strip()  # type: ignore[arg-type]

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """The docker CLI, at work."""
        environment = {**os.environ, "DOCKER_CONFIG": str(self.place.top), "HOME": str(self.place.top)}
        return subprocess.Popen(
            self.words(*words), env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
        )  # fmt: skip

    def load(self) -> str:
        """Bring the busybox image; its name."""
        archive = self.place.top / "box.tar"
        archive.write_bytes(image())
        self.docker("load", "-i", str(archive))
        return IMAGE

    def run(self, *words: str) -> str:
        """`docker run -d`: the id."""
        return self.said("run", "-d", *words)

    def inspect(self, name: str, template: str = "{{json .}}") -> object:
        return json.loads(self.said("inspect", "-f", template, name))

    def clear(self) -> None:
        """Remove every container, whatever became of the test."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        ids = self.docker("ps", "-aq", check=False).stdout.split()
        if ids:
            self.docker("rm", "-f", *ids, check=False, timeout=120)


@contextlib.contextmanager
def daemon(place: Place) -> Iterator[Daemon]:
    """A daemon in a network namespace of its own, gone afterwards with its containers."""
    with netns() as ns:
        made = Daemon(place, ns)
        try:
            made.start()
            yield made
        finally:
            try:
                made.clear()
            finally:
                made.stop()


@contextlib.contextmanager
def stocked() -> Iterator[Daemon]:
    """A daemon in a place of its own that has the image."""
    with places.place() as place, daemon(place) as made:
        made.load()
        yield made


def image() -> bytes:
    """A docker-archive of one layer: busybox, its applets, two users."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name in ("bin", "etc", "tmp", "root", "var", "var/www"):
            _add(tar, tarfile.TarInfo(name), tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755)
        _add(tar, tarfile.TarInfo("bin/busybox"), tarfile.REGTYPE, 0o755, BUSYBOX.read_bytes())
        for applet in _APPLETS:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.linkname = "busybox"
            _add(tar, entry, tarfile.SYMTYPE, 0o777)
        passwd = b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/var/www:/bin/sh\n"
        _add(tar, tarfile.TarInfo("etc/passwd"), tarfile.REGTYPE, 0o644, passwd)
        _add(tar, tarfile.TarInfo("etc/group"), tarfile.REGTYPE, 0o644, b"root:x:0:\nwww:x:33:\naudio:x:29:www\n")
    data = layer.getvalue()
    config = json.dumps(
        {
            "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}"]},
        }
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        _add(tar, tarfile.TarInfo(name), tarfile.REGTYPE, 0o644, config)
        _add(tar, tarfile.TarInfo("layer.tar"), tarfile.REGTYPE, 0o644, data)
        manifest = json.dumps([{"Config": name, "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]).encode()
        _add(tar, tarfile.TarInfo("manifest.json"), tarfile.REGTYPE, 0o644, manifest)
    return whole.getvalue()


def _add(tar: tarfile.TarFile, entry: tarfile.TarInfo, kind: bytes, mode: int, data: bytes = b"") -> None:
    entry.type, entry.mode, entry.size = kind, mode, len(data)
    tar.addfile(entry, io.BytesIO(data) if data else None)
