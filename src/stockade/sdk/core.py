"""A sandbox, written once for callers that block and callers that await.

A sandbox is one container whose first process only waits (`stockade-init`); each command is added beside it. So commands
can run at the same time, share files and a private network, and starting one costs a millisecond or two. The limits are
those of the sandbox, all its commands together.

When the last command has ended, whatever it left running is killed: the container is ended (the kernel kills all of a
pid namespace at once, however fast it forks) and made anew on the same files. The same happens when a command runs out
of its time. While another command lives, only the one process is killed, and the rest with the last.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from typing import NamedTuple

from stockade.embedded import delegation, environment, paths, policy, rootfs
from stockade.embedded.session import Request, Session
from stockade.embedded.view import Given
from stockade.errors import BadValue, NotFound, StockadeError, TimedOut, Unavailable, Unsupported
from stockade.model import Capabilities, Limits, Mount, Process, Reason
from stockade.runtime import exits, shim, spec
from stockade.runtime.attach import Attachment, Streams
from stockade.runtime.attach import root as root_of
from stockade.sdk.values import (
    DEVNULL,
    PIPE,
    STDOUT,
    Completed,
    HostView,
    OutputTooLarge,
    SandboxEnded,
    SandboxTimeout,
    Settings,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import IO

    from stockade.model import Exit
    from stockade.runtime.io import Io, Pending

_INIT = "/dev/.stockade-init"
_PIDS = 4096
# How often a look is taken at things that have no descriptor, in seconds.
_TICK = 0.2
# How long output may still come once the end is known.
_DRAIN = 1.0
_SHORT = 10.0


class Wish(NamedTuple):
    """One command, as it was asked for."""

    args: tuple[str, ...]
    stdin: int | IO[bytes] = PIPE
    stdout: int | IO[bytes] = PIPE
    stderr: int | IO[bytes] = PIPE
    env: Mapping[str, str] = {}
    workdir: str | None = None
    user: int | None = None


class Core:
    """A sandbox over one kind of world."""

    def __init__(self, io: Io, settings: Settings) -> None:
        self.io = io
        self.settings = settings
        self.living: dict[str, Running] = {}
        self.home = "/root" if isinstance(settings.root, HostView) else "/"
        self._session: Session | None = None
        self._numbers = itertools.count(1)
        self._gate = io.lock()
        self._started = False
        self._root: int | None = None

    async def open(self) -> None:
        """Make the container, with its files, and start its first process."""
        if self.settings.network != "none":
            raise Unsupported(f"the network {self.settings.network!r} is not served yet", hint='network="none"')
        where = paths.find(os.environ)
        request = self._request(where)
        self._session = await Session.open(self.io, where, request)
        try:
            await self._ready()
            for path, content in self.settings.files.items():
                await self.put(path, content)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End everything inside and remove it. Idempotent."""
        session, self._session = self._session, None
        self._forget_root()
        if session is not None:
            await session.close()
        for running in list(self.living.values()):
            running.close()
        self.living.clear()

    async def start(self, wish: Wish) -> Running:
        """Start a command.

        Raises:
            CommandNotFound, CommandNotExecutable: there is no such program inside.
            SandboxEnded: nothing can be started any more.
        """
        if not wish.args:
            raise BadValue("a command needs a program", hint='box.run(["python3", "-c", "print(1)"])')
        session = await self._ready()
        identity = f"e{next(self._numbers)}"
        running = Running(self, session, identity, wish)
        try:
            await session.task.exec(identity, self._process(wish))
            await running.begin()
        except BaseException:
            running.close()
            await self._drop_exec(session, identity)
            raise
        self.living[identity] = running
        return running

    async def run(self, wish: Wish, data: bytes, timeout: float | None) -> Completed:
        """Run a command to its end and take its output.

        Raises:
            SandboxTimeout: it did not end in time; it is killed, with all that it started.
        """
        running = await self.start(wish)
        try:
            completed = await running.communicate(data, timeout)
        except TimedOut as error:
            await self._cut(running)
            raise await self._timeout(running, timeout) from error
        except BaseException:
            await self._cut(running)
            raise
        if completed.exit.reason is Reason.SIGNALED:
            await self._refuse_ended(completed)
        return completed

    async def put(self, path: str, content: bytes | IO[bytes], mode: int = 0o644) -> None:
        """Write a file, and the directories that it needs, as the sandbox's root."""
        from stockade.sdk import files

        session = await self._ready()
        ids = session.claim.ids
        root = await self._root_of(session)
        await self.io.work(files.write, root, path, content, (ids.base, ids.group_base), mode)

    async def get(self, path: str, limit: int) -> bytes:
        """Read a file of at most `limit` bytes."""
        from stockade.sdk import files

        return await self.io.work(files.read, await self._root_of(await self._ready()), path, limit)

    async def ended(self, running: Running) -> None:
        """A command has ended: when it was the last, nothing may be left of it."""
        self.living.pop(running.id, None)
        session = self._session
        if session is None:
            return
        await self._drop_exec(session, running.id)
        if self.living:
            return
        try:
            left = len(await session.task.pids()) > 1
        except (NotFound, Unavailable):
            # The first process has ended: the next command finds it out.
            return
        if left:
            await self._renew(session)

    async def _cut(self, running: Running) -> None:
        """End a command that must not go on, with all that it started if no other lives."""
        session = self._session
        self.living.pop(running.id, None)
        try:
            if session is None:
                return
            if self.living:
                await running.signal(signal.SIGKILL)
            else:
                await self._renew(session)
        finally:
            running.close()

    async def _renew(self, session: Session) -> None:
        async with self._gate:
            self._forget_root()
            self._started = False
            await session.renew()

    async def _ready(self) -> Session:
        """The session, its first process running."""
        async with self._gate:
            session = self._session
            if session is None:
                raise SandboxEnded("the sandbox is closed")
            if self._started:
                session.channel.pump()
            if self._started and session.ended:
                end = await session.wait()
                if end.reason is Reason.TIMED_OUT:
                    raise SandboxEnded(f"the sandbox reached its time limit of {self.settings.limits.time:g} s")
                self._forget_root()
                self._started = False
                await session.renew()
            if not self._started:
                await session.start()
                self._started = True
            return session

    async def _refuse_ended(self, completed: Completed) -> None:
        """Explain a kill by the end of the whole sandbox, if that is what it was."""
        session = self._session
        if session is None:
            return
        try:
            # The shim reports the ends one after the other.
            end = await session.wait(timeout=_TICK)
        except StockadeError:
            return
        if end.reason is Reason.TIMED_OUT:
            message = f"{completed.args[0]} was killed: the sandbox reached its time limit"
            raise SandboxTimeout(message, completed._replace(exit=end))

    async def _timeout(self, running: Running, timeout: float | None) -> SandboxTimeout:
        name = running.wish.args[0]
        end = exits.from_status(128 + signal.SIGKILL)._replace(reason=Reason.TIMED_OUT)
        return SandboxTimeout(f"{name} did not end within {timeout:g} s and was killed", running.completed(end))

    async def _root_of(self, session: Session) -> int:
        if self._root is None:
            address = shim.attach_address(session.bundle)
            self._root = await self.io.work(root_of, address, session.claim.record.id)
        return self._root

    def _forget_root(self) -> None:
        root, self._root = self._root, None
        if root is not None:
            os.close(root)

    async def _drop_exec(self, session: Session, identity: str) -> None:
        try:
            await session.task.delete(identity)
        except StockadeError:
            # Never added, or its shim is gone: nothing of it is left either way.
            return

    def _process(self, wish: Wish) -> Process:
        settings = self.settings
        env = environment.clean({"LANG": "C.UTF-8"}, self.home, False) | dict(settings.env) | dict(wish.env)
        user = settings.user if wish.user is None else wish.user
        return Process(
            args=wish.args,
            env=tuple(f"{name}={value}" for name, value in env.items()),
            cwd=wish.workdir or self._workdir(),
            uid=user,
            gid=user,
            capabilities=Capabilities(spec.SHORT_CAPABILITIES),
        )

    def _workdir(self) -> str:
        settings = self.settings
        if settings.workdir:
            return settings.workdir
        given = settings.root.directory if isinstance(settings.root, HostView) else None
        return os.path.realpath(given) if given else self.home

    def _request(self, where: paths.Paths) -> Request:
        settings = self.settings
        limits, cgroup = delegation.held(where, settings.limits, Limits(pids=_PIDS))
        given, directory = None, ""
        if isinstance(settings.root, HostView):
            if settings.root.directory is not None:
                path = policy.resolve(settings.root.directory)
                found = policy.check(path, named=True)
                given = Given(path, found.st_uid, found.st_gid)
        else:
            directory = rootfs.find(where, shim.program("stockade-layer"), settings.root.path)
        mount = Mount(_INIT, "bind", shim.program("stockade-init"), ("bind", "ro", "nosuid", "nodev"))
        return Request(
            process=Process(args=(_INIT,), oom_score_adj=-999),
            limits=limits,
            given=given,
            kind="sdk",
            hostname=settings.hostname,
            cgroup=cgroup,
            rootfs=directory,
            image=directory and settings.root[0] or "",
            adjust=lambda bundle: bundle._replace(mounts=(*bundle.mounts, mount)),
        )


class Running:
    """A command that was started."""

    def __init__(self, core: Core, session: Session, identity: str, wish: Wish) -> None:
        self.id = identity
        self.wish = wish
        self.pid = 0
        self.end: Exit | None = None
        self.pipes: dict[str, int] = {}
        """Our ends, by the stream's name."""
        self._core = core
        self._session = session
        self._pending: Pending | None = None
        self._attachment: Attachment | None = None
        self._outputs: dict[str, bytearray] = {}

    async def begin(self) -> None:
        """Hand over the streams and let it run."""
        task, given = self._session.task, []
        streams: dict[str, int | None] = {}
        try:
            for name in ("stdin", "stdout", "stderr"):
                streams[name] = self._stream(name, getattr(self.wish, name), given)
            if self.wish.stderr == STDOUT:
                streams["stderr"] = streams["stdout"]
            address = shim.attach_address(self._session.bundle)
            wanted = Streams(**streams)
            self._attachment = await self._core.io.work(Attachment, address, task.id, wanted, self.id)
        finally:
            for descriptor in given:
                os.close(descriptor)
        self._pending = await task.begin_wait(self.id)
        self.pid = await task.start(self.id)

    def _stream(self, name: str, wish: int | IO[bytes], given: list[int]) -> int | None:
        """The descriptor to hand over for one stream; what is only for that is appended to `given`."""
        if wish == PIPE:
            reader, writer = os.pipe2(os.O_CLOEXEC)
            ours, theirs = (writer, reader) if name == "stdin" else (reader, writer)
            os.set_blocking(ours, False)
            self.pipes[name] = ours
            given.append(theirs)
            return theirs
        if wish == DEVNULL or (wish == STDOUT and name == "stderr"):
            return None
        if isinstance(wish, int):
            if wish < 0:
                raise BadValue(f"{name} cannot be {wish}")
            return wish
        return wish.fileno()

    async def communicate(self, data: bytes, timeout: float | None) -> Completed:
        """Feed the input, take all output, wait for the end.

        Raises:
            TimedOut: it goes on; what came so far is kept for the next call.
            OutputTooLarge: it goes on, and nobody should wait for it.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        left = memoryview(data)
        over: float | None = None
        if not left:
            self._shut("stdin")
        while self.pipes or self._attachment is not None:
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                raise TimedOut(f"{self.wish.args[0]} did not end in time")
            if over is None and self.poll():
                over = now
            if over is not None and now >= over + _DRAIN:
                break
            patience = _TICK if deadline is None else min(_TICK, deadline - now)
            left = await self._step(left, patience)
        end = await self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        self.close()
        return self.completed(end)

    async def _step(self, left: memoryview, patience: float) -> memoryview:
        """One round of moving bytes; what of the input is left."""
        reads = {self.pipes[name]: name for name in ("stdout", "stderr") if name in self.pipes}
        writes = [self.pipes["stdin"]] if "stdin" in self.pipes else []
        attachment = self._attachment
        watched = [*reads, *([attachment.fileno()] if attachment else [])]
        readable, writable = await self._core.io.ready(watched, writes, patience)
        for descriptor in readable:
            if descriptor in reads:
                self._take(reads[descriptor], descriptor)
            elif attachment is not None:
                attachment.receive()
                self._end_attachment()
        if writable:
            try:
                left = left[os.write(writes[0], left[: 1 << 16]) :]
            except BrokenPipeError:
                left = left[:0]
            if not left:
                self._shut("stdin")
        return left

    def _take(self, name: str, descriptor: int) -> None:
        output = self._outputs.setdefault(name, bytearray())
        try:
            part = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return
        if not part:
            self._shut(name)
        output += part
        if len(output) > self._core.settings.output_limit:
            end = exits.from_status(128 + signal.SIGKILL)
            limit = self._core.settings.output_limit
            raise OutputTooLarge(f"{self.wish.args[0]} printed more than {limit} bytes", self.completed(end))

    def _end_attachment(self) -> None:
        """All output is in our pipes now: take it, even if somebody else holds the other ends."""
        if self._attachment is not None:
            self._attachment.close()
            self._attachment = None
        self._shut("stdin")
        for name in ("stdout", "stderr"):
            while name in self.pipes:
                before = len(self._outputs.get(name, b""))
                self._take(name, self.pipes[name])
                if len(self._outputs[name] if name in self._outputs else b"") == before:
                    self._shut(name)

    def completed(self, end: Exit) -> Completed:
        """The command with what it has printed so far."""
        stdout, stderr = (bytes(self._outputs.get(name, b"")) for name in ("stdout", "stderr"))
        return Completed(self.wish.args, end.status, stdout, stderr, end)

    def poll(self) -> bool:
        """Whether it has ended, without waiting."""
        if self.end is None and self._pending is not None and not self._pending.done:
            self._session.channel.pump()
        return self.end is not None or (self._pending is not None and self._pending.done)

    async def wait(self, timeout: float | None = None) -> Exit:
        """How it ended, once it has.

        Raises:
            TimedOut: it goes on.
        """
        if self.end is None:
            if self._pending is None:
                raise SandboxEnded(f"{self.wish.args[0]} was not started")
            try:
                end = await self._session.task.end(self._pending, self.id, timeout)
            except TimedOut as error:
                raise TimedOut(f"{self.wish.args[0]} did not end within {timeout:g} s") from error
            if self.end is None:
                self.end = end
                await self._core.ended(self)
        return self.end

    async def signal(self, number: int) -> None:
        """Send it a signal; nothing, if it has ended."""
        if self.poll():
            return
        try:
            await self._session.task.kill(number, self.id)
        except NotFound:
            return

    def _shut(self, name: str) -> None:
        descriptor = self.pipes.pop(name, None)
        if descriptor is not None:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of the streams. Idempotent."""
        for name in list(self.pipes):
            self._shut(name)
        if self._attachment is not None:
            self._attachment.close()
            self._attachment = None


def words(args: str | Sequence[str]) -> tuple[str, ...]:
    """A command's words; a single string is refused: it would be a program with spaces in its name, or a shell's line."""
    if isinstance(args, str):
        raise BadValue(f"a command is a list of words, not {args!r}", hint='["sh", "-c", "…"] has a shell read it')
    return tuple(os.fsdecode(word) for word in args)
