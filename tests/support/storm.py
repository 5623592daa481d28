"""How long a storm lasts: a sample in `make test`, as long as `make soak` says and until it has struck often enough."""

from __future__ import annotations

import os
import time

SECONDS = float(os.environ.get("STOCKADE_SOAK_SECONDS", "0"))
LONG = SECONDS > 0
KILLS = 300
"""Of the daemon, in one run of `make soak`, however slow the machine is."""


class Storm:
    """A storm under way, and its strikes."""

    def __init__(self, sample: float, least: int = 0) -> None:
        """`sample` seconds in `make test`; `least` strikes in `make soak`, a hundredth of them in a sample."""
        self._end = time.monotonic() + (SECONDS if LONG else sample)
        self._least = least if LONG else least // 100
        self.strikes = 0

    def lasts(self) -> bool:
        """Whether its time is not up, or it has not struck often enough yet."""
        return time.monotonic() < self._end or self.strikes < self._least
