"""The environment is an allow-list; users and groups are the host's names and the container's numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from stockade.embedded import environment
from stockade.errors import BadValue, NotFound

CALLER = {
    "PATH": "/secret/bin",
    "HOME": "/home/alice",
    "AWS_SECRET": "x",
    "LANG": "C.UTF-8",
    "LC_TIME": "C",
    "TERM": "xterm",
}


def test_secrets_stay_outside() -> None:
    assert environment.clean(CALLER, "/root", terminal=False) == {
        "PATH": environment.PATH,
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "LC_TIME": "C",
    }
    assert environment.clean(CALLER, "/root", terminal=True)["TERM"] == "xterm"


def test_given_variables() -> None:
    assert environment.given(["A=1", "B=", "C=x=y", "AWS_SECRET", "NONE"], CALLER) == {
        "A": "1",
        "B": "",
        "C": "x=y",
        "AWS_SECRET": "x",
    }
    for word in ("", "=x", "A=\0"):
        with pytest.raises(BadValue):
            environment.given([word], CALLER)


def test_variables_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# comment\n\nA=1\n B = 2\nC=a#b\n")
    assert environment.from_file(str(file)) == {"A": "1", "B": " 2", "C": "a#b"}
    file.write_text("A=1\nnothing\n")
    with pytest.raises(BadValue, match="line 2"):
        environment.from_file(str(file))
    with pytest.raises(NotFound):
        environment.from_file(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, (0, 0, "/root")),
        ("root", (0, 0, "/root")),
        ("0", (0, 0, "/root")),
        ("daemon", (1, 1, "/tmp")),
        ("daemon:root", (1, 0, "/tmp")),
        ("54321", (54321, 0, "/")),
        ("54321:7", (54321, 7, "/")),
    ],
)
def test_accounts(text: str | None, found: tuple[int, int, str]) -> None:
    assert environment.account(text) == found


@pytest.mark.parametrize("text", ["nobody-here", "65536", "0:nobody-here", "-1"])
def test_accounts_that_are_none(text: str) -> None:
    with pytest.raises(BadValue):
        environment.account(text)
