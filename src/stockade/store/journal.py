"""The one journal of operations: what was begun, which steps are done, and so what a crash leaves to be done or undone.

A verb is declared once, as a row of steps. `run` writes the intent down, then performs step after step, each recorded
when done; the last one by forgetting the operation. A step that fails has what was done undone, in reverse, itself
included; unless the verb's point of no return is done: then what is left stays in the journal, to be finished. After a
crash `recover` does the same with every operation it finds. So each `do` and `undo` must bear being called twice, and
half done before.

A commit costs as much as many a step. One that is `quiet` is written down together with the next that is not: after a
crash it counts as one that may be half done, and so do the others between.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from stockade.errors import RuntimeFailed, StockadeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.store.database import Store

NOTHING: Mapping[str, Any] = MappingProxyType({})
CRASH = "STOCKADE_CRASH"
"""Names the point at which the process kills itself, for tests: `verb:step:before`, `verb:step` (done and not yet
recorded), `verb:step:after`."""
_WANTED = os.environ.get(CRASH, "")


async def nothing(_: object) -> None:
    """Undoes a step that leaves nothing."""


class Context(Protocol):
    """What the steps of a verb share."""

    operation: Operation
    """Told by `run` and `recover` before the first step."""


C = TypeVar("C", bound=Context)


class Step(NamedTuple, Generic[C]):
    """One act of a verb; both ways bear being repeated."""

    name: str
    do: Callable[[C], Awaitable[None]]
    undo: Callable[[C], Awaitable[None]] = nothing
    seen: Callable[[C], Awaitable[bool]] | None = None
    """After a crash: whether the world shows it done though it was not recorded; None: that does not matter."""
    quiet: bool = False
    """Whether its being done is recorded with the next step's."""


class Verb(NamedTuple, Generic[C]):
    """What happens, in which order, and how it is taken back."""

    name: str
    steps: tuple[Step[C], ...]
    point_of_no_return: str = ""
    """The step after which it is finished and never undone; empty: the last one."""

    def final(self, done: Iterable[str]) -> bool:
        """Whether the point of no return is among what was done."""
        return (self.point_of_no_return or self.steps[-1].name) in done

    def begun(self, done: Sequence[str]) -> int:
        """How many steps a crash may have left begun, of which these were recorded."""
        quiet = itertools.takewhile(lambda step: step.quiet, self.steps[len(done) :])
        return min(len(self.steps), len(done) + len(list(quiet)) + 1)


class Operation:
    """One verb on its way."""

    def __init__(self, journal: Journal, number: int, row: Row) -> None:
        self._journal = journal
        self._number = number
        self.verb = row.verb
        self.subject = row.subject
        self.data: dict[str, Any] = row.data
        self.done: list[str] = row.done

    def note(self, **data: Any) -> None:
        """What later steps will need, also after a crash; kept with the next step that is recorded."""
        self.data |= data

    def keep(self) -> None:
        """Keep the notes now: what follows could not be undone without them."""
        self._journal.write(self._number, self.data, self.done)

    def step(self, name: str, quiet: bool = False) -> None:
        """Keep that a step is done, now or (`quiet`) with the next."""
        self.done.append(name)
        if not quiet:
            self._journal.write(self._number, self.data, self.done)

    def end(self) -> None:
        """Forget it: all of it is done, or undone."""
        self._journal.erase(self._number)


class Row(NamedTuple):
    """An operation as it is kept."""

    verb: str
    subject: str
    data: dict[str, Any]
    done: list[str]


class Journal:
    """The operations under way in one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._encode = msgspec.json.Encoder().encode

    def begin(self, verb: str, subject: str, data: Mapping[str, Any]) -> Operation:
        """Write an intent down."""
        row = Row(verb, subject, dict(data), [])
        with self._store.transaction():
            cursor = self._store.connection.execute(
                "INSERT INTO operations (verb, subject, data, done) VALUES (?,?,?,?)",
                (verb, subject, self._encode(row.data), b"[]"),
            )
        assert cursor.lastrowid is not None
        return Operation(self, cursor.lastrowid, row)

    def unfinished(self) -> list[Operation]:
        """What a crash left, in the order in which it was begun."""
        with self._store.guarded():
            rows = self._store.connection.execute("SELECT * FROM operations ORDER BY id").fetchall()
        decode = msgspec.json.decode
        return [
            Operation(self, number, Row(verb, subject, decode(data, type=dict[str, Any]), decode(done, type=list[str])))
            for number, verb, subject, data, done in rows
        ]

    def write(self, number: int, data: Mapping[str, Any], done: list[str]) -> None:
        """Replace what is kept of an operation."""
        with self._store.transaction():
            self._store.connection.execute(
                "UPDATE operations SET data=?, done=? WHERE id=?", (self._encode(data), self._encode(done), number)
            )

    def erase(self, number: int) -> None:
        """Forget an operation. Idempotent."""
        with self._store.transaction():
            self._store.connection.execute("DELETE FROM operations WHERE id=?", (number,))

    async def run(self, verb: Verb[C], context: C, subject: str, data: Mapping[str, Any] = NOTHING) -> None:
        """Perform a verb.

        Raises:
            StockadeError: a step failed; what was done is undone, or, past the point of no return, left to be finished.
        """
        operation = self.begin(verb.name, subject, data)
        context.operation = operation
        try:
            await _forward(verb, context, operation)
        except BaseException:
            if not verb.final(operation.done):
                await _back(verb, context, operation, len(operation.done) + 1)
            raise

    async def recover(self, verb: Verb[C], context: C, operation: Operation) -> bool:
        """Finish what a crash left of an operation, or undo it; whether it was finished."""
        context.operation = operation
        before = len(operation.done)
        begun = verb.begun(operation.done)
        for number, step in enumerate(verb.steps[before:begun], before + 1):
            if step.seen is not None and await step.seen(context):
                # And so are those before it.
                for one in verb.steps[len(operation.done) : number]:
                    operation.step(one.name)
        if verb.final(operation.done):
            await _forward(verb, context, operation)
            return True
        await _back(verb, context, operation, begun)
        return False


async def _forward(verb: Verb[C], context: C, operation: Operation) -> None:
    left = [step for step in verb.steps if step.name not in operation.done]
    if not left:
        operation.end()
    for step in left:
        _crash(verb.name, step.name, "before")
        await _perform(verb.name, step.do, context)
        _crash(verb.name, step.name, "done")
        if step is verb.steps[-1]:
            operation.end()
        else:
            operation.step(step.name, step.quiet)
        _crash(verb.name, step.name, "after")


async def _perform(verb: str, act: Callable[[C], Awaitable[None]], context: C) -> None:
    """One act; what the file system refuses becomes a condition, so that the verb is undone and its caller told."""
    try:
        await act(context)
    except OSError as error:
        place = f" at {error.filename}" if error.filename else ""
        raise RuntimeFailed(f"{verb}{place}: {error.strerror or error}") from error


async def _back(verb: Verb[C], context: C, operation: Operation, begun: int) -> None:
    """Undo what was done and what may be half done, the last first; one that fails does not keep the others."""
    failures: list[StockadeError] = []
    for step in reversed(verb.steps[:begun]):
        try:
            await _perform(verb.name, step.undo, context)
        except StockadeError as error:
            failures.append(error)
    if failures:
        # It stays in the journal: the next start tries again.
        raise failures[0]
    operation.end()


def _crash(verb: str, step: str, moment: str) -> None:
    if _WANTED and _WANTED in (f"{verb}:{step}:{moment}", f"{verb}:{step}" if moment == "done" else ""):
        os.kill(os.getpid(), signal.SIGKILL)
