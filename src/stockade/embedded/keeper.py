"""Kept containers at rest: their directories, until they are dropped."""

from __future__ import annotations

from stockade.host import layer

from . import changes
from .sweep import Tools, discard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.host.paths import Paths

    from .records import Record


class Keeper:
    """Access to what `Session.keep` put aside."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.tool = layer.Tool(paths)

    def directory(self, record: Record) -> str:
        """Where it lies."""
        return f"{self.paths.containers}/{record.id}"

    def recover(self, record: Record) -> None:
        """Finish or undo an application that was cut."""
        changes.recover(self.tool, self.directory(record))

    def drop(self, record: Record) -> bool:
        """Remove it, and free its ids; whether nobody else did meanwhile."""
        self.recover(record)
        tools = Tools(lambda identity, bundle: None, self._remove, lambda directory: None)
        return discard(self.paths, record, tools)

    def _remove(self, directory: str) -> None:
        self.tool.call_somehow("remove", directory)
