"""The daemon, which at SIGUSR2 counts what lives in it: `python -m support.counted` (in tests/) in the place of its own
module.

Told are the objects that the collector knows, by type, and how many pieces of memory Python has given out: a string or
a number that is kept shows there alone. What the engine remembers of the past on purpose is kept short, so that it is
full after a few containers.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import heapq
import json
import os
import signal
import sys
import weakref
from typing import Any

from stockade.daemon.main import main
from stockade.engine import events

FILE = "counted.json"
PIECES = "pieces of memory"
_TELL = f"{os.environ.get('STOCKADE_RUN_DIR', '')}/{FILE}"  # the daemon forgets its environment


def _asked(*_: object) -> None:
    # Not in the midst of what the loop does.
    asyncio.get_running_loop().call_soon_threadsafe(_count)


def _count() -> None:
    loop: Any = asyncio.get_running_loop()
    # Timers that were cancelled stay until there are a hundred of them.
    loop._scheduled = [timer for timer in loop._scheduled if not timer.cancelled()]
    heapq.heapify(loop._scheduled)
    gc.collect()
    found = collections.Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects())
    # SQLite's connection forgets the cursors that are gone two hundred at a time.
    gone = sum(type(one) is weakref.ReferenceType and one() is None for one in gc.get_objects())
    found["weakref.ReferenceType"] -= gone
    found[PIECES] = sys.getallocatedblocks() - gone
    with open(f"{_TELL}.new", "w", encoding="utf-8") as file:
        json.dump(found, file)
    os.rename(f"{_TELL}.new", _TELL)


if __name__ == "__main__":
    events.KEPT = 8
    signal.signal(signal.SIGUSR2, _asked)
    sys.exit(main(sys.argv[1:]))
