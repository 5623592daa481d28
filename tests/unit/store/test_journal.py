"""A verb is whole or undone, in process and after a crash: as a table of where it is cut."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from stockade.errors import RuntimeFailed
from stockade.store import Journal, Operation, Step, Store, Verb


class Work:
    """A context that remembers what was done to it."""

    operation: Operation

    def __init__(self, fail: str = "") -> None:
        self.fail = fail
        self.done: list[str] = []

    def act(self, word: str) -> Callable[[Work], Awaitable[None]]:
        async def do(work: Work) -> None:
            if work.fail == word:
                raise RuntimeFailed(word)
            work.done.append(word)

        return do


def step(name: str) -> Step[Work]:
    return Step(name, Work().act(name), Work().act(f"-{name}"))


VERB = Verb("verb", tuple(step(name) for name in "abcd"), point_of_no_return="c")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    store = Store(str(tmp_path / "store.db"))
    yield Journal(store)
    store.close()


def test_all_of_it(journal: Journal) -> None:
    work = Work()
    asyncio.run(journal.run(VERB, work, "subject", {"key": 1}))
    assert work.done == ["a", "b", "c", "d"]
    assert journal.unfinished() == []


@pytest.mark.parametrize(
    ("fail", "done", "left"),
    [
        ("a", ["-a"], 0),
        ("b", ["a", "-b", "-a"], 0),
        ("c", ["a", "b", "-c", "-b", "-a"], 0),
        ("d", ["a", "b", "c"], 1),
        ("-b", ["a", "b", "-c", "-a"], 1),
    ],
)
def test_a_step_that_fails(journal: Journal, fail: str, done: list[str], left: int) -> None:
    work = Work(fail)
    if fail == "-b":
        work.act("")

        async def fails(_: Work) -> None:
            raise RuntimeFailed("c")

        verb = VERB._replace(steps=(*VERB.steps[:2], VERB.steps[2]._replace(do=fails), VERB.steps[3]))
    else:
        verb = VERB
    with pytest.raises(RuntimeFailed):
        asyncio.run(journal.run(verb, work, "subject"))
    assert work.done == done
    assert len(journal.unfinished()) == left


@pytest.mark.parametrize(
    ("recorded", "expected", "finished"),
    [
        ([], ["-a"], False),
        (["a"], ["-b", "-a"], False),
        (["a", "b"], ["-c", "-b", "-a"], False),
        (["a", "b", "c"], ["d"], True),
        (["a", "b", "c", "d"], [], True),
    ],
)
def test_what_a_crash_left(journal: Journal, recorded: list[str], expected: list[str], finished: bool) -> None:
    operation = journal.begin("verb", "subject", {"key": "value"})
    operation.note(more=2)
    for name in recorded:
        operation.step(name)
    [found] = journal.unfinished()
    kept = {"key": "value", "more": 2} if recorded else {"key": "value"}
    assert (found.verb, found.subject, found.data, found.done) == ("verb", "subject", kept, recorded)
    work = Work()
    assert asyncio.run(journal.recover(VERB, work, found)) is finished
    assert work.done == expected
    assert journal.unfinished() == []


def test_a_step_that_the_world_shows_done_is_done(journal: Journal) -> None:
    async def seen(_: Work) -> bool:
        return True

    verb = VERB._replace(steps=(*VERB.steps[:2], VERB.steps[2]._replace(seen=seen), VERB.steps[3]))
    operation = journal.begin("verb", "subject", {})
    operation.step("a")
    operation.step("b")
    work = Work()
    assert asyncio.run(journal.recover(verb, work, journal.unfinished()[0])) is True
    assert work.done == ["d"]


@pytest.mark.parametrize(
    ("done", "recorded", "expected"),
    [
        ("", [], ["-c", "-b", "-a"]),
        ("a", [], ["-c", "-b", "-a"]),
        ("ab", [], ["-c", "-b", "-a"]),
        ("abc", ["a", "b", "c"], ["-d", "-c", "-b", "-a"]),
    ],
)
def test_what_a_crash_left_of_quiet_steps(
    journal: Journal, done: str, recorded: list[str], expected: list[str]
) -> None:
    verb = Verb("verb", tuple(step(name)._replace(quiet=name in "ab") for name in "abcd"))
    operation = journal.begin("verb", "subject", {})
    for name in done:
        operation.step(name, name in "ab")
    [found] = journal.unfinished()
    assert found.done == recorded
    work = Work()
    assert asyncio.run(journal.recover(verb, work, found)) is False
    assert work.done == expected
    assert journal.unfinished() == []


def test_the_quiet_steps_before_one_that_the_world_shows_done_are_done(journal: Journal) -> None:
    async def seen(_: Work) -> bool:
        return True

    quiet = [step(name)._replace(quiet=True) for name in "ab"]
    verb = Verb("verb", (*quiet, step("c")._replace(seen=seen), step("d")), point_of_no_return="c")
    journal.begin("verb", "subject", {})
    work = Work()
    assert asyncio.run(journal.recover(verb, work, journal.unfinished()[0])) is True
    assert work.done == ["d"]
    assert journal.unfinished() == []


def test_a_failure_undoes_no_quiet_step_that_was_not_begun(journal: Journal) -> None:
    verb = Verb("verb", tuple(step(name)._replace(quiet=True) for name in "abcd"))
    work = Work("b")
    with pytest.raises(RuntimeFailed):
        asyncio.run(journal.run(verb, work, "subject"))
    assert work.done == ["a", "-b", "-a"]
