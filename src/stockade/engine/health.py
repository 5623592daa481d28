"""Asking containers whether they are well, while they run and are not paused; what it means stands in `probes`.

The last answers are part of the container's record, so they survive the daemon; the question that was under way when it
died is ended when its successor finds the container (see execs). A probe's output is the engine's own data, not the
workload's stream, so it is read here: 4,096 bytes, the rest goes to /dev/null.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

from stockade.engine import probes
from stockade.engine.frame import Frame
from stockade.engine.records import Health, Probe, Record, State, Status
from stockade.engine.requests import ExecConfig
from stockade.errors import NotFound, StockadeError
from stockade.host import spawn
from stockade.runtime import handover, shim
from stockade.runtime.attach import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.engine.execs import Execs

_GRACE = 10.0
"""Seconds that a killed probe may take to end."""


class Watch:
    """The health checks of all containers."""

    def __init__(self, frame: Frame, execs: Execs) -> None:
        self._frame = frame
        self._execs = execs
        self._watches: dict[str, asyncio.Task[None]] = {}

    def started(self, identity: str) -> None:
        """It runs from now on: nothing is known of it."""
        record = self._frame.find(identity)
        if _plan(record) is not None:
            self._keep(record, probes.begun(record.state))
            self._begin(record)

    def resumed(self, identity: str) -> None:
        """It is thawed, or was found running by a new daemon: what was known of it stays."""
        record = self._frame.find(identity)
        if _plan(record) is None or record.state.status is Status.PAUSED:
            return
        if record.state.health is Health.NONE:
            self._keep(record, probes.begun(record.state))
        self._begin(record)

    async def pausing(self, identity: str) -> None:
        """It is about to be frozen: whoever is asked now would not end. Its state is kept until it is asked again."""
        await self._end(identity)

    def ended(self, identity: str) -> None:
        """It does not run any more."""
        watch = self._watches.pop(identity, None)
        if watch is not None:
            watch.cancel()
        with contextlib.suppress(NotFound):
            record = self._frame.find(identity)
            if record.state.health is not Health.NONE:
                self._keep(record, probes.ended(record.state))

    async def close(self) -> None:
        """Ask no more; containers keep what is known of them."""
        for identity in list(self._watches):
            await self._end(identity)

    # ------------------------------------------------------------------------------------------------------------

    def _begin(self, record: Record) -> None:
        identity = record.wanted.id
        before = self._watches.pop(identity, None)
        if before is not None:
            before.cancel()
        self._watches[identity] = asyncio.create_task(self._ask_on(identity), name=f"health {identity}")

    async def _end(self, identity: str) -> None:
        watch = self._watches.pop(identity, None)
        if watch is not None:
            watch.cancel()
            await asyncio.wait([watch], timeout=_GRACE)

    async def _ask_on(self, identity: str) -> None:
        while True:
            try:
                record = self._frame.find(identity)
            except NotFound:
                return
            plan = _plan(record)
            if plan is None:
                return
            age = (time.time_ns() - record.state.started) / 1e9
            await asyncio.sleep(probes.delay(plan, record.state.health, age))
            probe = await self._ask(record, plan)
            # A full disk costs this answer, not the ones to come.
            with contextlib.suppress(StockadeError):
                before = self._frame.find(identity)
                after = self._keep(before, probes.judged(plan, before.state, probe))
                if after.state.health is not before.state.health:
                    self._frame.tell(f"health_status: {after.state.health}", after)

    async def _ask(self, record: Record, plan: probes.Plan) -> Probe:
        start = time.time_ns()
        try:
            status, output = await self._probe(record, plan)
        except (StockadeError, OSError) as error:
            status, output = -1, str(error)
        return Probe(start, time.time_ns(), status, output)

    async def _probe(self, record: Record, plan: probes.Plan) -> tuple[int, str]:
        """Run the check's command once: its status and output."""
        wanted = record.wanted
        config = ExecConfig(plan.command, attach_stdout=True, attach_stderr=True)
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(ours, False)
        reading: asyncio.Task[bytes] | None = None
        exec_id = ""
        try:
            try:
                exec_id = (await self._execs.probe(wanted.id, config, theirs)).id
            finally:
                os.close(theirs)
            reading = asyncio.create_task(self._read(wanted.id, exec_id, ours), name=f"probe {exec_id}")
            outcome = asyncio.ensure_future(self._execs.outcome(exec_id))
            done, _ = await asyncio.wait([outcome], timeout=plan.timeout)
            if not done:
                await self._execs.kill(exec_id)
                await asyncio.wait([outcome], timeout=_GRACE)
            await asyncio.wait([reading], timeout=1.0)
            said = probes.output(reading.result(), False) if reading.done() else ""
            return (outcome.result(), said) if done else (-1, probes.late(plan, said))
        except asyncio.CancelledError:
            if exec_id:
                with contextlib.suppress(StockadeError):
                    await self._execs.kill(exec_id)
            raise
        finally:
            if reading is not None:
                reading.cancel()
                await asyncio.wait([reading])
            else:
                os.close(ours)
            self._execs.discard(exec_id)

    async def _read(self, identity: str, exec_id: str, pipe: int) -> bytes:
        """The first bytes of a probe's output; for the rest of it /dev/null takes our place, so that nothing waits."""
        try:
            said = await spawn.read(pipe, probes.OUTPUT_LIMIT)
            if len(said) <= probes.OUTPUT_LIMIT:
                return said
            door = handover.Door(shim.attach_address(self._frame.directory(identity)), identity, exec_id)
            nothing = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
            try:
                seat = await handover.attach(door, Streams(None, nothing, nothing))
            finally:
                os.close(nothing)
        finally:
            os.close(pipe)
        try:
            await seat.receive()
        finally:
            seat.close()
        return said

    def _keep(self, record: Record, state: State) -> Record:
        return self._frame.change(record.wanted.id, health=state.health, failing=state.failing, probes=state.probes)


def _plan(record: Record) -> probes.Plan | None:
    return probes.plan(record.wanted.health, record.wanted.shell)
