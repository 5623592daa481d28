"""A sandbox, written once for callers that block and callers that await.

A sandbox is one container whose first process only waits (`stockade-init`); each command is added beside it. So
commands can run at the same time, share files and a private network, and starting one costs a millisecond or two. The
limits are those of the sandbox, all its commands together.

When the last command has ended, whatever it left running is killed: the container is ended (the kernel kills all of a
pid namespace at once, however fast it forks) and made anew on the same files. The same happens when a command runs out
of its time. While another command lives, only the one process is killed, and the rest with the last.
"""

from __future__ import annotations

import itertools
import os
import signal

from stockade.embedded import delegation, environment, policy, rootfs
from stockade.embedded.session import Request, Session
from stockade.embedded.view import Given
from stockade.errors import BadValue, NotFound, StockadeError, TimedOut, Unavailable, Unsupported
from stockade.host import paths
from stockade.model import Capabilities, Limits, Mount, Process, Reason
from stockade.runtime import exits, shim, spec
from stockade.runtime.attach import root as root_of
from stockade.sdk.running import Running
from stockade.sdk.values import Completed, HostView, OfImage, Rootfs, SandboxEnded, SandboxTimeout, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

    from stockade.runtime.io import Io
    from stockade.sdk.lease import Lease
    from stockade.sdk.running import Wish

_INIT = "/dev/.stockade-init"
_PIDS = 4096
# How long the shim may take between reporting a command's end and that of the whole sandbox, in seconds.
_SOON = 0.05


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
        self._lease: Lease | None = None

    async def open(self) -> None:
        """Make the container, with its files, and start its first process."""
        if self.settings.network != "none":
            raise Unsupported(f"the network {self.settings.network!r} is not served yet", hint='network="none"')
        where = paths.find(os.environ)
        try:
            if isinstance(self.settings.root, OfImage):
                self._lease = await self._take(self.settings.root.reference)
                self.home = "/"
            self._session = await Session.open(self.io, where, self._request(where))
            await self._ready()
            for path, content in self.settings.files.items():
                await self.put(path, content)
        except BaseException:
            await self.close()
            raise

    async def _take(self, reference: str) -> Lease:
        from stockade.sdk.lease import take

        return await take(self.io, reference)

    async def close(self) -> None:
        """End everything inside and remove it. Idempotent."""
        session, self._session = self._session, None
        self._forget_root()
        if session is not None:
            await session.close()
        lease, self._lease = self._lease, None
        if lease is not None:
            await lease.release()
        for running in list(self.living.values()):
            running.cut()
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
            if self._started and session.pending.done:
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
        reason, session = completed.exit.reason, self._session
        if reason is Reason.SIGNALED and completed.returncode == 128 + signal.SIGKILL and session is not None:
            try:
                # The shim reports the ends one after the other.
                reason = (await session.wait(timeout=_SOON)).reason
            except StockadeError:
                return
        if reason is Reason.TIMED_OUT:
            raise SandboxTimeout(f"{completed.args[0]} was killed: the sandbox reached its time limit", completed)

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
        env = environment.clean({"LANG": "C.UTF-8"}, self.home, False)
        if self._lease is not None:
            env |= self._lease.env
        env |= {**settings.env, **wish.env}
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
        if self._lease is not None:
            return self._lease.workdir
        given = settings.root.directory if isinstance(settings.root, HostView) else None
        return os.path.realpath(given) if given else self.home

    def _request(self, where: paths.Paths) -> Request:
        settings = self.settings
        limits = delegation.held(where, settings.limits, Limits(pids=_PIDS))
        given, directory, beneath = None, "", list[str]()
        if isinstance(settings.root, HostView):
            if settings.root.directory is not None:
                path = policy.resolve(settings.root.directory)
                found = policy.check(path, named=True)
                given = Given(path, found.st_uid, found.st_gid)
        elif self._lease is not None:
            directory, *beneath = self._lease.layers
        elif isinstance(settings.root, Rootfs):
            directory = rootfs.find(where, shim.program("stockade-layer"), settings.root.path)
        mount = Mount(_INIT, "bind", shim.program("stockade-init"), ("bind", "ro", "nosuid", "nodev"))
        return Request(
            process=Process(args=(_INIT,), oom_score_adj=-999),
            limits=limits,
            given=given,
            kind="sdk",
            hostname=settings.hostname,
            rootfs=directory,
            beneath=tuple(beneath),
            image=(directory and settings.root[0]) or "",
            adjust=lambda bundle: bundle._replace(mounts=(*bundle.mounts, mount)),
        )
