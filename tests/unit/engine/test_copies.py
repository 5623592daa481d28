"""Copies of records: written a moment later, and not into a directory that is about to go."""

from __future__ import annotations

import asyncio
from pathlib import Path

from stockade.engine.copies import Copies
from stockade.engine.records import Record, Wanted


def record(name: str) -> Record:
    return Record(Wanted(name, name, 0, "busybox", ""))


def test_a_copy_is_there_a_moment_later(tmp_path: Path) -> None:
    async def story() -> None:
        copies = Copies()
        copies.want(str(tmp_path), record("one"))
        await asyncio.sleep(0.5)
        assert (tmp_path / "record.json").exists()
        await copies.close()

    asyncio.run(story())


def test_nothing_is_written_where_it_was_dropped(tmp_path: Path) -> None:
    """Also when it is being written at that moment: whoever dropped it may remove the directory right away."""

    async def story() -> None:
        copies = Copies()
        copies.want(str(tmp_path), record("one"))
        await copies.drop(str(tmp_path))
        many = [tmp_path / str(number) for number in range(300)]
        for directory in many:
            directory.mkdir()
            copies.want(str(directory), record("many"))
        while not (many[0] / "record.json").exists():  # noqa: ASYNC110  a thread writes it
            await asyncio.sleep(0.001)
        await copies.drop(str(many[-1]))
        (many[-1] / "record.json").unlink()
        many[-1].rmdir()
        await asyncio.sleep(0.5)
        assert not many[-1].exists()
        assert not (tmp_path / "record.json").exists()
        await copies.close()

    asyncio.run(story())
