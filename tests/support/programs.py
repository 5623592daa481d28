"""Where the programs under test are."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
NAMES = (
    "stockade-oci",
    "containerd-shim-stockade-v2",
    "stockade-layer",
    "stockade-logs",
    "stockade-fetch",
    "stockade-net",
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
