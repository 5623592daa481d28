"""What an added process is: the container's own with what was asked of it."""

from __future__ import annotations

import pytest

from stockade.engine import keys, processes
from stockade.engine.requests import ExecConfig
from stockade.engine.users import Identity
from stockade.errors import BadValue, CommandNotExecutable, CommandNotFound, RuntimeFailed, StockadeError, exit_code

OWN = {
    "terminal": True,
    "consoleSize": {"height": 1, "width": 1},
    "user": {"uid": 1000, "gid": 1000, "additionalGids": [5]},
    "args": ["sleep", "inf"],
    "env": ["PATH=/bin", "A=1", "TERM=xterm", "HOME=/home/u"],
    "cwd": "/srv",
    "capabilities": {"bounding": ["CAP_KILL"], "effective": [], "permitted": [], "inheritable": [], "ambient": []},
    "noNewPrivileges": True,
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1}],
}


def test_it_is_the_containers_with_other_words() -> None:
    made = processes.added(OWN, ExecConfig(("id", "-u")), None, (0, 0))
    assert made["args"] == ["id", "-u"]
    assert made["user"] == OWN["user"]
    assert (made["cwd"], made["terminal"], made["noNewPrivileges"]) == ("/srv", False, True)
    assert made["rlimits"] == OWN["rlimits"]
    assert "consoleSize" not in made
    assert made["env"] == ["PATH=/bin", "A=1", "HOME=/home/u"]
    assert made["capabilities"]["effective"] == []
    assert OWN["args"] == ["sleep", "inf"]


def test_the_umask_is_the_containers_whoever_it_runs_as() -> None:
    own = {**OWN, "user": {"uid": 1000, "gid": 1000, "additionalGids": [5], "umask": 0o77}}
    made = processes.added(own, ExecConfig(("id",), user="root"), Identity(0, 0, (), "/root"), (0, 0))
    assert made["user"] == {"uid": 0, "gid": 0, "additionalGids": [], "umask": 0o77}


def test_another_user_another_home_root_holds_what_the_container_may() -> None:
    made = processes.added(OWN, ExecConfig(("id",), user="root"), Identity(0, 0, (1, 2), "/root"), (0, 0))
    assert made["user"] == {"uid": 0, "gid": 0, "additionalGids": [1, 2]}
    assert "HOME=/root" in made["env"]
    assert made["capabilities"]["effective"] == ["CAP_KILL"]


def test_privileged_may_everything() -> None:
    made = processes.added(OWN, ExecConfig(("id",), privileged=True), None, (0, 0))
    assert "CAP_SYS_ADMIN" in made["capabilities"]["effective"]
    assert made["capabilities"]["bounding"] == made["capabilities"]["effective"]


def test_a_terminal_has_a_size_and_a_kind() -> None:
    own = {**OWN, "terminal": False, "env": ["PATH=/bin"]}
    made = processes.added(own, ExecConfig(("sh",), tty=True, workdir="/tmp"), None, (24, 80))
    assert made["consoleSize"] == {"height": 24, "width": 80}
    assert made["env"] == ["PATH=/bin", "TERM=xterm"]
    assert made["cwd"] == "/tmp"


@pytest.mark.parametrize(
    ("own", "given", "found"),
    [
        (("A=1",), ("A=2", "B=3"), ["A=2", "B=3"]),
        (("A=1", "B=2"), ("A",), ["B=2"]),
        (("A=1",), ("A=",), ["A="]),
        (("A=x=y",), (), ["A=x=y"]),
    ],
)
def test_variables(own: tuple[str, ...], given: tuple[str, ...], found: list[str]) -> None:
    assert processes.environment(own, given, False, False) == found


@pytest.mark.parametrize(
    ("command", "error", "text", "code"),
    [
        ("nope", CommandNotFound("x"), 'exec: "nope": executable file not found in $PATH', 127),
        ("/nope", CommandNotFound("x"), 'exec: "/nope": stat /nope: no such file or directory', 127),
        ("/etc", CommandNotExecutable("x: Permission denied"), 'exec: "/etc": permission denied', 126),
        ("/etc", CommandNotExecutable("Is a directory"), 'exec: "/etc": is a directory', 126),
        ("sh", RuntimeFailed("no memory"), "no memory", 125),
    ],
)
def test_failures_in_dockers_words(command: str, error: StockadeError, text: str, code: int) -> None:
    said = processes.failure([command], error)
    assert said.message == f"OCI runtime exec failed: exec failed: unable to start container process: {text}"
    assert exit_code(said) == code


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "\x10\x11"),
        ("ctrl-p,ctrl-q", "\x10\x11"),
        ("ctrl-a,x", "\x01x"),
        ("ctrl-@", "\x00"),
        ("ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", "\x1b\x1c\x1d\x1e\x1f"),
        ("DEL", "\x7f"),
    ],
)
def test_keys(text: str, found: str) -> None:
    assert keys.parse(text) == found


@pytest.mark.parametrize("text", ["ctrl-?", "ctrl", "ab", "a,,b", "é"])
def test_keys_that_mean_nothing(text: str) -> None:
    with pytest.raises(BadValue, match="Invalid escape keys"):
        keys.parse(text, "escape")
