"""Where the programs under test are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
CONTAINERD = "v2.4.2"
NAMES = (
    "stockade",
    "stockade-oci",
    "containerd-shim-stockade-v2",
    "stockade-layer",
    "stockade-logs",
    "stockade-fetch",
    "stockade-net",
    "stockade-websocket",
    "stockade-init",
)


def directory() -> Path:
    """`STOCKADE_BIN_DIR`, else the environment's own bin: what `make setup` installed."""
    named = os.environ.get("STOCKADE_BIN_DIR")
    found = Path(named).resolve() if named else Path(sys.executable).parent
    missing = [name for name in NAMES if not (found / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{found} has no {', '.join(missing)}: run `make setup` or set STOCKADE_BIN_DIR")
    return found


def program(name: str) -> Path:
    return directory() / name


def tool(name: str) -> Path:
    """A program of somebody else's that `make test` installs: where it is missing the test fails, it is not skipped."""
    beside = os.path.dirname(sys.executable)
    found = shutil.which(name, path=f"{beside}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is None:
        raise FileNotFoundError(f"{name} is not installed: `make test` installs what the tests need")
    return Path(found)


def go_build(here: Path, name: str, package: str = ".") -> Path:
    """A Go program of the module in `here`, or of one that it names, built into the checkout's own directory."""
    built, cache = TOP / "build" / name, TOP / "build/go"
    cache.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [tool("go"), "build", "-modcacherw", "-o", built, package],
        cwd=here,
        env={**os.environ, "GOMODCACHE": str(cache), "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return built


def newest_containerd() -> Path:
    """A directory with containerd and ctr of their Go module, built once and kept in the checkout."""
    built = TOP / "build" / f"containerd-{CONTAINERD}"
    if not (built / "containerd").is_file():
        packages = [f"github.com/containerd/containerd/v2/cmd/{name}@{CONTAINERD}" for name in ("containerd", "ctr")]
        environment = {**os.environ, "GOBIN": str(built), "GOFLAGS": "-trimpath"}
        words = [str(tool("go")), "install", *packages]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return built
