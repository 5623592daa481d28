"""Command lines are read, helped with and completed from one table."""

from __future__ import annotations

import subprocess

import pytest

from stockade import cli
from stockade.cli import completion, help
from stockade.cli.table import Args, Command, Option
from stockade.errors import BadValue
from stockade.model import parse_size

TRAIN = Command(
    name="train",
    summary="test",
    operands="WHERE CMD…",
    run=lambda args: 0,
    options=(
        Option("--interactive", "", "-i"),
        Option("--tty", "", "-t"),
        Option("--memory", "", "-m", "SIZE", parse_size),
        Option("--env", "", "-e", "K=V", many=True),
        Option("--format", "", metavar="F", default="table", completes=("table", "json")),
    ),
    least=1,
    most=None,
    trailing=True,
)


@pytest.mark.parametrize(
    ("words", "memory", "env", "rest"),
    [
        (["a"], None, (), ["a"]),
        (["-m", "1k", "a", "-m", "2k"], 1024, (), ["a", "-m", "2k"]),
        (["-m1k", "a"], 1024, (), ["a"]),
        (["-im=1k", "a"], 1024, (), ["a"]),
        (["--memory=1k", "--env", "A=1", "-eB=2", "a"], 1024, ("A=1", "B=2"), ["a"]),
        (["--", "--memory", "x"], None, (), ["--memory", "x"]),
        (["-", "a"], None, (), ["-", "a"]),
        (["--env=", "a", "--", "b"], None, ("",), ["a", "--", "b"]),
    ],
)
def test_lines(words: list[str], memory: int | None, env: tuple[str, ...], rest: list[str]) -> None:
    args = TRAIN.parse(words)
    assert (args["memory"], args["env"], args.rest) == (memory, env, rest)


def test_flags_together_and_off() -> None:
    args = TRAIN.parse(["-it", "--tty=false", "a"])
    assert (args["interactive"], args["tty"], args["format"]) == (True, False, "table")


@pytest.mark.parametrize(
    ("words", "named", "hinted"),
    [
        ([], "WHERE", "--help"),
        (["--memroy", "1", "a"], "--memroy", "--memory"),
        (["-x", "a"], "-x", "--help"),
        (["--memory"], "SIZE", "--help"),
        (["--memory", "lots", "a"], "lots", "64m"),
        (["--tty=maybe", "a"], "--tty", "--help"),
        (["--format", "xml", "a"], "xml", ""),
    ],
)
def test_refusals_name_the_word_and_help(words: list[str], named: str, hinted: str) -> None:
    with pytest.raises(BadValue) as caught:
        TRAIN.parse(words)
    assert named in caught.value.message
    assert hinted in caught.value.hint


@pytest.mark.parametrize(
    ("words", "asks"),
    [
        (["--help"], True),
        (["-i", "-h"], True),
        (["a", "--help"], False),
        (["--", "-h"], False),
        (["-e", "--help", "a"], False),
    ],
)
def test_help_is_asked_for_before_the_other_command_line(words: list[str], asks: bool) -> None:
    assert any(word in ("-h", "--help") for word in TRAIN.own_words(words)) is asks


def test_every_command_has_help_with_an_example() -> None:
    for name in cli.COMMANDS:
        command = cli.load(name)
        assert command.name == name
        text = help.page(command)
        assert text.startswith(f"Usage: stockade {name}")
        assert command.examples or name == "version"
        for option in command.options:
            assert option.name in text
    assert all(name in help.overview() for name in cli.COMMANDS)


def test_every_example_of_the_help_can_be_read() -> None:
    import shlex

    for name in cli.COMMANDS:
        command = cli.load(name)
        for line, _ in command.examples:
            words = shlex.split(line.split(" | ")[0].split(" > ")[0].replace("source <(", "").rstrip(")"))
            if words[0] != "stockade":
                continue
            assert words[1 : 1 + len(name.split())] == name.split(), line
            assert isinstance(command.parse(words[1 + len(name.split()) :]), Args)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command_and_option(shell: str) -> None:
    commands = {name: cli.load(name) for name in cli.COMMANDS}
    text = {"bash": completion.bash, "zsh": completion.zsh, "fish": completion.fish}[shell](commands)
    for name, command in commands.items():
        assert all(word in text for word in name.split())
        for option in command.options:
            assert (option.key if shell == "fish" else option.name) in text


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        (["stockade", "ex"], {"exec", "export"}),
        (["stockade", "system", ""], {"check", "df", "prune", "walls", "repair", "uninstall"}),
        (["stockade", "run", "--mem"], {"--memory", "--memory-reservation", "--memory-swap", "--memory-swappiness"}),
        (["stockade", "logs", "--format", "j"], {"json"}),
        (["stockade", "system", "check", "--f"], {"--format"}),
    ],
)
def test_bash_completes(line: list[str], offers: set[str]) -> None:
    commands = {name: cli.load(name) for name in cli.COMMANDS}
    words = " ".join(f"'{word}'" for word in line)
    script = f"{completion.bash(commands)}\nCOMP_WORDS=({words}); COMP_CWORD={len(line) - 1}; _stockade"
    script += "; echo ${COMPREPLY[@]}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == offers, done.stderr
