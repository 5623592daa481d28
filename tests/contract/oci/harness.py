"""An OCI runtime command as a test sees it: a program, a state directory, bundles; ours or one that callers know.

Law: every test drives the real program. What takes the fixture `runtime` holds for runc and crun too, so that
ours is measured by what callers are used to; what only ours promises takes `ours`.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import programs
from support.patience import eventually
from support.place import Place

BUSYBOX = Path("/bin/busybox")
APPLETS = (
    "sh sleep cat echo true false id ls ps kill env pwd tty stty test mkdir rm yes head dd seq wc printf mount".split()
)
ORACLES = ("runc", "crun")

CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETUID", "CAP_SETGID"]
MOUNTS = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
]


def config(*args: str) -> dict[str, Any]:
    """A configuration that runs `args` in a container with the usual namespaces."""
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": list(args),
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": copy.deepcopy(MOUNTS),
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
        },
    }


@dataclass(frozen=True, slots=True)
class Done:
    """How a call ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Runtime:
    name: str
    argv: tuple[str, ...]
    place: Place

    @property
    def root(self) -> Path:
        return self.place.run / "oci"

    def command(self, *args: str | Path) -> list[str]:
        return [*self.argv, "--root", str(self.root), *map(str, args)]

    def __call__(self, *args: str | Path, stdin: str | None = None, cwd: Path | None = None) -> Done:
        """Call it and wait; output goes through files, so that a container that stays cannot hold us."""
        with open(self.place.top / "out", "w+b") as out, open(self.place.top / "err", "w+b") as err:
            done = subprocess.run(
                self.command(*args),
                stdout=out,
                stderr=err,
                cwd=cwd or self.place.top,
                timeout=30,
                **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin.encode()}),
            )
            for file in (out, err):
                file.seek(0)
            return Done(done.returncode, out.read().decode(errors="replace"), err.read().decode(errors="replace"))

    def ok(self, *args: str | Path, stdin: str | None = None) -> str:
        done = self(*args, stdin=stdin)
        assert done.code == 0, f"{self.name} {args}: {done}"
        return done.out

    def state(self, id: str) -> Any:
        return json.loads(self.ok("state", id))

    def bundle(
        self, *args: str, change: Callable[[dict[str, Any]], object] | None = None, name: str = "bundle"
    ) -> Path:
        """A bundle with a busybox root; `change` edits the configuration."""
        made = self.place.top / name
        binaries = made / "rootfs/bin"
        if not binaries.exists():
            binaries.mkdir(parents=True)
            for directory in ("proc", "dev", "tmp", "sys", "etc"):
                (made / "rootfs" / directory).mkdir()
            shutil.copy2(BUSYBOX, binaries / "busybox")
            for applet in APPLETS:
                (binaries / applet).symlink_to("busybox")
        document = config(*args)
        if change:
            change(document)
        (made / "config.json").write_text(json.dumps(document))
        return made

    def create(self, *args: str, suffix: str = "c", change: Callable[[dict[str, Any]], object] | None = None) -> str:
        """A created container that runs `args` once it is started."""
        id = self.place.name(suffix)
        self.ok("create", "--bundle", self.bundle(*args, change=change), id)
        return id

    def running(self, *args: str, suffix: str = "c", change: Callable[[dict[str, Any]], object] | None = None) -> str:
        id = self.create(*(args or ("sleep", "1000")), suffix=suffix, change=change)
        self.ok("start", id)
        return id

    def wait(self, id: str, status: str, patience: float = 30.0) -> None:
        eventually(lambda: self.state(id)["status"] == status, f"{id} is {status}", patience)

    def clear(self) -> None:
        """Delete whatever a test left; used after failures too."""
        if self.root.is_dir():
            for entry in sorted(os.listdir(self.root)):
                self("delete", "--force", entry)


def oracle(name: str) -> tuple[str, ...]:
    """How Debian's runtime is called here.

    crun 1.8 refuses hosts whose cgroup v2 hierarchy holds a controller beside v1: it gets a mount namespace without it.
    """
    found = str(programs.tool(name))
    if name != "crun":
        return (found,)
    script = f'umount /sys/fs/cgroup/unified 2>/dev/null; exec {found} "$@"'
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "crun")
