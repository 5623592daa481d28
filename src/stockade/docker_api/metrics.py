"""What the engine tells Prometheus: its text format, version 0.0.4. Nothing is asked of a shim or a disk for it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from stockade.engine.records import Health, Status

if TYPE_CHECKING:
    from stockade.engine.engine import Engine

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PAGE = os.sysconf("SC_PAGE_SIZE")
_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Metric(NamedTuple):
    """One line beneath its family's name."""

    labels: dict[str, str]
    value: float


def render(engine: Engine, version: str) -> str:
    """Every family with its help, type and values."""
    lines = []
    for name, kind, text, metrics in _families(engine, version):
        lines += [f"# HELP stockade_{name} {text}", f"# TYPE stockade_{name} {kind}"]
        lines += [f"stockade_{name}{_labels(one.labels)} {one.value:g}" for one in metrics]
    return "\n".join(lines) + "\n"


def _families(engine: Engine, version: str) -> Iterator[tuple[str, str, str, list[Metric]]]:
    records = engine.list(None)
    states = Counter(record.state.status for record in records)
    walls = Counter(record.wanted.wall for record in records if record.state.pid)
    health = Counter(record.state.health for record in records if record.state.pid)
    yield "build_info", "gauge", "Which daemon answers.", [Metric({"version": version}, 1)]
    yield "containers", "gauge", "Containers by state.", [Metric({"state": one}, states[one]) for one in Status]
    yield "containers_running_by_wall", "gauge", "Running containers by wall.", [
        Metric({"wall": wall}, count) for wall, count in sorted(walls.items())
    ]  # fmt: skip
    yield "containers_by_health", "gauge", "Running containers by what their health checks say.", [
        Metric({"health": one}, health[one]) for one in Health
    ]  # fmt: skip
    yield "container_restarts_total", "counter", "Starts by restart policies, of containers that are there.", [
        Metric({}, sum(record.state.restarts for record in records))
    ]  # fmt: skip
    yield "container_oom_killed", "gauge", "Containers whose last run the memory limit ended.", [
        Metric({}, sum(record.state.oom_killed for record in records))
    ]  # fmt: skip
    yield "images", "gauge", "Images.", [Metric({}, len(engine.images.list(all=True)))]
    yield "volumes", "gauge", "Volumes.", [Metric({}, len(engine.storage.volumes.list()))]
    yield "events_total", "counter", "Events that were told.", [Metric({}, engine.events.told)]
    yield from _process()


def _process() -> Iterator[tuple[str, str, str, list[Metric]]]:
    """The daemon itself (proc(5): statm, stat)."""
    with open("/proc/self/statm", encoding="ascii") as file:
        resident = int(file.read().split()[1]) * _PAGE
    times = os.times()
    yield "daemon_resident_memory_bytes", "gauge", "Memory of the daemon.", [Metric({}, resident)]
    yield (
        "daemon_cpu_seconds_total",
        "counter",
        "Processor time of the daemon.",
        [Metric({}, times.user + times.system)],
    )
    yield "daemon_open_fds", "gauge", "Descriptors of the daemon.", [Metric({}, len(os.listdir("/proc/self/fd")))]


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in labels.items()) + "}"
