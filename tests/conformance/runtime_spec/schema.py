"""The properties of config.json as the specification's own JSON schema names them.

`python -m conformance.runtime_spec.schema` writes the list that crates/spec is held against, a line each: the path, and
a value that it may have. `[]` in a path stands for any element, `*` for any key. The objects of platforms other than
Linux are not descended into.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support import programs

MODULE = "github.com/opencontainers/runtime-spec@v1.3.0"
LIST = programs.TOP / "crates/spec/tests/properties.txt"
OTHERS = ("windows", "solaris", "zos", "freebsd", "vm")
SAMPLES: dict[str, Any] = {"string": "x", "integer": 1, "boolean": True}


def directory() -> Path:
    """The module's schema directory."""
    return programs.go_module(MODULE) / "schema"


class Schema:
    """Follows references from file to file."""

    def __init__(self, files: Path) -> None:
        self.files = files
        self.read: dict[str, Any] = {}

    def load(self, name: str) -> Any:
        if name not in self.read:
            self.read[name] = json.loads((self.files / name).read_text())
        return self.read[name]

    def resolve(self, node: Any, file: str) -> tuple[Any, str]:
        while True:
            if "anyOf" in node:
                node = node["anyOf"][0]
            elif "$ref" in node:
                name, _, pointer = node["$ref"].partition("#")
                file = name or file
                node = self.load(file)
                for step in pointer.strip("/").split("/"):
                    node = node[step]
            else:
                return node, file

    def lines(self, node: Any, path: str, file: str) -> Iterator[tuple[str, Any]]:
        node, file = self.resolve(node, file)
        if "allOf" in node:
            for part in node["allOf"]:
                yield from self.lines(part, path, file)
            return
        dot = f"{path}." if path else ""
        inner = [(f"{dot}{name}", child) for name, child in node.get("properties", {}).items()]
        for child in (*node.get("patternProperties", {}).values(), node.get("additionalProperties")):
            if isinstance(child, dict):
                inner.append((f"{dot}*", child))
        if "items" in node:
            inner.append((f"{path}[]", node["items"]))
        if path in OTHERS or not inner:
            yield path, self.sample(node) if path not in OTHERS else {}
            return
        for name, child in inner:
            yield from self.lines(child, name, file)

    def sample(self, node: Any) -> Any:
        if "enum" in node:
            return node["enum"][0]
        kind = node.get("type", "object")
        if kind == "integer":
            return max(node.get("minimum", 1), 1)
        return SAMPLES.get(kind, {})


def properties(files: Path) -> str:
    name = "config-schema.json"
    schema = Schema(files)
    found = dict(schema.lines(schema.load(name), "", name))
    return "".join(f"{path} {json.dumps(found[path])}\n" for path in sorted(found))


if __name__ == "__main__":
    LIST.write_text(properties(directory()))
