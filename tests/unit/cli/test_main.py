"""The frame: every end has a code and a sentence, and none a traceback."""

from __future__ import annotations

import pytest

from stockade import cli
from stockade.cli.table import Args, Command
from stockade.errors import BadValue, CommandNotExecutable, CommandNotFound, NotFound, StockadeError


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command `end` that raises what CASE holds."""

    def load(name: str) -> Command:
        return Command(name=name, summary="", operands="", run=raise_)

    monkeypatch.setitem(cli.COMMANDS, "end", "none")
    monkeypatch.setattr(cli, "load", load)


CASE: list[BaseException] = []


def raise_(_: Args) -> int:
    raise CASE.pop()


@pytest.mark.usefixtures("ending")
@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (StockadeError("no luck", hint="try again"), 125, "stockade: no luck\n\nhint: try again\n"),
        (BadValue("what?"), 125, "stockade: what?\n"),
        (NotFound("no x"), 125, "stockade: no x\n"),
        (CommandNotFound("x: not found"), 127, "stockade: x: not found\n"),
        (CommandNotExecutable("x: not executable"), 126, "stockade: x: not executable\n"),
        (KeyboardInterrupt(), 130, ""),
        (
            ZeroDivisionError("oops"),
            125,
            "stockade: an unexpected ZeroDivisionError: oops\n\nhint: `stockade --debug end` shows where\n",
        ),
    ],
)
def test_ends(error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    CASE.append(error)
    assert cli.main(["end"]) == code
    assert capsys.readouterr().err == said


@pytest.mark.usefixtures("ending")
def test_debug_shows_where() -> None:
    CASE.append(ZeroDivisionError("oops"))
    with pytest.raises(ZeroDivisionError):
        cli.main(["--debug", "end"])


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["sytem"], "system"),
        (["system"], "stockade system check"),
        (["system", "chek"], "system check"),
        (["xyzzy"], "--help"),
    ],
)
def test_unknown_commands(words: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 125
    assert hint in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("stockade ")
