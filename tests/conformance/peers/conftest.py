"""Which runtime the peers drive: ours; runc as the control when a test of ours fails (STOCKADE_PEERS=runc)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.programs import tool


@pytest.fixture(scope="module")
def binary(bin_dir: Path) -> Path:
    """The runtime command that the daemons call."""
    if os.environ.get("STOCKADE_PEERS") == "runc":
        return tool("runc")
    return bin_dir / "stockade-oci"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.timeout(180))
