"""`stockade system uninstall`: what it ends, what it removes, what it refuses."""

from __future__ import annotations

import os
import time

import pytest

from support import fixtures
from support.command import stockade
from support.daemon import IMAGE, image
from support.place import Place

pytestmark = pytest.mark.root

_place = fixtures.place


def test_nothing_stays(place: Place) -> None:
    archive = place.top / "box.tar"
    archive.write_bytes(image())
    assert stockade(place, "load", "-i", str(archive)).returncode == 0
    for name in ("runs", "too"):
        done = stockade(place, "run", "-d", "--name", name, IMAGE, "sleep", "1000")
        assert done.returncode == 0, done.stderr
    daemon = int((place.run / "daemon.pid").read_text())

    asked = stockade(place, "system", "uninstall")
    assert asked.returncode == 125
    assert b"--force" in asked.stderr
    done = stockade(place, "system", "uninstall", "--force")
    assert done.returncode == 0, done.stderr
    assert b"containers ended: 2" in done.stdout
    assert not (place.run / "stockade.sock").exists()
    assert "stockade.daemon" not in place.processes().get(daemon, "")
    assert place.cgroups() == []
    assert IMAGE.encode() in stockade(place, "images", "--format", "names").stdout

    done = stockade(place, "system", "uninstall", "--purge", "--force")
    assert done.returncode == 0, done.stderr
    assert not place.data.exists()
    deadline = time.monotonic() + 5
    while place.run.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not place.run.exists(), os.listdir(place.run)
