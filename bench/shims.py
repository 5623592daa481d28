"""What the measurements of the shim share: busybox containers behind shims that are driven by the tests' own hand."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.figures import Context, Unavailable

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from conformance.containerd import image
from contract.shim import peer
from support import bundle
from support.place import place
from support.wall import Work

PROGRAM = "containerd-shim-stockade-v2"


@contextlib.contextmanager
def stage(context: Context) -> Iterator[tuple[peer.Shim, Path]]:
    """Shims in a place that is empty afterwards, and a root file system for containers."""
    program = context.programs / PROGRAM
    if not program.is_file():
        raise Unavailable(f"{PROGRAM} is not built")
    with place() as made:
        root = made.top / "root"
        root.mkdir()
        image.unpack(root)
        with peer.shim(program, made) as shim:
            yield shim, root


def config(root: Path, *argv: str) -> dict[str, Any]:
    return bundle.config(Work(argv=argv, root=root, env={"PATH": "/bin"}), False)


def memory(pid: int) -> float:
    """The proportional share of a process's memory, KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("Pss:")))


__all__ = ["PROGRAM", "config", "memory", "peer", "stage"]
