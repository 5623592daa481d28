"""Two transcripts, compared: every key, type, text and number but what differs from run to run."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any

_TEXTS = (
    (r"sha256:[0-9a-f]{64}", "<digest>"),
    (r"\b[0-9a-f]{64}\b", "<id>"),
    (r"\b[0-9a-f]{12}\b", "<short>"),
    (r"\b(?!0001)\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?(Z|UTC|[+-]\d\d:?\d\d))*", "<time>"),
    (r"\b(?!127\.|0\.0\.0\.0|192\.0\.2\.|198\.51\.100\.)\d{1,3}(\.\d{1,3}){3}\b", "<address>"),
    (r"\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b", "<mac>"),
    (r"\b(Less than a second|About a minute|\d+ (second|minute)s?)( ago)?\b", "<age>"),
    (r"\b1[67]\d{8}(\.\d+)?\b", "<seconds>"),
)
_VARYING = re.compile(
    r"(^|\.)(Pid|Created|time|timeNano|StartedAt|FinishedAt|LastTagTime|CreatedAt|SizeRw|SizeRootFs|Size|VirtualSize|"
    r"MacAddress|Start|End|mtime|LayersSize|SharedSize|TotalSize|Reclaimable|SpaceReclaimed)$"
)
"""Members of which only the type is held against the other's."""

_UNORDERED = re.compile(r"changes.*\.body$|\.Ports$|\.Volumes$")
"""Lists whose order means nothing."""


def normal(value: Any, places: dict[str, str]) -> Any:
    """A document without what is of one run alone; `places` says what else is: text by what stands for it."""
    if isinstance(value, dict):
        return {_text(key, places): normal(inner, places) for key, inner in value.items()}
    if isinstance(value, list):
        return [normal(inner, places) for inner in value]
    return _text(value, places) if isinstance(value, str) else value


def _text(text: str, places: dict[str, str]) -> str:
    for there, instead in places.items():
        text = text.replace(there, instead)
    for pattern, instead in _TEXTS:
        text = re.sub(pattern, instead, text)
    return text


def differences(theirs: Any, ours: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Where two documents differ, and how."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in [*theirs, *(key for key in ours if key not in theirs)]:
            inner = f"{path}.{key}" if path else key
            if key not in ours:
                yield inner, f"docker {_short(theirs[key])}, ours has none"
            elif key not in theirs:
                yield inner, f"docker has none, ours {_short(ours[key])}"
            else:
                yield from differences(theirs[key], ours[key], inner)
    elif isinstance(theirs, list) and isinstance(ours, list):
        if _UNORDERED.search(path):
            theirs, ours = (sorted(one, key=_rank) for one in (theirs, ours))
        yield from _of_lists(theirs, ours, path)
    elif _kind(theirs) != _kind(ours) or (theirs != ours and not _VARYING.search(path)):
        yield path, f"docker {_short(theirs)}, ours {_short(ours)}"


def _of_lists(theirs: list[Any], ours: list[Any], path: str) -> Iterator[tuple[str, str]]:
    if len(theirs) == len(ours):
        for number, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from differences(one, other, f"{path}[{number}]")
        return
    for line in difflib.ndiff([repr(item) for item in theirs], [repr(item) for item in ours]):
        if line[0] in "-+":
            yield f"{path}[]", f"{'docker' if line[0] == '-' else 'ours'} alone: {line[2:600]}"


def _rank(one: Any) -> str:
    return "/".join(str(one.get(key)) for key in ("PrivatePort", "Type", "IP", "PublicPort", "Path", "Name"))


def _kind(value: Any) -> str:
    return "number" if isinstance(value, float) else type(value).__name__.replace("int", "number")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 600 else f"{text[:600]}…"
