"""Making the records of containers anew from the copies beside their data, when the store lost them."""

from __future__ import annotations

import contextlib
import os
import time

import msgspec

from stockade.engine import ground
from stockade.engine.records import Record
from stockade.errors import Conflict, Damaged, StockadeError
from stockade.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.images import Images


def open_anew(path: str) -> tuple[Store, str]:
    """The store, or a new one in place of a damaged one; and where the damaged one was put (empty: it was sound)."""
    try:
        store = Store(path)
        # Every record is read, not only the pages' structure.
        store.table("container", Record).all(None)
        return store, ""
    except Damaged:
        aside = f"{path}.damaged-{int(time.time())}"
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{path}{end}", f"{aside}{end}")
        return Store(path), aside


def containers(store: Store, base: str) -> tuple[list[str], list[str]]:
    """Put the records of the directories in `base` back into the store; the ids put back, and what could not be.

    A directory without a readable record is left alone: only its owner knows what it is.
    """
    table = store.table("container", Record)
    back, failed = [], []
    for name in sorted(os.listdir(base)):
        try:
            with open(f"{base}/{name}/record.json", "rb") as file:
                record = msgspec.json.decode(file.read(1 << 24), type=Record)
        except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
            failed.append(f"{base}/{name}: {error}")
            continue
        if record.wanted.id != name:
            failed.append(f"{base}/{name}: its record is of {record.wanted.id}")
        elif table.get(name, record.wanted.namespace) is None:
            back.append(_put(store, record))
    return back, failed


def leases(store: Store, images: Images) -> list[str]:
    """Have every container's image kept for it again; which could not be."""
    failed = []
    for record in store.table("container", Record).all(None):
        wanted = record.wanted
        for image, holder in ground.leases(wanted):
            try:
                images.lease(image, holder, wanted.namespace)
            except StockadeError as error:
                failed.append(f"an image of container {wanted.name}: {error.message}")
    return failed


def _put(store: Store, record: Record) -> str:
    """A name that was taken meanwhile is replaced by the beginning of the id."""
    table, wanted = store.table("container", Record), record.wanted
    try:
        table.put(wanted.id, record, name=wanted.name, namespace=wanted.namespace)
    except Conflict:
        renamed = Record(msgspec.structs.replace(wanted, name=wanted.id[:12]), record.state)
        table.put(wanted.id, renamed, name=wanted.id[:12], namespace=wanted.namespace)
    return wanted.id
