"""Waiting for what comes about by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def awaited(look: Callable[[], Found], patience: float) -> Found:
    """What `look` finds as soon as that is something, or after so many seconds, whatever it is."""
    deadline = time.monotonic() + patience
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def eventually(look: Callable[[], Found], what: str = "it comes about", patience: float = 20.0) -> Found:
    """What `look` finds, which must be something within so many seconds."""
    found = awaited(look, patience)
    assert found, f"not within {patience:g} s: {what}"
    return found
