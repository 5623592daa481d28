"""What a kill -9 left is found at the next start and taken away.

Usually there is nothing: the shim of a killed `do` sees its connection close, ends the container and removes the
directory. What is left then is what a killed shim, a killed sweep or a claim that was cut leave. The sweep looks at
few containers each time, so that a start among a thousand running ones costs as little as one alone.
"""

from __future__ import annotations

import os
import select
import signal
import time
from typing import NamedTuple

from stockade.host import ids, locks

from . import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from stockade.host.paths import Paths

    from .records import Record

AT_ONCE = 32
# A shim whose client has died needs this long at most to clean up by itself, in seconds; one that needs longer is
# stuck.
GRACE = 5.0


class Tools(NamedTuple):
    """What ends a container whose owner is dead."""

    end: Callable[[str, str], None]
    """(id, bundle): the shim's one-shot delete: kills what is left, removes cgroup and mounts, writes the exit
    record.
    """
    remove: Callable[[str], None]
    """Removes a tree, whoever owns its files."""
    recover: Callable[[str], object]
    """Finishes or undoes an application of changes that was cut, by the journal in the container's directory."""


def sweep(paths: Paths, tools: Tools) -> list[str]:
    """End and remove the containers whose owners are dead; say which. Does nothing while another process sweeps."""
    found = os.listdir(paths.containers)
    if not found:
        return []
    # Another part of them each time: pids differ.
    first = os.getpid() % len(found)
    suspects = [name for name in (found[first:] + found[:first])[:AT_ONCE] if _suspect(paths, name)]
    if not suspects:
        return []
    with locks.tried(f"{paths.data}/sweep.lock") as lock:
        return [] if lock is None else [name for name in suspects if _bury(paths, name, tools)]


def discard(paths: Paths, record: Record, tools: Tools) -> bool:
    """Remove a container's directory and free its ids; whether nobody else did. Its processes and mounts are gone."""
    directory = f"{paths.containers}/{record.id}"
    buried = f"{paths.containers}/.{record.id}"
    # A tree is removed under another name, so that the container is gone at once for everybody, or not at all.
    try:
        os.rename(directory, buried)
    except FileNotFoundError:
        return False
    ids.release(paths, directory, record.slot)
    tools.remove(buried)
    return True


def bundle_of(directory: str, record: Record) -> str:
    """The bundle of a container: its directory, or, for a kept one that runs again, a directory in it.

    The shim removes the bundle when its client is killed, and what was kept before must survive that.
    """
    return f"{directory}/again" if record.kept else directory


def _suspect(paths: Paths, name: str) -> bool:
    """Whether the container may have to be buried; cheap, without a lock."""
    if name.startswith("."):
        return True
    record = records.read(f"{paths.containers}/{name}")
    if record is None:
        return True
    return record.owner is not None and not record.owner.alive()


def _bury(paths: Paths, name: str, tools: Tools) -> bool:
    directory = f"{paths.containers}/{name}"
    if name.startswith("."):
        tools.remove(directory)
        return True
    with locks.held(f"{paths.data}/containers.lock"):
        record = records.read(directory)
        if record is None:
            return _bury_cut_claim(directory, f"{paths.containers}/.{name}", tools)
    if record.owner is None or record.owner.alive():
        return False
    tools.recover(directory)
    bundle = bundle_of(directory, record)
    if os.path.isdir(bundle):
        if not _shim_gone(bundle):
            return False
        if os.path.exists(f"{bundle}/config.json"):
            tools.end(record.id, bundle)
    if record.kept:
        tools.remove(bundle)
        records.write(directory, record._replace(owner=None))
    else:
        discard(paths, record, tools)
    return True


def _bury_cut_claim(directory: str, buried: str, tools: Tools) -> bool:
    """A directory without a record, seen under the lock that claims are made under: nothing was started in it."""
    if not os.path.isdir(directory) or os.path.exists(f"{directory}/shim.pid"):
        return False
    os.rename(directory, buried)
    tools.remove(buried)
    return True


def _shim_gone(bundle: str) -> bool:
    """Whether no shim serves the bundle any more; one that outlived its client for too long is killed."""
    try:
        with open(f"{bundle}/shim.pid", encoding="ascii") as file:
            pid = int(file.read().strip() or "0")
            age = time.time() - os.fstat(file.fileno()).st_mtime
        process = os.pidfd_open(pid)
    except (FileNotFoundError, ProcessLookupError, ValueError, OSError):
        return True
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if os.path.basename(bundle).encode() not in file.read():
                return True
        if age < GRACE:
            return False
        signal.pidfd_send_signal(process, signal.SIGKILL)
        # What comes after asks whether its sockets answer still.
        select.select([process], [], [], GRACE)
        return True
    except (FileNotFoundError, ProcessLookupError):
        return True
    finally:
        os.close(process)
