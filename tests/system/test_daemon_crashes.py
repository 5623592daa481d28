"""The engine is killed before and after each step of each verb, and started anew: finished or undone, nothing left.

The table is made of the verbs themselves, so that a step that is added is tested.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stockade.engine import shims, verbs
from stockade.networks import networks
from stockade.runtime import shim
from support import crashes, programs
from support.netns import Netns, netns
from support.place import CGROUPS, Place, place

pytestmark = [pytest.mark.root, pytest.mark.storm, pytest.mark.timeout(0)]
TESTS = Path(__file__).resolve().parent.parent

ON_ONE = {
    "namespaces": {"network": "one"},
    "networks": [{"network": "one"}],
    "ports": [{"port": 80, "host_port": 8080}],
}
# Verb → what brings the container there, the verb itself, and what is seen when it is done.
STORIES: dict[str, tuple[list[list[Any]], list[list[Any]], str]] = {
    "create": ([], [["create"]], "created"),
    "start": ([["create", ON_ONE]], [["start"]], "running"),
    "end": ([["create", ON_ONE | {"command": ["sh", "-c", "exit 7"]}]], [["start"], ["wait"], ["nap", 0.5]], "exited"),
    "stop": ([["create"], ["start"], ["nap", 0.2]], [["stop", None, 5]], "exited"),
    "restart": ([["create"], ["start"], ["nap", 0.2]], [["restart", None, 5]], "running"),
    "pause": ([["create"], ["start"]], [["pause"]], "paused"),
    "unpause": ([["create"], ["start"], ["pause"]], [["unpause"]], "running"),
    "update": ([["create"], ["start"]], [["update", 77]], "running"),
    "rename": ([["create"]], [["rename", "other"]], "created"),
    "connect": ([["create", ON_ONE], ["start"]], [["connect", "two"]], "running"),
    "disconnect": ([["create", ON_ONE], ["start"], ["connect", "two"]], [["disconnect", "one"]], "running"),
    "remove": ([["create", ON_ONE], ["start"]], [["remove", True, True]], "gone"),
}
BEFORE = {"create": "gone", "start": "created", "end": "running", "remove": "exited", "unpause": "paused"}
POINTS = [
    (name, step.name, moment) for name, verb in verbs.ALL.items() for step in verb.steps for moment in crashes.MOMENTS
]


def test_every_verb_has_a_story() -> None:
    assert STORIES.keys() == verbs.ALL.keys()


class Ground(NamedTuple):
    """Where the engine is, and the network that it is in."""

    place: Place
    ns: Netns


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with place() as made, netns() as ns:
        root = made.top / "root"
        (root / "bin").mkdir(parents=True)
        shutil.copy(shutil.which("busybox") or "/bin/busybox", root / "bin/busybox")
        for name in ("sh", "sleep", "echo"):
            (root / "bin" / name).symlink_to("busybox")
        found = Ground(made, ns)
        assert run(found, [["network", "one"], ["network", "two"]])[0] == 0
        yield found


def run(ground: Ground, script: list[list[Any]], crash: str = "") -> tuple[int, list[dict[str, Any]]]:
    environment = {
        **ground.place.environment(),
        "STOCKADE_CRASH": crash,
        "STOCKADE_TEST_ROOT": str(ground.place.top / "root"),
        "PYTHONPATH": f"{TESTS}:{TESTS.parent / 'src'}",
    }
    done = subprocess.run(
        ground.ns.words([sys.executable, "-m", "support.lifecycle", json.dumps(script)]),
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def seen(answers: list[dict[str, Any]]) -> str:
    record = next(one["record"] for one in answers if "record" in one)
    return record["state"].get("status", "created") if record else "gone"


def changed(ground: Ground, verb: str, answers: list[dict[str, Any]]) -> bool:
    """Of a verb whose container is in the same state before and after: whether it was performed."""
    record = next(one["record"] for one in answers if "record" in one)
    match verb:
        case "update":
            return bool(record["wanted"]["resources"]["pids_limit"] == 77)
        case "rename":
            return bool(record["wanted"]["name"] == "other")
        case "connect" | "disconnect":
            names = [one["network"] for one in record["wanted"]["networks"]]
            assert names == [one["network"] for one in record["state"]["endpoints"]]
            return names == (["one", "two"] if verb == "connect" else ["two"])
        case "restart":  # its program speaks whenever it begins
            log: str = (ground.place.data / "engine" / record["wanted"]["id"] / "log.json").read_text()
            return log.count('"up') == 2
    return True


def assert_nothing_left(ground: Ground) -> None:
    assert os.listdir(ground.place.data / "engine") == []
    # Its one volume, which nobody named, came with it and goes with it.
    assert [name for name in os.listdir(ground.place.data / "volumes") if not name.startswith(".gone-")] == []
    assert "veth" not in ground.ns.run(["ip", "-br", "link"])
    assert "elements" not in ground.ns.run(["nft", "list", "map", "inet", "stockade", "ports4"], check=False)
    ends = ground.place.run / "net/endpoints"
    assert not ends.exists() or os.listdir(ends) == []
    claims = [Path(f"/var/lib/stockade/ids/{name}") for name in os.listdir("/var/lib/stockade/ids") if name.isdigit()]
    assert [one for one in claims if one.is_symlink() and os.readlink(one).startswith(f"{ground.place.top}/")
            and os.path.exists(os.readlink(one))] == []  # fmt: skip
    for _ in range(200):
        processes = {pid: line for pid, line in ground.place.processes().items() if "support.lifecycle" not in line}
        sockets = os.listdir(ground.place.run / "s")
        if not processes and not sockets:
            break
        time.sleep(0.05)
    assert processes == {}
    assert sockets == []
    assert ground.place.mounts() == []


def cgroups_of(identity: str) -> list[Path]:
    return [Path(base) for base, _, _ in os.walk(CGROUPS) if identity in base]


@pytest.mark.parametrize(("verb", "step", "moment"), POINTS)
def test_killed(
    ground: Ground, verb: str, step: str, moment: str, record_property: Callable[[str, object], None]
) -> None:
    way, story, after = STORIES[verb]
    crash = f"{verb}:{step}:{moment}".removesuffix(":between")
    row = f"{[one.name for one in verbs.ALL[verb].steps].index(step) + 1} {step}"
    record_property(crashes.PROPERTY, crashes.point(verb, row, moment))
    status, _ = run(ground, [*way, *story], crash)
    assert status == -signal.SIGKILL, f"{crash} was never reached"
    status, answers = run(ground, [["settled"], ["nap", 0.1]])
    assert status == 0
    assert [one["unfinished"] for one in answers if "unfinished" in one] == [[]]
    found = seen(answers)
    volumes = [name for name in os.listdir(ground.place.data / "volumes") if not name.startswith(".")]
    assert len(volumes) == (found != "gone"), volumes
    assert found in (BEFORE.get(verb, {"stop": "running", "pause": "running"}.get(verb, after)), after)
    finished = found == after and changed(ground, verb, answers)
    if verbs.ALL[verb].final({step}) and moment == "after":
        assert finished
    identities = os.listdir(ground.place.data / "engine")
    status, answers = run(ground, [["remove", True, True]] if found != "gone" else [])
    assert (status, seen(answers)) == (0, "gone"), answers
    assert_nothing_left(ground)
    assert [path for one in identities for path in cgroups_of(one)] == []
    result = f"{'finished' if finished else 'undone'}: {found}"
    record_property(crashes.PROPERTY, crashes.point(verb, row, moment, result))


def test_undone_by_two(ground: Ground) -> None:
    """A successor that dies while it undoes a start leaves an end of what never ran: the next one is not misled."""
    status, _ = run(ground, [["create"], ["start"]], "start:hand:after")
    assert status == -signal.SIGKILL
    (identity,) = os.listdir(ground.place.data / "engine")
    directory = ground.place.data / "engine" / identity
    os.kill(int((directory / "shim.pid").read_text()), signal.SIGKILL)
    words = shim.delete_words(str(programs.program(shim.PROGRAM)), str(directory), identity, shims.NAMESPACE)
    subprocess.run(words, env=ground.place.environment(), stdin=subprocess.DEVNULL, capture_output=True, check=True)
    assert json.loads((directory / "exit.json").read_text())["exit_status"] == 137
    status, answers = run(ground, [["settled"], ["nap", 0.1]])
    assert (status, seen(answers)) == (0, "created"), answers
    status, answers = run(ground, [["remove", True, True]])
    assert (status, seen(answers)) == (0, "gone"), answers
    assert_nothing_left(ground)


@contextlib.contextmanager
def stuck(pid: int, seconds: float) -> Iterator[None]:
    """A process that not even SIGKILL ends before so many seconds are over, as on a machine without time for it."""
    cgroup = CGROUPS / "freezer" / f"stuck{os.getpid()}"
    cgroup.mkdir()
    try:
        (cgroup / "cgroup.procs").write_text(str(pid))
        (cgroup / "freezer.state").write_text("FROZEN")
        timer = threading.Timer(seconds, (cgroup / "freezer.state").write_text, ["THAWED"])
        timer.start()
        yield
        timer.join()
    finally:
        (cgroup / "freezer.state").write_text("THAWED")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        while (cgroup / "cgroup.procs").read_text():
            time.sleep(0.02)
        cgroup.rmdir()


@pytest.mark.skipif(not (CGROUPS / "freezer").is_dir(), reason="needs the freezer of cgroup v1")
def test_a_shim_that_is_slow_to_die(ground: Ground) -> None:
    """Its sockets go too."""
    status, _ = run(ground, [["create"], ["start"]], "start:create:after")
    assert status == -signal.SIGKILL
    (identity,) = os.listdir(ground.place.data / "engine")
    with stuck(int((ground.place.data / "engine" / identity / "shim.pid").read_text()), 3):
        status, answers = run(ground, [["settled"], ["remove", True, True]])
        assert (status, seen(answers)) == (0, "gone"), answers
    assert_nothing_left(ground)


NETWORK_POINTS = [
    (name, step.name, moment)
    for name, verb in networks.VERBS.items()
    for step in verb.steps
    for moment in crashes.MOMENTS
]


@pytest.mark.parametrize(("verb", "step", "moment"), NETWORK_POINTS)
def test_killed_at_a_network(ground: Ground, verb: str, step: str, moment: str) -> None:
    """It is there with its bridge, or neither is."""
    crash = f"{verb}:{step}:{moment}".removesuffix(":between")
    story = [["network", "three"]] if verb == "network-create" else [["unnetwork", "three"]]
    if verb == "network-remove":
        assert run(ground, [["network", "three"]])[0] == 0
    assert run(ground, story, crash)[0] == -signal.SIGKILL, f"{crash} was never reached"
    status, answers = run(ground, [])
    found = next(one["networks"] for one in answers if "networks" in one)
    assert status == 0
    assert [one["unfinished"] for one in answers if "unfinished" in one] == [[]]
    there = "three" in [one["name"] for one in found]
    bridges = {one["bridge"] for one in found} | {"lo"}
    links = {line.split()[0] for line in ground.ns.run(["ip", "-br", "link"]).splitlines()}
    assert links <= bridges, f"{links - bridges} stay"
    copies = {name.removesuffix(".json") for name in os.listdir(ground.place.data / "networks")}
    assert copies == {one["id"] for one in found}
    if there:
        assert run(ground, [["unnetwork", "three"]])[0] == 0
