"""`stockade system uninstall`: what ran is ended; with --purge nothing is left in its directories."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support.daemon import daemon
from support.place import Place

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


def uninstall(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stockade.daemon", "--uninstall", *words],
        env=place.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_what_runs_is_ended(place: Place) -> None:
    with daemon(place) as box:
        box.load()
        box.run("--name", "runs", "box:1", "sleep", "1000")
        done = uninstall(place)
        assert (done.returncode, done.stdout) == (0, "containers ended: 1\n"), done.stderr
        assert box.process is not None
        assert box.process.wait(10) == 0
        box.start()
        assert box.inspect("runs", "{{json .State.Status}}") == "exited"


def test_nothing_is_left(place: Place) -> None:
    with daemon(place) as box:
        box.load()
        box.run("--name", "runs", "box:1", "sleep", "1000")
        box.docker("create", "--name", "made", "box:1")
        done = uninstall(place, "--purge")
        assert done.returncode == 0, done.stderr
        assert "containers removed: 2" in done.stdout
        assert not os.path.exists(place.run)
        assert not os.path.exists(place.data)
        assert box.process is not None
        box.process.wait(10)
        assert place.leftovers() == []
        place.run.mkdir(mode=0o711)
        place.data.mkdir(mode=0o711)
