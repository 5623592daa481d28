"""Ranges of ids are given back when nobody has them, and only ours."""

from __future__ import annotations

import os
from pathlib import Path

from stockade.host import ids
from stockade.host.paths import Paths


def test_blocks_go_when_no_container_has_ids(tmp_path: Path) -> None:
    for name in ("etc", "ids", "box"):
        (tmp_path / name).mkdir()
    for name in ("subuid", "subgid"):
        (tmp_path / "etc" / name).write_text("someone:100000:65536\n")
    where = str(tmp_path)
    paths = Paths(True, 0, 0, where, where, where, f"{where}/ids", f"{where}/etc")
    found = ids.claim(paths, f"{where}/box")
    assert "stockade:" in (tmp_path / "etc/subuid").read_text()
    assert ids.give_back(paths) is False
    os.rmdir(f"{where}/box")
    ids.release(paths, f"{where}/box", found.slot)
    assert ids.give_back(paths) is True
    assert (tmp_path / "etc/subuid").read_text() == "someone:100000:65536\n"
    assert ids.give_back(paths) is True
    assert ids.claim(paths, f"{where}/box").slot == 0
