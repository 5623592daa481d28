"""What every test of `stockade-layer` needs: the program, and a directory on a RAM disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.layer import Layer, Overlay


@pytest.fixture(scope="session")
def layer(bin_dir: Path) -> Layer:
    return Layer(bin_dir / "stockade-layer")


@pytest.fixture
def room() -> Iterator[Path]:
    """A directory on a RAM disk; it goes with all that is mounted in it."""
    made = Path(tempfile.mkdtemp(prefix=f"stockade-layer-{os.getpid()}-", dir="/dev/shm"))
    try:
        yield made
    finally:
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in reversed([mount for mount in mounts if mount.startswith(f"{made}/")]):
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(made)


@pytest.fixture
def overlay(room: Path) -> Overlay:
    """A fresh overlay; fill `lower`, then mount it."""
    for name in ("lower", "upper", "work", "merged"):
        (room / name).mkdir()
    return Overlay(room / "lower", room / "upper", room / "merged")
