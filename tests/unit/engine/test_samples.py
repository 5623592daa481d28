"""What containers use, and what ps says of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stockade.engine import listing, samples
from stockade.errors import BadValue, RuntimeFailed
from stockade.runtime import wire
from stockade.runtime.metrics import MESSAGES

STAT = "cpu  10 0 20 30 1 0 2 9 9 9\ncpu0 5 0 0 0 0 0 0 0 0 0\ncpu1 5 0 0 0 0 0 0 0 0 0\nintr 1\n"
HOST = samples.machine(STAT, "MemTotal:       1000 kB\nMemFree: 1 kB\n")
V1, V2 = "io.containerd.cgroups.v1.Metrics", "io.containerd.cgroups.v2.Metrics"


def metrics(message: str, **values: Any) -> dict[str, Any]:
    """As they come off the wire."""
    return wire.decode(message, wire.encode(message, values, MESSAGES), MESSAGES)


def test_the_machine() -> None:
    assert samples.Machine(1_024_000, 63 * 10_000_000, 2) == HOST


def test_interfaces() -> None:
    head = (
        "Inter-|   Receive   |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes ...\n"
    )
    lines = "    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 596 6 1 2 0 0 0 0 84 3 4 5 0 0 0 0\n"
    assert samples.interfaces(head + lines) == {"eth0": samples.Network(596, 6, 1, 2, 84, 3, 4, 5)}
    assert samples.interfaces("") == {}


def test_version_one() -> None:
    found = samples.sample("id", "name", "now", metrics(
        V1,
        pids={"current": 3, "limit": 4096},
        cpu={"usage": {"total": 9, "kernel": 4, "user": 5, "per_cpu": [4, 5]}, "throttling": {"periods": 1}},
        memory={"cache": 7, "pg_fault": 8, "hierarchical_swap_limit": 6,
                "usage": {"usage": 100, "max": 200, "limit": 2**63, "failcnt": 1}},
        blkio={"io_service_bytes_recursive": [{"op": "Read", "major": 8, "minor": 0, "value": 11}]},
    ), HOST)  # fmt: skip
    assert found.pids_stats == samples.Pids(3, 4096)
    assert found.cpu_stats.cpu_usage == samples.CpuUsage(9, 4, 5, [4, 5])
    assert (found.cpu_stats.system_cpu_usage, found.cpu_stats.online_cpus) == (HOST.cpu, 2)
    memory = found.memory_stats
    assert (memory.usage, memory.max_usage, memory.failcnt, memory.limit) == (100, 200, 1, HOST.memory)
    assert (memory.stats["cache"], memory.stats["pgfault"], memory.stats["hierarchical_memsw_limit"]) == (7, 8, 6)
    assert found.blkio_stats.io_service_bytes_recursive == [samples.BlkioEntry(8, 0, "read", 11)]


def test_version_two() -> None:
    found = samples.sample("id", "name", "now", metrics(
        V2,
        pids={"current": 1},
        cpu={"usage_usec": 3, "user_usec": 2, "system_usec": 1, "throttled_usec": 4},
        memory={"anon": 5, "usage": 50, "usage_limit": 60, "inactive_file": 2},
        io={"usage": [{"major": 8, "minor": 1, "rbytes": 10, "wbytes": 20}]},
        memory_events={"oom": 2},
    ), HOST)  # fmt: skip
    assert found.cpu_stats.cpu_usage == samples.CpuUsage(3000, 1000, 2000, None)
    assert found.cpu_stats.throttling_data.throttled_time == 4000
    assert (found.memory_stats.usage, found.memory_stats.limit, found.memory_stats.failcnt) == (50, 60, 2)
    assert found.memory_stats.stats["inactive_file"] == 2
    assert "usage" not in found.memory_stats.stats
    assert found.blkio_stats.io_service_bytes_recursive == [
        samples.BlkioEntry(8, 1, "read", 10),
        samples.BlkioEntry(8, 1, "write", 20),
    ]


def test_a_container_without_a_cgroup_uses_nothing_that_we_know_of() -> None:
    for message in (V1, V2):
        found = samples.sample("id", "name", "now", metrics(message), HOST)
        assert found.memory_stats.usage == 0
        assert msgspec.json.encode(found)


def test_the_one_before() -> None:
    first, second = (samples.Sample("id", "/n", read=read, cpu_stats=samples.Cpu(online_cpus=2)) for read in "ab")
    assert samples.after(first, None).preread == samples.NEVER
    both = samples.after(second, first)
    assert (both.preread, both.precpu_stats.online_cpus) == ("a", 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["-ef", "-q1,2"]),
        ("aux", ["aux", "-q1,2"]),
        ("-o pid,cmd", ["-o", "pid,cmd", "-q1,2"]),
        ("-o pid=PID", ["-o", "pid=PID", "-q1,2"]),
    ],
)
def test_arguments_of_ps(text: str, words: list[str]) -> None:
    assert listing.words(text, [1, 2])[0] == words


@pytest.mark.parametrize("text", ["-o ppid=PID", "-o  cmd= PIDX", "-e -o ouid=PID"])
def test_no_other_column_is_called_pid(text: str) -> None:
    with pytest.raises(BadValue, match="is not allowed"):
        listing.words(text, [])


def test_the_table_of_ps() -> None:
    text = (
        "UID  PID CMD\n"
        "root   1 init\n"
        "u     10 sleep  inf   x\n"
        "u      - a thread\n"
        "root  11 other\n"
        "root   - its thread\n"
        "short\n\n"
    )
    assert listing.parse(text, [10]) == (
        ("UID", "PID", "CMD"),
        (("u", "10", "sleep inf x"), ("u", "-", "a thread")),
    )


def test_ps_without_pids() -> None:
    with pytest.raises(RuntimeFailed, match="Couldn't find PID field in ps output"):
        listing.parse("UID CMD\n", [1])
