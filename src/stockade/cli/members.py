"""Options of `create` and `run` that are one member of Docker's HostConfig each; the daemon judges their values."""

from __future__ import annotations

import re

from stockade.cli.table import Args, Option
from stockade.errors import BadValue
from stockade.model import parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_INSIDE = "What it sees"
_LIMITS = "Limits"


def _rated(text: str) -> dict[str, Any]:
    """`DEVICE:RATE`, the rate a number or a size."""
    path, colon, rate = text.rpartition(":")
    if not colon or not path.startswith("/"):
        raise BadValue(f"{text!r} is not DEVICE:RATE", hint="/dev/sda:10m")
    return {"Path": path, "Rate": parse_size(rate)}


def _weighed(text: str) -> dict[str, Any]:
    path, colon, weight = text.rpartition(":")
    if not colon or not path.startswith("/") or not weight.isdigit():
        raise BadValue(f"{text!r} is not DEVICE:WEIGHT", hint="/dev/sda:200")
    return {"Path": path, "Weight": int(weight)}


def _octal(text: str) -> int:
    if not re.fullmatch("0?[0-7]{1,3}", text):
        raise BadValue(f"{text!r} is no umask", hint="three octal digits, as 027")
    return int(text, 8)


_MEMBERS = {
    "Umask": Option(
        "--umask", "permissions that new files do not get, as 027 (022)", "", "MODE", _octal, heading=_INSIDE
    ),
    "DnsSearch": Option("--dns-search", "a domain to look names up in", "", "DOMAIN", many=True, heading=_INSIDE),
    "DnsOptions": Option("--dns-option", "a word of resolv.conf's options", "", "WORD", many=True, heading=_INSIDE),
    "VolumeDriver": Option("--volume-driver", "local: there is no other", "", "DRIVER", heading=_INSIDE),
    "DeviceCgroupRules": Option(
        "--device-cgroup-rule", "devices that it may use, as 'c 1:3 rwm'", "", "RULE", many=True, heading=_INSIDE
    ),
    "CgroupParent": Option("--cgroup-parent", "the cgroup that its own lies in", "", "PATH", heading=_LIMITS),
    "CpuPeriod": Option("--cpu-period", "microseconds of --cpu-quota's turns", "", "NUMBER", int, heading=_LIMITS),
    "CpuQuota": Option("--cpu-quota", "microseconds that it may run each turn", "", "NUMBER", int, heading=_LIMITS),
    "CpuRealtimePeriod": Option("--cpu-rt-period", "the same in real time", "", "NUMBER", int, heading=_LIMITS),
    "CpuRealtimeRuntime": Option("--cpu-rt-runtime", "the same in real time", "", "NUMBER", int, heading=_LIMITS),
    "CpusetMems": Option("--cpuset-mems", "memory nodes it may use, as 0-1", "", "LIST", heading=_LIMITS),
    "MemoryReservation": Option(
        "--memory-reservation", "what it keeps when memory is short", "", "SIZE", parse_size, heading=_LIMITS
    ),
    "MemorySwappiness": Option("--memory-swappiness", "0 to 100", "", "NUMBER", int, heading=_LIMITS),
    "OomKillDisable": Option("--oom-kill-disable", "let it wait for memory in place of a kill", heading=_LIMITS),
    "BlkioWeight": Option("--blkio-weight", "weight against others, 10 to 1000", "", "NUMBER", int, heading=_LIMITS),
    "BlkioWeightDevice": Option(
        "--blkio-weight-device", "the same on a device", "", "DEVICE:WEIGHT", _weighed, many=True, heading=_LIMITS
    ),
    "BlkioDeviceReadBps": Option(
        "--device-read-bps", "bytes a second, as /dev/sda:10m", "", "DEVICE:RATE", _rated, many=True, heading=_LIMITS
    ),
    "BlkioDeviceWriteBps": Option(
        "--device-write-bps", "bytes a second", "", "DEVICE:RATE", _rated, many=True, heading=_LIMITS
    ),
    "BlkioDeviceReadIOps": Option(
        "--device-read-iops", "reads a second", "", "DEVICE:RATE", _rated, many=True, heading=_LIMITS
    ),
    "BlkioDeviceWriteIOps": Option(
        "--device-write-iops", "writes a second", "", "DEVICE:RATE", _rated, many=True, heading=_LIMITS
    ),
}
OPTIONS = tuple(_MEMBERS.values())


def members(args: Args) -> dict[str, Any]:
    """Those that were asked for."""
    found = {name: args[option.key] for name, option in _MEMBERS.items()}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in found.items()
        if value is not None and value is not False and value != ()
    }
