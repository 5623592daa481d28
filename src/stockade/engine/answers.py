"""What the engine answers about a container's life, besides records: values only."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from stockade.engine.records import RestartPolicy


class Waited(Struct, frozen=True):
    """How a container ended that was waited for."""

    status: int
    error: str = ""


class Pruned(Struct, frozen=True):
    """What was removed because nobody used it."""

    ids: tuple[str, ...]
    reclaimed: int
    """Bytes."""


class Change(Struct, frozen=True, omit_defaults=True):
    """What `update` is to change; None or absent: as it is."""

    resources: dict[str, Any] = field(default_factory=dict)
    """Fields of records.Resources, by name."""
    restart: RestartPolicy | None = None
