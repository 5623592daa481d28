"""Records survive the process, names are unique, and damage is a condition with a way out."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import msgspec
import pytest

from stockade.errors import Conflict, Damaged, Unsupported
from stockade.store import Store
from stockade.store.database import VERSION


class Thing(msgspec.Struct, frozen=True):
    word: str
    number: int = 0


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "store.db")


def test_put_get_delete(path: str) -> None:
    store = Store(path)
    table = store.table("thing", Thing)
    table.put("k", Thing("a", 1), name="n")
    table.put("k", Thing("b", 2), name="n")
    assert table.get("k") == table.named("n") == Thing("b", 2)
    assert table.all() == [Thing("b", 2)]
    table.delete("k")
    table.delete("k")
    assert table.get("k") is None
    store.close()


def test_what_was_put_outlives_a_close(path: str) -> None:
    store = Store(path)
    store.table("thing", Thing).put("k", Thing("a"))
    store.close()
    again = Store(path)
    assert again.table("thing", Thing).get("k") == Thing("a")
    again.close()


def test_names_are_unique_within_kind_and_namespace(path: str) -> None:
    store = Store(path)
    table = store.table("thing", Thing)
    table.put("a", Thing("a"), name="n")
    with pytest.raises(Conflict):
        table.put("b", Thing("b"), name="n")
    table.put("b", Thing("b"), name="n", namespace="other")
    store.table("else", Thing).put("b", Thing("b"), name="n")
    table.put("c", Thing("c"))
    table.put("d", Thing("d"))
    assert table.get("b") is None
    assert len(table.all(None)) == 4
    store.close()


def test_a_transaction_is_all_or_nothing(path: str) -> None:
    store = Store(path)
    table = store.table("thing", Thing)

    def both() -> None:
        with store.transaction():
            table.put("a", Thing("a"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        both()
    assert table.all() == []
    store.close()


def test_it_is_the_owners_alone(path: str) -> None:
    Store(path).close()
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_newer_schema_is_refused(path: str) -> None:
    Store(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute(f"PRAGMA user_version={VERSION + 1}")
    raw.close()
    with pytest.raises(Unsupported, match="newer release"):
        Store(path)


def test_garbage_is_damage(path: str) -> None:
    Path(path).write_bytes(b"no database " * 1000)
    with pytest.raises(Damaged) as caught:
        Store(path)
    assert "repair" in caught.value.hint


def test_a_cut_database_is_damage(path: str) -> None:
    store = Store(path)
    table = store.table("thing", Thing)
    for number in range(2000):
        table.put(f"{number}", Thing("x" * 100))
    store.checkpoint()
    store.close()
    os.truncate(path, os.path.getsize(path) // 2)
    with pytest.raises(Damaged):
        Store(path).table("thing", Thing).all()


def test_a_record_of_another_shape_is_damage(path: str) -> None:
    store = Store(path)
    store.table("thing", Thing).put("k", Thing("a"))

    class Other(msgspec.Struct):
        something: int

    with pytest.raises(Damaged, match="thing k"):
        store.table("thing", Other).get("k")
    store.close()


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Damaged):
        Store(str(tmp_path / "nowhere" / "store.db"))
