"""What a container may use, in the runtime-spec's words (config-linux.md, "Control groups"); devices are looked up."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from typing import Any

from stockade.engine.records import Device, Resources, Ulimit
from stockade.errors import BadValue, NotFound
from stockade.runtime import spec

_MEGA = 1 << 20
SMALLEST = 6 * _MEGA
"""Of memory: Docker's."""
_PERIOD = 100_000
_USUAL_WEIGHT = 100
"""Of a cgroup that was given none (BFQ)."""
_RULE = re.compile(r"([acb]) (\d+|\*):(\d+|\*) ([rwm]{1,3})")
ULIMITS = frozenset(
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)


def check(wanted: Resources) -> None:
    """Refuse what contradicts itself, in Docker's words.

    Raises:
        BadValue: it does.
    """
    if 0 < wanted.memory < SMALLEST:
        raise BadValue("Minimum memory limit allowed is 6MB")
    if wanted.memory_swap > 0 and not wanted.memory:
        raise BadValue("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < wanted.memory_swap < wanted.memory:
        raise BadValue("Minimum memoryswap limit should be larger than memory limit, see usage")
    if wanted.memory and wanted.memory_reservation > wanted.memory:
        raise BadValue("Minimum memory limit can not be less than memory reservation limit, see usage")
    if not -1 <= wanted.memory_swappiness <= 100:
        raise BadValue(f"Invalid value: {wanted.memory_swappiness}, valid memory swappiness range is 0-100")
    _check_cpu(wanted)
    if wanted.blkio_weight and not 10 <= wanted.blkio_weight <= 1000:
        raise BadValue("Range of blkio weight is from 10 to 1000")
    for one in wanted.ulimits:
        _check_ulimit(one)
    for rule in wanted.device_cgroup_rules:
        _parsed(rule)


def _check_cpu(wanted: Resources) -> None:
    if wanted.nano_cpus and (wanted.cpu_period or wanted.cpu_quota):
        raise BadValue("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if wanted.nano_cpus < 0 or wanted.nano_cpus > (os.cpu_count() or 1) * 1_000_000_000:
        count = os.cpu_count() or 1
        raise BadValue(f"Range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available")
    _check_set(wanted.cpuset_cpus, "/sys/devices/system/cpu/online", "cpuset cpus", "CPUs")
    _check_set(wanted.cpuset_mems, "/sys/devices/system/node/online", "cpuset mems", "memory nodes")
    if wanted.cpu_period and not 1000 <= wanted.cpu_period <= 1_000_000:
        raise BadValue("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < wanted.cpu_quota < 1000:
        raise BadValue("CPU cfs quota can not be less than 1ms (i.e. 1000)")


def _check_set(asked: str, path: str, field: str, what: str) -> None:
    """Whether a list as `0-3,7` names what this machine has."""
    if not asked:
        return
    try:
        with open(path, encoding="ascii") as file:
            available = file.read().strip()
    except OSError:
        available = "0"
    try:
        missing = _numbers_of(asked) - _numbers_of(available)
    except ValueError:
        raise BadValue(f"Invalid value {asked} for {field}") from None
    if missing:
        raise BadValue(f"Requested {what} are not available - requested {asked}, available: {available}")


def _numbers_of(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if int(last or first) - int(first) > 1 << 16:
            raise ValueError(text)
        found.update(range(int(first), int(last or first) + 1))
    return found


def _check_ulimit(one: Ulimit) -> None:
    if one.name not in ULIMITS:
        raise BadValue(f"invalid ulimit type: {one.name}")
    if one.hard != -1 and (one.soft > one.hard or one.soft == -1):
        raise BadValue(f"ulimit soft limit must be less than or equal to hard limit: {one.soft} > {one.hard}")


def render(
    wanted: Resources, *, privileged: bool = False, devices: bool = True, before: Mapping[str, Any] = {}
) -> dict[str, Any]:
    """The `linux.resources` object; without `devices`, as Update wants it.

    Args:
        before: fields that were other ones: the limits of devices that are no longer among them are taken away.
    """
    found: dict[str, Any] = {}
    if devices:
        found["devices"] = _device_rules(wanted, privileged)
    memory = _memory(wanted)
    if memory:
        found["memory"] = memory
    cpu = _cpu(wanted)
    if cpu:
        found["cpu"] = cpu
    if wanted.pids_limit:
        found["pids"] = {"limit": wanted.pids_limit}
    block = _block(wanted, before)
    if block:
        found["blockIO"] = block
    return found


def _memory(wanted: Resources) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if wanted.memory:
        found["limit"] = wanted.memory
        swap = wanted.memory_swap or 2 * wanted.memory
        if wanted.memory_swap or spec.swap_is_counted():
            found["swap"] = swap
    if wanted.memory_reservation:
        found["reservation"] = wanted.memory_reservation
    if wanted.memory_swappiness != -1:
        found["swappiness"] = wanted.memory_swappiness
    if wanted.oom_kill_disable:
        found["disableOOMKiller"] = True
    return found


def _cpu(wanted: Resources) -> dict[str, Any]:
    found: dict[str, Any] = {
        "shares": wanted.cpu_shares,
        "period": wanted.cpu_period,
        "quota": wanted.cpu_quota,
        "realtimePeriod": wanted.cpu_realtime_period,
        "realtimeRuntime": wanted.cpu_realtime_runtime,
        "cpus": wanted.cpuset_cpus,
        "mems": wanted.cpuset_mems,
    }
    if wanted.nano_cpus:
        found |= {"period": _PERIOD, "quota": wanted.nano_cpus * _PERIOD // 1_000_000_000}
    return {name: value for name, value in found.items() if value}


def _block(wanted: Resources, before: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if wanted.blkio_weight:
        found["weight"] = wanted.blkio_weight
    for field, name, key, none in (
        ("blkio_weight_device", "weightDevice", "weight", wanted.blkio_weight or _USUAL_WEIGHT),
        ("blkio_read_bps", "throttleReadBpsDevice", "rate", 0),
        ("blkio_write_bps", "throttleWriteBpsDevice", "rate", 0),
        ("blkio_read_iops", "throttleReadIOPSDevice", "rate", 0),
        ("blkio_write_iops", "throttleWriteIOPSDevice", "rate", 0),
    ):
        limits = dict(getattr(wanted, field))
        gone = [path for path, _ in before.get(field) or () if path not in limits and os.path.exists(path)]
        lines = [{**_numbers(path), key: value} for path, value in (*limits.items(), *((path, none) for path in gone))]
        if lines:
            found[name] = lines
    return found


def _numbers(path: str) -> dict[str, int]:
    """Major and minor number of a device of the host's."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise NotFound(f"error gathering device information while adding custom device {path!r}: "
                       f"{error.strerror}") from error  # fmt: skip
    if not (stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)):
        raise BadValue(f"{path!r} is not a device node")
    return {"major": os.major(found.st_rdev), "minor": os.minor(found.st_rdev)}


def _device_rules(wanted: Resources, privileged: bool) -> list[dict[str, Any]]:
    if privileged:
        return [{"allow": True, "access": "rwm"}]
    rules = list(spec.DEVICE_RULES)
    for node in nodes(wanted.devices):
        rules.append(
            {"allow": True, "type": node["type"], "major": node["major"], "minor": node["minor"],
             "access": node["access"]}
        )  # fmt: skip
    rules += [_parsed(rule) for rule in wanted.device_cgroup_rules]
    return rules


def _parsed(rule: str) -> dict[str, Any]:
    found = _RULE.fullmatch(rule)
    if not found:
        raise BadValue(f"invalid device cgroup rule format: '{rule}'")
    kind, major, minor, access = found.groups()
    numbers = {name: int(word) for name, word in (("major", major), ("minor", minor)) if word != "*"}
    return {"allow": True, "type": kind, "access": access, **numbers}


def nodes(devices: tuple[Device, ...]) -> list[dict[str, Any]]:
    """The nodes that the devices are, directories of the host's gone through; each with its `access`."""
    found = []
    for device in devices:
        if os.path.isdir(device.source):
            for base, _, names in sorted(os.walk(device.source)):
                for name in sorted(names):
                    inside = f"{base}/{name}"
                    if _is_device(inside):
                        target = device.target + inside.removeprefix(device.source)
                        found.append(_node(inside, target, device.access))
        else:
            found.append(_node(device.source, device.target, device.access))
    return found


def _is_device(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _node(source: str, target: str, access: str) -> dict[str, Any]:
    numbers = _numbers(source)
    found = os.stat(source)
    return {
        "path": target,
        "type": "c" if stat.S_ISCHR(found.st_mode) else "b",
        **numbers,
        "fileMode": stat.S_IMODE(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
        "access": access,
    }


def of_host() -> list[dict[str, Any]]:
    """Every device of the host's /dev, for a privileged container."""
    found = []
    for base, names, files in os.walk("/dev"):
        names[:] = [name for name in names if name not in ("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts")]
        for name in files:
            path = f"{base}/{name}"
            if name != "console" and not os.path.islink(path) and _is_device(path):
                found.append(_node(path, path, "rwm"))
    return found
