"""What containers use, and which processes they have: asked of the shim, and of the host's `ps`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

import msgspec

from stockade.engine import listing, samples
from stockade.engine.frame import Frame, running
from stockade.engine.records import Record, Status
from stockade.engine.requests import Top
from stockade.engine.samples import Network, Sample
from stockade.errors import Conflict, NotFound, RuntimeFailed, StockadeError, Unsupported
from stockade.host import spawn
from stockade.model.moments import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_PERIOD = 1.0
_PS_LIMIT = 4 << 20
_PS_TIMEOUT = 10.0
_PS_PLACES = ("/usr/bin/ps", "/bin/ps")
_LIVE = (Status.RUNNING, Status.PAUSED)


class Statistics:
    """The usage of all containers."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    async def one(self, reference: str, one_shot: bool = False) -> Sample:
        """One moment; unless `one_shot` it knows the one a second before. What does not run uses nothing."""
        record = self._frame.find(reference)
        if record.state.status not in _LIVE:
            return _empty(record)
        before = None
        if not one_shot:
            before = await self._sample(record)
            await asyncio.sleep(_PERIOD)
        return samples.after(await self._sample(record), before)

    async def stream(self, reference: str) -> AsyncIterator[Sample]:
        """A moment each second until the container is removed, each but the first knowing the one before.

        One that does not run says so once and then nothing until it does.
        """
        identity = self._frame.find(reference).wanted.id
        before: Sample | None = None
        silent = False
        while True:
            begun = time.monotonic()
            try:
                record = self._frame.find(identity)
            except NotFound:
                return
            if record.state.status in _LIVE:
                now = await self._sample(record)
                yield samples.after(now, before)
                before, silent = now, False
            elif not silent:
                yield _empty(record)
                before, silent = None, True
            await asyncio.sleep(max(0.05, _PERIOD - (time.monotonic() - begun)))

    async def top(self, reference: str, ps_args: str = "") -> Top:
        """The container's processes as ps(1) of the host shows them; pids and users are the host's.

        Raises:
            Conflict: it does not run.
            BadValue: arguments that would hide which processes are the container's.
        """
        listing.words(ps_args, [])
        record = running(self._frame, reference)
        pids = await (await self._frame.task(record.wanted.id)).pids()
        program = next((path for path in _PS_PLACES if os.access(path, os.X_OK)), None)
        if program is None:
            raise Unsupported('ps: exec: "ps": executable file not found in $PATH', hint="install procps on the host")
        complaint = b""
        for words in listing.words(ps_args, pids):
            answer = await spawn.run([program, *words], limit=_PS_LIMIT, timeout=_PS_TIMEOUT)
            if answer.status == 0:
                break
            complaint = answer.complaint
        else:
            first = complaint.decode(errors="replace").strip().partition("\n")[0]
            raise RuntimeFailed(f"ps: {first or f'exit status {answer.status}'}")
        titles, processes = listing.parse(answer.out.decode(errors="replace"), pids)
        self._frame.tell("top", record)
        return Top(titles, processes)

    async def _sample(self, record: Record) -> Sample:
        """What the shim counts now; nothing when it ended meanwhile."""
        try:
            metrics = await (await self._frame.task(record.wanted.id)).stats()
        except (NotFound, Conflict):
            return _empty(record)
        except StockadeError:
            with contextlib.suppress(NotFound):
                if self._frame.find(record.wanted.id).state.status in _LIVE:
                    raise
            return _empty(record)
        stat, meminfo = (_text(f"/proc/{name}") for name in ("stat", "meminfo"))
        moment = rfc3339(time.time_ns())
        found = samples.sample(record.wanted.id, record.wanted.name, moment, metrics, samples.machine(stat, meminfo))
        return msgspec.structs.replace(found, networks=_interfaces(record) or msgspec.UNSET)


def _empty(record: Record) -> Sample:
    return Sample(record.wanted.id, f"/{record.wanted.name}")


def _interfaces(record: Record) -> dict[str, Network]:
    """Those of a network namespace that is not the host's; none when it ended meanwhile."""
    if record.wanted.namespaces.network == "host":
        return {}
    try:
        return samples.interfaces(_text(f"/proc/{record.state.pid}/net/dev"))
    except OSError:
        return {}


def _text(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()
