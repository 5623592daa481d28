"""`stockade do` as an ordinary user, with one id and with subordinate ids: no root, no daemon, nothing left."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stockade.host import ids, locks
from support import programs
from support.place import Place
from support.place import place as place_of_tests

pytestmark = pytest.mark.root
PYTHON = "/usr/bin/python3"
NOBODY = 65534


@dataclass(frozen=True, slots=True)
class User:
    """Somebody without privileges, and copies of the product that they may read."""

    place: Place
    home: Path
    how: str

    def words(self, *words: str) -> list[str]:
        return [PYTHON, "-c", "import sys; from stockade.cli import main; sys.exit(main())", *words]

    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.home / "run"),
            "STOCKADE_BIN_DIR": str(self.place.top / "bin"),
            "PYTHONPATH": str(self.place.top / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def start(self, *words: str, cwd: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.words(*words),
            cwd=cwd,
            env=self.environment(),
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *words: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
        with self.start(*words, cwd=cwd) as running:
            out, err = running.communicate(timeout=60)
            return subprocess.CompletedProcess(words, running.returncode, out, err)

    def left(self) -> list[str]:
        return os.listdir(self.home / ".local/share/stockade/containers")


@pytest.fixture(scope="module", params=["one id", "subuid"])
def user(request: pytest.FixtureRequest) -> Iterator[User]:
    how: str = request.param
    with place_of_tests() as place:
        for name in programs.NAMES:
            (place.top / "bin").mkdir(exist_ok=True)
            shutil.copy(programs.program(name), place.top / "bin" / name)
        shutil.copytree(programs.TOP / "src", place.top / "src", ignore=shutil.ignore_patterns("__pycache__"))
        home = place.top / "home"
        (home / "run").mkdir(parents=True, mode=0o700)
        for path in (home, home / "run"):
            os.chown(path, NOBODY, NOBODY)
        line = f"nobody:{grant()}:{ids.RANGE}\n" if how == "subuid" else ""
        change_grants(line, add=True)
        try:
            yield User(place, home, how)
        finally:
            change_grants(line, add=False)


def grant() -> int:
    """Where nobody else's ids are: the end of what the product itself would take."""
    return ids.PAST_HIGHEST + (os.getpid() % 256) * ids.RANGE


def change_grants(line: str, add: bool) -> None:
    if not line:
        return
    for file in ("/etc/subuid", "/etc/subgid"):
        with locks.shadow(file):
            there = Path(file).read_text() if os.path.exists(file) else ""
            locks.replace(file, there + line if add else there.replace(line, "", 1))


@pytest.fixture
def project(user: User) -> Path:
    path = user.home / f"project-{secrets.token_hex(3)}"
    path.mkdir()
    (path / "notes.txt").write_text("one\n")
    (path / "notes.txt").chmod(0o600)
    for each in (path, path / "notes.txt"):
        os.chown(each, NOBODY, NOBODY)
    return path


def test_it_runs_and_says_how(user: User, project: Path) -> None:
    done = user.run("do", "--verbose", "sh", "-c", "id -u; cat notes.txt; cat /proc/self/uid_map; exit 4", cwd=project)
    assert done.returncode == 4, done.stderr
    lines = done.stdout.decode().splitlines()
    assert lines[:2] == ["0", "one"]
    assert len(lines) == (3 if user.how == "one id" else 4)
    assert f"ids: {user.how}".encode() in done.stderr
    assert b"user mode" in done.stderr
    assert user.left() == []


def test_a_limit_that_nobody_can_hold_is_refused_and_time_always_holds(user: User, project: Path) -> None:
    if b"(no cgroup" in user.run("do", "--verbose", "true", cwd=project).stderr:
        done = user.run("do", "--memory", "64m", "true", cwd=project)
        assert done.returncode == 125
        assert b"the limit memory cannot be held" in done.stderr
        assert b"hint" in done.stderr
    done = user.run("do", "--time-limit", "300ms", "sh", "-c", "sleep 60 & sleep 60", cwd=project)
    assert done.returncode == 124
    assert user.left() == []


def test_the_host_is_as_the_user_left_it(user: User, project: Path) -> None:
    script = "touch /usr/bin/x /etc/x /root/x; rm /etc/passwd /usr/bin/id; echo two >> notes.txt; cat /etc/shadow"
    done = user.run("do", "-q", "sh", "-c", script, cwd=project)
    assert b"/etc/shadow" in done.stderr
    assert not os.path.exists("/usr/bin/x")
    assert (project / "notes.txt").read_text() == "one\n"
    done = user.run("do", "-q", "ls", "/sys/class/net", cwd=project)
    assert done.stdout.split() == [b"lo"]


def test_changes_are_applied_and_kept(user: User, project: Path) -> None:
    done = user.run("do", "--apply", "--yes", "sh", "-c", "echo two >> notes.txt; mkdir d; echo x > d/f", cwd=project)
    assert done.returncode == 0, done.stderr
    assert (project / "notes.txt").read_text() == "one\ntwo\n"
    assert (project / "d/f").stat().st_uid == NOBODY
    assert user.run("do", "--keep", "k", "sh", "-c", "rm -r d; mkdir d; echo y > d/g", cwd=project).returncode == 0
    assert user.run("do", "--continue", "k", "sh", "-c", "ls d", cwd=project).stdout == b"g\n"
    done = user.run("do", "--continue", "k", "--apply", "--yes", cwd=project)
    assert done.returncode == 0, done.stderr
    assert os.listdir(project / "d") == ["g"]
    assert user.left() == []


@pytest.mark.parametrize("user", ["subuid"], indirect=True)
def test_files_of_other_ids_are_removed_too(user: User, project: Path) -> None:
    script = "mkdir d /usr/d; echo x > d/f; chown -R 5:5 d /usr/d; chmod 700 d /usr/d"
    done = user.run("do", "--keep", "other", "sh", "-c", script, cwd=project)
    assert done.returncode == 0, done.stderr
    done = user.run("do", "--continue", "other", "--apply", "--yes", cwd=project)
    assert done.returncode == 0, done.stderr
    assert (project / "d/f").read_text() == "x\n"
    assert user.left() == []


def test_killed(user: User, project: Path) -> None:
    user.run("do", "true", cwd=project)
    with user.start("do", "sh", "-c", "echo up; touch x; sleep 60 & sleep 60", cwd=project) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        running.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 4
    while user.left() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert user.left() == []
