"""A containerd of its own: root, state, socket and mounts in a private place, our shim in its PATH."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from conformance.containerd.image import NAME
from support.place import Place

RUNTIME = "io.containerd.stockade.v2"


@dataclass(slots=True)
class Containerd:
    """Daemon and client of one version."""

    place: Place
    programs: Path
    shims: Path
    daemon: subprocess.Popen[bytes] | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.place.top / "containerd.log"

    @property
    def socket(self) -> Path:
        return self.place.top / "c.sock"

    @property
    def state(self) -> Path:
        return self.place.top / "state"

    def environment(self) -> dict[str, str]:
        return {**self.place.environment(), "PATH": f"{self.shims}:{self.programs}:{os.environ['PATH']}"}

    def start(self) -> None:
        config = self.place.top / "config.toml"
        # The plug-ins that would touch the machine beside the private directories.
        config.write_text(
            f"""version = 2
root = "{self.place.top}/root"
state = "{self.state}"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{self.socket}"
[ttrpc]
address = "{self.socket}.ttrpc"
"""
        )
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen(
                [self.programs / "containerd", "--config", config],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 30
        while self.ctr("version", check=False).returncode != 0:
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"containerd does not serve: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        if self.daemon is not None:
            self.daemon.terminate()
            try:
                self.daemon.wait(10)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
            self.daemon = None

    def argv(self, *words: str) -> list[str]:
        return [str(self.programs / "ctr"), "--address", str(self.socket), "--namespace", self.place.tag, *words]

    def ctr(
        self, *words: str, data: bytes | None = None, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        with subprocess.Popen(
            self.argv(*words),
            env=self.environment(),
            stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as client:
            try:
                out, err = client.communicate(data, timeout)
            except subprocess.TimeoutExpired:
                client.kill()
                raise
        line = f"ctr {' '.join(words)}: {client.returncode}"
        assert not check or client.returncode == 0, f"{line}\n{out!r}\n{err!r}"
        return subprocess.CompletedProcess(client.args, client.returncode, out, err)

    def run(self, *words: str, **more: object) -> subprocess.CompletedProcess[bytes]:
        """`ctr run` of the test image; `words` are options, the id and the command."""
        options = list(itertools.takewhile(lambda word: word.startswith("-"), words))
        rest = words[len(options) :]
        return self.ctr("run", "--runtime", RUNTIME, *options, NAME, *rest, **more)  # type: ignore[arg-type]

    def task(self, container: str) -> str:
        """The status of a container's task, or nothing."""
        lines = self.ctr("tasks", "ls").stdout.decode().splitlines()[1:]
        return next((line.split()[2] for line in lines if line.split()[0] == container), "")

    def wait(self, container: str, status: str, patience: float = 10) -> None:
        deadline = time.monotonic() + patience
        while (seen := self.task(container)) != status:
            assert time.monotonic() < deadline, f"{container} is {seen or 'gone'}, not {status or 'gone'}"
            time.sleep(0.02)

    def end(self, container: str) -> int:
        """Delete a stopped task; its status, which `ctr` tells in words or by its own."""
        done = self.ctr("tasks", "delete", container, check=False)
        said = re.search(rb"exit code (\d+)", done.stderr)
        return int(said.group(1)) if said else done.returncode

    def remove_parents(self) -> None:
        """The namespace's own cgroups: every runtime leaves what it did not make for one container alone."""
        for path in self.place.cgroups():
            if path.name == self.place.tag:
                path.rmdir()

    def bundle(self, container: str) -> Path:
        return self.state / "io.containerd.runtime.v2.task" / self.place.tag / container

    def remove(self, container: str) -> None:
        self.ctr("tasks", "delete", "--force", container, check=False)
        self.ctr("containers", "delete", container, check=False)
