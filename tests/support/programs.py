"""Where the programs under test are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from stockade.sdk.system import PROGRAMS

TOP = Path(__file__).resolve().parent.parent.parent
CONTAINERD, RUNC, DOCKERD = "v2.4.2", "v1.3.4", "v2.0.0-beta.24"
NAMES = ("stockade", *PROGRAMS)


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


def go(*words: str, here: Path | None = None, **environment: str) -> str:
    """What a call of Go prints; modules are kept in the checkout.

    Args:
        here: the module that it is about; none: what the words name.
    """
    cache = TOP / "build/go"
    cache.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [tool("go"), *words],
        cwd=here or cache,
        env={**os.environ, "GOMODCACHE": str(cache), "GOFLAGS": "-modcacherw", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def go_module(named: str) -> Path:
    """The directory of a module as it was published, `path@version`."""
    return Path(json.loads(go("mod", "download", "-json", named))["Dir"])


def go_build(here: Path, name: str, package: str = ".", *flags: str) -> Path:
    """A Go program of the module in `here`, or of one that it names, built into the checkout's own directory."""
    built = TOP / "build" / name
    go("build", *flags, "-o", str(built), package, here=here, CGO_ENABLED="0")
    return built


def newest_containerd() -> Path:
    """A directory with containerd and ctr of their Go module, built once and kept in the checkout."""
    built = TOP / "build" / f"containerd-{CONTAINERD}"
    if not (built / "containerd").is_file():
        for name in ("containerd", "ctr"):
            _go_install(built, f"github.com/containerd/containerd/v2/cmd/{name}@{CONTAINERD}")
    return built


def newest_dockerd() -> Path:
    """A directory with dockerd of moby's Go module and what it calls, built once (minutes) and kept in the checkout."""
    built = TOP / "build" / f"dockerd-{DOCKERD}"
    if not (built / "dockerd").is_file():
        for name in ("containerd", "containerd-shim-runc-v2"):
            _go_install(built, f"github.com/containerd/containerd/v2/cmd/{name}@{CONTAINERD}")
        # Enters namespaces in C, and asks libseccomp for filters.
        _go_install(built, f"github.com/opencontainers/runc@{RUNC}", "-tags=seccomp", CGO_ENABLED="1")
        _go_install(built, f"github.com/moby/moby/v2/cmd/dockerd@{DOCKERD}", CGO_ENABLED="0")
    return built


def _go_install(into: Path, package: str, *words: str, **more: str) -> None:
    """A Go program with the versions that its own module names."""
    go("install", "-trimpath", *words, package, here=None, GOBIN=str(into), **more)
