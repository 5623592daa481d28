"""HostConfig's resources to the engine's, with Docker's checks in Docker's words. Pure."""

from __future__ import annotations

from typing import Any

from stockade.docker_api import fields
from stockade.engine import records
from stockade.errors import BadValue

MIB = 1 << 20
LEAST_MEMORY = 6 * MIB
_NO_SWAPPINESS = -1


def resources(asked: fields.Resources, processors: int) -> records.Resources:
    """Every limit of a container that is made."""
    return records.Resources(**changed(asked, processors))


def changed(asked: fields.Resources, processors: int, *, clears: bool = False) -> dict[str, Any]:
    """The limits that were asked for, by the name that records.Resources gives them: what an update changes.

    Args:
        clears: whether an empty list of devices asks for their limits to be taken away.
    """
    check(asked, processors)
    plain = {
        "memory": asked.memory,
        "memory_swap": asked.memory_swap,
        "memory_reservation": asked.memory_reservation,
        "oom_kill_disable": asked.oom_kill_disable,
        "nano_cpus": asked.nano_cpus,
        "cpu_shares": asked.cpu_shares,
        "cpu_period": asked.cpu_period,
        "cpu_quota": asked.cpu_quota,
        "cpu_realtime_period": asked.cpu_realtime_period,
        "cpu_realtime_runtime": asked.cpu_realtime_runtime,
        "cpuset_cpus": asked.cpuset_cpus,
        "cpuset_mems": asked.cpuset_mems,
        "pids_limit": asked.pids_limit,
        "blkio_weight": asked.blkio_weight,
        "cgroup_parent": asked.cgroup_parent,
    }
    found: dict[str, Any] = {name: value for name, value in plain.items() if value}
    if asked.memory_swappiness not in (None, _NO_SWAPPINESS):
        found["memory_swappiness"] = asked.memory_swappiness
    weights = asked.blkio_weight_device
    if weights or (clears and weights is not None):
        found["blkio_weight_device"] = tuple((one.path, one.weight) for one in weights)
    for name, devices in (
        ("blkio_read_bps", asked.blkio_device_read_bps),
        ("blkio_write_bps", asked.blkio_device_write_bps),
        ("blkio_read_iops", asked.blkio_device_read_iops),
        ("blkio_write_iops", asked.blkio_device_write_iops),
    ):
        if devices or (clears and devices is not None):
            found[name] = tuple((one.path, one.rate) for one in devices)
    if asked.devices:
        found["devices"] = tuple(_device(one) for one in asked.devices)
    if asked.device_cgroup_rules:
        found["device_cgroup_rules"] = tuple(asked.device_cgroup_rules)
    if asked.ulimits:
        found["ulimits"] = tuple(_ulimit(one) for one in asked.ulimits)
    return found


def check(asked: fields.Resources, processors: int) -> None:
    """Refuse limits that make no sense (moby: daemon, verifyPlatformContainerResources)."""
    _check_memory(asked.memory or 0, asked.memory_swap or 0, asked.memory_reservation or 0)
    swappiness = asked.memory_swappiness
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise BadValue(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    _check_cpus(asked, processors)
    if asked.blkio_weight and not 10 <= asked.blkio_weight <= 1000:
        raise BadValue("range of blkio weight is from 10 to 1000")


def _check_memory(memory: int, swap: int, reservation: int) -> None:
    if 0 < memory < LEAST_MEMORY:
        raise BadValue("Minimum memory limit allowed is 6MB")
    if memory > 0 and 0 < swap < memory:
        raise BadValue("Minimum memoryswap limit should be larger than memory limit, see usage")
    if memory == 0 and swap > 0:
        raise BadValue("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < reservation < LEAST_MEMORY:
        raise BadValue("Minimum memory reservation allowed is 6MB")
    if 0 < memory < reservation:
        raise BadValue("Minimum memory limit can not be less than memory reservation limit, see usage")
    for name, value in (("memory", memory), ("memory reservation", reservation)):
        if value < 0:
            raise BadValue(f"invalid {name}: {value} is less than nothing")


def _check_cpus(asked: fields.Resources, processors: int) -> None:
    if asked.nano_cpus:
        if asked.cpu_period:
            raise BadValue("Conflicting options: Nano CPUs and CPU Period cannot both be set")
        if asked.cpu_quota:
            raise BadValue("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
        if not 0 < asked.nano_cpus <= processors * 1_000_000_000:
            raise BadValue(
                f"range of CPUs is from 0.01 to {processors}.00, as there are only {processors} CPUs available"
            )
    if asked.cpu_shares is not None and asked.cpu_shares < 0:
        raise BadValue(f"invalid CPU shares ({asked.cpu_shares}): value must be a positive integer")
    if asked.cpu_period and not 1000 <= asked.cpu_period <= 1_000_000:
        raise BadValue("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if asked.cpu_quota and 0 < asked.cpu_quota < 1000:
        raise BadValue("CPU cfs quota can not be less than 1ms (i.e. 1000)")


def _device(one: fields.DeviceMapping) -> records.Device:
    if not one.path_on_host.startswith("/"):
        raise BadValue(f"Devices: {one.path_on_host!r} is not the path of a device")
    access = one.cgroup_permissions or "rwm"
    if not set(access) <= set("rwm"):
        raise BadValue(f"invalid device cgroup permissions: {access}")
    return records.Device(one.path_on_host, one.path_in_container or one.path_on_host, access)


def _ulimit(one: fields.Ulimit) -> records.Ulimit:
    if not one.name:
        raise BadValue("Ulimits: a limit without a name")
    if one.hard != -1 and one.soft > one.hard:
        raise BadValue(f"ulimit soft limit must be less than or equal to hard limit: {one.soft} > {one.hard}")
    return records.Ulimit(one.name, one.soft, one.hard)


def restart_policy(asked: fields.RestartPolicy | None) -> records.RestartPolicy | None:
    """A restart policy, checked as Docker checks it; None: none was named."""
    if asked is None or not (asked.name or asked.maximum_retry_count):
        return None
    name, most = asked.name or "no", asked.maximum_retry_count or 0
    if name not in ("no", "always", "unless-stopped", "on-failure"):
        raise BadValue(
            f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or "
            "'unless-stopped'"
        )
    if name != "on-failure" and most:
        negative = " and cannot be negative" if most < 0 else ""
        raise BadValue(f"invalid restart policy: maximum retry count can only be used with 'on-failure'{negative}")
    if most < 0:
        raise BadValue("invalid restart policy: maximum retry count cannot be negative")
    return records.RestartPolicy(name, most)
