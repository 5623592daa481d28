"""A thousand idle containers on this machine: they hold, the last one works, and their end leaves nothing."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.oci.harness import config as document
from stockade.errors import StockadeError
from stockade.model import Phase, Process
from stockade.runtime import shim
from stockade.runtime.blocking import World, run
from stockade.runtime.task import NO_STDIO, Task
from support import bundle, programs
from support.place import Place
from support.traces import Traces

pytestmark = [pytest.mark.root, pytest.mark.judge]
COUNT = 1000
BUSYBOX = Path("/bin/busybox")


def available() -> int:
    """MemAvailable, KiB."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:")))


def share(pid: int) -> int:
    """The proportional set of a process, KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Pss:")))


def begin(place: Place, number: int) -> Task:
    name = place.name(str(number))
    wanted = document("/bin/busybox", "sleep", "100000")
    wanted["root"] = {"path": str(place.top / "root"), "readonly": True}
    made = bundle.write(place.top / name, wanted)
    address = shim.launch(str(programs.program(shim.PROGRAM)), str(made), name, run_directory=str(place.run))
    task = Task(run(World().connect(address)), name, str(made))
    run(task.create((), NO_STDIO))
    run(task.start())
    return task


def end(tasks: list[Task]) -> None:
    for task in tasks:
        with contextlib.suppress(StockadeError):  # it has ended: `delete` is what counts
            run(task.kill(9, everything=True))
    for task in tasks:
        run(task.wait(timeout=30))
        run(task.delete())
        run(task.shutdown())
        task.channel.close()


@pytest.mark.timeout(240)
def test_a_thousand_idle_containers(place: Place, record_property: Callable[[str, object], None]) -> None:
    for name in ("bin", "dev", "proc", "sys", "tmp"):
        (place.top / "root" / name).mkdir(parents=True)
    (place.top / "root/bin/busybox").write_bytes(BUSYBOX.read_bytes())
    (place.top / "root/bin/busybox").chmod(0o755)
    before, began = available(), time.monotonic()
    tasks: list[Task] = []
    try:
        for number in range(COUNT):
            tasks.append(begin(place, number))
        started = time.monotonic() - began
        time.sleep(2)
        each = (before - available()) / COUNT
        assert all(run(task.state()).phase is Phase.RUNNING for task in tasks)
        memory = sum(share(run(task.connect())[0]) for task in tasks) / COUNT
        last = tasks[-1]
        run(last.exec("look", Process(("/bin/busybox", "true"), ("PATH=/bin",))))
        run(last.start("look"))
        assert run(last.wait("look", timeout=30)).status == 0
    finally:
        end(tasks)
    said = f"{COUNT} started in {started:.1f} s; each: shim {memory:.0f} KiB PSS, {each:.0f} KiB of MemAvailable"
    record_property("", f"{said}; load {os.getloadavg()[0]:.1f}")
    assert memory < 200, said
    assert Traces(place).settle(5.0) == []
