"""The parts, put together: store, images, snapshots, engine, door; then the loop's life until a signal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from importlib import metadata
from typing import NamedTuple

from stockade.docker_api import Door
from stockade.engine import repair as mending
from stockade.engine.engine import Engine
from stockade.engine.records import Status
from stockade.errors import Damaged, Refused
from stockade.images import Images
from stockade.snapshots import Snapshots
from stockade.store import Journal, Store
from stockade.volumes import Volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.host.paths import Paths

_CHECKPOINT_EVERY = 20.0
_WAL_SIZE = 1 << 20
_LOOK_EVERY = 0.5

log = logging.getLogger(__name__)


class Sockets(NamedTuple):
    """Where is served."""

    given: list[socket.socket]
    """By systemd; none: one is made."""
    group: int | None
    """Whose members may use the one that is made; None: root alone."""


async def serve(paths: Paths, sockets: Sockets, exit_when_idle: float, ready: Callable[[], object]) -> None:
    """Serve until SIGTERM or SIGINT, or until idle for so long. Containers go on.

    Raises:
        StockadeError: it could not begin.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with _engine(paths) as (engine, store):
        door = Door(engine, _version())
        own = [] if sockets.given else [_listen(paths, sockets.group)]
        for one in (*sockets.given, *own):
            door.listen(one)
        _write_pid(paths)
        ready()
        _notify("READY=1")
        log.info("serves %s, data in %s", paths.run, paths.data)
        chores = [asyncio.create_task(_checkpoints(store), name="checkpoints")]
        if exit_when_idle > 0:
            chores.append(asyncio.create_task(_idle(engine, door, exit_when_idle, stop), name="idle"))
        await stop.wait()
        _notify("STOPPING=1")
        if own:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{paths.run}/stockade.sock")
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)
        await door.close()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{paths.run}/daemon.pid")
    log.info("leaves; containers go on")


@contextlib.asynccontextmanager
async def _engine(paths: Paths) -> AsyncIterator[tuple[Engine, Store]]:
    """Everything beneath the door, opened in order and closed in reverse."""
    async with contextlib.AsyncExitStack() as stack:
        for path in (f"{paths.data}/engine", f"{paths.run}/s"):
            try:
                os.makedirs(path, 0o700, exist_ok=True)
            except OSError as error:
                raise Refused(f"cannot make {path}: {error.strerror}") from error
        lost = not os.path.exists(f"{paths.data}/store.db")
        store = Store(f"{paths.data}/store.db")
        stack.callback(store.close)
        if lost:
            # Somebody removed it: what lies beside the data says the same.
            mending.containers(store, f"{paths.data}/engine")
        images = await Images.open(paths, store, Journal(store), lost=lost)
        stack.push_async_callback(images.close)
        if lost:
            mending.leases(store, images)
        snapshots = Snapshots(paths)
        await snapshots.warm()
        volumes = await Volumes.open(paths)
        stack.push_async_callback(volumes.close)
        engine = await Engine.open(paths, store, images, snapshots, volumes)
        stack.push_async_callback(engine.close)
        yield engine, store


async def repair(paths: Paths, tell: Callable[[str], object]) -> None:
    """Make the records of containers and images anew from the files beside their data; nothing else is changed.

    Raises:
        StockadeError: the directory cannot be written.
    """
    base = f"{paths.data}/engine"
    os.makedirs(base, 0o700, exist_ok=True)
    store, aside = mending.open_anew(f"{paths.data}/store.db")
    try:
        if aside:
            tell(f"the damaged store was put aside as {aside}")
        back, failed = mending.containers(store, base)
        images = await Images.open(paths, store, Journal(store), lost=True)
        try:
            rebuilt = images.list(all=True)
            failed += mending.leases(store, images)
        finally:
            await images.close()
        tell(f"records made anew: {len(back)} of containers; images that are there: {len(rebuilt)}")
        for one in failed:
            tell(f"left alone: {one}")
    finally:
        store.close()


def _version() -> str:
    try:
        return metadata.version("stockade")
    except metadata.PackageNotFoundError:
        return "0.1.0"


def _listen(paths: Paths, group: int | None) -> socket.socket:
    """The daemon's listening socket, there from its first moment as one that answers."""
    path = f"{paths.run}/stockade.sock"
    fresh = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)
    try:
        found.bind(fresh)
    except OSError as error:
        raise Refused(f"cannot listen at {path}: {error.strerror}") from error
    finally:
        os.umask(before)
    if group is not None:
        os.chown(paths.run, -1, group)
        os.chmod(paths.run, os.stat(paths.run).st_mode | 0o010)
        os.chown(fresh, -1, group)
        os.chmod(fresh, 0o660)
    found.listen(1024)
    os.rename(fresh, path)
    return found


def _write_pid(paths: Paths) -> None:
    with open(f"{paths.run}/daemon.pid", "w", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")


def _notify(text: str) -> None:
    """Tell systemd (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end, contextlib.suppress(OSError):
        end.sendto(text.encode(), f"\0{address[1:]}" if address.startswith("@") else address)


async def _checkpoints(store: Store) -> None:
    """Keep the write-ahead log short, in a thread of its own."""
    while True:
        await asyncio.sleep(_CHECKPOINT_EVERY)
        try:
            if os.path.getsize(f"{store.path}-wal") > _WAL_SIZE:
                await asyncio.to_thread(store.checkpoint)
        except (OSError, Damaged) as error:
            log.error("the store's log could not be carried over: %s", error)


async def _idle(engine: Engine, door: Door, patience: float, stop: asyncio.Event) -> None:
    """End when nobody asked for so long and no container needs looking after."""
    while True:
        await asyncio.sleep(min(_LOOK_EVERY, patience))
        since = door.idle_since
        busy = any(
            record.state.status in (Status.RUNNING, Status.PAUSED, Status.RESTARTING) for record in engine.list(None)
        )
        if since is not None and not busy and time.monotonic() - since >= patience:
            stop.set()
