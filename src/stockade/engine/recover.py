"""Taking up what an earlier daemon left: operations are finished or undone, containers found again, policies applied.

Containers are taken up at once, each under its own lock: one whose shim does not answer delays itself alone. What is
not taken up within `PATIENCE` goes on beside the first requests.
"""

from __future__ import annotations

import asyncio
import os

import msgspec

from stockade.engine import ends, ground, policy, shims, verbs
from stockade.engine.container import Container
from stockade.engine.records import Record, State, Status, Wanted
from stockade.engine.shims import Shim
from stockade.engine.verbs import Turn
from stockade.errors import NotFound, NotModified, StockadeError, TimedOut, Unavailable
from stockade.host import ids
from stockade.model import Phase
from stockade.runtime import exits
from stockade.store import Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.engine.containers import Containers

PATIENCE = 2.0
"""Seconds that requests wait for the whole of it."""
_AT_ONCE = 64
_AGAIN = 1.0
"""Seconds between two questions to a shim that does not answer."""


async def everything(containers: Containers) -> None:
    """Take up every container; return when all are, or `PATIENCE` is over."""
    for record in containers.table.all(None):
        containers.engine.networks.found(ends.held(containers.take(record)))
    left: dict[str, list[Operation]] = {}
    for operation in containers.journal.unfinished():
        if operation.verb in verbs.ALL:
            left.setdefault(operation.subject, []).append(operation)
    known = [one for space in containers.known.values() for one in space.values()]
    taken_up = {one.id for one in known}
    half_made = [_half_made(containers, found[0]) for subject, found in left.items() if subject not in taken_up]
    room = asyncio.Semaphore(_AT_ONCE)
    work = [
        containers.spawn(_take_up(containers, one, left.get(one.id, []), room), f"take up {one.id[:12]}")
        for one in (*known, *(one for one in half_made if one is not None))
    ]
    if work:
        await asyncio.wait(work, timeout=PATIENCE)
    containers.spawn(_remove_strays(containers), "remove strays")


def _half_made(containers: Containers, operation: Operation) -> Container | None:
    """The container of an operation whose record is not in the store: it was not there yet, or not any more."""
    raw = operation.data.get("wanted")
    if operation.verb == "create" and isinstance(raw, dict):
        wanted = msgspec.convert(raw, Wanted)
        record = Record(wanted, State(slot=int(operation.data.get("slot", -1))))
    else:
        record = Record(Wanted(operation.subject, operation.subject, 0, "", ""))
    container = containers.take(record)
    containers.drop(container)
    return container


async def _take_up(
    containers: Containers, container: Container, operations: list[Operation], room: asyncio.Semaphore
) -> None:
    async with room, container.lock:
        rebooted = container.state.boot not in ("", containers.boot)
        if rebooted and _lives(container.state):
            _mark_rebooted(containers, container)
        later = []
        for operation in reversed(operations):
            if operation.verb in ("stop", "restart", "remove"):
                later.append(operation)
            else:
                await _settle(containers, container, operation)
        if container.id not in containers.known.get(container.wanted.namespace, {}):
            await _settle_gone(containers, container, later)
            return
        container.by_hand += len([one for one in later if one.verb != "stop"])
        if container.alive:
            await find_again(containers, container)
        else:
            await _dismiss(containers, container)
        containers.copies.want(container.directory, container.record)
    containers.spawn(_afterwards(containers, container, later, rebooted), f"go on with {container.id[:12]}")


async def _afterwards(containers: Containers, container: Container, later: list[Operation], rebooted: bool) -> None:
    """What may take its time: verbs that wait for an end, and what the policies want."""
    for operation in later:
        await _finish(containers, container, operation)
    if container.id in containers.known.get(container.wanted.namespace, {}):
        await _go_on(containers, container, rebooted)


async def _dismiss(containers: Containers, container: Container) -> None:
    """A shim that was started ahead of a start that never came."""
    if os.path.exists(f"{container.directory}/shim.pid"):
        try:
            await Shim(containers.engine.paths, container).end()
        except StockadeError as error:
            container.reason_unless(f"what its shim left could not be undone: {error.message}")


def _lives(state: State) -> bool:
    return state.status in (Status.RUNNING, Status.PAUSED, Status.RESTARTING)


def _mark_rebooted(containers: Containers, container: Container) -> None:
    """Nothing of it can be there any more, whatever has its pid now."""
    containers.engine.networks.moved(container.id, container.state.endpoints, ())
    again = container.state.status is Status.RESTARTING
    container.change(
        status=Status.RESTARTING if again else Status.EXITED,
        reason="the machine was restarted",
        exit_code=container.state.exit_code if again else policy.LOST_STATUS,
        pid=0,
        pid_start=0,
        endpoints=(),
    )
    for name in ("address", "attach", "shim.pid", "shim.json"):
        try:
            os.unlink(f"{container.directory}/{name}")
        except OSError:
            continue


async def _settle(containers: Containers, container: Container, operation: Operation) -> None:
    """Finish or undo one operation; what cannot be done now stays in the journal for the next start."""
    turn = Turn(containers, container)
    verb = verbs.ALL[operation.verb]
    try:
        finished = await containers.journal.recover(verb, turn, operation)
    except StockadeError as error:
        container.change(reason=f"{operation.verb} was cut and could not be taken up: {error.message}")
        return
    if operation.verb == "create" and finished:
        containers.known.setdefault(container.wanted.namespace, {})[container.id] = container
    if operation.verb == "end" and container.state.status is Status.EXITED and container.wanted.auto_remove:
        turn.then = policy.Next(policy.Then.REMOVE)


async def _settle_gone(containers: Containers, container: Container, later: list[Operation]) -> None:
    """The last steps of a removal whose record is gone already."""
    for operation in later:
        await _settle(containers, container, operation)


async def find_again(containers: Containers, container: Container) -> None:
    """Connect to the shim of a container that is taken for running, and see where it is now; its lock is held."""
    shim = Shim(containers.engine.paths, container)
    while True:
        try:
            task = await shim.connected()
            state = await task.state()
        except TimedOut:
            # Stopped, or starved: its own requests wait, nobody else's.
            container.reason_unless("its shim does not answer")
            await asyncio.sleep(_AGAIN)
            continue
        except Unavailable:
            if shim.alive():
                container.let_go()
                await asyncio.sleep(_AGAIN)
                continue
            await _lost(containers, container, shim)
            return
        except NotFound:
            await _lost(containers, container, shim)
            return
        break
    if state.phase is Phase.STOPPED:
        containers.spawn(containers.end(container, exits.read(container.directory)), f"end {container.id[:12]}")
        return
    container.change(status=Status.PAUSED if state.phase is Phase.PAUSED else Status.RUNNING, reason="")
    containers.follow(container)
    containers.engine.recovered(container.id)


async def _lost(containers: Containers, container: Container, shim: Shim) -> None:
    """No shim answers: what it left is undone, and its end is what it recorded, or that it died."""
    try:
        await shim.end()
    except StockadeError as error:
        container.change(reason=f"what its shim left could not be undone: {error.message}")
    containers.spawn(
        containers.end(container, exits.read(container.directory) or exits.from_status(137)), f"end {container.id[:12]}"
    )


async def _finish(containers: Containers, container: Container, operation: Operation) -> None:
    """The rest of a verb that waits for an end."""
    turn, verb = Turn(containers, container), verbs.ALL[operation.verb]
    finished = False
    try:
        if operation.verb == "remove" and verb.final(operation.done):
            await verbs.kill(turn)
            async with container.lock:
                finished = await containers.journal.recover(verb, turn, operation)
        else:
            finished = await containers.journal.recover(verb, turn, operation)
    except NotModified:
        operation.end()
    except StockadeError as error:
        container.change(reason=f"{operation.verb} was cut and could not be taken up: {error.message}")
    finally:
        if operation.verb != "stop":
            container.by_hand -= 1
    if operation.verb == "remove" and finished:
        containers.gone(container)


async def _go_on(containers: Containers, container: Container, rebooted: bool) -> None:
    """What the policies want of a container that does not run."""
    state = container.state
    if rebooted and not container.alive and state.status is not Status.REMOVING:
        then = policy.after_boot(container.wanted, state)
        if then.then is policy.Then.RESTART:
            container.change(status=Status.RESTARTING)
            containers.schedule(container, policy.FIRST_DELAY)
        elif then.then is policy.Then.REMOVE:
            await containers.remove(container, True, True)
        return
    if state.status is Status.RESTARTING:
        containers.schedule(container, policy.FIRST_DELAY)
        return
    over = state.status is Status.EXITED and container.wanted.auto_remove and state.has_run
    if over or state.status is Status.REMOVING:
        await containers.remove(container, True, True)


async def _remove_strays(containers: Containers) -> None:
    """Directories that no record and no operation knows: of a store that was replaced, or of cut removals."""
    base = f"{containers.engine.paths.data}/engine"
    known = {identity for space in containers.known.values() for identity in space}
    busy = {operation.subject for operation in containers.journal.unfinished()}
    # Decided at once: what is made meanwhile is none.
    strays = [
        name for name in sorted(os.listdir(base)) if name not in known | busy and not containers.ahead.holds(name)
    ]
    for name in strays:
        if not os.path.exists(f"{base}/{name}/record.json"):
            # It would see for itself that its directory is gone, a moment later.
            await shims.dismiss(name, f"{base}/{name}")
            await ground.remove_tree(f"{base}/{name}")
    # Of those, which may have been made ahead, and of others that went when an earlier daemon was killed.
    ids.drop_gone(containers.engine.paths, base)
