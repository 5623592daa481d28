"""testcontainers for Python, unmodified: waiting, networks, volumes, and a reaper in a container with our socket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import images, programs
from support import place as places
from support.daemon import Daemon, daemon
from support.images import TestImage

pytestmark = [pytest.mark.root, pytest.mark.judge]
HERE = Path(__file__).parent
REAPER = "testcontainers/ryuk:judged"


def _reaper() -> TestImage:
    """Ryuk as an image: its own program where STOCKADE_RYUK names one, else the one beside this file."""
    named = os.environ.get("STOCKADE_RYUK")
    program = Path(named) if named else programs.go_build(HERE / "reaper", "reaper")
    return TestImage((images.layer({"bin/ryuk": program.read_bytes()}),), {"Cmd": ["/bin/ryuk"]})


@pytest.fixture(scope="module", name="served")
def _served() -> Iterator[Daemon]:
    with places.place() as place, daemon(place) as made:
        made.docker("load", "-i", str(images.busybox_archive()))
        made.docker("load", input=_reaper().docker_archive(REAPER))
        yield made


def run(served: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    """A Python program with these words, on the machine on which the daemon is."""
    assert served.ns is not None
    top = str(served.place.top)
    own = {"DOCKER_HOST": f"unix://{served.socket}", "DOCKER_CONFIG": top, "HOME": top}
    reaper = {"RYUK_CONTAINER_IMAGE": REAPER, "RYUK_RECONNECTION_TIMEOUT": "1s"}
    return subprocess.run(
        served.ns.words([sys.executable, *words]),
        cwd=top, env={**os.environ, **own, **reaper}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip


def there(served: Daemon) -> list[str]:
    """Containers, volumes and networks that somebody made."""
    found = served.said("ps", "-a", "--format", "{{.Names}}").split()
    found += served.said("volume", "ls", "-q").split()
    networks = served.said("network", "ls", "--format", "{{.Name}}").split()
    return [*found, *(name for name in networks if name not in ("bridge", "host", "none"))]


def test_the_stories_pass(served: Daemon, record_property: Callable[[str, object], None]) -> None:
    words = ("-q", "-c", "/dev/null", "--rootdir", str(HERE), "-p", "no:cacheprovider", str(HERE / "stories.py"))
    done = run(served, "-m", "pytest", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    record_property("stories", done.stdout.splitlines()[-1])
    assert there(served) == []


def test_the_reaper_takes_what_a_killed_session_left(served: Daemon) -> None:
    """It is root in a user namespace of its own and asks by the 0600 socket that was mounted into it."""
    done = run(served, str(HERE / "killed.py"))
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "left\n"), done.stderr
    assert "forgotten" in there(served), "not before its time"
    deadline = time.monotonic() + 60
    while there(served):
        assert time.monotonic() < deadline, there(served)
        time.sleep(0.2)
