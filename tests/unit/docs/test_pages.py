"""What the pages say of the tree is there: programs' help, links, tests that they name, commands."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
from pathlib import Path

import pytest

from stockade import cli
from support.programs import TOP

PAGES = [*TOP.glob("*.md"), *TOP.glob("docs/*.md")]
NAMES = [str(path.relative_to(TOP)) for path in PAGES]


@pytest.mark.parametrize("program", ["fetch", "layer", "logs", "net"])
def test_a_programs_page_holds_its_help(program: str) -> None:
    page = {line.strip() for line in (TOP / f"docs/{program}.md").read_text().splitlines()}
    text = (TOP / f"crates/{program}/src/help.txt").read_text()
    told = text[re.search("^(usage: stockade-(?!layer)|unpack )", text, re.MULTILINE).start() :]  # type: ignore[union-attr]
    missing = [line for line in told.splitlines() if line.strip() not in page]
    assert missing == [""] * len(missing)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = TOP / name
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    assert [one for one in links if "://" not in one and not (page.parent / one).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_paths_and_tests_that_are_named_exist(name: str) -> None:
    known = set(re.findall(r"def (test_\w+)", "".join(path.read_text() for path in TOP.glob("tests/**/*.py"))))
    text = (TOP / name).read_text()
    tests = set(re.findall(r"`(test_\w+)`", text))
    paths = re.findall(r"`((?:bench|crates|docs|packaging|src|tests)/[\w./-]*)`", text)
    assert (tests - known, [path for path in paths if not (TOP / path).exists()]) == (set(), [])


def test_every_command_is_in_the_list() -> None:
    page = (TOP / "docs/cli.md").read_text()
    rows = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    groups: set[str] = set()
    for module in pkgutil.iter_modules(cli.__path__):
        groups |= set(getattr(importlib.import_module(f"stockade.cli.{module.name}"), "COMMANDS", ()))
    words = {word for name in groups for word in name.split()}
    assert words == {word for word in words if re.search(rf"[`, ]{re.escape(word)}[`, ]", rows)}


def test_every_page_is_linked_from_another() -> None:
    linked = {os.path.basename(link) for page in PAGES for link in re.findall(r"\]\(([^)#\s]+)", page.read_text())}
    named = {Path(link).name for page in PAGES for link in re.findall(r"docs/[\w-]+\.md", page.read_text())}
    assert {path.name for path in TOP.glob("docs/*.md")} <= linked | named
