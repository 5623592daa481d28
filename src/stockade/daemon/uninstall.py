"""Leaving a machine: the daemon that serves is ended, then what runs; with `purge`, what was kept."""

from __future__ import annotations

import contextlib
import os
import select
import signal

from stockade.engine import repair
from stockade.engine.engine import Engine
from stockade.engine.ground import remove_tree
from stockade.engine.records import Status
from stockade.errors import Conflict, Refused, StockadeError
from stockade.host import delegated, ids
from stockade.images import Images
from stockade.snapshots import Snapshots
from stockade.store import Journal
from stockade.volumes import Volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from stockade.host.paths import Paths

_ENDS_WITHIN = 30.0
_OURS = ("stockade", "stockade-daemon")
_UNITS = ("stockade.socket", "stockade.service")


def end_daemon(paths: Paths) -> None:
    """Ask the daemon that serves these directories to end, and wait until it has.

    Raises:
        Refused: it does not.
    """
    if _units_serve(paths):
        # Else the next request would have systemd start another one.
        delegated.systemctl("stop", *_UNITS)
    try:
        with open(f"{paths.run}/daemon.pid", encoding="ascii") as file:
            pid = int(file.read())
        process = os.pidfd_open(pid)
    except (OSError, ValueError):
        return
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if b"stockade" not in file.read():
                return
        signal.pidfd_send_signal(process, signal.SIGTERM)
        if not select.select([process], [], [], _ENDS_WITHIN)[0]:
            raise Refused(f"the daemon (pid {pid}) does not end")
    except OSError:
        return
    finally:
        os.close(process)


def _units_serve(paths: Paths) -> bool:
    """Whether these are the directories that packaging/systemd is about, on a host of systemd's."""
    return paths.run == "/run/stockade" and delegated.booted()


async def uninstall(paths: Paths, purge: bool, tell: Callable[[str], object]) -> None:
    """End every container of the engine; with `purge`, remove them, the images and all directories.

    Raises:
        Refused: containers that are not the daemon's run in the same directory.
        StockadeError: something could not be ended or removed; it is named.
    """
    _refuse_others(paths, purge)
    os.makedirs(f"{paths.data}/engine", 0o700, exist_ok=True)
    store, _ = repair.open_anew(f"{paths.data}/store.db")
    repair.containers(store, f"{paths.data}/engine")
    images = await Images.open(paths, store, Journal(store), lost=True)
    volumes = await Volumes.open(paths)
    engine = await Engine.open(paths, store, images, Snapshots(paths), volumes)
    try:
        ended = await _end_all(engine, purge)
        await engine.networks.leave()
    finally:
        await engine.close()
        await volumes.close()
        await images.close()
        store.close()
    tell(f"containers {'removed' if purge else 'ended'}: {ended}")
    if purge:
        await _purge(paths, tell)


def _refuse_others(paths: Paths, purge: bool) -> None:
    """What `stockade do` and the SDK run is its callers'."""
    base = f"{paths.data}/containers"
    if not purge or not os.path.isdir(base):
        return
    for name in os.listdir(base):
        with contextlib.suppress(OSError, ValueError):
            with open(f"{base}/{name}/shim.pid", encoding="ascii") as file:
                pid = int(file.read())
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if name.encode() in file.read():
                    raise Refused(f"{name} runs without the daemon", hint=f"end it first: stockade rm -f {name}")


async def _end_all(engine: Engine, purge: bool) -> int:
    count = 0
    for record in engine.list(None):
        wanted, state = record.wanted, record.state
        if purge:
            await engine.remove(wanted.id, force=True, namespace=wanted.namespace)
        elif state.status in (Status.RUNNING, Status.PAUSED, Status.RESTARTING):
            with contextlib.suppress(Conflict):
                await engine.kill(wanted.id, namespace=wanted.namespace)
        else:
            continue
        count += 1
    return count


async def _purge(paths: Paths, tell: Callable[[str], object]) -> None:
    given_back = ids.give_back(paths) if paths.root else False
    kept = [] if given_back else [os.path.basename(paths.ids)] if os.path.dirname(paths.ids) == paths.data else []
    for name in sorted(os.listdir(paths.data)):
        if name not in kept:
            await remove_tree(f"{paths.data}/{name}")
    if _units_serve(paths) and delegated.systemctl("disable", *_UNITS)[0] == 0:
        tell(f"the units {', '.join(_UNITS)} were disabled; their files stay")
    delegated.stop()
    for base, names, _ in os.walk("/sys/fs/cgroup"):
        if base.count("/") > 4:
            names.clear()
        for name in _OURS:
            with contextlib.suppress(OSError):
                os.rmdir(f"{base}/{name}")
    # The sockets of shims, the resolver's files, what other people's walls knew and where their containers' roots were.
    for name in ("s", "oci", "roots", "net"):
        await remove_tree(f"{paths.run}/{name}")
    for path in (paths.data, paths.run):
        with contextlib.suppress(OSError, StockadeError):
            if path == paths.run:
                await remove_tree(path)
            else:
                os.rmdir(path)
    tell("the ranges of ids were given back" if given_back else "the ranges of ids are in use by others and stay")
