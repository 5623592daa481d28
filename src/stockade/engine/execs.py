"""Processes that are added to running containers: exec, and the probes of health checks.

A record is written before the shim is asked, and says how the process ended once the shim's own record did. A daemon
that dies in between finds both again: `recover` takes up what still runs and reads the end of what does not. No byte
of a process' streams passes here; a client's connection goes to the shim.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import struct
import time
from typing import NamedTuple

from msgspec.structs import replace

from stockade.engine import accounts, keys, processes
from stockade.engine.frame import Frame, running
from stockade.engine.requests import ExecConfig, ExecRecord
from stockade.errors import BadValue, Conflict, NotFound, RuntimeFailed, StockadeError, exit_code
from stockade.model import Phase
from stockade.runtime import exits, handover, shim
from stockade.runtime.attach import Connection, Detached, Streams
from stockade.runtime.task import Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.engine.frame import Take
    from stockade.engine.records import Record
    from stockade.model.connection import Hijack
    from stockade.runtime.task import Task

_KEPT = 200
"""Ended execs of a container that are remembered; the oldest go first."""
_PREPARED = 30.0
"""Seconds until a prepared exec that nobody starts is undone."""
_NOT_STARTED = 126
_CUT_SHORT = "the daemon was restarted before it started"


class Begin(NamedTuple):
    """How an exec is to be started."""

    detach: bool = False
    tty: bool = False
    console_size: tuple[int, int] = (0, 0)


class Execs:
    """The added processes of all containers."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._table = frame.store.table("exec", ExecRecord)
        self._known: dict[str, dict[str, ExecRecord]] = {}
        for record in self._table.all():
            self._known.setdefault(record.container, {})[record.id] = record
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._prepared: dict[str, asyncio.Task[None]] = {}
        self._watchers: set[asyncio.Task[None]] = set()

    async def create(self, reference: str, config: ExecConfig) -> str:
        """Keep what is to be run; its id.

        Raises:
            Conflict: the container does not run, or is paused.
            BadValue: no command, keys that mean nothing, no such user.
        """
        container = running(self._frame, reference, "exec")
        if not config.command or not config.command[0]:
            raise BadValue("No exec command specified")
        keys.parse(config.detach_keys, "escape")
        identity = container.wanted.id
        if config.user:
            await accounts.identify(self._frame, container, config.user)
        record = ExecRecord(secrets.token_hex(32), identity, config, created=time.time_ns())
        self._keep(record)
        self._trim(identity)
        self._tell("exec_create", container, record)
        return record.id

    def inspect(self, exec_id: str) -> ExecRecord:
        """What is known of it; of its end as soon as a client can have seen it, for the shim's record comes before.

        Raises:
            NotFound: there is none of that id.
        """
        record = next((records[exec_id] for records in self._known.values() if exec_id in records), None)
        if record is None:
            raise NotFound(f"No such exec instance: {exec_id}")
        if record.running and os.path.exists(self._exit_path(record)):
            return self._ended_record(record)
        return record

    def ids(self, identity: str) -> list[str]:
        """Those of a container that run or are about to."""
        return [one.id for one in self._known.get(identity, {}).values() if one.exit_code is None and not one.probe]

    async def start(self, exec_id: str, begin: Begin, take: Take | None = None) -> None:
        """Run it; with `take` its streams are the client's connection.

        Once the connection is taken, failures are written to it, as dockerd does.

        Raises:
            Conflict: it ran already, or its container does not run.
            CommandNotFound, CommandNotExecutable: detached, and its program cannot be run.
        """
        record, container = self._startable(exec_id)
        prepared = self._prepared.pop(exec_id, None)
        if prepared is not None:
            prepared.cancel()
        record = self._keep(replace(record, running=True))
        self._tell("exec_start", container, record)
        connection: Hijack | None = None
        try:
            if take is not None and not begin.detach:
                connection = await take(not record.config.tty)
            task = await self._frame.task(record.container)
            if prepared is None:
                await self._make(task, container, record, begin)
            if connection is not None:
                await self._hand_over(record, connection)
                await handover.head_was_read(connection.descriptor)
            await self._run(task, record)
        except StockadeError as error:
            said = self._failed(record, error)
            if connection is None:
                raise said from error
            _write_failure(connection, said.message)
        except BaseException:
            self._keep(replace(record, running=False, exit_code=_NOT_STARTED))
            raise
        finally:
            if connection is not None:
                os.close(connection.descriptor)

    async def prepare(self, exec_id: str, console_size: tuple[int, int] = (0, 0)) -> str:
        """Make it ready, its program held back; the path of the private socket to attach to as `exec_id`.

        What nobody starts within 30 seconds is undone.
        """
        record, container = self._startable(exec_id)
        if exec_id in self._prepared:
            raise Conflict(f"exec command {exec_id} is prepared already")
        task = await self._frame.task(record.container)
        await self._make(task, container, record, Begin(console_size=console_size))
        self._prepared[exec_id] = asyncio.create_task(self._undo_later(record), name=f"prepared exec {exec_id}")
        return shim.attach_address(self._frame.directory(record.container))

    async def resize(self, exec_id: str, rows: int, columns: int) -> None:
        """Tell its terminal its size.

        Raises:
            Conflict: its container does not run.
        """
        record = self.inspect(exec_id)
        running(self._frame, record.container, "exec")
        if not record.running:
            raise BadValue("exec process is not started")
        task = await self._frame.task(record.container)
        await task.resize(rows, columns, exec_id)

    async def probe(self, identity: str, config: ExecConfig, output: int) -> ExecRecord:
        """Run a health check's command, its output going to a descriptor; the running record."""
        container = running(self._frame, identity, "exec")
        record = self._keep(
            ExecRecord(secrets.token_hex(32), identity, config, running=True, created=time.time_ns(), probe=True)
        )
        try:
            task = await self._frame.task(identity)
            self._tell("exec_create", container, record)
            await self._make(task, container, record, Begin())
            seat = await handover.attach(self._door(record), Streams(None, output, output))
            self._tell("exec_start", container, record)
            await self._run(task, record, seat)
        except StockadeError as error:
            said = self._failed(record, error)
            self._drop(record)
            raise said from error
        except BaseException:
            self._drop(record)
            raise
        return record

    async def outcome(self, exec_id: str) -> int:
        """The exit code of a running one, once it has ended."""
        follower = self._followers.get(exec_id)
        if follower is not None:
            await asyncio.shield(follower)
        code = self.inspect(exec_id).exit_code
        return -1 if code is None else code

    async def kill(self, exec_id: str, number: int = signal.SIGKILL) -> None:
        """Send a running one a signal.

        Raises:
            Conflict: it does not run.
        """
        record = self.inspect(exec_id)
        if not record.running:
            raise Conflict(f"exec command {exec_id} is not running")
        task = await self._frame.task(record.container)
        with contextlib.suppress(NotFound):
            await task.kill(number, exec_id)

    def discard(self, exec_id: str) -> None:
        """Forget a probe."""
        with contextlib.suppress(NotFound):
            self._drop(self.inspect(exec_id))

    # Turns in the container's life ------------------------------------------------------------------------------

    def recover(self, identity: str) -> None:
        """Its shim is connected again: take up what still runs; undo what was begun, and read the end of the others."""
        work = asyncio.create_task(self._take_up_safely(identity), name=f"execs of {identity}")
        self._followers[identity] = work
        work.add_done_callback(lambda _: self._followers.pop(identity, None))

    def ended(self, identity: str) -> None:
        """The container does not run any more: neither does what was added to it."""
        for record in list(self._known.get(identity, {}).values()):
            if record.probe and record.id not in self._followers:
                self._drop(record)
            elif record.running and record.id not in self._followers:
                self._keep(self._ended_record(record))

    def forget(self, identity: str) -> None:
        """The container is gone."""
        for record in list(self._known.get(identity, {}).values()):
            follower = self._followers.pop(record.id, None)
            if follower is not None:
                follower.cancel()
            self._drop(record)

    def sweep(self, containers: set[str]) -> None:
        """Forget those of containers that are no more."""
        for identity in set(self._known) - containers:
            self.forget(identity)

    async def close(self) -> None:
        """Let go of what runs; it goes on."""
        tasks = [*self._followers.values(), *self._prepared.values(), *self._watchers]
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------------------------------------------------------

    def _startable(self, exec_id: str) -> tuple[ExecRecord, Record]:
        record = self.inspect(exec_id)
        container = running(self._frame, record.container, "exec")
        if record.exit_code is not None:
            raise Conflict(f"exec command {exec_id} has already run")
        if record.running:
            raise Conflict(f"exec command {exec_id} is already running")
        return record, container

    async def _make(self, task: Task, container: Record, record: ExecRecord, begin: Begin) -> None:
        """Have the shim hold the process ready."""
        config = record.config
        who = await accounts.identify(self._frame, container, config.user) if config.user else None
        size = begin.console_size if all(begin.console_size) else config.console_size
        own = processes.of_bundle(self._frame.directory(record.container))
        await task.exec(record.id, processes.added(own, config, who, size), Stdio(terminal=config.tty))

    async def _hand_over(self, record: ExecRecord, connection: Hijack) -> None:
        config = record.config
        if not (config.attach_stdin or config.attach_stdout or config.attach_stderr):
            return
        streams = Connection(
            connection.descriptor,
            config.attach_stdin,
            config.attach_stdout,
            config.attach_stderr,
            connection.framed and not config.tty,
            connection.early if config.attach_stdin else b"",
        )
        typed = keys.parse(config.detach_keys, "escape") if config.tty else ""
        seat = await handover.attach(self._door(record), streams, typed)
        if not config.tty:
            seat.close()
            return
        watcher = asyncio.create_task(self._watch_detach(record, seat), name=f"attached {record.id}")
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    async def _watch_detach(self, record: ExecRecord, seat: handover.Seat) -> None:
        """Tell when a client typed its detach keys, or left. The connection does not hang on this."""
        try:
            if isinstance(await seat.receive(), Detached):
                with contextlib.suppress(NotFound):
                    self._tell("exec_detach", self._frame.find(record.container), record)
        finally:
            seat.close()

    async def _run(self, task: Task, record: ExecRecord, seat: handover.Seat | None = None) -> None:
        # Asked for before it runs: an end cannot be missed.
        pending = await task.begin_wait(record.id)
        try:
            pid = await task.start(record.id)
        except BaseException:
            with contextlib.suppress(StockadeError):
                await task.delete(record.id)
            if seat is not None:
                seat.close()
            raise
        record = self._keep(replace(record, pid=pid))
        self._follow(record, pending, seat)

    async def _take_up_safely(self, identity: str) -> None:
        # A shim that is gone by now has its container ended, and with it these.
        with contextlib.suppress(StockadeError):
            await self._take_up(identity)

    async def _take_up(self, identity: str) -> None:
        task = await self._frame.task(identity)
        for record in list(self._known.get(identity, {}).values()):
            cut = record.error == _CUT_SHORT
            begun = not cut and (record.exit_code is not None or await self._was_started(task, record))
            if self._known.get(identity, {}).get(record.id) is not record:
                # Somebody starts it just now.
                continue
            if not begun:
                if record.running:
                    # Before the shim lets its client go, who asks at once how it ended.
                    self._keep(replace(record, running=False, exit_code=_NOT_STARTED, error=_CUT_SHORT))
                # Its client waits at the shim for a start that will not come.
                with contextlib.suppress(StockadeError):
                    await task.delete(record.id)
                if record.probe:
                    self._drop(record)
            elif record.running:
                self._follow(record, taken_up=True)
        await self._clear(task, identity)

    async def _was_started(self, task: Task, record: ExecRecord) -> bool:
        """Whether the shim let it run, or knows how it ended."""
        try:
            return (await task.state(record.id)).phase is not Phase.CREATED
        except NotFound:
            return os.path.exists(self._exit_path(record))

    async def _clear(self, task: Task, identity: str) -> None:
        """What a daemon that died left of ends that it had kept already."""
        for name in os.listdir(self._frame.directory(identity)):
            exec_id = name.removeprefix("exit-").removesuffix(".json")
            if name != f"exit-{exec_id}.json" or exec_id in self._followers:
                continue
            with contextlib.suppress(StockadeError):
                await task.delete(exec_id)
            with contextlib.suppress(OSError):
                os.unlink(f"{self._frame.directory(identity)}/{name}")

    def _follow(self, record: ExecRecord, pending: object = None, seat: object = None, taken_up: bool = False) -> None:
        follower = asyncio.create_task(self._see_end(record, pending, seat, taken_up), name=f"exec {record.id}")
        self._followers[record.id] = follower
        follower.add_done_callback(lambda _: self._followers.pop(record.id, None))

    async def _see_end(self, record: ExecRecord, pending: object, seat: object, taken_up: bool) -> None:
        """Wait for the end of a running one and write it down."""
        from stockade.runtime.aio import Pending

        try:
            task = await self._frame.task(record.container)
            if record.probe and taken_up:
                # Whoever asked is gone, and with it the time that was left.
                await task.kill(signal.SIGKILL, record.id)
            if isinstance(pending, Pending):
                end = await task.end(pending, record.id)
            else:
                end = await task.wait(record.id)
        except StockadeError:
            # It, or the shim, is gone: its record tells.
            end = None
        status = self._status(record) if end is None else end.status
        if isinstance(seat, handover.Seat):
            with contextlib.suppress(StockadeError, TimeoutError):
                await asyncio.wait_for(seat.receive(), 2.0)
            seat.close()
        current = replace(record, running=False, exit_code=status, pid=0)
        if record.id in self._known.get(record.container, {}):
            # A probe may have been dropped meanwhile, with whoever asked.
            self._keep(current)
        with contextlib.suppress(StockadeError):
            self._tell("exec_die", self._frame.find(record.container), current, {"exitCode": str(status)})
        with contextlib.suppress(StockadeError):
            await (await self._frame.task(record.container)).delete(record.id)
        with contextlib.suppress(OSError):
            os.unlink(self._exit_path(record))
        if record.probe and taken_up:
            self._drop(record)

    async def _undo_later(self, record: ExecRecord) -> None:
        await asyncio.sleep(_PREPARED)
        self._prepared.pop(record.id, None)
        with contextlib.suppress(StockadeError):
            await (await self._frame.task(record.container)).delete(record.id)

    def _failed(self, record: ExecRecord, error: StockadeError) -> StockadeError:
        """Keep that it did not start; why, in Docker's words."""
        runtime = isinstance(error, RuntimeFailed)
        said = processes.failure(record.config.command, error) if runtime else error
        code = exit_code(error)
        self._keep(
            replace(record, running=False, exit_code=code if code in (126, 127) else _NOT_STARTED, error=said.message)
        )
        with contextlib.suppress(OSError):
            os.unlink(self._exit_path(record))
        return said

    def _ended_record(self, record: ExecRecord) -> ExecRecord:
        return replace(record, running=False, exit_code=self._status(record), pid=0)

    def _status(self, record: ExecRecord) -> int:
        """How one ended of which no shim tells: by its record, else as killed with its container."""
        found = None
        with contextlib.suppress(StockadeError):
            found = exits.read(self._frame.directory(record.container), record.id)
        return 128 + signal.SIGKILL if found is None else found.status

    def _door(self, record: ExecRecord) -> handover.Door:
        path = shim.attach_address(self._frame.directory(record.container))
        return handover.Door(path, record.container, record.id)

    def _exit_path(self, record: ExecRecord) -> str:
        return f"{self._frame.directory(record.container)}/exit-{record.id}.json"

    def _tell(self, what: str, container: Record, record: ExecRecord, attributes: dict[str, str] | None = None) -> None:
        action = what if what in ("exec_die", "exec_detach") else f"{what}: {' '.join(record.config.command)}"
        self._frame.tell(action, container, {"execID": record.id, **(attributes or {})})

    def _keep(self, record: ExecRecord) -> ExecRecord:
        self._known.setdefault(record.container, {})[record.id] = record
        self._table.put(record.id, record)
        return record

    def _drop(self, record: ExecRecord) -> None:
        records = self._known.get(record.container, {})
        records.pop(record.id, None)
        if not records:
            self._known.pop(record.container, None)
        self._table.delete(record.id)

    def _trim(self, identity: str) -> None:
        known = self._known.get(identity, {})
        if len(known) <= _KEPT:
            return
        ended = [one for one in known.values() if one.exit_code is not None and not one.probe]
        for record in sorted(ended, key=lambda one: one.created)[:-_KEPT]:
            self._drop(record)


def _write_failure(connection: Hijack, message: str) -> None:
    """Tell a client on its stream why its process did not start, without waiting for it to read."""
    text = f"{message}\r\n".encode()
    if connection.framed:
        text = struct.pack(">BxxxL", 1, len(text)) + text
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.descriptor)) as client:
        client.send(text, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        client.shutdown(socket.SHUT_RDWR)
