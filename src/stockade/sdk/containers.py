"""Containers that outlive the call that made them: found again by what is on disk, without a daemon.

A container is its directory: record.json says who made it, the bundle in it what it is, exit.json how it ended, and its
shim, found by the bundle's `address`, what it does now. Used by the command line; blocking only.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import NamedTuple

from stockade.embedded import records
from stockade.embedded.keeper import Keeper
from stockade.embedded.session import NAMESPACE
from stockade.embedded.sweep import bundle_of
from stockade.errors import BadValue, Conflict, NotFound, StockadeError, TimedOut, Unavailable
from stockade.host import paths
from stockade.model import Phase, Reason
from stockade.runtime import exits, shim
from stockade.runtime.blocking import Channel, run
from stockade.runtime.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from stockade.embedded.records import Record
    from stockade.model import Exit

_PATIENCE = 10.0


class Found(NamedTuple):
    """A container, as it was when it was looked at."""

    directory: str
    record: Record
    status: str
    """`created`, `running`, `paused`, `exited`, `dead` (its shim is gone) or `kept`."""
    pid: int = 0
    end: Exit | None = None

    @property
    def bundle(self) -> str:
        """Where config.json is."""
        return bundle_of(self.directory, self.record)

    @property
    def alive(self) -> bool:
        """Whether something may run in it."""
        return self.status in ("created", "running", "paused")


def listing(environ: Mapping[str, str] = os.environ) -> list[Found]:
    """Every container of this user, the oldest first."""
    return [look(directory, record) for directory, record in records.listing(paths.find(environ))]


def find(word: str, environ: Mapping[str, str] = os.environ) -> Found:
    """The container of a name or id, or of the beginning of one id.

    Raises:
        NotFound: there is none.
    """
    found = records.find(paths.find(environ), word)
    if found is None:
        raise NotFound(f"there is no container {word!r}", hint="`stockade ps --all` lists them")
    return look(*found)


def look(directory: str, record: Record) -> Found:
    """What a container does now. One whose shim died is ended and its record completed."""
    if record.kept and record.owner is None:
        return Found(directory, record, "kept")
    found = Found(directory, record, "created")
    end = exits.read(found.bundle)
    if end is not None:
        return found._replace(status="exited" if end.reason is not Reason.SHIM_DIED else "dead", end=end)
    try:
        with connect(found) as task:
            state = run(task.state())
    except NotFound:
        # The shim is there, and is just making or removing it.
        return found
    except Unavailable:
        return _bury_shim(found)
    names = {Phase.RUNNING: "running", Phase.PAUSED: "paused", Phase.PAUSING: "paused", Phase.STOPPED: "exited"}
    return found._replace(status=names.get(state.phase, "created"), pid=state.pid, end=exits.read(found.bundle))


class connect:
    """The task of a container, over a connection that ends with the block."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._channel: Channel | None = None

    def __enter__(self) -> Task:
        self._channel = Channel(shim.address(self._found.bundle))
        return Task(self._channel, self._found.record.id, self._found.bundle)

    def __exit__(self, *_: object) -> None:
        if self._channel is not None:
            self._channel.close()


def send_signal(found: Found, number: int) -> None:
    """Send a signal to a container's first process.

    Raises:
        Conflict: it does not run.
    """
    if not found.alive:
        raise Conflict(f"container {found.record.name} is not running, it is {found.status}")
    try:
        with connect(found) as task:
            run(task.kill(number))
    except NotFound as error:
        raise Conflict(f"container {found.record.name} is not running") from error


def remove(found: Found, force: bool = False) -> None:
    """Remove a container and all that it wrote.

    Raises:
        Conflict: it runs, and is not to be killed.
        NotFound: somebody else removed it meanwhile.
    """
    name = found.record.name
    if found.status == "kept":
        raise Conflict(f"{name} is kept", hint=f"stockade do --drop {found.record.kept}")
    if found.alive and not force:
        raise Conflict(f"container {name} is {found.status}", hint=f"stockade rm --force {name}")
    try:
        with connect(found) as task:
            if found.alive:
                # It may have ended since it was looked at; its shim still has it.
                with contextlib.suppress(NotFound):
                    run(task.kill(signal.SIGKILL, everything=True))
                run(task.wait(timeout=_PATIENCE))
            run(task.delete())
            run(task.shutdown())
    except (Unavailable, NotFound, TimedOut, Conflict):
        shim.clean_up(shim.program(shim.PROGRAM), found.bundle, found.record.id, NAMESPACE)
    if not Keeper(paths.find(os.environ)).drop(found.record):
        raise NotFound(f"there is no container {name!r} any more: somebody else removed it")


def parse_signal(text: str) -> int:
    """Read `KILL`, `SIGKILL` or `9`.

    Raises:
        BadValue: there is no such signal.
    """
    if text.isascii() and text.isdigit() and 0 < int(text) <= signal.SIGRTMAX:
        return int(text)
    name = text.upper().removeprefix("SIG")
    try:
        return int(signal.Signals[f"SIG{name}"])
    except KeyError:
        raise BadValue(f"{text!r} is no signal", hint="a name or number, as TERM or 15") from None


def _bury_shim(found: Found) -> Found:
    if not os.path.exists(f"{found.bundle}/shim.pid"):
        return found
    if found.record.owner is not None and found.record.owner.alive():
        return found._replace(status="dead")
    try:
        shim.clean_up(shim.program(shim.PROGRAM), found.bundle, found.record.id, NAMESPACE)
    except StockadeError:
        return found._replace(status="dead")
    return found._replace(status="dead", end=exits.read(found.bundle))
