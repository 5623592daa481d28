"""A command as a table: help, parsing and completion are all read from it."""

from __future__ import annotations

from typing import NamedTuple

from stockade.errors import BadValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


class Option(NamedTuple):
    """One option; without a metavar it is a flag, off unless its default says otherwise."""

    name: str
    """As `--memory`."""
    help: str
    short: str = ""
    """As `-m`."""
    metavar: str = ""
    parse: Callable[[str], Any] = str
    default: Any = None
    many: bool = False
    """May be given several times; its value is the tuple of all."""
    completes: str | tuple[str, ...] = ""
    """What its value may be: these words, or any `file`, `directory` or `container`."""
    heading: str = ""
    """Under which heading help lists it."""

    @property
    def key(self) -> str:
        """How the parsed value is asked for."""
        return self.name.lstrip("-")


class Args:
    """What was parsed: options by their long name without dashes, and the operands."""

    def __init__(self, values: dict[str, Any], rest: list[str]) -> None:
        self._values = values
        self.rest = rest

    def __getitem__(self, key: str) -> Any:
        return self._values[key]


class Command(NamedTuple):
    """One command. Its options end at `--`; with `trailing` at its first operand, which begins another command line."""

    name: str
    summary: str
    operands: str
    """As `NAME CMD…`, for help."""
    run: Callable[[Args], int]
    options: tuple[Option, ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    """(command line, what it does)."""
    least: int = 0
    most: int | None = 0
    """How many operands there may be; None: any number."""
    trailing: bool = False
    about: str = ""
    """A paragraph for help."""
    completes: str = ""
    """What an operand may be, as for an option."""

    def parse(self, words: list[str]) -> Args:
        """Read a command line.

        Raises:
            BadValue: it is not one of this command's.
        """
        values: dict[str, Any] = {}
        for option in self.options:
            values[option.key] = () if option.many else option.default if option.metavar else bool(option.default)
        rest: list[str] = []
        for option_or_none, text in self._pieces(words):
            if option_or_none is None:
                rest.append(text)
            else:
                _store(values, option_or_none, text)
        if len(rest) < self.least or (self.most is not None and len(rest) > self.most):
            missing = len(rest) < self.least
            said = "needs" if missing else f"does not take {rest[-1]!r}; it takes"
            raise BadValue(f"`stockade {self.name}` {said} {self.operands or 'no operands'}", hint=self._pointer())
        return Args(values, rest)

    def has(self, name: str) -> bool:
        """Whether an option is called so, in full or by its letter."""
        return self._find(name) is not None

    def own_words(self, words: list[str]) -> list[str]:
        """The words that are this command's, up to the end of its options."""
        own: list[str] = []
        index = 0
        while index < len(words) and words[index] != "--":
            word = words[index]
            if not _is_option(word) and self.trailing:
                break
            own.append(word)
            if self._takes_next(word):
                index += 1
            index += 1
        return own

    def _takes_next(self, word: str) -> bool:
        if word.startswith("--"):
            option = self._find(word)
            return option is not None and bool(option.metavar)
        if not _is_option(word):
            return False
        for at, letter in enumerate(word[1:], start=1):
            option = self._find(f"-{letter}")
            if option is not None and option.metavar:
                return at == len(word) - 1
        return False

    def _pieces(self, words: list[str]) -> Iterator[tuple[Option | None, str]]:
        """The command line as (option, value) and (None, operand)."""
        queue = list(reversed(words))
        while queue:
            word = queue.pop()
            if word == "--":
                break
            if not _is_option(word):
                yield None, word
                if self.trailing:
                    break
            elif word.startswith("--"):
                name, equals, value = word.partition("=")
                yield self._one(name, value if equals else None, queue)
            else:
                yield from self._letters(word[1:], queue)
        yield from ((None, word) for word in reversed(queue))

    def _letters(self, letters: str, queue: list[str]) -> Iterator[tuple[Option, str]]:
        """Several short options in one word, the last of which may have its value attached: `-it`, `-m64m`."""
        while letters:
            letter, letters = letters[0], letters[1:]
            option = self._find(f"-{letter}")
            attached = letters.removeprefix("=") if option is not None and option.metavar and letters else None
            yield self._one(f"-{letter}", attached, queue)
            if attached is not None:
                return

    def _one(self, name: str, attached: str | None, queue: list[str]) -> tuple[Option, str]:
        option = self._find(name)
        if option is None:
            raise self._unknown(name)
        if not option.metavar:
            if attached is not None and attached not in ("true", "false"):
                raise BadValue(f"{name} takes no value", hint=self._pointer())
            return option, attached or "true"
        if attached is not None:
            return option, attached
        if not queue:
            raise BadValue(f"{name} needs {option.metavar}", hint=self._pointer())
        return option, queue.pop()

    def _find(self, name: str) -> Option | None:
        return next((option for option in self.options if name in (option.name, option.short)), None)

    def _unknown(self, name: str) -> BadValue:
        from stockade.cli.unserved import UNSERVED

        why = UNSERVED.get(self.name, {}).get(name)
        if why is not None:
            return BadValue(f"`stockade {self.name}` does not serve {name}: {why}", hint=self._pointer())
        return BadValue(f"`stockade {self.name}` has no option {name}", hint=self._near(name))

    def _near(self, name: str) -> str:
        from difflib import get_close_matches

        near = get_close_matches(name, [option.name for option in self.options], n=1)
        return f"did you mean {near[0]}?" if near else self._pointer()

    def _pointer(self) -> str:
        return f"`stockade {self.name} --help` shows how it is used"


def _is_option(word: str) -> bool:
    return len(word) > 1 and word.startswith("-")


def _store(values: dict[str, Any], option: Option, text: str) -> None:
    if not option.metavar:
        values[option.key] = text == "true"
        return
    try:
        value = option.parse(text)
    except BadValue as error:
        raise BadValue(f"{option.name}: {error.message}", hint=error.hint) from error
    except ValueError as error:
        raise BadValue(f"{option.name}: {text!r} is not {option.metavar}") from error
    if isinstance(option.completes, tuple) and value not in option.completes:
        raise BadValue(f"{option.name}: {text!r} is none of {', '.join(option.completes)}")
    values[option.key] = (*values[option.key], value) if option.many else value
