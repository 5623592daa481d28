"""What callers match: words on standard error, exit codes, the log's lines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from contract.oci.harness import Runtime

pytestmark = pytest.mark.root

MISSING = r"container does not exist"


@pytest.mark.parametrize(
    "args",
    [
        ("state",),
        ("start",),
        ("kill",),
        ("delete",),
        ("ps",),
        ("pause",),
        ("resume",),
        ("events", "--stats"),
        ("update", "--pids-limit", "9"),
        ("checkpoint",),
    ],
    ids=lambda args: args[0],
)
def test_a_missing_container(like_runc: Runtime, args: tuple[str, ...]) -> None:
    done = like_runc(*args, "nope")
    assert done.code == 1
    assert re.search(MISSING, done.err), done


def test_a_missing_container_to_exec_in(like_runc: Runtime) -> None:
    done = like_runc("exec", "nope", "true")
    assert (done.code, bool(re.search(MISSING, done.err))) == (255, True)


def test_deleting_by_force_what_is_not_there(runtime: Runtime) -> None:
    assert runtime("delete", "--force", "nope").code == 0


@pytest.mark.parametrize("id", ["a/b", "", "..", ".", "a b", "ä", "a\n"])
def test_invalid_ids(like_runc: Runtime, id: str) -> None:
    done = like_runc("create", "--bundle", like_runc.bundle("true"), id)
    assert done.code == 1
    assert re.search("invalid container ID format|container id cannot be empty", done.err), done


def test_a_name_taken(like_runc: Runtime) -> None:
    id = like_runc.create("sleep", "1000")
    for verb in ("create", "run"):
        done = like_runc(verb, "--bundle", like_runc.bundle("true"), id)
        assert (done.code, "container with given ID already exists" in done.err) == (1, True), done
    assert like_runc.state(id)["status"] == "created"


def stopped(runtime: Runtime) -> str:
    id = runtime.running("true")
    runtime.wait(id, "stopped")
    return id


def paused(runtime: Runtime) -> str:
    id = runtime.running()
    runtime.ok("pause", id)
    return id


@pytest.mark.parametrize(
    ("make", "args", "code", "words"),
    [
        (Runtime.running, ("start", "ID"), 1, "cannot start an already running container"),
        (stopped, ("start", "ID"), 1, "cannot start a container that has stopped"),
        (paused, ("start", "ID"), 1, "cannot start a container in the paused state"),
        (stopped, ("kill", "ID", "KILL"), 1, "container not running"),
        (stopped, ("kill", "--all", "ID", "KILL"), 0, ""),
        (Runtime.running, ("kill", "ID", "BOGUS"), 1, 'unknown signal "BOGUS"'),
        (Runtime.running, ("kill", "ID", "99"), 1, "unable to signal init: invalid argument"),
        (Runtime.running, ("kill", "ID", "0"), 0, ""),
        (Runtime.running, ("delete", "ID"), 1, "cannot delete container ID that is not stopped: running"),
        (paused, ("delete", "ID"), 1, "cannot delete container ID that is not stopped: paused"),
        (stopped, ("exec", "ID", "true"), 255, "cannot exec in a stopped container"),
        (paused, ("exec", "ID", "true"), 255, "cannot exec in a paused container (use --ignore-paused to override)"),
        (stopped, ("pause", "ID"), 1, "container not running"),
        (stopped, ("resume", "ID"), 1, "container not paused"),
        (Runtime.running, ("resume", "ID"), 1, "container not paused"),
        (stopped, ("update", "--pids-limit", "9", "ID"), 1, "container not running"),
        (stopped, ("events", "--stats", "ID"), 1, "container with id ID is not running"),
        (stopped, ("ps", "ID"), 0, ""),
        (Runtime.running, ("exec", "ID"), 255, "process args cannot be empty"),
        (Runtime.running, ("exec", "--console-socket", "/x", "ID", "true"), 255, "cannot use console socket"),
        (Runtime.running, ("exec", "--tty", "--detach", "ID", "true"), 255, "cannot allocate tty if"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else getattr(value, "__name__", None),
)
def test_a_state_that_forbids(
    like_runc: Runtime, make: Callable[[Runtime], str], args: tuple[str, ...], code: int, words: str
) -> None:
    id = make(like_runc)
    done = like_runc(*[id if word == "ID" else word for word in args])
    assert done.code == code, done
    text = done.err.replace(r"\"", '"')
    assert words.replace("ID", id) in text, done


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "EOF|no valid configuration"),
        ("{}", "process property must not be empty"),
        (None, "JSON specification file .*config.json.* not found"),
        ("[1]", "."),
        ("\0", "."),
    ],
)
def test_a_configuration_that_is_none(like_runc: Runtime, text: str | None, words: str) -> None:
    bundle = like_runc.bundle("true")
    (bundle / "config.json").unlink()
    if text is not None:
        (bundle / "config.json").write_text(text)
    done = like_runc("create", "--bundle", bundle, like_runc.place.name())
    assert done.code == 1
    assert re.search(words, done.err), done
    assert like_runc("state", like_runc.place.name()).code == 1


def test_a_bundle_that_is_not_there(like_runc: Runtime) -> None:
    done = like_runc("create", "--bundle", "/nope", like_runc.place.name())
    assert (done.code, "chdir /nope: no such file or directory" in done.err) == (1, True), done


def terminal(config: dict[str, Any]) -> None:
    config["process"]["terminal"] = True


def test_a_terminal_that_nobody_would_hold(like_runc: Runtime) -> None:
    bundle, id = like_runc.bundle("true", change=terminal), like_runc.place.name()
    for args in (("create",), ("run", "--detach")):
        done = like_runc(*args, "--bundle", bundle, id)
        assert (done.code, "cannot allocate tty if" in done.err) == (1, True), done


def test_a_console_socket_without_a_terminal(like_runc: Runtime) -> None:
    done = like_runc(
        "create", "--console-socket", "/nope", "--bundle", like_runc.bundle("true"), like_runc.place.name()
    )
    assert (done.code, "cannot use console socket if" in done.err) == (1, True), done


@pytest.mark.parametrize("verb", ["create", "run"])
@pytest.mark.parametrize(
    ("command", "words", "code"),
    [
        ("nope", 'exec: "nope": executable file not found in $PATH', 127),
        ("/nope", 'exec: "/nope": ', 127),
        ("/etc", 'exec: "/etc": ', 126),
    ],
)
def test_a_command_that_cannot_run(like_runc: Runtime, verb: str, command: str, words: str, code: int) -> None:
    done = like_runc(verb, "--bundle", like_runc.bundle(command), like_runc.place.name())
    # Where runc says 1 of everything, ours says what a shell would, for `run` has the container's code.
    assert done.code == (code if like_runc.name == "ours" else 1), done
    assert words in done.err.replace(r"\"", '"'), done
    assert like_runc("state", like_runc.place.name()).code == 1
    assert not like_runc.place.cgroups()


@pytest.mark.parametrize(
    ("command", "words", "code"),
    [("nope", 'exec: "nope": executable file not found in $PATH', 127), ("/etc", "permission denied", 126)],
)
def test_exec_of_a_command_that_cannot_run(like_runc: Runtime, command: str, words: str, code: int) -> None:
    done = like_runc("exec", like_runc.running(), command)
    assert done.code == (code if like_runc.name == "ours" else 255), done
    assert words in done.err.replace(r"\"", '"').lower().replace("$path", "$PATH"), done


def test_the_log_is_json_lines(like_runc: Runtime) -> None:
    log = like_runc.place.top / "log"
    for _ in range(2):
        done = like_runc("--log", log, "--log-format", "json", "state", "nope")
        assert done.code == 1
        assert done.err.startswith("container does not exist"), done
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["level"] for line in lines] == ["error", "error"]
    assert all(line["msg"].startswith("container does not exist") for line in lines)
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", lines[0]["time"])


def test_the_log_is_text(like_runc: Runtime) -> None:
    log = like_runc.place.top / "log"
    like_runc("--log", log, "state", "nope")
    assert re.fullmatch(r'time="[^"]+" level=error msg="container does not exist.*"\n', log.read_text())
    done = like_runc("state", "nope")
    assert re.fullmatch(r'time="[^"]+" level=error msg="container does not exist.*"\n', done.err), done


def test_a_pid_file_that_cannot_be_written(like_runc: Runtime) -> None:
    id = like_runc.place.name()
    done = like_runc("create", "--pid-file", "/nope/pid", "--bundle", like_runc.bundle("sleep", "1000"), id)
    assert (done.code, "no such file or directory" in done.err) == (1, True), done
    assert like_runc("state", id).code == 1
    assert not like_runc.place.cgroups()
