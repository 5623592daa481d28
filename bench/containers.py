"""Containers of our shim that the benchmark makes itself: one bundle of busybox, no engine around it."""

from __future__ import annotations

import contextlib
import copy
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import bundles
from bench.figures import Context
from stockade.errors import NotFound
from stockade.runtime import shim
from stockade.runtime.blocking import World, run
from stockade.runtime.task import NO_STDIO, Stdio, Task


def memory_available() -> int:
    """MemAvailable in bytes: what one more program could have, shared pages and kernel objects counted in."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise ValueError("/proc/meminfo has no MemAvailable")


@dataclass(slots=True)
class Fleet:
    """Containers that one call ends."""

    context: Context
    label: str
    tasks: list[Task] = field(default_factory=list)
    document: dict[str, Any] = field(default_factory=dict)

    def start(self, *argv: str, stdio: Stdio = NO_STDIO) -> Task:
        """Make and start a container with its own shim."""
        if not self.document:
            self.document = bundles.config(self.context, user_namespace=False)
        document = copy.deepcopy(self.document)
        document["process"]["args"] = ["/bin/busybox", *argv]
        name = f"bench-{os.getpid()}-{self.label}-{len(self.tasks)}"
        directory = bundles.write(self.context.scratch / "fleet" / name, document)
        address = shim.launch(str(self.context.programs / shim.PROGRAM), str(directory), name)
        task = Task(run(World().connect(address)), name, str(directory))
        self.tasks.append(task)
        run(task.create((), stdio))
        run(task.start())
        return task

    def end(self) -> None:
        for task in self.tasks:
            with contextlib.suppress(NotFound):  # it ended by itself
                run(task.kill(9, everything=True))
        for task in self.tasks:
            run(task.wait(timeout=30))
            run(task.delete())
            run(task.shutdown())
        self.tasks.clear()


def settle(seconds: float = 1.0) -> None:
    """Let the kernel finish what was begun, so that the next look at its memory means something."""
    os.sync()
    time.sleep(seconds)
