"""The bundle of the benchmark: the mounts, masks, filter, capabilities and limits that a container engine asks for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from bench.figures import Context, Unavailable
from stockade.runtime.spec import default_seccomp

BASE, COUNT = 1_000_000, 65_536
BUSYBOX = Path("/bin/busybox")


def root(context: Context) -> Path:
    """Debian's static busybox and the directories that mounts go to."""
    made = context.scratch / "root"
    if not made.is_dir():
        if not BUSYBOX.is_file():
            raise Unavailable("busybox-static is not installed")
        for name in ("bin", "proc", "sys", "dev", "etc", "run", "tmp"):
            (made / name).mkdir(parents=True)
        shutil.copy2(BUSYBOX, made / "bin/busybox")
        for name in ("hosts", "hostname", "resolv.conf"):
            (made / "etc" / name).touch()
            (context.scratch / name).touch()
    return made


def config(context: Context, user_namespace: bool) -> dict[str, Any]:
    """What our command proposes (`spec`), with the limits and files that engines add."""
    place = context.scratch / "spec"
    if not place.is_dir():
        place.mkdir()
        subprocess.run([context.programs / "stockade-oci", "spec", "--bundle", place], check=True)
    document: dict[str, Any] = json.loads((place / "config.json").read_text())
    document["ociVersion"] = "1.0.2"  # what the oldest of the peers knows
    document["process"]["terminal"] = False
    document["process"]["args"] = ["/bin/busybox", "true"]
    document["root"] = {"path": str(root(context)), "readonly": True}
    document["mounts"] += [
        {
            "destination": f"/etc/{name}",
            "type": "bind",
            "source": str(context.scratch / name),
            "options": ["bind", "ro"],
        }
        for name in ("hosts", "hostname", "resolv.conf")
    ]
    linux = document["linux"]
    linux["seccomp"] = json.loads(default_seccomp())
    # The machine's own family, as Docker's profile has it; runc refuses architectures that it does not know.
    own = ("X86_64", "X86", "X32") if os.uname().machine == "x86_64" else ("AARCH64", "ARM")
    linux["seccomp"]["architectures"] = [f"SCMP_ARCH_{name}" for name in own]
    linux["resources"] = {
        "devices": [
            {"allow": False, "access": "rwm"},
            *({"allow": True, "type": "c", "major": 1, "minor": n, "access": "rwm"} for n in (3, 5, 7, 8, 9)),
        ],
        "memory": {"limit": 256 << 20, "swap": 256 << 20},
        "cpu": {"shares": 512, "period": 100_000, "quota": 100_000},
        "pids": {"limit": 100},
    }
    if user_namespace:
        names = linux["namespaces"]
        linux["namespaces"] = [*[n for n in names if n["type"] != "user"], {"type": "user"}]
        mapping = [{"containerID": 0, "hostID": BASE, "size": COUNT}]
        linux |= {"uidMappings": mapping, "gidMappings": mapping}
        document["mounts"].append(
            {
                "destination": "/bin",
                "type": "bind",
                "source": str(root(context) / "bin"),
                "options": ["bind", "ro", "idmap"],
                "uidMappings": mapping,
                "gidMappings": mapping,
            }
        )
    return document


def write(directory: Path, document: dict[str, Any]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    os.chmod(directory, 0o755)
    (directory / "config.json").write_text(json.dumps(document))
    return directory
