"""The command `stockade` against the Python command line behind it: the same words, bytes and exit codes for each line.

The lines are made of the table that Python parses by, so that an option that is added is tried on both.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stockade.cli import load
from stockade.cli.table import Option
from support import fixtures
from support.command import environment
from support.daemon import IMAGE, Daemon, daemon
from support.place import Place
from support.programs import program

pytestmark = pytest.mark.root

PYTHON = Path(sys.executable).parent / "stockade-cli"
VALUES = {"env": "A=1", "workdir": "/tmp", "user": "www", "detach-keys": "ctrl-a"}
SAYS = ("box", "sh", "-c", "echo $A $HOME; pwd; id -u; cat; echo bad >&2; exit 3")
_place = fixtures.place


@pytest.fixture(name="engine", scope="module")
def _engine(place: Place) -> Iterator[Daemon]:
    with daemon(place) as made:
        made.load()
        made.run("--name", "box", "--init", IMAGE, "sleep", "1000")
        yield made


@pytest.fixture(name="alone", scope="module")
def _alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command without Python beside it: what it does not serve itself fails."""
    copy = tmp_path_factory.mktemp("alone") / "stockade"
    shutil.copy(program("stockade"), copy)
    return copy


def call(engine: Daemon, command: Path, *words: str) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        [command, *words], cwd=engine.place.top, env={**environment(engine.place), "GIVEN": "yes"},
        input=b"in\n", capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def forms(option: Option) -> list[tuple[str, ...]]:
    """Every way to write an option."""
    if not option.metavar:
        return [
            (option.name,),
            (f"{option.name}=true",),
            (f"{option.name}=x",),
            *([(option.short,)] if option.short else []),
        ]
    value = VALUES[option.key]
    short = [(option.short, value), (f"{option.short}{value}",), (f"{option.short}={value}",)] if option.short else []
    return [(option.name, value), (f"{option.name}={value}",), (option.name,), *short]


EXEC = load("exec")
LINES: list[tuple[str, ...]] = [
    ("exec", *SAYS),
    ("exec", "--", *SAYS),
    *[("exec", *form, *SAYS) for option in EXEC.options for form in forms(option)],
    ("exec", "-i", "-e", "A=1", "--env", "A=2", "-e", "GIVEN", "-e", "B=", "-u", "33:29", "-w", "/", "box", "env"),
    ("exec", "-e", "NEVER_GIVEN", "box", "env"),
    ("exec", "-e", "=1", "box", "env"),
    ("exec", "-e", "ü=é x", "box", "env"),
    ("exec", "-ie", "A=1", *SAYS),
    ("exec", "-u", "nobody-here", "box", "true"),
    ("exec", "-w", "relative", "box", "true"),
    ("exec", "-w", "/nonesuch", "box", "true"),
    ("exec", "box", "nonesuch"),
    ("exec", "box", "/etc"),
    ("exec", "box", "sh", "-c", "kill -9 $$"),
    ("exec", "box", "head", "-c", "300000", "/dev/zero"),
    ("exec", "nobody", "true"),
    ("exec", "a/b?c", "true"),
    ("exec", "box"),
    ("exec", "box", ""),
    ("exec", "--nonesuch", "box", "true"),
    ("exec", "-", "true"),
    ("exec", "--help"),
    ("exec", "box", "echo", "--", "-t", "--help"),
    ("exec",),
    ("--debug", "exec", "box", "echo", "x"),
    ("version",),
    ("nonesuch",),
]


@pytest.mark.parametrize("words", LINES, ids=lambda words: " ".join(words)[:60])
def test_it_is_one_command_line(engine: Daemon, words: tuple[str, ...]) -> None:
    assert call(engine, program("stockade"), *words) == call(engine, PYTHON, *words)


@pytest.mark.parametrize(
    "words",
    [
        ("box", "echo", "x"),
        ("-i", "box", "cat"),
        ("--interactive", "-e", "A=1", "--env=B=2", "-w", "/tmp", "--workdir=/", "-u", "www", "--user=0", "box", "env"),
        ("--", "box", "true"),
    ],
)
def test_a_plain_exec_needs_no_python(engine: Daemon, alone: Path, words: tuple[str, ...]) -> None:
    code, _, said = call(engine, alone, "exec", *words)
    assert (code, said) == (0, b"")


def test_the_rest_is_pythons(engine: Daemon, alone: Path) -> None:
    for words in (("ps",), ("exec", "-t", "box", "true"), ("exec", "box", "nonesuch"), ("exec", "nobody", "true")):
        code, _, said = call(engine, alone, *words)
        assert code == 125
        assert said.startswith(b"stockade: ")
        assert b"stockade-cli cannot be run" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_signals_are_the_programs(engine: Daemon, alone: Path, number: signal.Signals) -> None:
    script = f"trap 'echo heard; exit 9' {number.value}; echo ready; while :; do sleep 0.05; done"
    for command in (alone, PYTHON):
        with begin(engine, command, script) as running:
            running.send_signal(number)
            assert running.communicate(timeout=20)[0] == b"heard\n"
            assert running.returncode == 9


def begin(engine: Daemon, command: Path, script: str) -> subprocess.Popen[bytes]:
    running = subprocess.Popen(
        [command, "exec", "box", "sh", "-c", script],
        env=environment(engine.place), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0,
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stdout.readline() == b"ready\n"
    return running


def test_ctrl_z_stops_both(engine: Daemon, alone: Path) -> None:
    script = "echo ready; i=0; while [ $i -lt 20 ]; do sleep 0.05; i=$((i+1)); done; echo end"
    with begin(engine, alone, script) as running:
        running.send_signal(signal.SIGTSTP)
        deadline = time.monotonic() + 20
        while "T" not in state(running.pid):
            assert time.monotonic() < deadline, state(running.pid)
            time.sleep(0.01)
        running.send_signal(signal.SIGCONT)
        assert running.communicate(timeout=20)[0] == b"end\n"
        assert running.returncode == 0


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_it_goes_on_without_the_daemon(engine: Daemon, alone: Path) -> None:
    with begin(engine, alone, "trap 'exit 6' USR1; echo ready; while :; do sleep 0.05; done") as running:
        # What it said comes from the shim, perhaps before the daemon's answer: that has come once the next has.
        engine.docker("version")
        engine.restart()
        running.send_signal(signal.SIGUSR1)
        assert running.wait(20) == 6
