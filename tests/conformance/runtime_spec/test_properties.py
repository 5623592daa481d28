"""Our list of config.json's properties is the specification's; what is refused the real command refuses by name."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.runtime_spec import schema
from contract.oci.harness import Runtime
from support.place import Place

REFUSED = schema.LIST.with_name("refused.txt")


def refused() -> list[str]:
    return [line.split()[0] for line in REFUSED.read_text().splitlines() if not line.startswith("#")]


def mutations() -> Iterator[tuple[str, str, Any]]:
    """Each refused name, each property below it, a value of that."""
    for line in schema.LIST.read_text().splitlines():
        path, _, value = line.partition(" ")
        for name in refused():
            if path == name or path.startswith((f"{name}.", f"{name}[")):
                yield name, path, json.loads(value)


def put(document: Any, path: str, value: Any) -> None:
    """Set `a.b[].*.c`."""
    steps = [step for part in path.split(".") for step in part.replace("[]", " []").split()]
    for step, following in itertools.pairwise(steps):
        if step == "[]":
            document = document[0]
            continue
        empty: Any = [None] if following == "[]" else {}
        document = document.setdefault(step, empty)
    document[0 if steps[-1] == "[]" else steps[-1]] = value


def test_the_list_is_the_schema_s() -> None:
    assert schema.LIST.read_text() == schema.properties(schema.directory())


@pytest.mark.root
@pytest.mark.parametrize(("name", "path", "value"), list(mutations()), ids=str)
def test_a_configuration_with_it_is_refused(bin_dir: Path, place: Place, name: str, path: str, value: Any) -> None:
    ours = Runtime("ours", (str(bin_dir / "stockade-oci"),), place)
    bundle = ours.bundle("true", change=lambda document: put(document, path, value))
    done = ours("run", "--bundle", bundle, place.name("c"))
    assert done.code == 1
    assert name in done.err, done
    assert ours.ok("list", "-q") == ""
