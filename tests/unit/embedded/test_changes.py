"""What is shown of an untrusted upper directory: bounded, escaped, never through a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stockade.embedded import changes
from stockade.embedded.changes import Step


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("upper", "target"):
        (tmp_path / name).mkdir()
    return tmp_path / "upper", tmp_path / "target"


def shown(sides: tuple[Path, Path], path: str, action: str = "replace") -> list[str]:
    return list(changes.difference(str(sides[0]), str(sides[1]), Step(path, action, "file", 0, "normal", None)))


def test_a_difference(sides: tuple[Path, Path]) -> None:
    (sides[0] / "file").write_text("one\ntwo\n")
    (sides[1] / "file").write_text("one\n2\n")
    assert shown(sides, "file") == ["--- before/file", "+++ after/file", "@@ -1,2 +1,2 @@", " one", "-2", "+two"]
    assert shown(sides, "file", "add")[-2:] == ["+one", "+two"]
    assert shown(sides, "file", "delete")[-2:] == ["-one", "-2"]


def test_a_terminal_is_told_nothing(sides: tuple[Path, Path]) -> None:
    (sides[0] / "file").write_bytes(b"\x1b[2Jgone\rshown\n\xff\n")
    lines = shown(sides, "file", "add")
    assert all(line.isprintable() for line in lines)
    assert "\\x1b[2Jgone" in "\n".join(lines)
    assert changes.printable("a\u202eb\x07") == "a\\u202eb\\x07"


def test_no_link_is_followed(sides: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (sides[0] / "file").symlink_to(tmp_path / "secret")
    (sides[0] / "folder").symlink_to(tmp_path)
    for path in ("file", "folder/secret"):
        assert "secret" not in "\n".join(line for line in shown(sides, path, "add") if not line.startswith("+++"))


def test_what_is_large_binary_or_no_file(sides: tuple[Path, Path]) -> None:
    (sides[0] / "large").write_bytes(b"x" * (changes.LARGEST_SHOWN + 1))
    (sides[0] / "binary").write_bytes(b"\0")
    os.mkfifo(sides[0] / "fifo")
    (sides[0] / "long").write_text("line\n" * 2 * changes.LINES_SHOWN)
    assert "larger than" in shown(sides, "large", "add")[0]
    assert "binary" in shown(sides, "binary", "add")[0]
    assert "no plain file" in shown(sides, "fifo", "add")[0]
    assert len(shown(sides, "long", "add")) == changes.LINES_SHOWN + 1
