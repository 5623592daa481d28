"""What each verb does, step by step, and how a step is taken back. Nothing is decided here.

Every step bears being done twice. What a step needs in order to be undone or finished after a crash is in the
operation's notes, the container's record or its directory before the act.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Any

import msgspec

from stockade.engine import bundle, ends, ground, policy, storage
from stockade.engine.answers import Change
from stockade.engine.container import Container
from stockade.engine.records import Record, Status
from stockade.engine.shims import Shim
from stockade.errors import Conflict, NotFound, StockadeError, Unavailable
from stockade.host import ids, processes
from stockade.model import Exit, Phase, Reason
from stockade.model.moments import nanoseconds
from stockade.networks.values import Endpoint
from stockade.runtime import exits, walls
from stockade.store import Operation, Step, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.engine.ahead import Place
    from stockade.engine.containers import Containers
    from stockade.engine.engine import Engine
    from stockade.networks.coming import Coming

_ANSWERED_WITHIN = 5.0
_KILLED_WITHIN = 10.0
"""Seconds from SIGKILL until a shim that tells of no end is taken for dead."""


class Turn:
    """One verb on one container."""

    operation: Operation

    def __init__(self, containers: Containers, container: Container) -> None:
        self.containers = containers
        self.engine: Engine = containers.engine
        self.container = container
        self.place: Place | None = None
        """That was made ahead, and that it has taken."""
        self.gate: asyncio.Future[None] | None = None
        """Of a start that was prepared: opened by whoever starts it."""
        self.creating: asyncio.Task[int] | None = None
        """Its container being made by its shim; the pid."""
        self.coming: Coming | None = None
        """Its ends of networks, on their way."""
        self.held: asyncio.Event = asyncio.Event()
        """Set when the container is created and its program held back."""
        self.began = 0
        """When its program was let run, in nanoseconds since the epoch."""
        self.ended: Exit | None = None
        self.then = policy.Next(policy.Then.STAY)
        self.left: tuple[Endpoint, ...] = ()
        """The ends of networks that it lost with its end."""

    @property
    def notes(self) -> dict[str, Any]:
        return self.operation.data

    @property
    def shim(self) -> Shim:
        return Shim(self.engine.paths, self.container)


# create -----------------------------------------------------------------------------------------------------------


async def _claim(turn: Turn) -> None:
    container, paths = turn.container, turn.engine.paths
    turn.place = turn.containers.ahead.take(container.id)
    if turn.place is None:
        os.makedirs(container.directory, 0o700, exist_ok=True)
    if bundle.own_user_namespace(container.wanted):
        container.ids = turn.place.ids if turn.place else ids.claim(paths, container.directory)
        slot = container.ids.slot
        container.record = msgspec.structs.replace(
            container.record, state=msgspec.structs.replace(container.state, slot=slot)
        )
        turn.operation.note(slot=slot)
    elif turn.place is not None:
        ids.release(paths, container.directory, turn.place.ids.slot)


async def _unclaim(turn: Turn) -> None:
    await turn.container.drop_copy()
    await ground.remove_tree(turn.container.directory)
    if bundle.own_user_namespace(turn.container.wanted):
        ids.release(turn.engine.paths, turn.container.directory, int(turn.notes.get("slot", -1)))


async def _lease(turn: Turn) -> None:
    wanted = turn.container.wanted
    for image, holder in ground.leases(wanted):
        turn.engine.images.lease(image, holder, wanted.namespace)


async def _release(turn: Turn) -> None:
    wanted = turn.container.wanted
    for _, holder in ground.leases(wanted):
        turn.engine.images.release(holder, wanted.namespace)


async def _lay(turn: Turn) -> None:
    await ground.lay(turn.engine, turn.container)


async def _volumes(turn: Turn) -> None:
    wanted, storage = turn.container.wanted, turn.engine.storage
    missing = storage.missing(wanted)
    if missing:
        turn.operation.note(volumes=missing)
        turn.operation.keep()
    await storage.make(wanted, await ground.layers(turn.engine, wanted))


async def _unmake_volumes(turn: Turn) -> None:
    await turn.engine.storage.unmake(turn.notes.get("volumes", []), turn.container.wanted)


async def _render(turn: Turn) -> None:
    """Who joins others' namespaces is rendered at each start, when these are there."""
    if bundle.joins(turn.container.wanted):
        return
    await ground.render(turn.engine, turn.container)


async def _launch_ahead(turn: Turn) -> None:
    """The shim starts beside what is left of creating, and beside the client's way from create to start."""
    container = turn.container
    if turn.place is not None:
        container.hold(turn.place.shim)
        container.prelaunched = asyncio.get_running_loop().create_future()
        container.prelaunched.set_result(turn.place.shim)
    if container.wanted.annotations:
        # One of them may say whose shim it shares; it reads that in config.json.
        await turn.shim.dismiss()
        return
    if turn.place is not None:
        return
    container.prelaunched = turn.containers.spawn(turn.shim.launch(), f"prelaunch {container.id[:12]}")
    # The new task's turn: it goes as far as a process that starts.
    await asyncio.sleep(0)


async def _unlaunch(turn: Turn) -> None:
    await turn.shim.end()


async def _keep(turn: Turn) -> None:
    turn.container.keep(turn.container.record)


async def _drop(turn: Turn) -> None:
    turn.container.forget()


async def _kept(turn: Turn) -> bool:
    return turn.containers.table.get(turn.container.id, turn.container.wanted.namespace) is not None


CREATE = Verb(
    "create",
    (
        Step("claim", _claim, _unclaim, quiet=True),
        Step("shim", _launch_ahead, _unlaunch, quiet=True),
        Step("lease", _lease, _release, quiet=True),
        Step("layers", _lay, quiet=True),
        Step("volumes", _volumes, _unmake_volumes, quiet=True),
        Step("config", _render, quiet=True),
        Step("record", _keep, _drop, _kept),
    ),
)


# start ------------------------------------------------------------------------------------------------------------


async def _ready(turn: Turn) -> None:
    """What a start before left is taken away; what others' namespaces decide is rendered now."""
    container = turn.container
    ends.refuse_dead_links(turn.engine, container)
    await turn.engine.starting(container.id)
    await turn.shim.clear()
    await turn.engine.storage.mount(container.wanted)
    anew = bundle.joins(container.wanted) or storage.has_subpath(container.wanted)
    if anew or not os.path.exists(f"{container.directory}/config.json"):
        await ground.render(turn.engine, container, starting=True)


async def _unready(turn: Turn) -> None:
    turn.container.release_held()
    await turn.engine.storage.ended(turn.container.wanted)


async def _launch(turn: Turn) -> None:
    container = turn.container
    ahead, container.prelaunched = container.prelaunched, None
    if ahead is not None:
        with contextlib.suppress(StockadeError):
            await ahead
        if container.channel is not None and not container.channel.closed:
            return
    await turn.shim.launch()


async def _undo_shim(turn: Turn) -> None:
    await turn.shim.end()


async def _ask_for_task(turn: Turn) -> None:
    """The shim makes it beside the next step, which takes its time where there are networks."""
    container = turn.container
    assert container.task is not None
    mounts = await ground.mounts(turn.engine, container)
    wall = walls.find(container.wanted.wall)
    asked = container.task.create(mounts, ground.stdio(container), wall.options)
    turn.creating = turn.containers.spawn(asked, f"create {container.id[:12]}")
    # The new task's turn: it goes as far as a request that is sent.
    await asyncio.sleep(0)


async def _await_task(turn: Turn) -> None:
    if turn.creating is not None:
        await asyncio.wait([turn.creating])


async def _join_networks(turn: Turn) -> None:
    assert turn.creating is not None
    pid = await asyncio.shield(turn.creating)
    turn.container.release_held()
    turn.operation.note(pid=pid)
    await ends.attach(turn)


async def _hand(turn: Turn) -> None:
    if turn.gate is not None:
        turn.held.set()
        await turn.gate
    await turn.engine.created(turn.container.id)


async def _go(turn: Turn) -> None:
    assert turn.container.task is not None
    turn.began = time.time_ns()
    await turn.container.task.start()


async def _went(turn: Turn) -> bool:
    """Whether its program was let run: the shim knows, and the record of its end; what never ran may have one too."""
    with contextlib.suppress(NotFound, Unavailable):
        task = await turn.shim.connected()
        state = await task.state()
        if state.phase is not Phase.STOPPED:
            return state.phase in (Phase.RUNNING, Phase.PAUSED)
    end = exits.read(turn.container.directory)
    return end is not None and (bool(end.started_at) or end.reason is Reason.START_FAILED)


async def _runs(turn: Turn) -> None:
    container = turn.container
    pid = int(turn.notes.get("pid", 0))
    container.change(
        status=Status.RUNNING,
        reason="",
        pid=pid,
        pid_start=processes.start_time(pid),
        boot=turn.containers.boot,
        error="",
        exit_code=0,
        oom_killed=False,
        started=turn.began or time.time_ns(),
        stopped_by_hand=False,
        restarts=int(turn.notes.get("restarts", 0)),
        has_run=True,
    )


START = Verb(
    "start",
    (
        Step("ready", _ready, _unready, quiet=True),
        Step("shim", _launch, _undo_shim, quiet=True),
        Step("create", _ask_for_task, _await_task, quiet=True),
        Step("address", ends.take, ends.give, quiet=True),
        Step("network", _join_networks, quiet=True),
        Step("hand", _hand),
        Step("go", _go, seen=_went, quiet=True),
        Step("record", _runs),
    ),
    point_of_no_return="go",
)


# end: what its own end brings ----------------------------------------------------------------------------------------


async def _record_end(turn: Turn) -> None:
    container, end = turn.container, turn.ended
    if end is None:
        end = exits.read(container.directory) or exits.from_status(policy.LOST_STATUS)
    finished = nanoseconds(end.exited_at) or time.time_ns()
    by_hand = container.by_hand or container.state.stopped_by_hand
    state = msgspec.structs.replace(
        container.state,
        status=Status.EXITED,
        exit_code=end.status,
        oom_killed=end.oom_kills > 0,
        reason=policy.reason(end),
        finished=finished,
        pid=0,
        pid_start=0,
    )
    ran = max(0.0, (finished - state.started) / 1e9)
    if container.by_hand:
        turn.then = policy.Next(policy.Then.STAY)
    else:
        judged = msgspec.structs.replace(state, stopped_by_hand=bool(by_hand))
        turn.then = policy.after_end(container.wanted, judged, ran, container.delay)
    if turn.then.then is policy.Then.RESTART:
        state = msgspec.structs.replace(state, status=Status.RESTARTING)
    container.keep(Record(container.wanted, state))


async def _end_shim(turn: Turn) -> None:
    await turn.shim.end()
    await turn.engine.storage.ended(turn.container.wanted)


async def _recorded(turn: Turn) -> bool:
    return not turn.container.alive


END = Verb(
    "end",
    (Step("record", _record_end, seen=_recorded), Step("network", ends.leave, quiet=True), Step("shim", _end_shim)),
    point_of_no_return="record",
)


# stop, restart --------------------------------------------------------------------------------------------------------


async def _mark_stopped(turn: Turn) -> None:
    turn.container.change(stopped_by_hand=True)


async def _unmark_stopped(turn: Turn) -> None:
    turn.container.change(stopped_by_hand=False)


async def _ask_to_end(turn: Turn) -> None:
    await turn.containers.send(turn.container, int(turn.notes["signal"]))


async def _await_end(turn: Turn) -> None:
    """Wait until it has ended; kill it when its time is up."""
    container = turn.container
    patience = float(turn.notes["timeout"])
    deadline = None if patience < 0 else max(0.0, float(turn.notes["asked"]) + patience - time.time())
    if not await turn.containers.ended_within(container, deadline):
        await kill(turn)


async def kill(turn: Turn) -> None:
    """Kill everything in it and wait for its end; a shim that does not tell of it is killed itself."""
    container = turn.container
    if not container.alive:
        return
    patience = _KILLED_WITHIN
    try:
        await asyncio.wait_for(turn.containers.send(container, 9), _ANSWERED_WITHIN)
    except TimeoutError:
        patience = 0
    except StockadeError:
        patience = _ANSWERED_WITHIN
    if not await turn.containers.ended_within(container, patience):
        turn.shim.kill()
        if not await turn.containers.ended_within(container, _KILLED_WITHIN):
            raise Conflict(f"container {container.id} did not end, though it was killed")


STOP = Verb(
    "stop",
    (Step("mark", _mark_stopped, _unmark_stopped), Step("ask", _ask_to_end), Step("end", _await_end)),
    point_of_no_return="mark",
)


async def _mark_restarting(turn: Turn) -> None:
    """From here on it is finished: the notes say how it is to be stopped."""


async def _stop_first(turn: Turn) -> None:
    container = turn.container
    if container.alive:
        await _ask_to_end(turn)
        await _await_end(turn)
        turn.engine.tell("stop", container.record)


async def _start_then(turn: Turn) -> None:
    if not turn.container.alive:
        await turn.containers.start(turn.container)


RESTART = Verb(
    "restart",
    (Step("mark", _mark_restarting), Step("stop", _stop_first), Step("start", _start_then)),
    point_of_no_return="mark",
)


# pause, unpause, update, rename ------------------------------------------------------------------------------------


async def _freeze(turn: Turn) -> None:
    await (await turn.shim.connected()).pause()


async def _thaw(turn: Turn) -> None:
    with contextlib.suppress(Conflict, NotFound):
        await (await turn.shim.connected()).resume()


async def _record_paused(turn: Turn) -> None:
    turn.container.change(status=Status.PAUSED)


async def _record_resumed(turn: Turn) -> None:
    if turn.container.state.status is Status.PAUSED:
        turn.container.change(status=Status.RUNNING)


PAUSE = Verb("pause", (Step("freeze", _freeze, _thaw), Step("record", _record_paused, _record_resumed)))
UNPAUSE = Verb("unpause", (Step("thaw", _thaw), Step("record", _record_resumed)), point_of_no_return="thaw")


def changed(record: Record, change: Change) -> Record:
    """A record with what `update` changes."""
    known = {name: value for name, value in change.resources.items() if value is not None}
    wanted = msgspec.structs.replace(
        record.wanted,
        resources=msgspec.structs.replace(record.wanted.resources, **known),
        restart=change.restart or record.wanted.restart,
    )
    return Record(wanted, record.state)


async def _keep_changed(turn: Turn) -> None:
    change = msgspec.convert(turn.notes["new"], Change)
    turn.container.keep(changed(turn.container.record, change))


async def _keep_unchanged(turn: Turn) -> None:
    change = msgspec.convert(turn.notes["old"], Change)
    turn.container.keep(changed(turn.container.record, change))


async def _apply(turn: Turn, before: str = "old") -> None:
    if turn.container.alive:
        change = msgspec.convert(turn.notes[before], Change)
        await ground.update(await turn.shim.connected(), turn.container.wanted, change.resources)


async def _unapply(turn: Turn) -> None:
    await _keep_unchanged(turn)
    await _apply(turn, "new")


async def _render_anew(turn: Turn) -> None:
    if not bundle.joins(turn.container.wanted):
        await ground.render(turn.engine, turn.container)


async def _render_as_before(turn: Turn) -> None:
    await _keep_unchanged(turn)
    await _render_anew(turn)


UPDATE = Verb(
    "update",
    (
        Step("record", _keep_changed, _keep_unchanged),
        Step("apply", _apply, _unapply),
        Step("config", _render_anew, _render_as_before),
    ),
)


async def _rename(turn: Turn) -> None:
    container = turn.container
    container.keep(Record(msgspec.structs.replace(container.wanted, name=str(turn.notes["new"])), container.state))


async def _unname(turn: Turn) -> None:
    container = turn.container
    container.keep(Record(msgspec.structs.replace(container.wanted, name=str(turn.notes["old"])), container.state))


RENAME = Verb("rename", (Step("record", _rename, _unname),))

CONNECT = Verb(
    "connect",
    (Step("record", ends.record_after, ends.record_before), Step("network", ends.change, ends.change_back)),
)
DISCONNECT = Verb(
    "disconnect",
    (Step("network", ends.change, ends.change_back), Step("record", ends.record_after, ends.record_before)),
)


# remove -----------------------------------------------------------------------------------------------------------


async def _mark_removing(turn: Turn) -> None:
    container = turn.container
    turn.operation.note(slot=container.state.slot, alive=container.alive)
    if not container.alive:
        container.change(status=Status.REMOVING)


async def _kill_first(turn: Turn) -> None:
    await kill(turn)


async def _clear_shim(turn: Turn) -> None:
    await turn.shim.end()


async def _remove_tree(turn: Turn) -> None:
    await turn.container.drop_copy()
    await ground.remove_tree(turn.container.directory)


async def _let_go(turn: Turn) -> None:
    """The directory is gone, and with it the last mount and process: its ids are free."""
    slot = int(turn.notes["slot"])
    if slot >= 0:
        ids.release(turn.engine.paths, turn.container.directory, slot)
    await _release(turn)


async def _take_volumes(turn: Turn) -> None:
    """Those that nobody named go along, if it was asked for; one that another container has too stays."""
    if turn.notes.get("volumes"):
        wanted = turn.container.wanted
        await turn.engine.storage.unmake(turn.engine.storage.anonymous(wanted), wanted)


async def _forget(turn: Turn) -> None:
    turn.container.forget()


REMOVE = Verb(
    "remove",
    (
        Step("mark", _mark_removing),
        Step("kill", _kill_first, quiet=True),
        Step("network", ends.leave, quiet=True),
        Step("shim", _clear_shim, quiet=True),
        Step("tree", _remove_tree, quiet=True),
        Step("ids", _let_go, quiet=True),
        Step("volumes", _take_volumes, quiet=True),
        Step("record", _forget),
    ),
    point_of_no_return="mark",
)

ALL: dict[str, Verb[Turn]] = {
    verb.name: verb
    for verb in (CREATE, START, END, STOP, RESTART, PAUSE, UNPAUSE, UPDATE, RENAME, CONNECT, DISCONNECT, REMOVE)
}
