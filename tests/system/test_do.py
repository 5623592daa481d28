"""`stockade do` as people use it: output, exit codes, limits, changes kept, applied or discarded; nothing is left."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import report, start, stockade
from support.place import Place
from support.place import place as place_of_tests

pytestmark = pytest.mark.root


@pytest.fixture(name="place", scope="module")
def _place() -> Iterator[Place]:
    """One place for all of them: its cached tree is made once."""
    with place_of_tests() as made:
        yield made


@pytest.fixture
def project(place: Place) -> Path:
    """A directory with a file, as the caller's."""
    path = place.top / f"project-{secrets.token_hex(3)}"
    path.mkdir()
    (path / "notes.txt").write_text("one\ntwo\n")
    (path / "secret.txt").write_text("mine\n")
    (path / "secret.txt").chmod(0o600)
    return path


def leftovers(place: Place) -> list[str]:
    return os.listdir(place.data / "containers")


def test_streams_and_exit_code(place: Place, project: Path) -> None:
    done = stockade(place, "do", "-q", "--", "sh", "-c", "cat; echo error >&2; exit 7", cwd=project, stdin=b"in\0put")
    assert (done.stdout, done.stderr, done.returncode) == (b"in\0put", b"error\n", 7)
    assert leftovers(place) == []


def test_the_view_is_built_anew_and_the_old_one_goes_beside(project: Path) -> None:
    with place_of_tests() as own:
        first = stockade(own, "do", "--verbose", "true", cwd=project)
        assert b"building the view" in first.stderr
        view = own.data / "view"
        old = os.readlink(view / "current")
        assert b"building the view" not in stockade(own, "do", "--verbose", "true", cwd=project).stderr
        (view / f"{old}.seen").write_text("")
        done = stockade(own, "do", "--stats", "true", cwd=project)
        assert (done.returncode, os.readlink(view / "current") != old, (view / old).exists()) == (0, True, False)
        deadline = time.monotonic() + 20
        while any(name.startswith(".old-") for name in os.listdir(view)):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_mebibyte_comes_through_whole(place: Place, project: Path) -> None:
    data = os.urandom(1 << 20)
    done = stockade(place, "do", "-q", "cat", cwd=project, stdin=data)
    assert done.stdout == data


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["false"], 1),
        (["sh", "-c", "sh -c 'kill -9 $$'"], 137),
        (["sh", "-c", "sh -c 'kill -TERM $$'; exit $?"], 143),
        (["no-such-command"], 127),
        (["/etc/passwd"], 126),
        (["/"], 126),
    ],
)
def test_exit_codes(place: Place, project: Path, command: list[str], status: int) -> None:
    done = stockade(place, "do", *command, cwd=project)
    assert done.returncode == status, done.stderr
    assert leftovers(place) == []
    if status in (126, 127):
        assert command[0].encode() in done.stderr


def test_what_the_program_sees(place: Place, project: Path) -> None:
    script = (
        "id -u; hostname; pwd; cat secret.txt; ls /root /home; echo $HOME; ip -o link 2>/dev/null | wc -l; echo $SECRET"
    )
    done = stockade(place, "do", "-q", "sh", "-c", script, cwd=project, env={"SECRET": "x"})
    lines = done.stdout.decode().splitlines()
    assert lines[:4] == ["0", "stockade", str(project), "mine"]
    assert "/root" in lines[-3]
    assert lines[-1] == ""


def test_changes_are_discarded_and_said(place: Place, project: Path) -> None:
    script = "echo three >> notes.txt; rm secret.txt; mkdir new; echo x > new/file; touch /usr/bin/mine /root/x"
    done = stockade(place, "do", "sh", "-c", script, cwd=project)
    said = done.stderr.decode()
    for expected in ("~ notes.txt", "- secret.txt", "+ new/file", "/usr/bin", "discarded", "--apply"):
        assert expected in said
    assert (project / "notes.txt").read_text() == "one\ntwo\n"
    assert sorted(os.listdir(project)) == ["notes.txt", "secret.txt"]
    assert not os.path.exists("/usr/bin/mine")
    assert leftovers(place) == []


def test_changes_are_applied(place: Place, project: Path) -> None:
    os.chown(project, 4321, 4321)
    os.chown(project / "notes.txt", 4321, 4321)
    script = "echo three >> notes.txt; mkdir new; echo x > new/file; ln -s notes.txt link; chmod 755 new/file"
    done = stockade(place, "do", "--apply", "--yes", "sh", "-c", script, cwd=project)
    assert done.returncode == 0, done.stderr
    assert b"+three" in done.stderr
    assert (project / "notes.txt").read_text() == "one\ntwo\nthree\n"
    assert (project / "new/file").read_text() == "x\n"
    assert (project / "new/file").stat().st_mode & 0o7777 == 0o755
    assert os.readlink(project / "link") == "notes.txt"
    assert {(project / name).lstat().st_uid for name in ("notes.txt", "new", "new/file", "link")} == {4321}
    assert leftovers(place) == []


def test_a_failed_commands_changes_are_not_applied_unasked(place: Place, project: Path) -> None:
    done = stockade(place, "do", "--apply", "--yes", "sh", "-c", "echo x > notes.txt; exit 3", cwd=project)
    assert done.returncode == 3
    assert (project / "notes.txt").read_text() == "one\ntwo\n"


def test_kept_continued_applied(place: Place, project: Path) -> None:
    assert stockade(place, "do", "--keep", "try", "sh", "-c", "echo 1 > a; touch /usr/x", cwd=project).returncode == 0
    assert not (project / "a").exists()
    again = stockade(place, "do", "--keep", "try", "true", cwd=project)
    assert again.returncode == 125
    assert b"'try' is taken" in again.stderr
    for _ in range(2):
        done = stockade(place, "do", "--continue", "try", "sh", "-c", "ls /usr/x && cat a && echo 2 >> a")
        assert done.returncode == 0, done.stderr
    assert b"try" in stockade(place, "do", "--kept").stdout
    done = stockade(place, "do", "--continue", "try", "--apply", "--yes")
    assert done.returncode == 0, done.stderr
    assert (project / "a").read_text() == "1\n2\n2\n"
    assert leftovers(place) == []


def test_dropped(place: Place, project: Path) -> None:
    stockade(place, "do", "--keep", "try", "touch", "a", cwd=project)
    assert stockade(place, "do", "--drop", "try").returncode == 0
    assert leftovers(place) == []
    assert stockade(place, "do", "--drop", "try").returncode == 125


def test_limits(place: Place, project: Path) -> None:
    done = stockade(place, "do", "--time-limit", "500ms", "--format", "json", "sleep", "30", cwd=project)
    assert done.returncode == 124
    assert report(done)["exit"]["reason"] == "TimedOut"
    hog = "import time\nx = []\nwhile True: x.append(bytearray(1 << 20))"
    done = stockade(place, "do", "--memory", "48m", "--format", "json", "python3", "-c", hog, cwd=project)
    assert done.returncode == 137
    assert report(done)["exit"]["reason"] == "OOMKilled"
    assert report(done)["exit"]["oom_kills"] >= 1
    forks = "import os,sys\nfor n in range(99):\n  if not os.fork(): os.read(0, 1); os._exit(0)\n"
    done = stockade(place, "do", "--pids-limit", "20", "python3", "-c", forks, cwd=project)
    assert done.returncode == 1
    assert b"BlockingIOError" in done.stderr
    assert leftovers(place) == []


def test_the_report_for_programs(place: Place, project: Path) -> None:
    done = stockade(place, "do", "--format", "json", "sh", "-c", "echo x > new", cwd=project)
    found = report(done)
    assert found["exit"]["status"] == 0
    assert found["exit"]["usage"]["cpu"] > 0
    assert found["exit"]["usage"]["memory_peak"] > 100_000
    assert {"sweep", "view", "files", "shim", "create", "start", "run", "finish", "total"} <= set(found["times"])
    assert found["changes"]["inside"] == [{"path": f"{project}/new", "kind": "added", "type": "file", "size": 2}]
    assert found["changes"]["outside"] == []


def test_options_of_the_view(place: Place, project: Path) -> None:
    (place.top / "shown").mkdir()
    (place.top / "shown/file").write_text("shown\n")
    words = [
        "do",
        "-q",
        "--bind",
        f"{place.top}/shown:/mnt/a:ro",
        "--bind",
        f"{place.top}/shown:/mnt/b",
        "--env",
        "A=1",
    ]
    script = "cat /mnt/a/file; touch /mnt/a/x; touch /mnt/b/y; echo $A; hostname; id -u; id -g"
    done = stockade(place, *words, "--hostname", "inner", "sh", "-c", script, cwd=project)
    assert done.stdout == b"shown\n1\ninner\n0\n0\n", done.stderr
    assert b"Read-only file system" in done.stderr
    assert (place.top / "shown/y").stat().st_uid == os.getuid()
    assert not (place.top / "shown/x").exists()
    done = stockade(
        place, "do", "-q", "--no-cwd", "--user", "1234:7", "sh", "-c", "pwd; id -u; touch /usr/x", cwd=project
    )
    assert done.stdout.splitlines()[1] == b"1234"
    assert b"ermission denied" in done.stderr


@pytest.mark.parametrize("directory", ["/", "/etc", "/usr", "/tmp", "/root"])
def test_refused_directories(place: Place, directory: str) -> None:
    done = stockade(place, "do", "true", cwd=Path(directory))
    assert done.returncode == 125
    assert b"hint: cd to a project directory" in done.stderr
    assert stockade(place, "do", "--no-cwd", "true", cwd=Path(directory)).returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], b"needs a command"),
        (["--memory", "lots", "true"], b"is not a size"),
        (["--nonsense", "true"], b"no option --nonsense"),
        (["--keep", "a", "--apply", "true"], b"contradict"),
        (["--continue", "none", "true"], b"nothing is kept as 'none'"),
        (["--workdir", "/none", "true"], b"No such file"),
        (["--bind", "x", "true"], b"is not SRC:DST"),
        (["--user", "nobody-here", "true"], b"no user"),
        (["--apply", "true"], b"there is none"),
    ],
)
def test_bad_input(place: Place, project: Path, words: list[str], message: bytes) -> None:
    done = stockade(place, "do", *words, cwd=project)
    assert done.returncode == 125
    assert message in done.stderr
    assert b"Traceback" not in done.stderr
    assert not (place.data / "containers").exists() or leftovers(place) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_that_nobody_handles_ends_it(place: Place, project: Path, number: int, status: int) -> None:
    running = start(place, "do", "-q", "--", "sh", "-c", "echo up; exec sleep 60", cwd=project, stdout=-1)
    with running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        running.send_signal(number)
        assert running.wait(10) == status
    assert leftovers(place) == []


def test_a_signal_that_is_handled_is_the_programs(place: Place, project: Path) -> None:
    script = "trap 'echo got; exit 5' TERM; echo up; while :; do sleep 0.05; done"
    with start(place, "do", "-q", "sh", "-c", script, cwd=project, stdout=-1) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        running.send_signal(signal.SIGTERM)
        assert running.stdout.read() == b"got\n"
        assert running.wait(10) == 5


def test_stopped_and_continued(place: Place, project: Path) -> None:
    script = "while :; do echo; sleep 0.02; done"
    with start(place, "do", "-q", "sh", "-c", script, cwd=project, stdout=-1) as running:
        assert running.stdout is not None
        running.stdout.read(3)
        running.send_signal(signal.SIGTSTP)
        time.sleep(0.5)
        os.set_blocking(running.stdout.fileno(), False)
        while running.stdout.read(4096):
            pass
        time.sleep(0.3)
        assert not running.stdout.read(4096)
        running.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        assert running.stdout.read(4096)
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 143
