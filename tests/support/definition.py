"""The definition of the Engine API: swagger.yaml of moby's Go module, read from the module cache; nothing is kept."""

from __future__ import annotations

import functools
from typing import Any

import yaml  # type: ignore[import-untyped]

from support import programs

MODULE = "github.com/moby/moby/api@v1.56.1"


@functools.cache
def load() -> dict[str, Any]:
    """The whole document."""
    text = (programs.go_module(MODULE) / "swagger.yaml").read_text()
    found: dict[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return found


def properties(whole: dict[str, Any], schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The fields of an object, those of what it is made of included."""
    if "$ref" in schema:
        return properties(whole, whole["definitions"][schema["$ref"].rpartition("/")[2]])
    found: dict[str, dict[str, Any]] = {}
    for part in schema.get("allOf", ()):
        found |= properties(whole, part)
    found |= schema.get("properties", {})
    return found


def differences(whole: dict[str, Any], schema: dict[str, Any], value: Any, path: str) -> tuple[set[str], set[str]]:
    """What an answer has that its schema does not know, and what it has not: paths, as `State.Health`."""
    while "$ref" in schema:
        schema = whole["definitions"][schema["$ref"].rpartition("/")[2]]
    more: set[str] = set()
    less: set[str] = set()
    inner: list[tuple[str, dict[str, Any], Any]] = []
    if isinstance(value, list):
        inner = [(f"{path}[]", schema.get("items", {}), item) for item in value]
    elif isinstance(value, dict):
        known = properties(whole, schema)
        others = schema.get("additionalProperties")
        if known:
            more = {f"{path}.{name}" for name in value.keys() - known.keys()}
            less = {f"{path}.{name}" for name in known.keys() - value.keys()}
            inner = [(f"{path}.{name}", known[name], item) for name, item in value.items() if name in known]
        elif isinstance(others, dict):
            inner = [(f"{path}.*", others, item) for item in value.values()]
    for place, kind, item in inner:
        found = differences(whole, kind, item, place)
        more, less = more | found[0], less | found[1]
    return more, less
