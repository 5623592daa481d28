"""Clients of a container's own streams: attach, logs, the terminal's size. Connections pass, bytes do not.

A client that attaches before the start is kept, its connection watched for its end, and handed to the shim between
Create and Start. What a container printed before is replayed by `stockade-logs`, a program that writes the log file to
the client's descriptor and ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
from typing import Any, NamedTuple

from stockade.engine import keys, logdrivers
from stockade.engine.frame import Frame, running
from stockade.engine.records import Record, Status
from stockade.engine.requests import AttachOptions, LogOptions
from stockade.errors import BadValue, Conflict, NotFound, StockadeError, Unsupported
from stockade.host import spawn
from stockade.runtime import handover, shim
from stockade.runtime.attach import Connection, Detached

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from stockade.engine.frame import Take
    from stockade.model.connection import Hijack

LOG = "log.json"
_FOLLOWERS = "followers"
_LIVE = (Status.RUNNING, Status.PAUSED)


class Kept(NamedTuple):
    """A client that waits for the start."""

    connection: Hijack
    options: AttachOptions


class Streams:
    """The clients of all containers' own streams."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._kept: dict[str, list[Kept]] = {}
        self._hangups: Hangups | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._resting: set[str] = set()
        """Containers whose rest somebody's reader waits for."""

    async def attach(self, reference: str, options: AttachOptions, take: Take) -> None:
        """Give a client the container's streams; of one that does not run, once it does.

        Returns when the connection is on its way.

        Raises:
            BadValue: keys that mean nothing.
            Conflict: the container is paused or restarting.
        """
        keys.parse(options.detach_keys)
        record = self._frame.find(reference)
        status = record.state.status
        if status is Status.PAUSED:
            raise Conflict(f"Container {reference} is paused, unpause the container before attach")
        if status is Status.RESTARTING:
            raise Conflict(f"Container {reference} is restarting, wait until the container is running")
        if options.logs and not logdrivers.keeps(record.wanted.log):
            raise Unsupported("configured logging driver does not support reading")
        connection = await take(not record.wanted.tty)
        identity = record.wanted.id
        if options.logs:
            self._spawn(self._replay(record, options, connection), f"attach {identity}")
            return
        self._frame.tell("attach", record)
        if options.stream:
            await self._stream(identity, Kept(connection, options))
        else:
            os.close(connection.descriptor)

    async def handed(self, identity: str) -> None:
        """The container is created, its program held back: the clients that wait for it go to its shim."""
        for kept in self._kept.pop(identity, ()):
            self._unwatch(kept)
            await self._hand_over(identity, kept)

    def started(self, identity: str) -> None:
        """It is known to run: a client that came between the hand-over and now is handed over too."""
        if identity in self._kept:
            self._spawn(self.handed(identity), f"late clients of {identity}")

    def forget(self, identity: str) -> None:
        """The container is gone, or will not start: its clients too."""
        for kept in self._kept.pop(identity, ()):
            self._unwatch(kept)
            _end(kept.connection)

    def waiting(self, identity: str) -> int:
        """How many clients wait for its start."""
        return len(self._kept.get(identity, ()))

    async def logs(self, reference: str, options: LogOptions, take: Callable[[bool], Awaitable[int]]) -> None:
        """Have what a container printed written to a client; returns when that is on its way.

        Args:
            take: as a frame's, of a connection that is only written to.

        Raises:
            BadValue: no stream was chosen.
            Unsupported: nothing is kept of it.
        """
        if not (options.stdout or options.stderr):
            raise BadValue("You must choose at least one stream")
        record = self._frame.find(reference)
        if record.state.status in (Status.REMOVING, Status.DEAD):
            raise Conflict("can not get logs from container which is dead or marked for removal")
        if not logdrivers.keeps(record.wanted.log):
            raise Unsupported("configured logging driver does not support reading")
        program = shim.program("stockade-logs")
        descriptor = await take(not record.wanted.tty)
        try:
            directory = self._frame.directory(record.wanted.id)
            follow = options.follow and record.state.status in (*_LIVE, Status.RESTARTING)
            until = self._end_of(record, directory) if follow else ""
            child = self._reader(
                directory, log_words(program, directory, options, until, not record.wanted.tty), descriptor
            )
        finally:
            # The reader has its own; when it ends, the connection does.
            os.close(descriptor)
        if child is not None:
            self._spawn(_collect(child), f"logs {record.wanted.id}")

    async def resize(self, reference: str, rows: int, columns: int) -> None:
        """Tell the container's terminal, if it has one, its size.

        Raises:
            Conflict: it does not run.
        """
        record = running(self._frame, reference)
        if not record.wanted.tty:
            return
        task = await self._frame.task(record.wanted.id)
        await task.resize(rows, columns)
        self._frame.tell("resize", record, {"height": str(rows), "width": str(columns)})

    def recover(self, record: Record) -> None:
        """A new daemon knows it again: those who follow its log are told of its end by us."""
        if os.path.isdir(f"{self._frame.directory(record.wanted.id)}/{_FOLLOWERS}"):
            if record.state.status in (*_LIVE, Status.RESTARTING):
                self._watch_rest(record)
            else:
                self._let_go(record.wanted.id)

    async def close(self) -> None:
        """Let go of everything: readers and handed connections go on without us."""
        for identity in list(self._kept):
            self.forget(identity)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._hangups is not None:
            self._hangups.close()

    # ------------------------------------------------------------------------------------------------------------

    def _end_of(self, record: Record, directory: str) -> str:
        """The directory whose exit.json ends those who follow a log.

        Of a container that policy starts again it is one of its own: an end that is not the last one does not count.
        """
        if record.wanted.restart.name == "no":
            return directory
        followers = f"{directory}/{_FOLLOWERS}"
        with contextlib.suppress(FileExistsError):
            os.mkdir(followers, 0o700)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{followers}/exit.json")
        self._watch_rest(record)
        return followers

    def _watch_rest(self, record: Record) -> None:
        identity = record.wanted.id
        if identity not in self._resting:
            self._resting.add(identity)
            rest = self._frame.waiting(identity, "not-running", record.wanted.namespace)
            self._spawn(self._mark_rest(identity, rest), f"followers {identity}")

    async def _mark_rest(self, identity: str, rest: asyncio.Future[Any]) -> None:
        """Once the container is at rest, let those who follow its log read the last of it and go."""
        try:
            await rest
        finally:
            self._resting.discard(identity)
        self._let_go(identity)

    def _let_go(self, identity: str) -> None:
        with contextlib.suppress(OSError), open(f"{self._frame.directory(identity)}/{_FOLLOWERS}/exit.json", "w"):
            pass

    def _reader(self, directory: str, words: list[str], descriptor: int) -> spawn.Child | None:
        """Start the program that writes the log to the client; None: there is no log, and so nothing to say."""
        if not os.path.exists(f"{directory}/{LOG}"):
            return None
        return spawn.start(words, {1: descriptor, 2: descriptor})

    async def _replay(self, record: Record, options: AttachOptions, connection: Hijack) -> None:
        """What was printed before, then what is printed."""
        directory = self._frame.directory(record.wanted.id)
        chosen = LogOptions(stdout=options.stdout, stderr=options.stderr)
        framed = connection.framed and not record.wanted.tty
        words = log_words(shim.program("stockade-logs"), directory, chosen, "", framed)
        try:
            await handover.head_was_read(connection.descriptor)
            child = self._reader(directory, words, connection.descriptor)
            if child is not None:
                await _collect(child)
        except BaseException:
            _end(connection)
            raise
        self._frame.tell("attach", record)
        if options.stream:
            await self._stream(record.wanted.id, Kept(connection, options))
        else:
            os.close(connection.descriptor)

    async def _stream(self, identity: str, kept: Kept) -> None:
        try:
            status = self._frame.find(identity).state.status
        except NotFound:
            return _end(kept.connection)
        if status in _LIVE:
            await handover.head_was_read(kept.connection.descriptor)
            return await self._hand_over(identity, kept)
        if self._hangups is None:
            self._hangups = Hangups()
        self._kept.setdefault(identity, []).append(kept)
        self._hangups.watch(kept.connection.descriptor, lambda: self._hung_up(identity, kept))

    async def _hand_over(self, identity: str, kept: Kept) -> None:
        """Give the connection to the shim; if that fails, the client hears why."""
        connection, options = kept
        wanted = self._frame.find(identity).wanted
        stdin = options.stdin and wanted.open_stdin
        streams = Connection(
            connection.descriptor,
            stdin,
            options.stdout,
            options.stderr,
            connection.framed and not wanted.tty,
            connection.early if stdin else b"",
            wanted.stdin_once,
        )
        typed = keys.parse(options.detach_keys) if wanted.tty else ""
        try:
            door = handover.Door(shim.attach_address(self._frame.directory(identity)), identity)
            seat = await handover.attach(door, streams, typed)
        except StockadeError as error:
            _say(connection, f"Error attaching: {error.message}\n")
            _end(connection)
            return
        os.close(connection.descriptor)
        self._spawn(self._watch_detach(identity, seat), f"attached {identity}")

    async def _watch_detach(self, identity: str, seat: handover.Seat) -> None:
        """Tell when a client typed its detach keys. The connection does not hang on this."""
        try:
            if isinstance(await seat.receive(), Detached):
                with contextlib.suppress(NotFound):
                    self._frame.tell("detach", self._frame.find(identity))
        finally:
            seat.close()

    def _hung_up(self, identity: str, kept: Kept) -> None:
        waiting = self._kept.get(identity, [])
        if kept in waiting:
            waiting.remove(kept)
            self._unwatch(kept)
            _end(kept.connection)
        if not waiting:
            self._kept.pop(identity, None)

    def _unwatch(self, kept: Kept) -> None:
        if self._hangups is not None:
            self._hangups.forget(kept.connection.descriptor)

    def _spawn(self, work: object, name: str) -> None:
        assert asyncio.iscoroutine(work)
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Hangups:
    """Connections that nobody reads, watched for their end alone: what a client sends early makes no event."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._calls: dict[int, object] = {}
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._see)

    def watch(self, descriptor: int, call: object) -> None:
        """Call when the peer has closed both directions."""
        self._calls[descriptor] = call
        # EPOLLHUP is reported unasked; with a shutdown of one direction a client still waits for output.
        self._epoll.register(descriptor, select.EPOLLET)

    def forget(self, descriptor: int) -> None:
        """Watch no more. Idempotent."""
        if self._calls.pop(descriptor, None) is not None:
            with contextlib.suppress(OSError):
                self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Watch nothing any more."""
        asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _see(self) -> None:
        for descriptor, events in self._epoll.poll(0):
            call = self._calls.get(descriptor)
            if events & (select.EPOLLHUP | select.EPOLLERR) and callable(call):
                call()


def log_words(program: str, directory: str, options: LogOptions, until: str, framed: bool) -> list[str]:
    """The arguments of `stockade-logs`; it follows until the directory `until` has an exit.json, if that is given."""
    words = [program]
    if until:
        words += ["--follow", "--until-exit", until]
    if options.tail >= 0:
        words += ["--tail", str(options.tail)]
    for name in ("since", "until"):
        moment = getattr(options, name)
        if moment and moment != "0":
            words += [f"--{name}", moment]
    flags = {"stdout": options.stdout, "stderr": options.stderr, "timestamps": options.timestamps}
    words += [
        f"--{name}" for name, wanted in (flags | {"details": options.details, "framed": framed}).items() if wanted
    ]
    return [*words, f"{directory}/{LOG}"]


async def _collect(child: spawn.Child) -> None:
    """Wait for a log's reader. It ends with the log or its client, and goes on when the daemon does not."""
    await child.wait()


def _say(connection: Hijack, text: str) -> None:
    """A last word to a client, without waiting for it to read."""
    import struct

    data = text.encode()
    if connection.framed:
        data = struct.pack(">BxxxL", 1, len(data)) + data
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.descriptor)) as client:
        client.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def _end(connection: Hijack) -> None:
    """Hang up."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.descriptor)) as client:
        client.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        os.close(connection.descriptor)
