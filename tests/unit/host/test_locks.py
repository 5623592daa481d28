"""Files that are replaced whole, and what a killed process leaves of that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stockade.host import locks

_KILLED = """
import os, signal, sys
from stockade.host import locks
os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
locks.replace(sys.argv[1], "new")
"""


def test_a_reader_sees_the_old_or_the_new(tmp_path: Path) -> None:
    file = tmp_path / "file"
    locks.replace(str(file), "old")
    file.chmod(0o640)
    assert subprocess.run([sys.executable, "-c", _KILLED, str(file)], check=False).returncode == -9
    assert file.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2

    (tmp_path / "file.stockade-note").touch()
    locks.tidy(str(tmp_path))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "file.stockade-note"]
    locks.replace(str(file), "new")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o640)


def test_there_is_nothing_to_tidy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        locks.tidy(str(tmp_path / "none"))
