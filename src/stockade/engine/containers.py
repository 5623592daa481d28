"""The life of containers: each verb's checks, its joining, its events. What it does step by step stands in `verbs`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

import msgspec

from stockade.engine import (
    bundle,
    capabilities,
    ends,
    logdrivers,
    names,
    policy,
    recover,
    resources,
    signals,
    verbs,
)
from stockade.engine.ahead import Ahead
from stockade.engine.answers import Change, Pruned, Waited
from stockade.engine.container import Container, Joined
from stockade.engine.copies import Copies
from stockade.engine.records import NAMESPACE, Record, State, Status, Wanted
from stockade.engine.shims import Shim
from stockade.engine.verbs import Turn
from stockade.errors import (
    BadValue,
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    Damaged,
    NotFound,
    NotModified,
    RuntimeFailed,
    StockadeError,
    TimedOut,
)
from stockade.host import processes
from stockade.model import Exit
from stockade.networks.values import Endpoint, EndpointWanted
from stockade.runtime import shim, walls
from stockade.store import Journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.engine.engine import Engine
    from stockade.runtime.task import Task

_STOP_TIMEOUT = 10
_PREPARED_FOR = 30.0
_AGAIN = 1.0

log = logging.getLogger(__name__)


class Containers:
    """Every container of one installation."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.journal = Journal(engine.store)
        self.table = engine.store.table("container", Record)
        self.copies = Copies()
        self.ahead = Ahead(engine)
        self.boot = processes.boot_id()
        self.known: dict[str, dict[str, Container]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reserved: set[tuple[str, str]] = set()
        self._closing = False

    # Finding ----------------------------------------------------------------------------------------------------

    def find(self, reference: str, namespace: str = NAMESPACE) -> Container:
        """See Engine.find."""
        own = self.known.get(namespace, {})
        whole = own.get(reference)
        if whole is not None:
            return whole
        return names.choose(reference, own, {one.wanted.name: one for one in own.values()})

    def list(self, namespace: str | None) -> list[Record]:
        """See Engine.list."""
        spaces = self.known.values() if namespace is None else [self.known.get(namespace, {})]
        found = [one.record for space in spaces for one in space.values()]
        return sorted(found, key=lambda record: record.wanted.created, reverse=True)

    def take(self, record: Record) -> Container:
        """Hold a container in memory."""
        container = Container(record, self.engine.directory(record.wanted.id), self.table, self.copies)
        self.known.setdefault(record.wanted.namespace, {})[record.wanted.id] = container
        return container

    def drop(self, container: Container) -> None:
        """It is gone."""
        self.known.get(container.wanted.namespace, {}).pop(container.id, None)

    async def task(self, identity: str) -> Task:
        """See Engine.task."""
        container = self.by_id(identity)
        if not container.alive:
            raise Conflict(f"container {identity} is not running")
        return await Shim(self.engine.paths, container).connected()

    def by_id(self, identity: str) -> Container:
        """The container with that whole id, of whatever namespace."""
        for space in self.known.values():
            if identity in space:
                return space[identity]
        raise NotFound(f"No such container: {identity}")

    async def recover(self) -> None:
        """See recover."""
        await recover.everything(self)

    async def close(self) -> None:
        """See Engine.close."""
        self._closing = True
        await self.ahead.give_up()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for space in self.known.values():
            for container in space.values():
                container.let_go()
        await self.copies.close()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Do something beside the callers; its failure is told to the loop's handler."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, StockadeError):
            log.error("%s failed", task.get_name(), exc_info=error)

    async def join(
        self, container: Container, verb: str, words: tuple[object, ...], work: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        """Do something unless an equal request does it already: then share its outcome. A caller may leave."""
        running = container.joined.get(verb)
        if running is None or running.words != words or running.work.done():
            running = Joined(words, self.spawn(work(), f"{verb} {container.id[:12]}"))
            container.joined[verb] = running
        return await asyncio.shield(running.work)

    # create -----------------------------------------------------------------------------------------------------

    async def create(self, wanted: Wanted) -> Record:
        """See Engine.create."""
        own = self.known.setdefault(wanted.namespace, {})
        self._refuse_name(wanted.name, wanted.namespace)
        check(wanted)
        wanted = self.engine.storage.complete(wanted)
        for word in bundle.joins(wanted):
            self.find(word, wanted.namespace)
        ends.refuse(self.engine, wanted)
        container = self.take(Record(wanted, State()))
        del own[wanted.id]
        self._reserved.add((wanted.namespace, wanted.name))
        self.ahead.busy()
        try:
            await self.journal.run(
                verbs.CREATE, Turn(self, container), wanted.id, {"wanted": msgspec.to_builtins(wanted)}
            )
        finally:
            self._reserved.discard((wanted.namespace, wanted.name))
        own[wanted.id] = container
        self.engine.tell("create", container.record)
        return container.record

    def is_free(self, name: str, namespace: str) -> bool:
        """See Engine.is_free."""
        return (namespace, name) not in self._reserved and self._named(name, namespace) is None

    def _named(self, name: str, namespace: str) -> Container | None:
        # Of a thousand, at each creation: plain attributes, no properties.
        return next((one for one in self.known.get(namespace, {}).values() if one.record.wanted.name == name), None)

    def linking(self, namespace: str) -> Iterator[Container]:
        """Those with links of the default network."""
        for one in self.known.get(namespace, {}).values():
            for end in one.record.wanted.networks:
                if end.links:
                    yield one
                    break

    def _refuse_name(self, name: str, namespace: str) -> None:
        one = self._named(name, namespace)
        if one is not None:
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{one.id}". You have to'
                " remove (or rename) that container to be able to reuse that name."
            )
        if (namespace, name) in self._reserved:
            raise Conflict(f'Conflict. The container name "/{name}" is already in use by a container being made.')

    # start, prepare -----------------------------------------------------------------------------------------------

    async def start(self, container: Container) -> Record:
        """See Engine.start."""
        self._stop_timer(container)
        container.delay = 0
        prepared = container.prepared
        if prepared is not None and prepared.turn.gate is not None and not prepared.turn.gate.done():
            prepared.turn.gate.set_result(None)
            await asyncio.shield(prepared.work)
            return container.record
        await self.join(container, "start", (), lambda: self.begin(container, Turn(self, container)))
        return container.record

    async def begin(self, container: Container, turn: Turn, restarts: int = 0) -> None:
        """Start a container; the policy's own starts count."""
        self.ahead.busy()
        async with container.lock:
            if container.state.status is Status.PAUSED:
                raise Conflict("cannot start a paused container, try unpause instead")
            if container.alive:
                raise NotModified(f"container {container.id} is already running")
            if container.state.status in (Status.REMOVING, Status.DEAD):
                raise Conflict("container is marked for removal and cannot be started")
            try:
                await self.journal.run(verbs.START, turn, container.id, {"restarts": restarts})
            except BaseException as error:
                await self._failed(container, error)
                raise
            self.follow(container)
        self.engine.storage.started(container.wanted)
        self._tell_ends("connect", container, container.state.endpoints)
        self.engine.tell("start", container.record)
        self.engine.started(container.id)

    async def _failed(self, container: Container, error: BaseException) -> None:
        """A start that was undone leaves its reason."""
        container.let_go()
        self.engine.failed(container.id)
        if not isinstance(error, StockadeError) or self._closing:
            return
        code = 127 if isinstance(error, CommandNotFound) else 126 if isinstance(error, CommandNotExecutable) else 128
        error.message = start_words(container.wanted, error)
        status = Status.EXITED if container.state.has_run else Status.CREATED
        container.change(status=status, exit_code=code, error=error.message, finished=time.time_ns())
        self.engine.tell("die", container.record, {"exitCode": str(code)})
        if container.wanted.auto_remove:
            self.spawn(self._remove_quietly(container), f"remove {container.id[:12]}")

    async def prepare(self, container: Container) -> str:
        """See Engine.prepare."""
        if container.prepared is None:
            turn = Turn(self, container)
            turn.gate = asyncio.get_running_loop().create_future()
            work = self.spawn(self._prepared(container, turn), f"prepare {container.id[:12]}")
            container.prepared = Prepared(turn, work)
        prepared = container.prepared
        held = asyncio.ensure_future(prepared.turn.held.wait())
        await asyncio.wait([held, prepared.work], return_when=asyncio.FIRST_COMPLETED)
        if not held.done():
            held.cancel()
            await prepared.work
        return shim.attach_address(container.directory)

    async def _prepared(self, container: Container, turn: Turn) -> None:
        assert turn.gate is not None
        timer = asyncio.get_running_loop().call_later(
            _PREPARED_FOR, abandon, turn, TimedOut(f"container {container.id} was prepared and not started")
        )
        try:
            await self.begin(container, turn)
        finally:
            timer.cancel()
            container.prepared = None

    # end ----------------------------------------------------------------------------------------------------------

    def follow(self, container: Container) -> None:
        """Watch for its end."""
        if container.watch is not None:
            container.watch.cancel()
        container.watch = self.spawn(self._watch(container), f"watch {container.id[:12]}")

    async def _watch(self, container: Container) -> None:
        task = await self.task(container.id)
        try:
            end = await task.wait()
        except StockadeError:
            end = None
        if not self._closing:
            container.watch = None
            self.spawn(self.end(container, end), f"end {container.id[:12]}")

    async def end(self, container: Container, end: Exit | None) -> None:
        """Its processes are gone: record how, undo what is left, and do what the policy says."""
        turn = Turn(self, container)
        async with container.lock:
            if not container.alive:
                return
            if end is None and turn.shim.alive():
                # Only the connection was lost.
                container.let_go()
                await recover.find_again(self, container)
                return
            if end is None:
                # Its shim died: what is left is undone first, which records the end.
                await turn.shim.end()
            turn.ended = end
            container.ending = True
            await self._record_end(container, turn)
        await self.after(container, turn.then, turn.left)

    async def _record_end(self, container: Container, turn: Turn) -> None:
        """An end is not forgotten because the disk is full: it is tried until there is room."""
        while True:
            try:
                await self.journal.run(verbs.END, turn, container.id)
            except Damaged as error:
                log.error("the end of container %s cannot be recorded: %s", container.id, error)
                await asyncio.sleep(_AGAIN)
                if container.alive:
                    continue
            except StockadeError as error:
                log.error("what container %s left cannot be undone: %s", container.id, error)
            return

    async def after(self, container: Container, then: policy.Next, left: tuple[Endpoint, ...]) -> None:
        """Tell of an end, and go on as the policy decided."""
        state = container.state
        self.engine.ended(container.id)
        if state.oom_killed:
            self.engine.tell("oom", container.record)
        self._tell_ends("disconnect", container, left)
        self.engine.storage.left(container.wanted)
        ran = max(0, state.finished - state.started) // 1_000_000_000
        self.engine.tell("die", container.record, {"exitCode": str(state.exit_code), "execDuration": str(ran)})
        container.ending = False
        container.came("ended")
        container.came("next-exit")
        if then.then is policy.Then.RESTART:
            self.schedule(container, then.delay)
            return
        container.delay = 0
        container.came("not-running")
        if then.then is policy.Then.REMOVE:
            await self._remove_quietly(container)

    def schedule(self, container: Container, delay: float) -> None:
        """Start it again after so many seconds."""
        container.delay = delay
        container.timer = self.spawn(self._start_again(container, delay), f"restart {container.id[:12]}")

    async def _start_again(self, container: Container, delay: float) -> None:
        await asyncio.sleep(delay)
        if container.state.status is not Status.RESTARTING:
            return
        count = container.state.restarts + 1
        try:
            await self.begin(container, Turn(self, container), count)
        except NotModified:
            return
        except StockadeError:
            # Docker gives up when a start fails for another reason than the program's end.
            container.timer = None
            container.delay = 0
            container.came("not-running")

    def _stop_timer(self, container: Container) -> bool:
        """Whether a start by the policy was waiting, and is no more."""
        timer, container.timer = container.timer, None
        waiting = container.state.status is Status.RESTARTING
        if timer is not None and timer is not asyncio.current_task() and waiting:
            timer.cancel()
        return waiting

    # stop, kill, restart ------------------------------------------------------------------------------------------

    async def stop(self, container: Container, signal: str | None, timeout: int | None) -> Record:
        """See Engine.stop."""
        self._abandon_prepared(container)
        if self._stop_timer(container):
            container.change(status=Status.EXITED, stopped_by_hand=True)
            container.came("not-running")
            return container.record
        if not container.alive:
            raise NotModified(f"container {container.id} is already stopped")
        notes = self._how(container, signal, timeout)
        await self.join(container, "stop", (notes["signal"], notes["timeout"]), lambda: self._stop(container, notes))
        return container.record

    async def _stop(self, container: Container, notes: dict[str, Any]) -> None:
        turn = Turn(self, container)
        if container.state.status is Status.PAUSED:
            await self.unpause(container)
        await self.journal.run(verbs.STOP, turn, container.id, notes)
        self.engine.tell("stop", container.record)

    def _how(self, container: Container, signal: str | None, timeout: int | None) -> dict[str, Any]:
        wanted = container.wanted
        if timeout is None:
            timeout = _STOP_TIMEOUT if wanted.stop_timeout is None else wanted.stop_timeout
        number = signals.number(signal or wanted.stop_signal or "SIGTERM")
        return {"signal": number, "timeout": timeout, "asked": time.time()}

    async def send(self, container: Container, number: int) -> None:
        """Send a signal; nothing when it has ended meanwhile."""
        try:
            task = await self.task(container.id)
            await task.kill(number)
        except NotFound:
            return
        except Conflict:
            if container.alive:
                raise
            return
        self.engine.tell("kill", container.record, {"signal": str(number)})

    async def ended_within(self, container: Container, patience: float | None) -> bool:
        """Whether it has ended, within so many seconds (None: however long it takes)."""
        if not container.alive:
            return True
        done, _ = await asyncio.wait([container.waiting("ended")], timeout=patience)
        return bool(done) or not container.alive

    async def kill(self, container: Container, signal: str) -> None:
        """See Engine.kill."""
        number = signals.number(signal)
        self._abandon_prepared(container)
        if container.state.status is Status.RESTARTING and number == 9 and self._stop_timer(container):
            container.change(status=Status.EXITED, stopped_by_hand=True)
            container.came("not-running")
            return
        if not container.alive:
            raise Conflict(f"cannot kill container: {container.wanted.name}: container {container.id} is not running")
        if number in (9, signals.number(container.wanted.stop_signal or "SIGTERM")):
            container.change(stopped_by_hand=True)
        if number == 9:
            await self.join(container, "kill", (), lambda: verbs.kill(Turn(self, container)))
        else:
            await self.send(container, number)

    async def restart(self, container: Container, signal: str | None, timeout: int | None) -> Record:
        """See Engine.restart."""
        notes = self._how(container, signal, timeout)
        words = (notes["signal"], notes["timeout"])
        await self.join(container, "restart", words, lambda: self._restart(container, notes))
        return container.record

    async def _restart(self, container: Container, notes: dict[str, Any]) -> None:
        self._abandon_prepared(container)
        self._stop_timer(container)
        if container.state.status is Status.PAUSED:
            await self.unpause(container)
        container.by_hand += 1
        try:
            await self.journal.run(verbs.RESTART, Turn(self, container), container.id, notes)
        finally:
            container.by_hand -= 1
        self.engine.tell("restart", container.record)

    def _abandon_prepared(self, container: Container) -> None:
        if container.prepared is not None:
            abandon(container.prepared.turn, Conflict(f"container {container.id} was stopped before it started"))

    # pause, unpause, rename, update ---------------------------------------------------------------------------------

    async def pause(self, container: Container) -> None:
        """See Engine.pause."""
        if not container.alive:
            raise Conflict(f"container {container.id} is not running")
        await self.engine.pausing(container.id)
        async with container.lock:
            if container.state.status is Status.PAUSED:
                raise Conflict(f"container {container.id} is already paused")
            if not container.alive:
                raise Conflict(f"container {container.id} is not running")
            await self.journal.run(verbs.PAUSE, Turn(self, container), container.id)
        self.engine.paused(container.id)
        self.engine.tell("pause", container.record)

    async def unpause(self, container: Container) -> None:
        """See Engine.unpause."""
        async with container.lock:
            if container.state.status is not Status.PAUSED:
                raise Conflict(f"Container {container.id} is not paused")
            await self.journal.run(verbs.UNPAUSE, Turn(self, container), container.id)
        self.engine.resumed(container.id)
        self.engine.tell("unpause", container.record)

    async def rename(self, container: Container, name: str) -> None:
        """See Engine.rename."""
        new, old = names.check_name(name), container.wanted.name
        if new == old:
            raise BadValue("Renaming a container with the same name as its current name")
        async with container.lock:
            self._refuse_name(new, container.wanted.namespace)
            await self.journal.run(verbs.RENAME, Turn(self, container), container.id, {"old": old, "new": new})
            await self.engine.networks.names_changed(ends.held(container))
        self.engine.tell("rename", container.record, {"oldName": f"/{old}"})

    # connect, disconnect ------------------------------------------------------------------------------------------

    async def connect(self, container: Container, end: EndpointWanted) -> None:
        """See Engine.connect."""
        async with container.lock:
            before, after = ends.Ends.of(container), ends.connected(self.engine, container, end)
            await self.journal.run(verbs.CONNECT, Turn(self, container), container.id, ends.notes(before, after))
        if container.alive:
            self._tell_ends("connect", container, (one for one in after.held if one.network == end.network))

    async def disconnect(self, container: Container, network: str) -> None:
        """See Engine.disconnect."""
        async with container.lock:
            before, after = ends.Ends.of(container), ends.disconnected(self.engine, container, network)
            await self.journal.run(verbs.DISCONNECT, Turn(self, container), container.id, ends.notes(before, after))
        if container.alive:
            self._tell_ends("disconnect", container, (one for one in before.held if one.network == network))

    def _tell_ends(self, action: str, container: Container, which: Iterable[Endpoint]) -> None:
        for end in which:
            known = {"container": container.id, "name": end.network, "type": "bridge"}
            self.engine.events.publish("network", action, end.network_id, known, container.wanted.namespace)

    async def update(self, container: Container, change: Change) -> tuple[str, ...]:
        """See Engine.update."""
        async with container.lock:
            before = container.record
            if change.restart is not None and change.restart.name != "no" and before.wanted.auto_remove:
                raise Conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
            after = verbs.changed(before, change)
            check(after.wanted)
            old = Change(
                {name: getattr(before.wanted.resources, name) for name in change.resources}, before.wanted.restart
            )
            notes = {"old": msgspec.to_builtins(old), "new": msgspec.to_builtins(change)}
            await self.journal.run(verbs.UPDATE, Turn(self, container), container.id, notes)
        self.engine.tell("update", container.record)
        return ()

    # remove, prune, wait --------------------------------------------------------------------------------------------

    async def remove(self, container: Container, force: bool, volumes: bool) -> None:
        """See Engine.remove."""
        self._abandon_prepared(container)
        name = container.wanted.name
        if not force and container.state.status is Status.PAUSED:
            raise Conflict(f'cannot remove container "{name}": container is paused and must be unpaused first')
        if not force and (container.alive or container.state.status is Status.RESTARTING):
            state = container.state.status.value
            raise Conflict(
                f'cannot remove container "{name}": container is {state}: stop the container before removing or force'
                " remove"
            )
        self._stop_timer(container)
        await self.join(container, "remove", (volumes,), lambda: self._remove(container, volumes))

    async def _remove(self, container: Container, volumes: bool) -> None:
        container.by_hand += 1
        turn = Turn(self, container)
        try:
            if container.alive:
                container.change(stopped_by_hand=True)
                await verbs.kill(turn)
            async with container.lock:
                await self.journal.run(verbs.REMOVE, turn, container.id, {"volumes": volumes})
        except StockadeError as error:
            with contextlib.suppress(StockadeError):
                container.change(status=Status.DEAD, reason=error.message)
            raise
        finally:
            container.by_hand -= 1
        self.gone(container)

    def gone(self, container: Container) -> None:
        """Tell that it was removed."""
        self.drop(container)
        self.engine.removed(container.id)
        self.engine.tell("destroy", container.record)
        for condition in ("ended", "next-exit", "not-running", "removed"):
            container.came(condition)

    async def _remove_quietly(self, container: Container) -> None:
        """Of a container that removes itself: whether it could is in its state."""
        with contextlib.suppress(StockadeError):
            await self.remove(container, True, True)

    async def prune(self, matches: Callable[[Record], bool], namespace: str) -> Pruned:
        """See Engine.prune."""
        await self.ahead.give_up()
        idle = (Status.CREATED, Status.EXITED, Status.DEAD)
        found, reclaimed = [], 0
        for container in list(self.known.get(namespace, {}).values()):
            if container.state.status not in idle or container.prepared is not None or not matches(container.record):
                continue
            with contextlib.suppress(StockadeError):
                size = await self.engine.snapshots.usage(container.directory)
                await self.remove(container, False, False)
                found.append(container.id)
                reclaimed += size
        return Pruned(tuple(found), reclaimed)

    def waiting(self, container: Container, condition: str) -> asyncio.Future[Waited]:
        """See Engine.waiting."""
        if condition not in ("", "not-running", "next-exit", "removed"):
            raise BadValue(f'invalid condition: "{condition}"')
        condition = condition or "not-running"
        future = container.waiting(condition)
        going = container.alive or container.ending or container.state.status is Status.RESTARTING
        if condition == "not-running" and not going:
            container.came_to(future, container.state.error)
        return future

    async def wait(self, container: Container, condition: str) -> Waited:
        """See Engine.wait."""
        return await self.waiting(container, condition)


class Prepared:
    """A start that waits to be asked for."""

    def __init__(self, turn: Turn, work: asyncio.Task[None]) -> None:
        self.turn = turn
        self.work = work


def abandon(turn: Turn, error: StockadeError) -> None:
    """Have a prepared start undone."""
    if turn.gate is not None and not turn.gate.done():
        turn.gate.set_exception(error)
        turn.gate.exception()


def check(wanted: Wanted) -> None:
    """Refuse what contradicts itself before anything is made.

    Raises:
        BadValue: it does.
    """
    wall = walls.find(wanted.wall)
    if wanted.init and wall.kind is not walls.Kind.NATIVE:
        raise BadValue(f"--init is served by the native wall only, not by {wall.name}")
    capabilities.granted(wanted.security)
    resources.check(wanted.resources)
    logdrivers.target_of(wanted, "/")
    if wanted.stop_signal:
        signals.number(wanted.stop_signal)
    restart = wanted.restart
    if restart.name not in ("", "no", "always", "unless-stopped", "on-failure"):
        raise BadValue(f"invalid restart policy: unknown policy '{restart.name}'; use one of 'no', 'always', "
                       "'on-failure', or 'unless-stopped'")  # fmt: skip
    if restart.maximum and restart.name != "on-failure":
        raise BadValue("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if wanted.auto_remove and restart.name not in ("", "no"):
        raise BadValue("can't create 'AutoRemove' container with restart policy")
    if not (*wanted.entrypoint, *wanted.command):
        raise BadValue("no command specified")


def start_words(wanted: Wanted, error: StockadeError) -> str:
    """Why a start failed, with the words by which Docker's clients tell what kind of failure it was."""
    program = (*wanted.entrypoint, *wanted.command)[0]
    known: dict[type[StockadeError], str] = {
        CommandNotFound: "executable file not found in $PATH",
        CommandNotExecutable: "permission denied",
    }
    word = known.get(type(error))
    if word is not None and word not in error.message:
        return f'failed to create task for container: exec: "{program}": {word}: {error.message}'
    if isinstance(error, RuntimeFailed):
        return f"failed to create task for container: {error.message}"
    return error.message
