"""exit.json as it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stockade.errors import ProtocolBroken
from stockade.model import Reason
from stockade.runtime import exits


def test_a_record_in_our_units(tmp_path: Path) -> None:
    raw = {
        "exit_status": 137,
        "exited_at": "2026-01-01T00:00:00.000000001Z",
        "reason": "OOMKilled",
        "oom_kills": 1,
        "pids_refused": 3,
        "usage": {"cpu_ns": 1_500_000_000, "memory_peak": 4096},
        "steps": {"create_us": 2500},
    }
    (tmp_path / "exit.json").write_text(json.dumps(raw))
    end = exits.read(str(tmp_path))
    assert end is not None
    assert (end.status, end.reason, end.ok) == (137, Reason.OOM_KILLED, False)
    assert (end.oom_kills, end.pids_refused) == (1, 3)
    assert end.usage.cpu == pytest.approx(1.5)
    assert end.usage.user is None
    assert end.usage.memory_peak == 4096
    assert end.steps.create == pytest.approx(0.0025)


def test_none_and_broken_ones(tmp_path: Path) -> None:
    assert exits.read(str(tmp_path)) is None
    assert exits.read(str(tmp_path / "gone"), "e1") is None
    (tmp_path / "exit-e1.json").write_text("{")
    with pytest.raises(ProtocolBroken):
        exits.read(str(tmp_path), "e1")


@pytest.mark.parametrize(("status", "reason"), [(0, Reason.EXITED), (3, Reason.EXITED), (137, Reason.SIGNALED)])
def test_from_the_status_alone(status: int, reason: Reason) -> None:
    assert exits.from_status(status).reason is reason


def test_a_reason_of_a_newer_release() -> None:
    assert exits.parse({"exit_status": 137, "reason": "Frozen"}).reason is Reason.SIGNALED
    assert exits.parse({"exit_status": 3, "reason": "Frozen", "colour": "red"}).reason is Reason.EXITED
