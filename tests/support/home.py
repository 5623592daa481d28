"""One installation for many tests: the view of the host is built once, on a file system whose speed does not vary."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Home:
    """Where an installation keeps its files."""

    run: Path
    data: Path

    def left(self) -> list[str]:
        """The containers that are still there."""
        containers = self.data / "containers"
        return sorted(os.listdir(containers)) if containers.exists() else []


@contextmanager
def home(bin_dir: Path) -> Iterator[Home]:
    """An installation that this process' environment names until the end, when it is removed."""
    top = Path(tempfile.mkdtemp(prefix="stockade-home-", dir=MEMORY if MEMORY.is_dir() else None))
    made = Home(top / "run", top / "data")
    names = {"STOCKADE_RUN_DIR": made.run, "STOCKADE_DATA_DIR": made.data, "STOCKADE_BIN_DIR": bin_dir}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: str(path) for name, path in names.items()})
    try:
        yield made
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        shutil.rmtree(top, ignore_errors=True)
