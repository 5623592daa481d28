"""What a container uses, in the fields of Docker's statistics (api: ContainerStatsResponse). Pure.

The names are those of the JSON, so that a door encodes a sample as it stands.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

NEVER = "0001-01-01T00:00:00Z"


class Pids(Struct, frozen=True, omit_defaults=True):
    current: int = 0
    limit: int = 0


class BlkioEntry(Struct, frozen=True):
    major: int
    minor: int
    op: str
    value: int


class Blkio(Struct, frozen=True):
    io_service_bytes_recursive: list[BlkioEntry] | None = None
    io_serviced_recursive: list[BlkioEntry] | None = None
    io_queue_recursive: list[BlkioEntry] | None = None
    io_service_time_recursive: list[BlkioEntry] | None = None
    io_wait_time_recursive: list[BlkioEntry] | None = None
    io_merged_recursive: list[BlkioEntry] | None = None
    io_time_recursive: list[BlkioEntry] | None = None
    sectors_recursive: list[BlkioEntry] | None = None


class CpuUsage(Struct, frozen=True):
    """Nanoseconds."""

    total_usage: int = 0
    usage_in_kernelmode: int = 0
    usage_in_usermode: int = 0
    percpu_usage: list[int] | None = None


class Throttling(Struct, frozen=True):
    periods: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0


class Cpu(Struct, frozen=True):
    cpu_usage: CpuUsage = CpuUsage()
    throttling_data: Throttling = Throttling()
    system_cpu_usage: int = 0
    """Nanoseconds that all processors of the machine were busy or idle."""
    online_cpus: int = 0


class Memory(Struct, frozen=True, omit_defaults=True):
    """Bytes."""

    usage: int = 0
    max_usage: int = 0
    stats: dict[str, int] = field(default_factory=dict)
    failcnt: int = 0
    limit: int = 0


class Network(Struct, frozen=True):
    """What went through an interface."""

    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


class Sample(Struct, frozen=True):
    """One moment of a container."""

    id: str
    name: str
    """With Docker's slash."""
    read: str = NEVER
    preread: str = NEVER
    os_type: str = "linux"
    num_procs: int = 0
    pids_stats: Pids = Pids()
    blkio_stats: Blkio = Blkio()
    cpu_stats: Cpu = Cpu()
    precpu_stats: Cpu = Cpu()
    memory_stats: Memory = Memory()
    storage_stats: dict[str, int] = field(default_factory=dict)
    networks: dict[str, Network] | UnsetType = UNSET
    """By interface; unset where there is none but the loopback."""


class Machine(Struct, frozen=True):
    """What a share of is used."""

    memory: int
    """Bytes."""
    cpu: int
    """Nanoseconds of all processors since boot."""
    processors: int


def machine(stat: str, meminfo: str) -> Machine:
    """From the texts of /proc/stat and /proc/meminfo (proc_stat(5), proc_meminfo(5))."""
    ticks = processors = memory = 0
    for line in stat.splitlines():
        if not line.startswith("cpu"):
            break
        words = line.split()
        if words[0] == "cpu":
            # Up to softirq: steal and guest time are counted elsewhere or twice.
            ticks = sum(int(word) for word in words[1:8])
        else:
            processors += 1
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            memory = int(line.split()[1]) * 1024
    return Machine(memory, ticks * 10_000_000, processors)


def interfaces(text: str) -> dict[str, Network]:
    """From the text of /proc/PID/net/dev (proc_net(5)), without the loopback."""
    found = {}
    for line in text.splitlines()[2:]:
        name, _, counted = line.partition(":")
        numbers = [int(word) for word in counted.split()]
        if name.strip() != "lo":
            # Of each direction bytes, packets, errors and drops come first, of eight numbers.
            found[name.strip()] = Network(*numbers[:4], *numbers[8:12])
    return found


def sample(identity: str, name: str, read: str, metrics: dict[str, Any], host: Machine) -> Sample:
    """A sample out of containerd's metrics of cgroup v1 or v2 (see runtime.metrics)."""
    second = "memory_events" in metrics
    cpu, memory, blkio = (_v2 if second else _v1)(metrics)
    limit = host.memory if memory.limit > host.memory > 0 else memory.limit
    pids = metrics.get("pids") or {}
    ceiling = int(pids.get("limit", 0))
    from msgspec.structs import replace

    return Sample(
        id=identity,
        name=f"/{name}",
        read=read,
        pids_stats=Pids(int(pids.get("current", 0)), ceiling),
        blkio_stats=blkio,
        cpu_stats=replace(cpu, system_cpu_usage=host.cpu, online_cpus=host.processors),
        memory_stats=replace(memory, limit=limit),
    )


def after(now: Sample, before: Sample | None) -> Sample:
    """A sample that knows the one before it."""
    if before is None:
        return now
    from msgspec.structs import replace

    return replace(now, preread=before.read, precpu_stats=before.cpu_stats)


def _v1(metrics: dict[str, Any]) -> tuple[Cpu, Memory, Blkio]:
    cpu = metrics["cpu"] or {}
    usage, throttling = cpu.get("usage") or {}, cpu.get("throttling") or {}
    memory, blkio = metrics["memory"] or {}, metrics["blkio"] or {}
    total = memory.get("usage") or {}
    return (
        Cpu(
            CpuUsage(
                usage.get("total", 0), usage.get("kernel", 0), usage.get("user", 0), usage.get("per_cpu", None) or None
            ),
            Throttling(
                throttling.get("periods", 0),
                throttling.get("throttled_periods", 0),
                throttling.get("throttled_time", 0),
            ),
        ),
        Memory(
            total.get("usage", 0),
            total.get("max", 0),
            {_V1_NAMES.get(name, name): value for name, value in memory.items() if isinstance(value, int)},
            total.get("failcnt", 0),
            total.get("limit", 0),
        ),
        Blkio(
            **{
                {"io_queued_recursive": "io_queue_recursive"}.get(name, name): [
                    BlkioEntry(one["major"], one["minor"], one["op"].lower(), one["value"]) for one in entries
                ]
                for name, entries in blkio.items()
            }
        ),
    )


def _v2(metrics: dict[str, Any]) -> tuple[Cpu, Memory, Blkio]:
    cpu, memory, io = (metrics[name] or {} for name in ("cpu", "memory", "io"))
    entries = [
        BlkioEntry(one["major"], one["minor"], op, one[key])
        for one in io.get("usage", ())
        for op, key in (("read", "rbytes"), ("write", "wbytes"))
    ]
    return (
        Cpu(
            CpuUsage(
                *(cpu.get(name, 0) * 1000 for name in ("usage_usec", "system_usec", "user_usec")),
            ),
            Throttling(cpu.get("nr_periods", 0), cpu.get("nr_throttled", 0), cpu.get("throttled_usec", 0) * 1000),
        ),
        Memory(
            memory.get("usage", 0),
            0,
            {name: value for name, value in memory.items() if isinstance(value, int) and name not in _V2_NOT},
            (metrics["memory_events"] or {}).get("oom", 0),
            memory.get("usage_limit", 0),
        ),
        Blkio(io_service_bytes_recursive=entries or None),
    )


_V1_NAMES = {
    "hierarchical_swap_limit": "hierarchical_memsw_limit",
    **{
        f"{total}{ours}": f"{total}{docker}"
        for total in ("", "total_")
        for ours, docker in (
            ("pg_pg_in", "pgpgin"),
            ("pg_pg_out", "pgpgout"),
            ("pg_fault", "pgfault"),
            ("pg_maj_fault", "pgmajfault"),
        )
    },
}
"""containerd's name → the kernel's and Docker's (memory.stat of cgroup v1)."""
_V2_NOT = frozenset({"usage", "usage_limit", "swap_usage", "swap_limit", "max_usage", "swap_max_usage"})
