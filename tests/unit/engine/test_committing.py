"""The configuration of an image made of a container; the words for the programs that serve its streams and files."""

from __future__ import annotations

from typing import Any

import pytest

from stockade.engine import committing
from stockade.engine.archive import stat_of
from stockade.engine.records import MountPoint, Wanted
from stockade.engine.requests import LogOptions, PathStat
from stockade.engine.streams import log_words
from stockade.images.values import HealthCheck

WANTED = Wanted(
    "id", "name", 0, "image", "sha256:1",
    entrypoint=("e",), command=("c", "d"), env=("A=1", "B=2"), workdir="/w", user="u", labels={"l": "1"},
    exposed_ports=("80/tcp",), volumes=("/v",), stop_signal="SIGINT",
    health=HealthCheck(("CMD", "true"), interval=1.5, retries=2),
)  # fmt: skip
OWN: dict[str, Any] = {
    "Env": ["A=1", "B=2"],
    "Cmd": ["c", "d"],
    "Entrypoint": ["e"],
    "WorkingDir": "/w",
    "User": "u",
    "StopSignal": "SIGINT",
    "Labels": {"l": "1"},
    "ExposedPorts": {"80/tcp": {}},
    "Volumes": {"/v": {}},
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1_500_000_000, "Retries": 2},
}


@pytest.mark.parametrize(
    ("image", "given", "different"),
    [
        ({}, {}, {}),
        ({"OnBuild": ["RUN x"], "Cmd": ["not", "this"]}, {}, {"OnBuild": ["RUN x"]}),
        ({}, {"User": "", "Cmd": None}, {}),
        ({}, {"User": "v", "WorkingDir": "/x"}, {"User": "v", "WorkingDir": "/x"}),
        ({}, {"Env": ["A=9", "C=3"]}, {"Env": ["A=9", "C=3", "B=2"]}),
        ({}, {"Labels": {"m": "2"}}, {"Labels": {"l": "1", "m": "2"}}),
        ({}, {"Cmd": ["z"]}, {"Cmd": ["z"]}),
        ({}, {"Entrypoint": ["z"]}, {"Entrypoint": ["z"], "Cmd": None}),
    ],
)
def test_the_configuration(image: dict[str, Any], given: dict[str, Any], different: dict[str, Any]) -> None:
    wanted = {key: value for key, value in {**OWN, **different}.items() if value is not None}
    assert committing.config(WANTED, image, given) == wanted


def test_a_container_that_says_nothing() -> None:
    assert committing.config(Wanted("id", "name", 0, "image", ""), {}, {}) == {"Env": []}


def test_what_the_runtime_makes_is_nobodys_change_unless_it_was_asked_for() -> None:
    assert "/etc/hosts" in committing.made_by_runtime(WANTED)
    asked = Wanted("id", "name", 0, "image", "", mounts=(MountPoint("/etc/hosts", source="/x"),))
    assert "/etc/hosts" not in committing.made_by_runtime(asked)


@pytest.mark.parametrize(
    ("options", "until", "framed", "words"),
    [
        (LogOptions(), "", True, ["--stdout", "--stderr", "--framed"]),
        (LogOptions(follow=True), "/end", False, ["--follow", "--until-exit", "/end", "--stdout", "--stderr"]),
        (LogOptions(stderr=False, tail=0), "", False, ["--tail", "0", "--stdout"]),
        (LogOptions(stdout=False, since="1.5", until="0"), "", False, ["--since", "1.5", "--stderr"]),
        (
            LogOptions(timestamps=True, details=True),
            "",
            False,
            ["--stdout", "--stderr", "--timestamps", "--details"],
        ),
    ],
)
def test_words_for_the_logs_reader(options: LogOptions, until: str, framed: bool, words: list[str]) -> None:
    assert log_words("p", "/dir", options, until, framed) == ["p", *words, "/dir/log.json"]


def test_what_is_at_a_path() -> None:
    answer = {"name": "x", "size": 1, "mode": 420, "mtime": "2026-01-01T00:00:00Z", "linkTarget": "y"}
    assert stat_of(answer) == PathStat("x", 1, 420, "2026-01-01T00:00:00Z", "y")


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ((), []),
        (("CMD a", "ENV b=c"), ["CMD a", "ENV b=c"]),
        (("CMD a\nENV b=c\n\n# no\n  USER x",), ["CMD a", "ENV b=c", "USER x"]),
        (("ENV a=b \\\n c=d",), ["ENV a=b  c=d"]),
    ],
)
def test_changes_are_lines_of_a_dockerfile(changes: tuple[str, ...], lines: list[str]) -> None:
    assert committing.instructions(changes) == lines
