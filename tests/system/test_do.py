"""`stockade do` as people use it: output, exit codes, limits, changes kept, applied or discarded; nothing is left."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import fixtures
from support.command import report, start, stockade
from support.patience import eventually
from support.place import Place
from support.place import place as place_of_tests

pytestmark = pytest.mark.root

_place = fixtures.place


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


def building_is_said_when_it_takes_long(said: bytes) -> None:
    took = re.search(rb"\bview ([0-9.]+)", said)
    assert took is not None, said
    if not 250 < float(took[1]) < 450:
        assert (b"building the view" in said) == (float(took[1]) > 300), said


def test_the_view_is_built_anew_and_the_old_one_goes_beside(project: Path) -> None:
    with place_of_tests() as own:
        for _ in ("the first time", "again"):
            done = stockade(own, "do", "--verbose", "--stats", "true", cwd=project)
            building_is_said_when_it_takes_long(done.stderr)
        view = own.data / "view"
        old = os.readlink(view / "current")
        (view / f"{old}.seen").write_text("")
        done = stockade(own, "do", "--stats", "true", cwd=project)
        assert (done.returncode, os.readlink(view / "current") != old, (view / old).exists()) == (0, True, False)
        eventually(lambda: not any(name.startswith(".old-") for name in os.listdir(view)), "old trees are gone")


def test_an_init_collects_orphans_and_has_nothing(place: Place, project: Path) -> None:
    script = (
        "echo $$; (sleep 0.1 & ); sleep 0.5; grep -l 'State:.Z' /proc/[0-9]*/status;"
        "cat /proc/1/comm; ls /proc/1/fd /proc/1/map_files 2>&1 | grep -c denied; cat /proc/1/environ /proc/1/mem;"
        "grep -E '^(CapEff|Seccomp|NoNewPrivs):' /proc/1/status"
    )
    done = stockade(place, "do", "-q", "sh", "-c", script, cwd=project)
    assert done.stdout.split() == b"2 init 2 CapEff: 0000000000000020 NoNewPrivs: 1 Seccomp: 2".split(), done
    assert stockade(place, "do", "-q", "--no-init", "sh", "-c", "echo $$", cwd=project).stdout == b"1\n"


def test_a_signals_end_is_told_through_the_init(place: Place, project: Path) -> None:
    for script, status, reason in (("kill -9 $$", 137, "Signaled"), ("exit 137", 137, "Exited")):
        said = report(stockade(place, "do", "--format", "json", "sh", "-c", script, cwd=project))["exit"]
        assert (said["status"], said["reason"]) == (status, reason)


def test_what_apply_refuses_can_hardly_be_made(place: Place, project: Path) -> None:
    """Devices and file capabilities need powers over the host that nothing inside has; the rest apply refuses."""
    script = "mknod dev c 1 3; cp /bin/true t; setfattr -n security.capability -v 0sAQAAAgAEAAAAAAAAAAAAAAAAAAA= t"
    done = stockade(place, "do", "--apply", "--yes", "sh", "-c", f"{script}; mkfifo f; true", cwd=project)
    assert b"mknod: dev: Operation not permitted" in done.stderr
    assert (done.returncode, (project / "dev").exists(), (project / "f").exists()) == (125, False, False)
    assert b"refused: f: " in done.stderr


def test_apply_refuses_file_capabilities_by_name(place: Place, project: Path) -> None:
    """They come from the host's root only: a kept container's layer is where he can put them."""
    name = f"caps-{secrets.token_hex(3)}"
    assert stockade(place, "do", "-q", "--keep", name, "cp", "/bin/true", "capable", cwd=project).returncode == 0
    (layer,) = place.data.glob("containers/*/**/capable")
    subprocess.run(["setcap", "cap_net_raw+ep", layer], check=True)
    refused = stockade(place, "do", "--continue", name, "--apply", "--yes", cwd=project)
    assert (refused.returncode, (project / "capable").exists()) == (125, False), refused
    assert b"refused: capable: it has file capabilities" in refused.stderr
    assert stockade(place, "do", "--drop", name).returncode == 0


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


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory of the system's that is the test's own."""
    path = Path(f"/usr/local/stockade-test-{secrets.token_hex(4)}")
    (path / "old").mkdir(parents=True)
    (path / "old/gone").write_text("x\n")
    (path / "tool").write_text("one\n")
    (path / "group").mkdir()
    (path / "group").chmod(0o2755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def test_what_is_asked_for_outside_is_applied(place: Place, project: Path, shared: Path) -> None:
    script = (
        f"cd {shared}; echo two > t; chmod 755 t; mv t tool; rm -r old; mkdir -p bin; echo x > bin/new; touch group/f;"
        f"chown 33 bin/new; touch /usr/bin/stockade-test /usr/local/stockade-test; echo three >> {project}/notes.txt"
    )
    words = ("--apply-outside", str(shared), "--yes", "sh", "-c", script)
    done = stockade(place, "do", *words, cwd=project)
    assert done.returncode == 0, done.stderr
    assert (shared / "tool").read_text() == "two\n"
    assert sorted(os.listdir(shared)) == ["bin", "group", "tool"]
    assert (shared / "group").stat().st_mode & 0o7777 == 0o2755
    owners = {(shared / name).stat().st_uid for name in ("tool", "bin", "bin/new", "group/f")}
    assert owners == {0}
    assert not Path("/usr/bin/stockade-test").exists()
    assert not Path("/usr/local/stockade-test").exists()
    assert (project / "notes.txt").read_text() == "one\ntwo\nthree\n"
    assert f"applied 5 to {shared}".encode() in done.stderr, done.stderr
    assert leftovers(place) == []


def test_outside_alone_and_later(place: Place, project: Path, shared: Path) -> None:
    words = ("do", "--no-cwd", "--apply-outside", str(shared), "--yes")
    assert stockade(place, *words, "touch", f"{shared}/a", cwd=project).returncode == 0
    assert (shared / "a").exists()
    assert stockade(place, *words, "true", cwd=project).returncode == 0
    assert stockade(place, "do", "--keep", "later", "rm", "-r", f"{shared}/old", cwd=project).returncode == 0
    done = stockade(place, "do", "--continue", "later", "--apply-outside", str(shared), "--yes", cwd=project)
    assert done.returncode == 0, done.stderr
    assert not (shared / "old").exists()
    assert leftovers(place) == []


def test_outside_what_the_host_changed_or_cannot_take_is_refused(place: Place, project: Path, shared: Path) -> None:
    script = f"rm {shared}/tool; cp /bin/true {shared}/suid; chmod 4755 {shared}/suid; echo ready; read go"
    words = ("do", "--apply-outside", str(shared), "--yes", "sh", "-c", script)
    running = start(place, *words, cwd=project, stdin=-1, stdout=-1, stderr=-1)
    assert running.stdout is not None
    assert running.stdout.readline() == b"ready\n"
    (shared / "tool").write_text("the host's\n")
    _, said = running.communicate(b"go\n", timeout=60)
    assert running.returncode == 125
    assert b"refused: suid: it has a setuid" in said
    assert b"refused: tool:" in said
    assert (shared / "tool").read_text() == "the host's\n"
    assert sorted(os.listdir(shared)) == ["group", "old", "tool"]


def test_a_directory_that_was_replaced_in_the_view_is_refused(place: Place, project: Path, shared: Path) -> None:
    for script in (f"rm -r {shared}", f"rm -r {shared}; mkdir {shared}; touch {shared}/x", f"mv {shared} {shared}-2"):
        done = stockade(place, "do", "--apply-outside", str(shared), "--yes", "sh", "-c", script, cwd=project)
        assert done.returncode == 125, done.stderr
        assert b"itself was removed or replaced in the view" in done.stderr
        assert sorted(os.listdir(shared)) == ["group", "old", "tool"]


@pytest.mark.parametrize("directory", ["/", "/etc", "/var/lib", "/root", "/proc", "/usr/no-such", "/usr/bin/env"])
def test_outside_is_only_what_the_view_shows_as_it_is(place: Place, project: Path, directory: str) -> None:
    done = stockade(place, "do", "--apply-outside", directory, "--yes", "true", cwd=project)
    assert done.returncode == 125
    assert directory.encode() in done.stderr


def test_a_cut_application_outside_is_finished_or_undone(place: Place, project: Path, shared: Path) -> None:
    """Killed at any moment of it, the next start leaves all of it or nothing."""
    fill = f"cd {shared}; for n in $(seq 300); do echo new > f$n; done; echo two > t; mv t tool; rm -r old"
    outcomes = set()
    for number in range(5):
        name = f"cut{number}"
        assert stockade(place, "do", "-q", "--keep", name, "sh", "-c", fill, cwd=project).returncode == 0
        words = ("do", "--continue", name, "--apply-outside", str(shared), "--yes")
        running = start(place, *words, cwd=project, stdout=-3, stderr=-3, start_new_session=True)
        time.sleep(0.08 + number * 0.05)
        for pid in {running.pid, *place.processes()}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        running.wait()
        # Recovers what was cut, and drops it.
        stockade(place, "do", "--drop", name, cwd=project)
        found = sorted(os.listdir(shared))
        done = "f1" in found
        outcomes.add(done)
        assert len(found) == (302 if done else 3), found[:9]
        assert (shared / "tool").read_text() == ("two\n" if done else "one\n")
        shutil.rmtree(shared)
        (shared / "old").mkdir(parents=True)
        (shared / "old/gone").write_text("x\n")
        (shared / "tool").write_text("one\n")
        (shared / "group").mkdir()
    # Trees whose removal was cut are swept by the next start.
    stockade(place, "do", "-q", "--no-cwd", "true", cwd=project)
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
