"""The life of one container without an image and without a daemon: one object, from its claim to its end.

    open    sweep, view, claim, config.json, shim, create          the program is held back
    attach  the caller's descriptors go to the shim                 no byte passes here
    start   …   wait   the exit record
    finish  the container is deleted, its shim gone; what it changed can be looked at, applied or kept
    close   whatever is left is removed, at any point, also after a failure; once is enough

Written once over `runtime.io.Io`: `do` runs it in place, the SDK in place or on a loop. Whatever fails between `open`
and `close` is undone by `close`; whatever kills this process is undone by the shim (its client's connection ends) or
by the next sweep.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import NamedTuple

from stockade.errors import Conflict, NotFound, StockadeError, Unavailable
from stockade.host import layer
from stockade.host.paths import make as make_directories
from stockade.model import Limits, Process, RootfsMount
from stockade.runtime import exits, shim, spec
from stockade.runtime.attach import Attachment, Streams
from stockade.runtime.task import Stdio, Task

from . import changes, delegation, records, view
from .records import Draft, Record
from .sweep import Tools, bundle_of, discard, sweep
from .view import Bind, Given

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from stockade.host.ids import Ids
    from stockade.host.paths import Paths
    from stockade.model import Exit
    from stockade.runtime.io import Channel, Io, Pending

    from .changes import Changes
    from .records import Claim

NAMESPACE = "stockade"


# Seconds. Looking whether the cached tree is up to date takes a few milliseconds; what takes longer than this, builds.
PATIENCE = 0.3


def _silently(_: str) -> None:
    """Nobody is told."""


class Request(NamedTuple):
    """A container to be made."""

    process: Process
    limits: Limits = Limits()
    given: Given | None = None
    kind: str = "do"
    name: str = ""
    hostname: str = "stockade"
    binds: tuple[Bind, ...] = ()
    rootfs: str = ""
    """An unpacked root file system to stand on, ids as they are; empty: the view of the host."""
    beneath: tuple[str, ...] = ()
    """Layers under `rootfs`, the lowest last."""
    again: Record | None = None
    """A kept container whose changes are to be there again."""
    durable: bool = False
    """Whether its changes may be kept after its end."""
    init: bool = False
    """Whether process 1 is an init of ours and the program its child: it passes signals on and collects orphans."""
    adjust: Callable[[spec.Bundle], spec.Bundle] | None = None
    """The last word on config.json, for what is not said above."""
    image: str = ""
    """What `rootfs` came from, in the caller's words; for the record."""
    tell: Callable[[str], object] = _silently
    """Whom to tell what is being done, when it takes long."""


class Session:
    """One container that this process answers for. Made by `open`."""

    def __init__(self, io: Io, paths: Paths, request: Request) -> None:
        self.io = io
        self.paths = paths
        self.request = request
        self.times: dict[str, float] = {}
        """How long each step took, in seconds."""
        self.tool = layer.Tool(paths)
        self.shim_program = shim.program(shim.PROGRAM)
        self.tools = Tools(self._end_abandoned, self._remove, self._recover)
        self._claim: Claim | None = None
        self._channel: Channel | None = None
        self._pending: Pending | None = None
        self._tree = ""
        # What stands beneath the root: a version of the cached tree, or an unpacked root file system.
        self._task: Task | None = None
        self._outdated = False
        # Whether this start built a new version of it, so that older ones may be left to nobody.

    @classmethod
    async def open(cls, io: Io, paths: Paths, request: Request) -> Session:
        """Make a container up to the point where its program could run.

        Raises:
            StockadeError: nothing of it is left.
        """
        session = cls(io, paths, request)
        try:
            await session._open()
        except BaseException:
            await session.close()
            raise
        return session

    @property
    def claim(self) -> Claim:
        """Directory, record and ids of the container."""
        if self._claim is None:
            raise Conflict("the container was not made, or is removed")
        return self._claim

    @property
    def task(self) -> Task:
        """The container in its shim."""
        if self._task is None:
            raise Conflict(f"container {self.claim.record.id} has ended")
        return self._task

    @property
    def channel(self) -> Channel:
        """The connection to the shim, for poll(2)."""
        if self._channel is None:
            raise Conflict("the container has no shim")
        return self._channel

    @property
    def bundle(self) -> str:
        """The directory of config.json."""
        return bundle_of(self.claim.directory, self.claim.record)

    async def attach(self, stdin: int | None, stdout: int | None, stderr: int | None) -> Attachment:
        """Hand descriptors to the shim as the program's own; before `start`, so that no output is missed."""
        return Attachment(shim.attach_address(self.bundle), self.claim.record.id, Streams(stdin, stdout, stderr))

    async def start(self) -> int:
        """Let the program run; its pid.

        Raises:
            CommandNotFound, CommandNotExecutable: it cannot be executed.
        """
        began = time.perf_counter()
        self._pending = await self.task.begin_wait()
        pid = await self.task.start()
        self.times["start"] = time.perf_counter() - began
        if self._outdated:
            self._outdated = False
            await self.io.work(self._prune_trees)
        return pid

    @property
    def pending(self) -> Pending:
        """What answers when the program has ended, for poll(2) with `channel`."""
        if self._pending is None:
            raise Conflict("the program was not started")
        return self._pending

    async def wait(self, timeout: float | None = None) -> Exit:
        """How the program ended, once it has."""
        if self._pending is None:
            self._pending = await self.task.begin_wait()
        task = self.task
        try:
            return await task.end(self._pending, timeout=timeout)
        except Unavailable:
            # The shim died. Its one-shot form ends the container, and writes down that it was so.
            await self.io.work(self._end_abandoned, task.id, task.bundle)
            found = exits.read(task.bundle)
            if found is None:
                raise
            return found

    async def finish(self) -> None:
        """Delete the container and end its shim; its directory stays. Idempotent."""
        if self._task is None:
            return
        began = time.perf_counter()
        task, self._task = self._task, None
        try:
            await task.delete()
            await task.shutdown()
        except (Unavailable, NotFound):
            # The shim died: its one-shot form does what is left to do.
            await self.io.work(self._end_abandoned, task.id, task.bundle)
        if self._channel is not None:
            self._channel.close()
        self.times["finish"] = time.perf_counter() - began

    async def look(self, maximum: int = 10000) -> Changes:
        """What the container changed."""
        record = self.claim.record
        parts = self._parts()
        return await self.io.work(changes.look, self.tool, self.claim.directory, parts, self._tree, record.cwd, maximum)

    def keep(self, name: str) -> None:
        """Let the container's directory outlive this process, to be continued, applied or dropped by `name`.

        Raises:
            Conflict: the name is taken, or the container was not made to be kept.
        """
        if not self.request.durable:
            raise Conflict(f"container {self.claim.record.id} was not made to be kept")
        self._claim = records.keep(self.paths, self.claim, name)

    async def renew(self) -> None:
        """End everything inside and make the container anew on the same files, its program held back."""
        await self._kill()
        await self.finish()
        self._pending = None
        ids = self.claim.ids if self.paths.root else None
        await self.io.work(view.renew_work, self.claim.directory, self._parts(), ids)
        await self._launch(self._mounts(self.claim, ids))

    async def close(self) -> None:
        """Remove whatever is left, unless it is kept. Idempotent."""
        try:
            if self._task is not None:
                await self._kill()
            await self.finish()
        finally:
            claim, self._claim = self._claim, None
            if claim is not None:
                await self.io.work(self._put_away, claim)

    async def _kill(self) -> None:
        """End a container that may run still."""
        try:
            await self.task.kill(9, everything=True)
            await self.wait(timeout=10.0)
        except StockadeError:
            # It has ended, was never started, or its shim is gone: `finish` finds out which.
            return

    async def _open(self) -> None:
        began = time.perf_counter()
        paths, request = self.paths, self.request
        make_directories(paths)
        looking = None if request.rootfs else self._ask_for_tree()
        sweep(paths, self.tools)
        self.times["sweep"] = time.perf_counter() - began
        self._tree = self._tree_of(looking)
        self.times["view"] = time.perf_counter() - began - self.times["sweep"]
        self._claim = self._make_claim()
        mounts = self._make_files(self._claim)
        self.times["files"] = time.perf_counter() - began - sum(self.times.values())
        await self._launch(mounts)

    async def _launch(self, mounts: tuple[RootfsMount, ...]) -> None:
        """Start the shim and have it make the container."""
        began = time.perf_counter()
        identity = self.claim.record.id
        socket_path = await self.io.work(
            shim.launch, self.shim_program, self.bundle, identity, NAMESPACE, self.paths.run
        )
        self._channel = await self.io.connect(socket_path)
        launched = time.perf_counter()
        self._task = Task(self._channel, identity, self.bundle)
        await self._task.create(mounts, Stdio(terminal=self.request.process.terminal))
        self.times |= {"shim": launched - began, "create": time.perf_counter() - launched}

    def _ask_for_tree(self) -> layer.Running:
        return self.tool.start("view", "--dest", self.paths.view, "--only-if-stale")

    def _tree_of(self, looking: layer.Running | None) -> str:
        if looking is None:
            return self.request.rootfs
        if not looking.ended_within(PATIENCE):
            self.request.tell("building the view of this machine's system directories, once and whenever they change…")
        answer = looking.lines()[-1]
        self._outdated = answer["built"]
        path: str = answer["path"]
        return path

    def _make_claim(self) -> Claim:
        request, process = self.request, self.request.process
        given = request.given or Given("", -1, -1)
        if request.again is not None:
            return records.reopen(self.paths, request.again, process.args, self._tree)
        draft = Draft(
            request.kind,
            process.args,
            request.name,
            given.path,
            given.uid,
            given.gid,
            image=request.image,
            since=_now(),
            tree=self._tree if not request.rootfs else "",
        )
        return records.claim(self.paths, draft)

    def _make_files(self, claim: Claim) -> tuple[RootfsMount, ...]:
        """The layers and config.json; the rootfs list of CreateTask."""
        request = self.request
        parts = self._parts()
        ids: Ids | None = claim.ids if self.paths.root else None
        if request.again is None:
            view.make_layers(claim.directory, parts, self._tree, ids)
        else:
            view.renew_work(claim.directory, parts, ids)
            os.mkdir(self.bundle, 0o700)
        os.mkdir(f"{self.bundle}/rootfs", 0o755)
        bundle = spec.Bundle(
            process=request.process,
            uids=claim.ids.uid,
            gids=claim.ids.gid,
            hostname=request.hostname,
            mounts=(*spec.USUAL_MOUNTS, *(view.bind_mount(bind, ids) for bind in request.binds)),
            limits=request.limits,
            cgroup=delegation.cgroup(self.paths, claim.record.id),
            lifeline=True,
            annotations=(("dev.stockade.init", "true"),) if request.init else (),
        )
        spec.write(self.bundle, bundle if request.adjust is None else request.adjust(bundle))
        return self._mounts(claim, ids)

    def _mounts(self, claim: Claim, ids: Ids | None) -> tuple[RootfsMount, ...]:
        request = self.request
        durable = request.durable or request.again is not None
        return view.mounts((self._tree, *request.beneath), claim.directory, self._parts(), request.given, ids, durable)

    def _parts(self) -> tuple[view.Layer, ...]:
        return view.layers(self._tree, self.request.given, host=not self.request.rootfs)

    def _put_away(self, claim: Claim) -> None:
        # An application that failed half way has left its journal here.
        self._recover(claim.directory)
        if claim.record.kept:
            self._remove(bundle_of(claim.directory, claim.record))
            records.rewrite(claim, claim.record._replace(owner=None))
        else:
            discard(self.paths, claim.record, self.tools)

    def _end_abandoned(self, identity: str, bundle: str) -> None:
        shim.clean_up(self.shim_program, bundle, identity, NAMESPACE)

    def _remove(self, directory: str) -> None:
        if os.path.lexists(directory):
            self.tool.call_somehow("remove", directory)

    def _prune_trees(self) -> None:
        """Have the trees that nobody stands on removed, beside us. A failure costs their space until the next build."""
        with contextlib.suppress(StockadeError):
            records.prune_trees(self.paths, self._prune)

    def _prune(self, trees: list[str]) -> None:
        keep = [word for tree in trees for word in ("--keep", tree)]
        self.tool.call("view", "--dest", self.paths.view, "--prune", "--beside", *keep)

    def _recover(self, directory: str) -> None:
        changes.recover(self.tool, directory)


def _now() -> str:
    """The time as `stockade-layer apply --since` reads it.

    Not the clock of file changes, which may lie behind a stamp that a file already has. What is changed between now and
    the program's start is what the program finds.
    """
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{seconds}.{nanoseconds:09d}"
