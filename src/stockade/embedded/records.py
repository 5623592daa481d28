"""The containers of one data directory: a directory each, and in it what is needed to find the container again.

    claim: under the lock, mkdir containers/<id>, its id range (ids), record.json; only then may anything be started.
    end: the directory is removed, last of all; this frees the range.

The record says who answers for the container: a foreground one (`do`, an SDK sandbox) is dead when its owner is and
is swept; one without an owner (`run` without --rm, once its program was started) stays until `rm`; a kept one stays
until it is dropped. A process is named by pid, start time and boot id, so that a reused pid is not mistaken for it.
"""

from __future__ import annotations

import json
import os
from typing import NamedTuple

from stockade.errors import Conflict, Unsupported
from stockade.host import ids, locks, processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from stockade.host.ids import Ids
    from stockade.host.paths import Paths

VERSION = 1


class Record(NamedTuple):
    """What record.json holds."""

    id: str
    slot: int
    """`Ids.slot`."""
    kind: str
    """The verb that made it: `do`, `run`, `sdk`."""
    name: str
    created: float
    """Seconds since the epoch."""
    argv: tuple[str, ...]
    owner: processes.Owner | None
    """Whose end is the container's end; None for one that outlives its maker, from its start on."""
    ids: str
    """`Ids.how`."""
    cwd: str = ""
    """The directory of the host beneath which the container's changes may be applied; empty: none."""
    cwd_uid: int = -1
    cwd_gid: int = -1
    kept: str = ""
    """The name under which its changes were kept after its end; empty: not kept."""
    since: str = ""
    """The clock of file changes at the start, `SECONDS.NANOSECONDS`: what changed later in `cwd`, somebody else
    changed.
    """
    tree: str = ""
    """The cached tree beneath the view; empty: the root file system is no view."""
    image: str = ""
    """What the root file system came from, in the caller's words; empty: the view."""
    version: int = VERSION


class Claim(NamedTuple):
    """A container's directory, its record and its ids, owned by this process."""

    directory: str
    record: Record
    ids: Ids


class Draft(NamedTuple):
    """What a caller says of a container to be claimed."""

    kind: str
    argv: tuple[str, ...]
    name: str = ""
    cwd: str = ""
    cwd_uid: int = -1
    cwd_gid: int = -1
    since: str = ""
    tree: str = ""
    image: str = ""


def claim(paths: Paths, draft: Draft) -> Claim:
    """Claim an id range and a directory for a new container and record it, before anything of it exists.

    Raises:
        Conflict: the name is taken, or no ids are left.
    """
    import time

    identity = f"{draft.kind}-{os.urandom(6).hex()}"
    directory = f"{paths.containers}/{identity}"
    with locks.held(f"{paths.data}/containers.lock"):
        _refuse_pruned_tree(draft.tree)
        if draft.name:
            _refuse_taken_name(paths, draft.name)
        os.mkdir(directory, 0o700)
        mapping = ids.claim(paths, directory)
        record = Record(
            id=identity,
            slot=mapping.slot,
            kind=draft.kind,
            name=draft.name or identity,
            created=time.time(),
            argv=draft.argv,
            owner=processes.myself(),
            ids=mapping.how,
            cwd=draft.cwd,
            cwd_uid=draft.cwd_uid,
            cwd_gid=draft.cwd_gid,
            since=draft.since,
            tree=draft.tree,
            image=draft.image,
        )
        write(directory, record)
    return Claim(directory, record, mapping)


def reopen(paths: Paths, record: Record, argv: tuple[str, ...], tree: str) -> Claim:
    """Take a kept container's directory for one more run, with this process as its owner.

    Raises:
        Conflict: another process is running it.
    """
    directory = f"{paths.containers}/{record.id}"
    with locks.held(f"{paths.data}/containers.lock"):
        _refuse_pruned_tree(tree)
        now = read(directory)
        if now is None or now.kept != record.kept:
            raise Conflict(f"{record.kept!r} was dropped meanwhile")
        if now.owner is not None and now.owner.alive():
            raise Conflict(f"{record.kept!r} is in use by process {now.owner.pid}")
        mapping = ids.claimed(paths, directory, record.slot)
        if mapping is None:
            raise Conflict(f"the ids of {record.kept!r} are no longer claimed in {paths.ids}")
        renewed = now._replace(argv=argv, owner=processes.myself(), tree=tree)
        write(directory, renewed)
    return Claim(directory, renewed, mapping)


def keep(paths: Paths, held: Claim, name: str) -> Claim:
    """Give a container's directory a name under which it outlives its owner.

    Raises:
        Conflict: another kept container has that name.
    """
    with locks.held(f"{paths.data}/containers.lock"):
        if kept(paths, name) is not None:
            raise Conflict(f"the name {name!r} is taken", hint=f"stockade do --drop {name}, or another name")
        record = held.record._replace(kept=name)
        write(held.directory, record)
    return held._replace(record=record)


def kept(paths: Paths, name: str) -> Record | None:
    """The kept container of that name."""
    return next((record for _, record in listing(paths) if record.kept == name), None)


def prune_trees(paths: Paths, remove: Callable[[list[str]], object]) -> None:
    """Have `remove` remove every cached tree but the current one and those (by name) that containers stand on."""
    with locks.held(f"{paths.data}/containers.lock"):
        remove(sorted({os.path.basename(record.tree) for _, record in listing(paths) if record.tree}))


def rewrite(held: Claim, record: Record) -> Claim:
    """Replace the record of a container that this process owns."""
    write(held.directory, record)
    return held._replace(record=record)


def listing(paths: Paths) -> list[tuple[str, Record]]:
    """Every container that has a record: (directory, record), the oldest first."""
    found = []
    for name in names(paths):
        directory = f"{paths.containers}/{name}"
        record = read(directory)
        if record is not None:
            found.append((directory, record))
    return sorted(found, key=lambda one: one[1].created)


def find(paths: Paths, word: str) -> tuple[str, Record] | None:
    """The container with this name or id, or whose id begins with `word`, if only one does."""
    everything = listing(paths)
    for directory, record in everything:
        if word in (record.id, record.name):
            return directory, record
    near = [one for one in everything if one[1].id.startswith(word)]
    return near[0] if word and len(near) == 1 else None


def read(directory: str) -> Record | None:
    """The record in `directory`; None if there is none (a claim that was cut, or a directory half removed)."""
    try:
        with open(f"{directory}/record.json", "rb") as file:
            raw = json.load(file)
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    if raw.get("version") != VERSION:
        raise Unsupported(f"{directory}/record.json has version {raw.get('version')}; this program knows {VERSION}")
    owner = raw.pop("owner")
    raw["argv"] = tuple(raw["argv"])
    return Record(owner=processes.Owner(**owner) if owner else None, **raw)


def names(paths: Paths) -> list[str]:
    """The directories of containers, with or without a record; those being removed begin with a dot."""
    try:
        return [name for name in os.listdir(paths.containers) if not name.startswith(".")]
    except FileNotFoundError:
        return []


def write(directory: str, record: Record) -> None:
    """Replace record.json whole. Not synced: after a power cut the boot id differs and the sweep takes what is left."""
    path = f"{directory}/record.json"
    beside = f"{path}.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(_plain(record), file)
    os.rename(beside, path)


def _plain(record: Record) -> dict[str, object]:
    return {**record._asdict(), "owner": record.owner._asdict() if record.owner else None}


def _refuse_pruned_tree(tree: str) -> None:
    """Trees are pruned under the same lock: one that is there now stays, once it is in a record."""
    if tree and not os.path.isdir(tree):
        raise Conflict(f"the cached tree {tree} was replaced meanwhile", hint="try again")


def _refuse_taken_name(paths: Paths, name: str) -> None:
    for _, record in listing(paths):
        if name in (record.name, record.id):
            raise Conflict(
                f"the name {name!r} is taken by container {record.id}", hint=f"stockade rm {name}, or another name"
            )
