"""A container's shim: started, found again, ended. The world's part of a verb; decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import NamedTuple

from stockade.engine.container import Container
from stockade.errors import RuntimeFailed, StockadeError
from stockade.host import delegated, spawn
from stockade.runtime import shim
from stockade.runtime.aio import World
from stockade.runtime.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.host.paths import Paths
    from stockade.runtime.aio import Channel

NAMESPACE = "stockade"
_STALE = ("exit.json", "address", "attach", "shim.pid", "shim.json")
_CLEAN_UP_WITHIN = 30.0
USABLE = 25.0
"""Seconds; a shim without a container leaves by itself after 30."""
_DEAD_WITHIN = 10.0
"""Seconds from SIGKILL until a shim no longer answers, on a machine that has much else to do."""


class Connected(NamedTuple):
    """A shim that was started, and the connection to it."""

    task: Task
    channel: Channel
    since: float
    """By the loop's clock."""

    @property
    def usable(self) -> bool:
        """Whether it is there, and will not leave in this moment for want of a container."""
        return not self.channel.closed and asyncio.get_running_loop().time() - self.since < USABLE

    async def dismiss(self) -> None:
        """Let it go; it holds no container."""
        with contextlib.suppress(StockadeError):
            await self.task.shutdown()
        self.channel.close()


async def launch(paths: Paths, identity: str, directory: str) -> Connected:
    """Start a shim for the container that will be in a directory, and connect.

    Raises:
        RuntimeFailed: it did not start.
        Unavailable: systemd runs this host, and gives no cgroup to be in.
    """
    if delegated.missing():
        await asyncio.to_thread(delegated.ask)
    words = shim.start_words(shim.program(shim.PROGRAM), directory, identity, NAMESPACE)
    environ = {"STOCKADE_RUN_DIR": paths.run, "STOCKADE_SHIM_CGROUP": delegated.shims()}
    since = asyncio.get_running_loop().time()
    answer = await spawn.run(words, environ=environ)
    complaint = answer.complaint.decode(errors="replace").strip()
    address = shim.started(identity, answer.status, answer.out.decode(errors="replace"), complaint)
    channel = await World().connect(address)
    return Connected(Task(channel, identity, directory), channel, since)


async def dismiss(identity: str, directory: str) -> None:
    """Let the shim go that waits in a directory, if there is one; one that holds a container stays."""
    try:
        channel = await World().connect(shim.address(directory))
    except StockadeError:
        return
    await Connected(Task(channel, identity, directory), channel, 0.0).dismiss()


class Shim(NamedTuple):
    """What is done with the shim of one container."""

    paths: Paths
    container: Container

    async def launch(self) -> Connected:
        """Start it and connect; see `launch`."""
        connected = await launch(self.paths, self.container.id, self.container.directory)
        self.container.hold(connected)
        return connected

    async def connected(self) -> Task:
        """The container in its shim, over the connection that is there or a new one.

        Raises:
            Unavailable: no shim answers.
        """
        container = self.container
        if container.task is None:
            container.channel = await World().connect(shim.address(container.directory))
            container.task = Task(container.channel, container.id, container.directory)
        return container.task

    async def end(self) -> None:
        """Have whatever is left of the container killed and undone, and its shim gone. Idempotent.

        Raises:
            RuntimeFailed: something is left.
        """
        container = self.container
        if container.prelaunched is not None:
            await self.dismiss()
        try:
            gone = await self._end_politely()
        except StockadeError:
            gone = False
        container.let_go()
        if not gone and os.path.isdir(container.directory):
            # Also when there is no config.json yet: it has sockets from its first moment.
            await self._kill_and_wait()
            await self._clean_up()
        for name in _STALE[1:]:
            with contextlib.suppress(OSError):
                os.unlink(f"{container.directory}/{name}")

    async def dismiss(self) -> None:
        """Let a shim go that was started ahead and holds no container."""
        ahead, self.container.prelaunched = self.container.prelaunched, None
        if ahead is not None:
            with contextlib.suppress(StockadeError):
                await (await ahead).dismiss()
        self.container.let_go()
        with contextlib.suppress(OSError):
            os.unlink(f"{self.container.directory}/shim.pid")

    async def _end_politely(self) -> bool:
        """Whether the shim itself undid an ended container."""
        task = self.container.task
        if task is None:
            return not os.path.exists(f"{self.container.directory}/shim.pid")
        await task.delete()
        await task.shutdown()
        return True

    async def _clean_up(self) -> None:
        container = self.container
        words = shim.delete_words(shim.program(shim.PROGRAM), container.directory, container.id, NAMESPACE)
        answer = await spawn.run(words, environ={"STOCKADE_RUN_DIR": self.paths.run}, timeout=_CLEAN_UP_WITHIN)
        if answer.status != 0:
            said = answer.complaint.decode(errors="replace").strip()
            raise RuntimeFailed(f"{container.id} could not be cleaned up: {said or f'status {answer.status}'}")

    def alive(self) -> bool:
        """Whether the process of the shim exists."""
        return self._signal(0)

    def kill(self) -> None:
        """Kill the shim; the kernel kills its containers with it."""
        self._signal(signal.SIGKILL)

    async def _kill_and_wait(self) -> None:
        """Kill it and see it gone: of one that still answers the sockets are not taken away."""
        process = self._process()
        if process is None:
            return
        try:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGKILL)
            await spawn.ended(process, _DEAD_WITHIN)
        finally:
            os.close(process)

    def _signal(self, number: int) -> bool:
        """Send the shim a signal (0: none); whether it is there."""
        process = self._process()
        if process is None:
            return False
        try:
            signal.pidfd_send_signal(process, number)
        except OSError:
            return False
        finally:
            os.close(process)
        return True

    def _process(self) -> int | None:
        """A descriptor of the shim's process; None: it is gone."""
        try:
            with open(f"{self.container.directory}/shim.pid", encoding="ascii") as file:
                pid = int(file.read().strip() or "0")
            process = os.pidfd_open(pid)
        except (OSError, ValueError):
            return None
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            # Its own, not a process that has its pid now; a zombie has no words.
            if self.container.id.encode() in file.read():
                return process
        os.close(process)
        return None

    async def clear(self) -> None:
        """Take away what an earlier run left in the directory: its shim, its end, those of its added processes."""
        directory = self.container.directory
        ahead = self.container.prelaunched is not None
        if not ahead and (os.path.exists(f"{directory}/shim.pid") or self.container.task is not None):
            await self.end()
        for name in os.listdir(directory):
            if (name in _STALE[:1] if ahead else name in _STALE) or (
                name.startswith("exit-") and name.endswith(".json")
            ):
                with contextlib.suppress(OSError):
                    os.unlink(f"{directory}/{name}")
