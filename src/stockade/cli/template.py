"""The common subset of Docker's `--format` templates (Go's text/template): fields, a few functions, range, if.

`json` alone is one object a line, `table {{.A}}\\t{{.B}}` a table with titles. What is not served is refused by name.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from stockade.errors import BadValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_PIECE = re.compile(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.DOTALL)
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|[()|]|[^\s()|]+')
_ESCAPES = {r"\t": "\t", r"\n": "\n"}


class Text(NamedTuple):
    """Words as they are."""

    text: str


class Value(NamedTuple):
    """An expression in braces."""

    words: tuple[str, ...]


class Block(NamedTuple):
    """`range` or `if`, to its `end`."""

    kind: str
    words: tuple[str, ...]
    body: tuple[Node, ...]
    other: tuple[Node, ...]


Node = Text | Value | Block


def _upper(value: Any) -> str:
    return _shown(value).upper()


def _lower(value: Any) -> str:
    return _shown(value).lower()


def _title(value: Any) -> str:
    return _shown(value)[:1].upper() + _shown(value)[1:]


def _join(values: Any, separator: str = "") -> str:
    return separator.join(map(_shown, values or ()))


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": _json,
    "join": _join,
    "upper": _upper,
    "lower": _lower,
    "title": _title,
    "index": _index,
    "len": lambda value: len(value or ()),
    "println": lambda *values: " ".join(map(_shown, values)) + "\n",
    "print": lambda *values: "".join(map(_shown, values)),
    "split": lambda value, separator: _shown(value).split(separator),
    "truncate": lambda value, count: _shown(value)[:count],
    "not": lambda value: not value,
    "eq": lambda first, *others: first in others,
    "ne": lambda first, other: first != other,
    "and": lambda *values: next((one for one in values if not one), values[-1]),
    "or": lambda *values: next((one for one in values if one), values[-1]),
}


def parse(text: str) -> tuple[Node, ...]:
    """Read a template.

    Raises:
        BadValue: it is none, or has what is not served.
    """
    for escape, meant in _ESCAPES.items():
        text = text.replace(escape, meant)
    pieces = _pieces(text)
    nodes, end = _nodes(pieces)
    if end:
        raise BadValue(f"--format: {{{{{end}}}}} ends nothing")
    return nodes


def render(nodes: tuple[Node, ...], value: Any) -> str:
    """What a template makes of a value."""
    return "".join(_render(node, value, value) for node in nodes)


def titles(nodes: tuple[Node, ...]) -> str:
    """The line above a table: each field's name, in capitals and apart (`CreatedAt`: CREATED AT)."""
    found = []
    for node in nodes:
        if isinstance(node, Text):
            found.append(node.text)
        elif isinstance(node, Value):
            field = next((word for word in node.words if word.startswith(".")), "")
            found.append(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", field.rpartition(".")[2]).upper())
    return "".join(found)


def _pieces(text: str) -> Iterator[Text | tuple[str, ...]]:
    """Words between braces, and actions as their words."""
    at, trim = 0, False
    for match in _PIECE.finditer(text):
        before = text[at : match.start()]
        before = before.lstrip() if trim else before
        before = before.rstrip() if match[1] else before
        if before:
            yield Text(before)
        if not match[2].startswith("/*"):
            yield tuple(_WORD.findall(match[2]))
        at, trim = match.end(), bool(match[3])
    rest = text[at:].lstrip() if trim else text[at:]
    if "{{" in rest:
        raise BadValue(f"--format: {rest[rest.index('{{') :]!r} is not closed", hint="{{.Name}}")
    if rest:
        yield Text(rest)


def _nodes(pieces: Iterator[Text | tuple[str, ...]]) -> tuple[tuple[Node, ...], str]:
    """Nodes up to an `end` or `else`, and which of the two it was."""
    found: list[Node] = []
    for piece in pieces:
        if isinstance(piece, Text):
            found.append(piece)
        elif not piece:
            raise BadValue("--format: {{}} is empty")
        elif piece[0] in ("end", "else"):
            return tuple(found), piece[0]
        elif piece[0] in ("range", "if"):
            body, end = _nodes(pieces)
            other: tuple[Node, ...] = ()
            if end == "else":
                other, end = _nodes(pieces)
            if end != "end":
                raise BadValue(f"--format: {{{{{piece[0]}}}}} has no {{{{end}}}}")
            found.append(Block(piece[0], piece[1:], body, other))
        elif piece[0] in ("with", "define", "template", "block", "break", "continue"):
            raise BadValue(f"--format: {piece[0]} is not served", hint="fields, range, if, and functions as json")
        else:
            found.append(Value(piece))
    return tuple(found), ""


def _render(node: Node, value: Any, top: Any) -> str:
    if isinstance(node, Text):
        return node.text
    if isinstance(node, Value):
        return _shown(_evaluate(list(node.words), value, top))
    found = _evaluate(list(node.words), value, top)
    if node.kind == "if":
        return "".join(_render(one, value, top) for one in (node.body if found else node.other))
    each = list(found.values()) if isinstance(found, dict) else list(found or ())
    if not each:
        return "".join(_render(one, value, top) for one in node.other)
    return "".join(_render(one, item, top) for item in each for one in node.body)


def _evaluate(words: list[str], value: Any, top: Any) -> Any:
    """A pipeline: each command's result is the last argument of the next one."""
    commands: list[list[str]] = [[]]
    depth = 0
    for word in words:
        depth += (word == "(") - (word == ")")
        if word == "|" and depth == 0:
            commands.append([])
        else:
            commands[-1].append(word)
    result: Any = None
    for number, command in enumerate(commands):
        result = _command(command, value, top, [result] if number else [])
    return result


def _command(words: list[str], value: Any, top: Any, piped: list[Any]) -> Any:
    if not words:
        raise BadValue("--format: an empty command")
    if words[0] in _FUNCTIONS:
        arguments = _arguments(words[1:], value, top) + piped
        try:
            return _FUNCTIONS[words[0]](*arguments)
        except TypeError as error:
            raise BadValue(f"--format: {words[0]} does not take {len(arguments)} such arguments") from error
    found = _arguments(words, value, top)
    if len(found) != 1 or piped:
        raise BadValue(f"--format: {words[0]!r} is no function that is served", hint=", ".join(sorted(_FUNCTIONS)))
    return found[0]


def _arguments(words: list[str], value: Any, top: Any) -> list[Any]:
    found: list[Any] = []
    queue = list(reversed(words))
    while queue:
        word = queue.pop()
        if word == "(":
            inner, depth = [], 1
            while queue:
                one = queue.pop()
                depth += (one == "(") - (one == ")")
                if not depth:
                    break
                inner.append(one)
            found.append(_evaluate(inner, value, top))
        else:
            found.append(_literal(word, value, top))
    return found


def _literal(word: str, value: Any, top: Any) -> Any:
    if word.startswith('"'):
        return json.loads(word)
    if word.startswith("`"):
        return word[1:-1]
    if word in ("true", "false", "nil"):
        return {"true": True, "false": False, "nil": None}[word]
    if word.lstrip("-").isdigit():
        return int(word)
    if word.startswith("."):
        return _field(value, word)
    if word == "$" or word.startswith("$."):
        return _field(top, word[1:] or ".")
    raise BadValue(
        f"--format: {word!r} is not served", hint="a field as .Name, or a function: " + ", ".join(_FUNCTIONS)
    )


def _field(value: Any, path: str) -> Any:
    for name in path.strip(".").split("."):
        if not name:
            continue
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif value is None or (isinstance(value, dict) and name[:1].isupper() and not _known_shape(value)):
            value = None
        else:
            raise BadValue(f"--format: there is no field {path}", hint="--format json shows what there is")
    return value


def _known_shape(value: dict[str, Any]) -> bool:
    """Whether a mapping is an object with known fields (they begin with a capital), not a table of somebody's keys."""
    return any(name[:1].isupper() for name in value)


def _shown(value: Any) -> str:
    """A value as Go prints it."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + " ".join(map(_shown, value)) + "]"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{name}:{_shown(one)}" for name, one in sorted(value.items())) + "]"
    return str(value)
