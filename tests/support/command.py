"""The command `stockade` as people run it, with its files in a test's own place."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support import programs
from support.place import Place

COMMAND = (str(Path(sys.executable).parent / "stockade"),)
MAIN = (sys.executable, "-c", "import sys; from stockade.cli import main; sys.exit(main())")


def environment(place: Place) -> dict[str, str]:
    """The caller's environment, with our programs, package and the place in it."""
    return {
        **place.environment(),
        "STOCKADE_BIN_DIR": str(programs.directory()),
        "PYTHONPATH": str(programs.TOP / "src"),
    }


def stockade(
    place: Place, *words: str, cwd: Path | None = None, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run it to its end."""
    return subprocess.run(
        [*COMMAND, *words],
        cwd=cwd or place.top,
        env={**environment(place), **(env or {})},
        input=stdin,
        capture_output=True,
        timeout=90,
    )


def start(place: Place, *words: str, cwd: Path, **options: Any) -> subprocess.Popen[bytes]:
    """Begin it; the caller ends it."""
    return subprocess.Popen([*COMMAND, *words], cwd=cwd, env=environment(place), **options)


def report(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    """What `do --format json` said, in its last line on standard error."""
    found: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    return found
