"""The daemon's own life: started on demand, once, killed at will, and what containers do meanwhile."""

from __future__ import annotations

import grp
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon, daemon
from support.patience import eventually
from support.place import CGROUPS, Place, place

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]
COUNT = "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.02; done"


@pytest.fixture(scope="module")
def served() -> Iterator[Daemon]:
    with place() as made, daemon(made) as found:
        found.load()
        yield found


@pytest.fixture
def box(served: Daemon) -> Iterator[Daemon]:
    yield served
    served.clear()


def state(box: Daemon, name: str) -> dict[str, object]:
    found = box.inspect(name, "{{json .State}}")
    assert isinstance(found, dict)
    return found


def on_demand(made: Place, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "stockade.daemon", "--on-demand", *words],
        env=made.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def pid_of(made: Place) -> int:
    eventually(lambda: (made.run / "stockade.sock").exists() and (made.run / "daemon.pid").exists())
    return int((made.run / "daemon.pid").read_text())


def test_of_many_started_on_demand_one_serves(place: Place) -> None:
    many = [on_demand(place) for _ in range(6)]
    pid = pid_of(place)
    others = [one for one in many if one.pid != pid]
    assert [one.wait(30) for one in others] == [0] * len(others)
    assert os.getsid(pid) == pid
    assert os.stat(place.run / "stockade.sock").st_mode & 0o777 == 0o600
    assert {"stockade-daemon"} >= {
        line.rpartition("/")[2] for line in Path(f"/proc/{pid}/cgroup").read_text().split() if ":memory:" in line
    }
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not (place.run / "stockade.sock").exists())
    for one in many:
        one.wait(30)
        assert one.stderr is not None
        one.stderr.close()


def test_it_leaves_when_idle(place: Place) -> None:
    one = on_demand(place, "--exit-when-idle", "0.5")
    assert one.wait(30) == 0
    assert not (place.run / "stockade.sock").exists()
    assert one.stderr is not None
    one.stderr.close()


def test_sockets_that_systemd_listens_on(place: Place) -> None:
    path = str(place.top / "given.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(8)
        script = "import os,sys; os.dup2(int(sys.argv[1]),3); os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execv(sys.executable, [sys.executable, '-m', 'stockade.daemon'])"  # noqa: E501
        one = subprocess.Popen(
            [sys.executable, "-c", script, str(listener.fileno())],
            env=place.environment(),
            pass_fds=[listener.fileno()],
        )
        done = subprocess.run(["docker", "-H", f"unix://{path}", "version"], capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr
    one.send_signal(signal.SIGTERM)
    assert one.wait(30) == 0
    assert os.path.exists(path)


def test_a_group_that_may_use_the_socket(place: Place) -> None:
    group = grp.getgrnam("games")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        subprocess.run(
            [sys.executable, "-m", "stockade.daemon", "--group", "nobody-such"],
            env=place.environment(), check=True, capture_output=True, timeout=30,
        )  # fmt: skip
    assert b"there is no group 'nobody-such'" in refused.value.stderr
    daemon = subprocess.Popen(
        [sys.executable, "-m", "stockade.daemon", "--group", group.gr_name], env=place.environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        pid_of(place)
        found = (place.run / "stockade.sock").stat()
        assert (found.st_gid, found.st_mode & 0o777) == (group.gr_gid, 0o660)
        assert place.run.stat().st_mode & 0o070 == 0o010, "they reach it, and see nothing else"
    finally:
        daemon.terminate()
        daemon.wait(30)


def test_containers_and_their_logs_go_on(box: Daemon) -> None:
    box.run("--name", "goes", "box:1", "sh", "-c", COUNT)
    before = state(box, "goes")
    box.restart(signal.SIGKILL)
    box.restart(signal.SIGTERM)
    after = state(box, "goes")
    assert (after["Status"], after["Pid"], after["StartedAt"]) == ("running", before["Pid"], before["StartedAt"])
    eventually(lambda: len(box.said("logs", "goes").splitlines()) > 20)
    lines = box.said("logs", "goes").splitlines()
    assert lines == [f"line {number}" for number in range(len(lines))]


def test_an_end_that_nobody_saw_is_known(box: Daemon) -> None:
    box.run("--name", "ends", "box:1", "sh", "-c", "sleep 0.5; exit 7")
    box.run("--name", "self", "--rm", "box:1", "sh", "-c", "sleep 0.5")
    box.stop(signal.SIGKILL)
    time.sleep(1)
    box.start()
    eventually(lambda: state(box, "ends")["Status"] == "exited")
    assert state(box, "ends")["ExitCode"] == 7
    eventually(lambda: "self" not in box.said("ps", "-a"))


def test_a_policy_goes_on_after_the_daemon(box: Daemon) -> None:
    box.run("--name", "again", "--restart", "always", "box:1", "sh", "-c", "sleep 0.3; exit 1")
    box.stop(signal.SIGKILL)
    time.sleep(0.6)
    box.start()
    eventually(lambda: int(str(box.inspect("again", "{{.RestartCount}}"))) >= 2)
    box.docker("stop", "-t", "0", "again")
    assert state(box, "again")["Status"] == "exited"
    box.restart()
    assert state(box, "again")["Status"] == "exited"


def test_a_shim_that_is_killed(box: Daemon) -> None:
    identity = box.run("--name", "orphan", "box:1", "sleep", "1000")
    shim = int((box.place.data / "engine" / identity / "shim.pid").read_text())
    os.kill(shim, signal.SIGKILL)
    eventually(lambda: state(box, "orphan")["Status"] == "exited")
    assert state(box, "orphan")["ExitCode"] == 137
    box.docker("start", "orphan")
    shim = int((box.place.data / "engine" / identity / "shim.pid").read_text())
    box.stop(signal.SIGKILL)
    os.kill(shim, signal.SIGKILL)
    box.start()
    eventually(lambda: state(box, "orphan")["Status"] == "exited")


def test_a_shim_that_is_stopped_delays_its_own_container_alone(box: Daemon) -> None:
    identity = box.run("--name", "stuck", "box:1", "sleep", "1000")
    box.run("--name", "fine", "box:1", "sleep", "1000")
    shim = int((box.place.data / "engine" / identity / "shim.pid").read_text())
    os.kill(shim, signal.SIGSTOP)
    try:
        box.stop(signal.SIGKILL)
        began = time.monotonic()
        box.start()
        box.docker("pause", "fine")
        box.docker("unpause", "fine")
        box.docker("run", "--rm", "box:1", "true")
        assert time.monotonic() - began < 9
    finally:
        os.kill(shim, signal.SIGCONT)
    box.docker("pause", "stuck")
    box.docker("unpause", "stuck")
    assert state(box, "stuck")["Status"] == "running"


def test_a_shim_that_is_stopped_does_not_keep_its_container(box: Daemon) -> None:
    identity = box.run("--name", "held", "box:1", "sleep", "1000")
    os.kill(int((box.place.data / "engine" / identity / "shim.pid").read_text()), signal.SIGSTOP)
    box.docker("rm", "-f", "held")
    box.docker("container", "prune", "-f")
    assert os.listdir(box.place.data / "engine") == []


def test_after_a_boot_nothing_stale_is_trusted(box: Daemon) -> None:
    box.run("--name", "was", "box:1", "sleep", "1000")
    box.run("--name", "comes", "--restart", "unless-stopped", "box:1", "sleep", "1000")
    box.docker("kill", "was", "comes")
    box.docker("start", "was", "comes")
    box.stop(signal.SIGKILL)
    for identity in os.listdir(box.place.data / "engine"):
        shim = int((box.place.data / "engine" / identity / "shim.pid").read_text())
        os.kill(shim, signal.SIGKILL)
    time.sleep(0.3)
    _pretend_other_boot(box.place.data / "store.db", os.listdir(box.place.data / "engine"))
    box.start()
    assert (state(box, "was")["Status"], state(box, "was")["ExitCode"]) == ("exited", 255)
    eventually(lambda: state(box, "comes")["Status"] == "running")


def _pretend_other_boot(path: Path, identities: list[str]) -> None:
    import sqlite3

    for base, _, _ in os.walk(CGROUPS):
        if os.path.basename(base) in identities:
            os.rmdir(base)

    with sqlite3.connect(path) as store:
        rows = store.execute("SELECT key, value FROM records WHERE kind='container'").fetchall()
        for key, value in rows:
            record = json.loads(value)
            record["state"]["boot"] = "another boot"
            store.execute(
                "UPDATE records SET value=? WHERE kind='container' AND key=?", (json.dumps(record).encode(), key)
            )
    store.close()


def test_clients_that_race_on_one_container(box: Daemon) -> None:
    box.docker("create", "--name", "raced", "box:1", "sleep", "1000")
    starts = [box.begin("start", "raced") for _ in range(5)]
    assert [one.wait(30) for one in starts] == [0] * 5
    stops = [box.begin("stop", "-t", "1", "raced") for _ in range(5)]
    assert [one.wait(30) for one in stops] == [0] * 5
    removals = [box.begin("rm", "-f", "raced") for _ in range(5)]
    for one in removals:
        one.wait(30)
    assert box.said("ps", "-aq") == ""
    for one in (*starts, *stops, *removals):
        one.communicate()


def test_a_name_that_two_want(box: Daemon) -> None:
    both = [box.begin("create", "--name", "wanted", "box:1") for _ in range(4)]
    said = [one.communicate()[1].decode() for one in both]
    assert sorted(one.returncode for one in both) == [0, 1, 1, 1]
    assert all("is already in use" in text for one, text in zip(both, said, strict=True) if one.returncode)


def test_a_damaged_store_is_said_and_repaired(box: Daemon) -> None:
    box.run("--name", "kept", "box:1", "sleep", "1000")
    box.docker("create", "--name", "made", "box:1", "true")
    # The copies beside the data follow a moment later.
    time.sleep(0.6)
    box.stop(signal.SIGKILL)
    store = box.place.data / "store.db"
    store.write_bytes(b"garbage" * 10_000)
    for end in ("-wal", "-shm"):
        store.with_name(f"store.db{end}").unlink(missing_ok=True)
    words = [sys.executable, "-m", "stockade.daemon"]
    refused = subprocess.run(words, env=box.place.environment(), capture_output=True, text=True, timeout=30)
    assert refused.returncode == 1
    assert "is damaged" in refused.stderr
    assert "hint: stockade system repair" in refused.stderr
    mended = subprocess.run(
        [*words, "--repair"], env=box.place.environment(), capture_output=True, text=True, timeout=60
    )
    assert mended.returncode == 0, mended.stderr
    assert "2 of containers; images that are there: 1" in mended.stdout
    box.start()
    assert state(box, "kept")["Status"] == "running"
    box.stop(signal.SIGKILL)
    for one in box.place.data.glob("store.db*"):
        one.unlink()
    box.start()
    assert state(box, "kept")["Status"] == "running"
    assert box.docker("start", "-a", "made").returncode == 0
    assert box.docker("run", "--rm", "box:1", "echo", "hi").stdout == "hi\n"
