"""Places of containers that are made before anybody asks: taken, given up, and gone after a crash."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import fixtures
from support.census import IDS
from support.daemon import IMAGE, Daemon
from support.patience import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]
_docker = fixtures.docker
GIVEN_UP_WITHIN = 60
"""Seconds; the engine does it after 25."""


@pytest.fixture
def box(docker: Daemon) -> Iterator[Daemon]:
    yield docker
    docker.clear()
    docker.docker("container", "prune", "-f")


def engine(box: Daemon) -> Path:
    return box.place.data / "engine"


def places(box: Daemon) -> dict[str, int]:
    """The directories that belong to no container and have a shim, and its pid."""
    known = set(box.said("ps", "-aq", "--no-trunc").split())
    found = {}
    for path in engine(box).iterdir():
        pid = path / "shim.pid"
        if path.name not in known and pid.exists():
            found[path.name] = int(pid.read_text())
    return found


def one_place(box: Daemon) -> tuple[str, int]:
    """Have one made; its id and its shim's pid."""
    box.docker("create", IMAGE, "true")
    eventually(lambda: len(places(box)) == 1)
    [found] = places(box).items()
    return found


def claims(identity: str) -> list[str]:
    """The ranges of ids that a directory's name claims."""
    return [name.name for name in IDS.iterdir() if name.is_symlink() and identity in os.readlink(name)]


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def owners(path: Path) -> set[int]:
    return {(path / name).stat().st_uid for name in ("upper", "work", "hosts", "hostname", "resolv.conf")}


def test_the_next_container_has_the_place_and_its_shim(box: Daemon) -> None:
    identity, pid = one_place(box)
    assert claims(identity) != []
    taken = box.run("--name", "taken", IMAGE, "sh", "-c", "cat /etc/hostname /etc/hosts; sleep 1000")
    assert taken == identity
    assert int((engine(box) / taken / "shim.pid").read_text()) == pid
    eventually(lambda: taken[:12] in box.said("logs", "taken"))
    # Files of its own are those of its range, as without a place.
    [uid] = owners(engine(box) / taken)
    assert uid >= 1 << 30
    assert (engine(box) / taken / "upper").stat().st_mode & 0o7777 == 0o755


def test_without_a_user_namespace_the_place_belongs_to_the_host_s_root(box: Daemon) -> None:
    identity, _ = one_place(box)
    taken = box.run("--userns", "host", IMAGE, "sh", "-c", "touch /mine && sleep 1000")
    assert taken == identity
    assert owners(engine(box) / taken) == {0}
    assert claims(identity) == []


def test_a_container_with_annotations_has_a_shim_of_its_own(box: Daemon) -> None:
    identity, pid = one_place(box)
    taken = box.run("--annotation", "a=b", IMAGE, "sleep", "1000")
    assert taken == identity
    assert int((engine(box) / taken / "shim.pid").read_text()) != pid
    eventually(lambda: not lives(pid))


def test_as_many_are_ready_as_were_made_together(box: Daemon) -> None:
    begun = [box.begin("create", IMAGE, "true") for _ in range(4)]
    assert [one.wait(30) for one in begun] == [0] * 4
    eventually(lambda: len(places(box)) > 1)
    shims = places(box)
    box.docker("container", "prune", "-f")
    assert places(box) == {}
    eventually(lambda: not any(lives(pid) for pid in shims.values()))


def test_a_place_that_nobody_takes_is_given_up(box: Daemon) -> None:
    identity, pid = one_place(box)
    eventually(lambda: identity not in os.listdir(engine(box)), patience=GIVEN_UP_WITHIN)
    assert claims(identity) == []
    eventually(lambda: not lives(pid))
    assert places(box) == {}


def test_a_failed_create_leaves_nothing_of_its_place(box: Daemon) -> None:
    identity, pid = one_place(box)
    done = box.docker("create", "-v", "/nowhere/at/all:/x:ro,nosuchoption", IMAGE, "true", check=False)
    assert done.returncode != 0
    done = box.docker("run", "--mount", "type=bind,source=/nowhere/at/all,target=/x", IMAGE, "true", check=False)
    assert "bind source path does not exist" in done.stderr
    eventually(lambda: not (engine(box) / identity).exists())
    assert claims(identity) == []
    eventually(lambda: not lives(pid))


def test_a_place_whose_shim_died_is_not_taken(box: Daemon) -> None:
    identity, pid = one_place(box)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not lives(pid))
    time.sleep(0.2)
    assert box.run(IMAGE, "sleep", "1000") != identity


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_place_after_the_daemon(box: Daemon, number: signal.Signals) -> None:
    identity, pid = one_place(box)
    box.stop(number)
    if number is signal.SIGTERM:
        assert not (engine(box) / identity).exists()
    box.start()
    eventually(lambda: not (engine(box) / identity).exists())
    eventually(lambda: not lives(pid))
    eventually(lambda: claims(identity) == [])


def test_the_names_of_a_container_that_lost_its_network_before_its_start(box: Daemon) -> None:
    box.docker("network", "create", "gone")
    made = box.said("create", "--name", "lost", "--network", "gone", IMAGE, "cat", "/etc/hosts")
    box.docker("network", "disconnect", "gone", "lost")
    box.docker("network", "rm", "gone")
    said = box.said("start", "-a", "lost")
    assert "127.0.0.1" in said, made
