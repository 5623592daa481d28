"""A container's record as Docker's clients read it: inspect, and the line of a list. Pure.

The line of a list is made once for each record and kept as bytes, all but its `Status`, which tells how long ago.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stockade.docker_api import render_ends as ends
from stockade.docker_api.answers import encode
from stockade.docker_api.times import human, moment
from stockade.engine.records import Health, MountPoint, Record, State, Status, Wanted
from stockade.runtime import spec

DRIVER = "overlay2"

# As Docker answers where nothing was asked; what was asked, and what holds now, is laid over it.
_HOST_CONFIG: dict[str, Any] = {
    "Binds": None,
    "ContainerIDFile": "",
    "LogConfig": {"Type": "json-file", "Config": {}},
    "NetworkMode": "none",
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    "AutoRemove": False,
    "VolumeDriver": "",
    "VolumesFrom": None,
    "ConsoleSize": [0, 0],
    "CapAdd": None,
    "CapDrop": None,
    "CgroupnsMode": "private",
    "Dns": [],
    "DnsOptions": [],
    "DnsSearch": [],
    "ExtraHosts": None,
    "GroupAdd": None,
    "IpcMode": "private",
    "Cgroup": "",
    "Links": None,
    "OomScoreAdj": 0,
    "PidMode": "",
    "Privileged": False,
    "PublishAllPorts": False,
    "ReadonlyRootfs": False,
    "SecurityOpt": None,
    "UTSMode": "",
    "UsernsMode": "",
    "ShmSize": 64 << 20,
    "Runtime": "native",
    "Isolation": "",
    "Devices": [],
    "DeviceCgroupRules": None,
    "DeviceRequests": None,
    "MaskedPaths": list(spec.MASKED_PATHS),
    "ReadonlyPaths": list(spec.READONLY_PATHS),
}


# State -----------------------------------------------------------------------------------------------------------


def state(of: State) -> dict[str, Any]:
    """Docker's State."""
    status = of.status
    found: dict[str, Any] = {
        "Status": status,
        "Running": status in (Status.RUNNING, Status.PAUSED, Status.RESTARTING),
        "Paused": status is Status.PAUSED,
        "Restarting": status is Status.RESTARTING,
        "OOMKilled": of.oom_killed,
        "Dead": status is Status.DEAD,
        "Pid": of.pid,
        "ExitCode": of.exit_code,
        "Error": of.error,
        "StartedAt": moment(of.started),
        "FinishedAt": moment(of.finished),
    }
    if of.health is not Health.NONE:
        log = [
            {"Start": moment(one.start), "End": moment(one.end), "ExitCode": one.status, "Output": one.output}
            for one in of.probes
        ]
        found["Health"] = {"Status": of.health, "FailingStreak": of.failing, "Log": log}
    return found


def health(of: State) -> dict[str, Any]:
    """What a list says of health."""
    return {"Status": of.health, "FailingStreak": of.failing}


def status(of: State, now: int) -> str:
    """The STATUS column of `docker ps`."""
    match of.status:
        case Status.CREATED:
            return "Created"
        case Status.REMOVING:
            return "Removal In Progress"
        case Status.DEAD:
            return "Dead"
        case Status.RESTARTING:
            return f"Restarting ({of.exit_code}) {human((now - of.finished) / 1e9)} ago"
        case Status.EXITED:
            return f"Exited ({of.exit_code}) {human((now - of.finished) / 1e9)} ago" if of.finished else ""
        case Status.RUNNING | Status.PAUSED:
            up = f"Up {human((now - of.started) / 1e9)}"
            if of.status is Status.PAUSED:
                return f"{up} (Paused)"
            if of.health is Health.NONE:
                return up
            return f"{up} (health: starting)" if of.health is Health.STARTING else f"{up} ({of.health})"


# Inspect ---------------------------------------------------------------------------------------------------------


def inspect(
    record: Record,
    directory: str,
    execs: Iterable[str] = (),
    volumes: Mapping[str, str] = {},
    networks: Mapping[str, str] = {},
) -> dict[str, Any]:
    """Docker's answer to inspect.

    Args:
        volumes: where each of its volumes lies, by name.
        networks: the ids of networks, by name.
    """
    wanted = record.wanted
    arguments = (*wanted.entrypoint, *wanted.command)
    return {
        "Id": wanted.id,
        "Created": moment(wanted.created),
        "Path": arguments[0] if arguments else "",
        "Args": list(arguments[1:]),
        "State": state(record.state),
        "Image": wanted.image_id,
        "ResolvConfPath": f"{directory}/resolv.conf",
        "HostnamePath": f"{directory}/hostname",
        "HostsPath": f"{directory}/hosts",
        "LogPath": log_path(wanted, directory),
        "Name": f"/{wanted.name}",
        "RestartCount": record.state.restarts,
        "Driver": DRIVER,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": wanted.security.apparmor,
        "ExecIDs": list(execs) or None,
        "HostConfig": host_config(wanted),
        "GraphDriver": {
            "Data": {"ID": wanted.id, "UpperDir": f"{directory}/upper", "WorkDir": f"{directory}/work"},
            "Name": DRIVER,
        },
        "Mounts": mounts(wanted, volumes),
        "Config": config(wanted),
        "NetworkSettings": ends.settings(record, networks),
    }


def add_legacy(found: dict[str, Any], record: Record) -> None:
    """What an inspect tells before 1.52 besides."""
    found["Config"].setdefault("OnBuild", None)
    found["NetworkSettings"] = ends.legacy_settings(record) | found["NetworkSettings"]


def log_path(wanted: Wanted, directory: str) -> str:
    """Where a container's output is kept; empty: nowhere."""
    return f"{directory}/log.json" if wanted.log.driver == "json-file" else ""


def config(wanted: Wanted) -> dict[str, Any]:
    """Docker's Config: what was asked and what the image said, in one."""
    found: dict[str, Any] = {
        "Hostname": wanted.hostname,
        "Domainname": wanted.domainname,
        "User": wanted.user,
        "AttachStdin": wanted.attach_stdin,
        "AttachStdout": wanted.attach_stdout,
        "AttachStderr": wanted.attach_stderr,
        "Tty": wanted.tty,
        "OpenStdin": wanted.open_stdin,
        "StdinOnce": wanted.stdin_once,
        "Env": list(wanted.env),
        "Cmd": list(wanted.command) or None,
        "Image": wanted.image,
        "Volumes": {path: {} for path in wanted.volumes} or None,
        "WorkingDir": wanted.workdir,
        "Entrypoint": list(wanted.entrypoint) or None,
        "Labels": wanted.labels,
    }
    if wanted.exposed_ports:
        found["ExposedPorts"] = {port: {} for port in wanted.exposed_ports}
    if wanted.health is not None:
        check = wanted.health
        times = {
            "Interval": check.interval,
            "Timeout": check.timeout,
            "StartPeriod": check.start_period,
            "StartInterval": check.start_interval,
        }
        found["Healthcheck"] = {
            **({"Test": list(check.test)} if check.test else {}),
            **{name: round(value * 1e9) for name, value in times.items() if value},
            **({"Retries": check.retries} if check.retries else {}),
        }
    if wanted.stop_signal:
        found["StopSignal"] = wanted.stop_signal
    if wanted.stop_timeout is not None:
        found["StopTimeout"] = wanted.stop_timeout
    if wanted.shell:
        found["Shell"] = list(wanted.shell)
    return found


def host_config(wanted: Wanted) -> dict[str, Any]:
    """Docker's HostConfig: what was asked, and in its place what holds where that may have changed."""
    asked = wanted.origin.get("HostConfig")
    shared = wanted.namespaces
    return {
        **_HOST_CONFIG,
        **(asked if isinstance(asked, Mapping) else {}),
        **_resources(wanted),
        "PortBindings": _bindings(asked.get("PortBindings") if isinstance(asked, Mapping) else None),
        "LogConfig": {"Type": wanted.log.driver, "Config": wanted.log.options},
        "NetworkMode": shared.network,
        "RestartPolicy": {"Name": wanted.restart.name, "MaximumRetryCount": wanted.restart.maximum},
        "AutoRemove": wanted.auto_remove,
        "IpcMode": shared.ipc,
        "PidMode": _but_private(shared.pid),
        "UTSMode": _but_private(shared.uts),
        "UsernsMode": "host" if shared.user == "host" else "",
        "CgroupnsMode": shared.cgroup,
        "Privileged": wanted.security.privileged,
        **_hidden(wanted),
        "CapAdd": list(wanted.security.cap_add) or None,
        "CapDrop": list(wanted.security.cap_drop) or None,
        "ReadonlyRootfs": wanted.security.readonly_root,
        "ShmSize": wanted.shm_size,
        "OomScoreAdj": wanted.oom_score_adj,
        "Runtime": wanted.wall,
        **({} if wanted.umask is None else {"Umask": wanted.umask}),
    }


def _hidden(wanted: Wanted) -> dict[str, Any]:
    """Which paths of /proc and /sys it does not see, and may not write to."""
    of = wanted.security
    given = (("MaskedPaths", of.masked_paths), ("ReadonlyPaths", of.readonly_paths))
    return {
        name: None if of.privileged else list(paths or ())
        for name, paths in given
        if of.privileged or paths is not None
    }


def _bindings(asked: object) -> dict[str, Any]:
    """Asked ports of the host's, both members of each told."""
    known = asked if isinstance(asked, Mapping) else {}
    return {
        port: [{"HostIp": "", "HostPort": "", **place} for place in places] if places else places
        for port, places in known.items()
    }


def _but_private(mode: str) -> str:
    return "" if mode == "private" else mode


def _resources(wanted: Wanted) -> dict[str, Any]:
    of = wanted.resources
    return {
        "CpuShares": of.cpu_shares,
        "Memory": of.memory,
        "NanoCpus": of.nano_cpus,
        "CgroupParent": of.cgroup_parent,
        "BlkioWeight": of.blkio_weight,
        "BlkioWeightDevice": _of_devices(of.blkio_weight_device, "Weight"),
        "BlkioDeviceReadBps": _of_devices(of.blkio_read_bps),
        "BlkioDeviceWriteBps": _of_devices(of.blkio_write_bps),
        "BlkioDeviceReadIOps": _of_devices(of.blkio_read_iops),
        "BlkioDeviceWriteIOps": _of_devices(of.blkio_write_iops),
        "CpuPeriod": of.cpu_period,
        "CpuQuota": of.cpu_quota,
        "CpuRealtimePeriod": of.cpu_realtime_period,
        "CpuRealtimeRuntime": of.cpu_realtime_runtime,
        "CpusetCpus": of.cpuset_cpus,
        "CpusetMems": of.cpuset_mems,
        "MemoryReservation": of.memory_reservation,
        "MemorySwap": of.memory_swap or 2 * of.memory,
        "MemorySwappiness": None if of.memory_swappiness < 0 else of.memory_swappiness,
        "OomKillDisable": of.oom_kill_disable,
        "PidsLimit": of.pids_limit,
        "Ulimits": [{"Name": one.name, "Hard": one.hard, "Soft": one.soft} for one in of.ulimits],
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    }


def _of_devices(limits: Iterable[tuple[str, int]], what: str = "Rate") -> list[dict[str, Any]]:
    return [{"Path": path, what: value} for path, value in limits]


def mounts(wanted: Wanted, volumes: Mapping[str, str] = {}) -> list[dict[str, Any]]:
    """What is mounted in it, but for `--tmpfs`, which Docker tells in HostConfig only."""
    asked = wanted.origin.get("HostConfig")
    hidden = asked.get("Tmpfs") if isinstance(asked, Mapping) else None
    shown = [one for one in wanted.mounts if not (isinstance(hidden, Mapping) and one.target in hidden)]
    given = asked.get("Mounts") if isinstance(asked, Mapping) else None
    named = {one["Target"] for one in given or () if one.get("Type") == "volume"}
    return [
        _mount(one, one.target in named) | ({"Source": volumes.get(one.source, "")} if one.kind == "volume" else {})
        for one in shown
    ]


def _mount(one: MountPoint, in_mounts: bool) -> dict[str, Any]:
    bound = one.kind == "bind"
    named = {"Name": one.source, "Driver": "local"} if one.kind == "volume" else {}
    propagation = next((word for word in one.options if word.endswith(("private", "shared", "slave"))), "")
    return {
        "Type": one.kind,
        **named,
        "Source": one.source if bound or one.kind == "image" else "",
        "Destination": one.target,
        "Mode": _mode(one, in_mounts),
        "RW": "ro" not in one.options,
        "Propagation": propagation if bound else "",
    }


def _mode(one: MountPoint, in_mounts: bool) -> str:
    """The third word of `-v`, as Docker has it for mounts that were asked for otherwise too."""
    readonly = "ro" in one.options
    if one.kind == "volume":
        if in_mounts:
            return "z"
        return "" if one.anonymous else "ro" if readonly else "z"
    return "ro" if readonly and one.create_source else ""


# A list ----------------------------------------------------------------------------------------------------------


class Summaries:
    """The lines of `docker ps`, each made once for each record."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[Record, str, bytes, bytes, bytes]] = {}

    def line(self, record: Record, image: str, now: int, healthy: bool = True) -> bytes:
        """One line. `image` is its image's name as things are now; `healthy` whether it tells of health."""
        identity = record.wanted.id
        made = self._made.get(identity)
        if made is None or made[0] is not record or made[1] != image:
            head, tail = self._make(record, image)
            told = b',"Health":' + encode(health(record.state))[:-1]
            self._made[identity] = made = (record, image, head, told, tail)
        return made[2] + encode(status(record.state, now))[:-1] + (made[3] if healthy else b"") + made[4]

    def forget(self, known: set[str]) -> None:
        """Keep the lines of these containers only."""
        if len(self._made) > 2 * len(known) + 64:
            self._made = {identity: made for identity, made in self._made.items() if identity in known}

    @staticmethod
    def _make(record: Record, image: str) -> tuple[bytes, bytes]:
        """What stands before and after the status."""
        found = summary(record, image)
        at = list(found).index("State") + 1
        head = dict(list(found.items())[:at])
        tail = dict(list(found.items())[at:])
        return encode(head)[:-2] + b',"Status":', b"," + encode(tail)[1:-1]


def summary(record: Record, image: str) -> dict[str, Any]:
    """Docker's summary, all but `Status`, which has its place after `State`."""
    wanted = record.wanted
    host: dict[str, Any] = {"NetworkMode": wanted.namespaces.network}
    if wanted.annotations:
        host["Annotations"] = wanted.annotations
    return {
        "Id": wanted.id,
        "Names": [f"/{wanted.name}"],
        "Image": image,
        "ImageID": wanted.image_id,
        "Command": command(wanted),
        "Created": wanted.created // 1_000_000_000,
        "Ports": ends.summary_ports(record),
        "Labels": wanted.labels,
        "State": record.state.status,
        "HostConfig": host,
        "NetworkSettings": {"Networks": ends.networks(record)},
        "Mounts": mounts(wanted),
    }


def command(wanted: Wanted) -> str:
    """The arguments in one line; one with a space is quoted, as Docker does."""
    first, *rest = (*wanted.entrypoint, *wanted.command) or ("",)
    return " ".join([first, *(f"'{word}'" if " " in word else word for word in rest)])
