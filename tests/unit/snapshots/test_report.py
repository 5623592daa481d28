"""Changes as Docker lists them."""

from __future__ import annotations

from stockade.snapshots.report import Row, changes_of


def test_directories_on_the_way_count_as_modified() -> None:
    rows = [Row("/etc/a/b", "added"), Row("/etc/a", "added"), Row("/tmp/x", "deleted"), Row("/z", "modified")]
    assert changes_of(rows) == [
        ("/etc", 0), ("/etc/a", 1), ("/etc/a/b", 1), ("/tmp", 0), ("/tmp/x", 2), ("/z", 0),
    ]  # fmt: skip
