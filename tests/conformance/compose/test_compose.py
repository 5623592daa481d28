"""docker compose, unmodified and built from its module, with a stack as people write them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import images, programs
from support import place as places
from support.daemon import Daemon, daemon
from support.patience import eventually

pytestmark = [pytest.mark.root, pytest.mark.judge]
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Compose:
    """The command, in a directory with the stack."""

    daemon: Daemon
    program: Path
    directory: Path

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.words(*words),
            cwd=self.directory, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=180,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def words(self, *words: str) -> list[str]:
        assert self.daemon.ns is not None
        return self.daemon.ns.words([str(self.program), *words])

    @property
    def environment(self) -> dict[str, str]:
        top = str(self.daemon.place.top)
        own = {"DOCKER_HOST": f"unix://{self.daemon.socket}", "DOCKER_CONFIG": top, "HOME": top}
        return {**os.environ, **own, "WHO": "compose", "ANSWER": "7"}

    def ps(self, *words: str) -> list[dict[str, Any]]:
        lines = self.run("ps", "-a", "--format", "json", *words).stdout.splitlines()
        return sorted((json.loads(line) for line in lines), key=lambda one: str(one["Name"]))

    def get(self, url: str) -> str:
        """From the machine on which the daemon is."""
        ns = self.daemon.ns
        assert ns is not None
        return ns.run(["curl", "--silent", "--show-error", "--fail", "--max-time", "10", url])


@pytest.fixture(scope="module", name="program")
def _program() -> Path:
    return programs.go_build(HERE, "docker-compose", "github.com/docker/compose/v5/cmd")


@pytest.fixture(scope="module", name="served")
def _served() -> Iterator[Daemon]:
    with places.place() as place, daemon(place) as made:
        made.docker("load", "-i", str(images.busybox_archive()))
        yield made


@pytest.fixture(name="compose")
def _compose(served: Daemon, program: Path, tmp_path: Path) -> Iterator[Compose]:
    shutil.copy(HERE / "stack.yaml", tmp_path / "compose.yaml")
    (tmp_path / "word").write_text("secret\n")
    (tmp_path / "site").mkdir()
    made = Compose(served, program, tmp_path)
    yield made
    made.run("--profile", "*", "down", "-v", "--remove-orphans", "-t", "0", check=False)
    assert served.said("ps", "-aq") == ""
    assert served.said("volume", "ls", "-q") == ""
    assert sorted(served.said("network", "ls", "--format", "{{.Name}}").split()) in (
        ["bridge", "host", "none"],
        ["host", "none"],
    )


def test_a_stack_comes_up_and_goes(compose: Compose) -> None:
    compose.run("up", "-d", "--wait", "db", "web")
    states = {one["Name"]: (one["State"], one["Health"]) for one in compose.ps()}
    assert states == {
        "stack-db-1": ("running", "healthy"),
        "stack-web-1": ("running", ""),
        "stack-web-2": ("running", ""),
    }
    hosts = set()
    for index in ("1", "2"):
        where = compose.run("port", "--index", index, "web", "80").stdout.strip().replace("0.0.0.0", "127.0.0.1")
        hosts.add(compose.get(f"http://{where}/"))
        assert compose.get(f"http://{where}/word") == "secret\n"
        assert compose.get(f"http://{where}/conf") == "answer=7\n"
    assert len(hosts) == 2, "each copy has its own port"
    assert compose.run("exec", "-T", "web", "sh", "-c", "echo $GREETING").stdout == "hello from compose\n"
    assert compose.run("run", "--rm", "job").stdout.strip() in {host.strip() for host in hosts}
    assert compose.run("--profile", "tools", "run", "--rm", "tool").stdout == "kept\n"
    compose.run("exec", "-T", "db", "ping", "-c", "1", "web")
    outside = compose.run("exec", "-T", "db", "ping", "-c", "1", "-W", "2", "192.0.2.1", check=False)
    assert outside.returncode != 0, "the inner network leads nowhere"


def test_scaling_restarts_and_logs(compose: Compose) -> None:
    compose.run("up", "-d", "--scale", "web=3", "db", "web")
    assert len(compose.ps("web")) == 3
    compose.run("up", "-d", "--scale", "web=1", "db", "web")
    assert [one["Name"] for one in compose.ps("web")] == ["stack-web-1"]
    compose.run("restart", "-t", "0", "db")
    compose.run("up", "-d", "--wait", "db")
    compose.daemon.restart()
    compose.run("up", "job")
    [job] = compose.ps("job")
    assert (job["State"], job["ExitCode"]) == ("exited", 0)
    assert "stack-job-1" in compose.run("logs", "job").stdout or "job-1" in compose.run("logs", "job").stdout
    compose.run("pause", "db")
    assert compose.ps("db")[0]["State"] == "paused"
    compose.run("unpause", "db")
    assert "sleep" in compose.run("top", "db").stdout


def test_down_leaves_volumes_unless_told(compose: Compose) -> None:
    compose.run("up", "-d", "--wait", "db")
    compose.run("down", "-t", "0")
    assert compose.daemon.said("volume", "ls", "-q") == "stack_data"
    compose.run("up", "-d", "--wait", "db")
    assert compose.run("exec", "-T", "db", "cat", "/data/state").stdout == "kept\n"
    compose.run("down", "-v", "-t", "0")
    assert compose.daemon.said("volume", "ls", "-q") == ""


def test_changes_are_applied_and_nothing_else(compose: Compose) -> None:
    compose.run("up", "-d", "--wait", "db", "web")
    before = {one["Name"]: one["ID"] for one in compose.ps()}
    text = (compose.directory / "compose.yaml").read_text()
    (compose.directory / "compose.yaml").write_text(text.replace("hello from", "greetings from"))
    compose.run("up", "-d", "--wait", "db", "web")
    after = {one["Name"]: one["ID"] for one in compose.ps()}
    assert after["stack-db-1"] == before["stack-db-1"], "what did not change goes on"
    assert after["stack-web-1"] != before["stack-web-1"]
    assert "greetings from" in compose.run("exec", "-T", "web", "sh", "-c", "echo $GREETING").stdout


def test_watch_brings_files_as_they_change(compose: Compose) -> None:
    compose.run("up", "-d", "--wait", "db", "web")
    watching = subprocess.Popen(
        compose.words("watch", "--no-up", "web"),
        cwd=compose.directory, env=compose.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert watching.stdout is not None
        said = next(line for line in watching.stdout if "Watch enabled" in line)
        assert said
        (compose.directory / "site/new").write_text("fresh\n")
        look = ("exec", "-T", "--index", "2", "web", "cat", "/www/site/new")
        eventually(lambda: compose.run(*look, check=False).stdout == "fresh\n", "the file comes", patience=60)
    finally:
        watching.terminate()
        watching.wait(30)
