"""The table of verbs in docs/engine.md is that of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from stockade.engine import verbs

DOCS = Path(__file__).resolve().parents[3] / "docs" / "engine.md"


@pytest.mark.parametrize("name", sorted(verbs.ALL))
def test_the_documented_steps(name: str) -> None:
    verb = verbs.ALL[name]
    final = verb.point_of_no_return or verb.steps[-1].name
    row = " → ".join(f"**{step.name}**" if step.name == final else step.name for step in verb.steps)
    documented = (
        DOCS.read_text()
        .replace("(→", "→")
        .replace("→)", "→")
        .replace("| (", "| ")
        .replace(") →", " →")
        .replace("(**", "**")
    )
    assert f"| `{name}` | {row} |" in documented


@pytest.mark.parametrize("name", sorted(verbs.ALL))
def test_the_point_of_no_return_is_a_step(name: str) -> None:
    verb = verbs.ALL[name]
    assert verb.final([step.name for step in verb.steps])
    assert len({step.name for step in verb.steps}) == len(verb.steps)
