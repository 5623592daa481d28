"""The records of networks that lie beside the data, for a store that is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from stockade.host.paths import Paths
from stockade.networks import Networks
from stockade.networks.values import Network
from stockade.store import Store

_ONE = Network("a" * 64, "shop", 1, "br-a")
_TWO = Network("b" * 64, "mall", 2, "br-b")


@contextmanager
def networks(top: Path, store: str = "store.db") -> Iterator[Networks]:
    (top / "data").mkdir(exist_ok=True)
    database = Store(str(top / store))
    try:
        yield Networks(Paths(True, 0, 0, str(top / "run"), str(top / "data"), str(top / "run")), database)
    finally:
        database.close()


def copies(top: Path) -> list[str]:
    return sorted(one.name for one in (top / "data/networks").iterdir())


def test_a_copy_that_is_missing_comes_with_the_next_daemon(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store.db"))
    for one in (_ONE, _TWO):
        store.table("network", Network).put(one.id, one, name=one.name)
    store.close()
    (tmp_path / "data/networks").mkdir(parents=True)
    (tmp_path / f"data/networks/{_ONE.id}.json.stockade-77").write_text('{"id"')
    with networks(tmp_path) as found:
        asyncio.run(found.restore())
    assert copies(tmp_path) == [f"{_ONE.id}.json", f"{_TWO.id}.json"]


def test_of_a_lost_store_networks_are_what_was_copied_whole(tmp_path: Path) -> None:
    (tmp_path / "data/networks").mkdir(parents=True)
    whole = msgspec.json.encode(_ONE)
    (tmp_path / f"data/networks/{_ONE.id}.json").write_bytes(whole)
    (tmp_path / f"data/networks/{_TWO.id}.json.stockade-77").write_bytes(whole[:30])
    with networks(tmp_path) as found:
        assert [one.name for one in found.all()] == ["shop"]
    assert copies(tmp_path) == [f"{_ONE.id}.json"]
