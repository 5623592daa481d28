"""Other people's walls under the engine, by the unmodified docker CLI: a container behind one is a container."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import IMAGE, Daemon, stocked
from support.patience import eventually

pytestmark = pytest.mark.root

WALLS = ("runc", "crun", "io.containerd.runc.v2")


@pytest.fixture(scope="module")
def docker() -> Iterator[Daemon]:
    with stocked() as made:
        yield made
        made.clear()
        left = [path for name in ("roots", "oci/stockade") for path in (made.place.run / name).iterdir()]
        assert not left, f"left behind: {left}"


@pytest.fixture(params=WALLS)
def wall(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def box(docker: Daemon, wall: str) -> Iterator[str]:
    """A container that sleeps."""
    identity = docker.run("--runtime", wall, IMAGE, "sleep", "1000")
    yield identity
    docker.docker("rm", "-f", identity, check=False)


def test_a_program_runs_to_its_end(docker: Daemon, wall: str) -> None:
    words = ("run", "--rm", "-i", "--runtime", wall, IMAGE, "sh", "-c", "cat; id -u; hostname; echo no >&2; exit 7")
    done = docker.docker(*words, input=b"given\n", check=False)
    lines = done.stdout.split()
    assert lines[:2] == ["given", "0"]
    assert len(lines[2]) == 12
    assert done.stderr.splitlines()[-1] == "no"
    assert done.returncode == 7


def test_its_files_are_shifted_and_its_changes_seen(docker: Daemon, box: str) -> None:
    docker.said("exec", box, "touch", "/tmp/made")
    assert docker.said("exec", box, "stat", "-c", "%u", "/tmp/made", "/bin/busybox").split() == ["0", "0"]
    assert "A /tmp/made" in docker.said("diff", box).splitlines()
    pid = int(docker.said("inspect", "-f", "{{.State.Pid}}", box))
    assert Path(f"/proc/{pid}").stat().st_uid >= 65536, "root inside is nobody outside"


def test_a_bind_belongs_to_the_same_ids_inside(docker: Daemon, wall: str, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("x")
    os.chmod(tmp_path, 0o755)
    script = "stat -c %u /there/theirs; echo y > /there/ours"
    words = ("--rm", "--runtime", wall, "-v", f"{tmp_path}:/there", IMAGE, "sh", "-c", script)
    assert docker.said("run", *words) == "0"
    assert (tmp_path / "ours").stat().st_uid == 0


@pytest.mark.parametrize(
    "more", [["--privileged"], ["--network", "host", "--read-only"], ["--userns", "host", "-u", "www"]]
)
def test_doors_options_hold_there_too(docker: Daemon, wall: str, more: list[str]) -> None:
    box = docker.run("--runtime", wall, *more, IMAGE, "sleep", "1000")
    assert docker.said("exec", box, "echo", "up") == "up"
    docker.said("rm", "-f", box)


def test_exec_and_its_status(docker: Daemon, box: str) -> None:
    done = docker.docker("exec", "-i", "-u", "www", box, "sh", "-c", "cat; id -u; exit 3", input=b"in\n", check=False)
    assert (done.stdout, done.returncode) == ("in\n33\n", 3)
    missing = docker.docker("exec", box, "/no/such", check=False)
    assert missing.returncode == 127, missing


def test_a_command_that_is_not_there(docker: Daemon, wall: str) -> None:
    done = docker.docker("run", "--rm", "--runtime", wall, IMAGE, "/no/such", check=False)
    assert done.returncode == 127
    assert "/no/such" in done.stderr


def test_a_terminal(docker: Daemon, wall: str) -> None:
    words = docker.words("run", "--rm", "-it", "--runtime", wall, IMAGE, "sh", "-c", "tty; read word; echo got $word")
    script = ["script", "-qec", " ".join(f"'{word}'" for word in words), "/dev/null"]
    done = subprocess.run(script, input=b"typed\n", capture_output=True, timeout=60, check=False)
    assert b"/dev/" in done.stdout
    assert b"got typed" in done.stdout
    assert os.stat("/dev/null").st_uid == 0, "a stream that nobody gave became the container's"


def test_logs_stop_and_start_again(docker: Daemon, wall: str) -> None:
    script = "trap 'echo asked; exit 4' TERM; echo up; while :; do sleep 0.05; done"
    box = docker.run("--runtime", wall, IMAGE, "sh", "-c", script)
    eventually(lambda: docker.said("logs", box) == "up")
    docker.said("stop", box)
    assert docker.said("logs", box).split() == ["up", "asked"]
    assert docker.said("inspect", "-f", "{{.State.ExitCode}}", box) == "4"
    docker.said("start", box)
    eventually(lambda: docker.said("logs", box).split() == ["up", "asked", "up"])
    docker.said("rm", "-f", box)


def test_pause_update_and_statistics(docker: Daemon, box: str) -> None:
    docker.said("pause", box)
    assert docker.said("inspect", "-f", "{{.State.Status}}", box) == "paused"
    docker.said("unpause", box)
    docker.said("update", "--memory", "64m", "--memory-swap", "64m", box)
    line = docker.said("stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", box)
    assert "64MiB" in line, line
    assert line.split()[-1] == "1"


def test_a_memory_limit_ends_it(docker: Daemon, wall: str) -> None:
    script = "x=a; while :; do x=$x$x$x$x; done"
    box = docker.run("--runtime", wall, "-m", "16m", "--memory-swap", "16m", IMAGE, "sh", "-c", script)
    assert docker.said("wait", box) == "137"
    assert docker.said("inspect", "-f", "{{.State.OOMKilled}}", box) == "true"
    docker.said("rm", box)


def test_it_outlives_the_daemon(docker: Daemon, box: str) -> None:
    docker.restart(signal.SIGKILL)
    assert docker.said("exec", box, "echo", "there") == "there"
    docker.said("stop", "-t", "0", box)
    assert docker.said("inspect", "-f", "{{.State.ExitCode}}", box) == "137"


def test_its_shim_is_killed(docker: Daemon, box: str) -> None:
    directory = next(docker.place.data.glob(f"**/{box}"))
    pid = int(docker.said("inspect", "-f", "{{.State.Pid}}", box))
    os.kill(int((directory / "shim.pid").read_text()), signal.SIGKILL)
    eventually(lambda: docker.said("inspect", "-f", "{{.State.Running}}", box) == "false")
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    docker.said("start", box)
    assert docker.said("exec", box, "echo", "again") == "again"


@pytest.mark.parametrize("name", ["nosuch", "/no/such", "io.containerd.nosuch.v2", "sh"])
def test_unknown_names_are_refused(docker: Daemon, name: str) -> None:
    done = docker.docker("create", "--runtime", name, IMAGE, check=False)
    assert f"unknown or invalid runtime name: {name}" in done.stderr
    assert done.returncode == 1


def test_a_path_names_a_wall(docker: Daemon) -> None:
    assert docker.said("run", "--rm", "--runtime", "/usr/bin/crun", IMAGE, "echo", "by path") == "by path"


def test_what_only_the_native_wall_serves_is_refused(docker: Daemon) -> None:
    done = docker.docker("create", "--init", "--runtime", "runc", IMAGE, check=False)
    assert "--init is served by the native wall only" in done.stderr
