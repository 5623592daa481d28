"""The newest of Docker's Go clients (moby/client) with our daemon: it speaks newer versions and settles on ours."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support import images, registries
from support import place as places
from support.daemon import daemon
from support.programs import TOP, tool

pytestmark = [pytest.mark.root, pytest.mark.judge]


def program() -> Path:
    """Built from its module; the module cache is the checkout's own."""
    built = TOP / "build/moby-client"
    cache = TOP / "build/go"
    cache.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [tool("go"), "build", "-modcacherw", "-o", built, "."],
        cwd=Path(__file__).parent,
        env={**os.environ, "GOMODCACHE": str(cache), "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return built


def test_containers_and_images_by_the_newest_client() -> None:
    with (
        places.place() as place,
        daemon(place) as served,
        registries.docker_registry(place.top, served.ns) as registry,
    ):
        registry.put(images.busybox(), "box", "1")
        words = [str(program()), str(served.socket), served.load(), f"{registry.authority}/box:1"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("ALL\n")
