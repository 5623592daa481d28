"""The newest of Docker's Go clients (moby/client) with our daemon: it speaks newer versions and settles on ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support import images, registries
from support import place as places
from support.daemon import daemon
from support.programs import go_build

pytestmark = [pytest.mark.root, pytest.mark.judge]


def test_containers_and_images_by_the_newest_client() -> None:
    with (
        places.place() as place,
        daemon(place) as served,
        registries.docker_registry(place.top, served.ns) as registry,
    ):
        registry.put(images.busybox(), "box", "1")
        program = go_build(Path(__file__).parent, "moby-client")
        words = [str(program), str(served.socket), served.load(), f"{registry.authority}/box:1"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("ALL\n")
