"""What `stockade do --keep` put aside: listed, applied, dropped."""

from __future__ import annotations

import time

from stockade.cli import aftermath
from stockade.cli.screen import as_json, out, rows
from stockade.embedded import changes, policy, records
from stockade.embedded.keeper import Keeper
from stockade.errors import Conflict, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.cli.aftermath import Wishes
    from stockade.embedded.records import Record
    from stockade.host.paths import Paths


def show(where: Paths, for_programs: bool) -> int:
    """List them."""
    found = [record for _, record in records.listing(where) if record.kept]
    if for_programs:
        as_json([_plain(record) for record in found])
    elif not found:
        out("nothing is kept")
    else:
        rows(("NAME", "MADE", "DIRECTORY", "COMMAND"), [_row(record) for record in found])
    return 0


def drop(where: Paths, name: str) -> int:
    """Throw one away."""
    Keeper(where).drop(find(where, name))
    return 0


def apply(where: Paths, name: str, wishes: Wishes) -> int:
    """Show one, ask, apply it and, when all of it was applied, drop it."""
    record = find(where, name)
    if not record.cwd and not wishes.outside:
        raise Conflict(f"{name!r} was given no directory to apply to")
    for path in wishes.outside:
        policy.check_outside(path, record.cwd)
    keeper = Keeper(where)
    keeper.recover(record)
    if aftermath.apply(keeper.tool, keeper.directory(record), record, wishes, 0):
        keeper.drop(record)
    return 0


def find(where: Paths, name: str) -> Record:
    """The one of that name, at rest.

    Raises:
        NotFound, Conflict: there is none, or it is in use.
    """
    record = records.kept(where, name)
    if record is None:
        raise NotFound(f"nothing is kept as {name!r}", hint="`stockade do --kept` lists what is")
    if record.owner is not None and record.owner.alive():
        raise Conflict(f"{name!r} is in use by process {record.owner.pid}")
    return record


def _row(record: Record) -> tuple[str, str, str, str]:
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created))
    return record.kept, made, record.cwd or "-", changes.printable(" ".join(record.argv))[:60]


def _plain(record: Record) -> dict[str, object]:
    return {
        "name": record.kept,
        "id": record.id,
        "created": record.created,
        "directory": record.cwd,
        "command": list(record.argv),
        "ids": record.ids,
    }
