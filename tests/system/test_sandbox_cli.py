"""The command line with real containers: exit codes, what is found again, and that nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.home import Home

pytestmark = pytest.mark.root

Done = subprocess.CompletedProcess[str]
MAIN = "import sys; from stockade.cli import main; sys.exit(main())"
USR = ("--volume", "/usr:/usr:ro")


@pytest.fixture
def rootfs(tmp_path: Path) -> str:
    root = tmp_path / "root"
    for name in ("usr", "proc", "dev", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    return str(root)


@pytest.fixture
def stockade(home: Home) -> Iterator[Callable[..., Done]]:
    source = str(Path(sys.modules["stockade"].__file__ or "").parent.parent) if "stockade" in sys.modules else "src"

    def call(*words: str, stdin: str = "") -> Done:
        environment = {**os.environ, "PYTHONPATH": source}
        command = [sys.executable, "-c", MAIN, *words]
        return subprocess.run(
            command, env=environment, input=stdin, capture_output=True, text=True, check=False, timeout=60
        )

    yield call
    for name in home.left():
        call("rm", "--force", name)
    assert home.left() == []


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "sh -c 'kill -9 $$'"), 137),
        (("nonesuch",), 127),
        (("/usr",), 126),
    ],
)
def test_exit_codes(
    stockade: Callable[..., Done], rootfs: str, home: Home, command: tuple[str, ...], code: int
) -> None:
    done = stockade("run", "--rm", *USR, rootfs, *command)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert home.left() == []


@pytest.mark.parametrize(
    "words",
    [
        ("run", "/nonesuch", "true"),
        ("run", "--rm", "--user", "nobody-here", "ROOT", "true"),
        ("run", "--rm", "--memory", "lots", "ROOT", "true"),
        ("run", "--rm", "--cap-add", "FLY", "ROOT", "true"),
        ("run", "-d", "--rm", "ROOT", "true"),
        ("run", "--name", "a/b", "ROOT", "true"),
        ("exec", "nobody", "true"),
        ("logs", "nobody"),
        ("kill", "nobody"),
    ],
)
def test_bad_input_is_one_sentence_and_125(
    stockade: Callable[..., Done], rootfs: str, home: Home, words: tuple[str, ...]
) -> None:
    done = stockade(*(rootfs if word == "ROOT" else word for word in words))
    assert done.returncode == 125
    assert done.stderr.startswith("stockade: ")
    assert "Traceback" not in done.stderr
    assert home.left() == []


def test_input_and_both_outputs(stockade: Callable[..., Done], rootfs: str) -> None:
    done = stockade("run", "--rm", "-i", *USR, rootfs, "sh", "-c", "cat; echo two >&2", stdin="one\n")
    assert (done.stdout, done.stderr) == ("one\n", "two\n")


def test_a_container_in_the_background(stockade: Callable[..., Done], rootfs: str) -> None:
    script = "echo out; echo err >&2; while :; do sleep 0.05; done"
    assert stockade("run", "-d", "--name", "job", *USR, rootfs, "sh", "-c", script).stdout == "job\n"
    taken = stockade("run", "-d", "--name", "job", *USR, rootfs, "true")
    assert taken.returncode == 125
    assert "taken" in taken.stderr
    (one,) = json.loads(stockade("ps", "--format", "json").stdout)
    assert (one["name"], one["status"], one["image"]) == ("job", "running", rootfs)
    inside = stockade("exec", "-i", "job", "sh", "-c", "cat; exit 4", stdin="in")
    assert (inside.stdout, inside.returncode) == ("in", 4)
    assert stockade("exec", "job", "nonesuch").returncode == 127
    refused = stockade("rm", "job")
    assert refused.returncode == 125
    assert "--force" in refused.stderr
    assert stockade("kill", "job").returncode == 0
    log = stockade("logs", "--follow", "job")
    assert (log.stdout, log.stderr) == ("out\n", "err\n")
    assert stockade("ps", "--quiet").stdout == ""
    (one,) = json.loads(stockade("ps", "--all", "--format", "json").stdout)
    assert (one["status"], one["exit"]["status"]) == ("exited", 137)
    assert stockade("rm", "job").returncode == 0


def test_a_container_whose_shim_was_killed_says_so(stockade: Callable[..., Done], rootfs: str, home: Home) -> None:
    stockade("run", "-d", "--name", "orphan", *USR, rootfs, "sleep", "1000")
    (name,) = home.left()
    os.kill(int((home.data / "containers" / name / "shim.pid").read_text()), signal.SIGKILL)
    deadline = time.monotonic() + 5
    while (one := json.loads(stockade("ps", "-a", "--format", "json").stdout)[0])["status"] != "dead":
        assert time.monotonic() < deadline, one
    assert one["exit"]["reason"] == "ShimDied"
    assert stockade("rm", "orphan").returncode == 0


def test_what_this_machine_offers(stockade: Callable[..., Done]) -> None:
    done = stockade("system", "check", "--format", "json")
    found = json.loads(done.stdout)
    assert done.returncode == int(any(one["needed"] and not one["ok"] for one in found))
    assert {one["topic"] for one in found} >= {"stockade", "native wall: namespaces", "native wall: limits"}
