"""What a page that a run writes says of the run: the day, the machine and how busy it was."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterator


def machine() -> str:
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    return f"{os.cpu_count()} processors, {memory} GiB, {system}, Linux {platform.release()}"


def heading() -> Iterator[str]:
    """Two lines, to be made before the run begins."""
    yield f"{datetime.date.today().isoformat()}, {machine()}, load {os.getloadavg()[0]:.1f} before it began."
    yield "Written by the run itself, whatever it found."
