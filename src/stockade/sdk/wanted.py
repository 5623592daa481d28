"""What a container to be made shall be, and how the daemon is told: the body of Docker's ContainerCreate."""

from __future__ import annotations

import os
from typing import NamedTuple

from stockade.errors import BadValue
from stockade.model import Limits
from stockade.sdk.ports import bindings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_RESTART = ("no", "always", "unless-stopped", "on-failure")


class Health(NamedTuple):
    """How to ask a container whether it is well; durations in seconds, 0: the default."""

    test: tuple[str, ...]
    """`("CMD", program, …)`, `("CMD-SHELL", line)` or `("NONE",)`."""
    interval: float = 0
    timeout: float = 0
    retries: int = 0
    start_period: float = 0
    start_interval: float = 0

    def body(self) -> dict[str, Any]:
        """Docker's HealthConfig."""
        return {
            "Test": list(self.test),
            "Interval": _nanoseconds(self.interval),
            "Timeout": _nanoseconds(self.timeout),
            "Retries": self.retries,
            "StartPeriod": _nanoseconds(self.start_period),
            "StartInterval": _nanoseconds(self.start_interval),
        }


class Wanted(NamedTuple):
    """A container to be made. What is left away is the image's, or the daemon's default."""

    image: str = ""
    """A reference or id; empty: `rootfs` it is."""
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    """None: the image's; empty: none."""
    name: str = ""
    rootfs: str = ""
    """A directory of this machine to stand on in place of an image; it is never changed."""
    env: Mapping[str, str] = {}
    workdir: str = ""
    user: str = ""
    """`USER[:GROUP]`, names or numbers of the image's."""
    groups: tuple[str, ...] = ()
    hostname: str = ""
    domainname: str = ""
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    tty: bool = False
    size: tuple[int, int] | None = None
    """Rows and columns of its terminal."""
    stdin: bool = False
    """Whether its standard input is open."""
    stdin_once: bool = True
    """Whether it ends with the first client that was attached to it."""
    binds: tuple[str, ...] = ()
    """`SOURCE:TARGET[:OPTIONS]`; a source without a slash is a volume's name, a path is made absolute."""
    volumes: tuple[str, ...] = ()
    """Paths that get a volume of their own, which goes with the container."""
    volumes_from: tuple[str, ...] = ()
    """Containers whose mounts it has too: `NAME[:ro]`."""
    mounts: tuple[Mapping[str, Any], ...] = ()
    """Docker's Mount objects, for what `binds` cannot say."""
    tmpfs: Mapping[str, str] = {}
    """Path → options."""
    read_only: bool = False
    network: str = ""
    """Empty: the default one."""
    aliases: tuple[str, ...] = ()
    """More names that it has on its network."""
    links: tuple[str, ...] = ()
    """`CONTAINER:NAME`: names that others have for it."""
    addresses: tuple[str, str] = ("", "")
    """IPv4 and IPv6; empty: free ones."""
    link_local: tuple[str, ...] = ()
    """Further addresses, of the cable alone."""
    mac: str = ""
    end: Mapping[str, Any] = {}
    """More of Docker's EndpointSettings for its network."""
    further: Mapping[str, Mapping[str, Any]] = {}
    """More networks, each with Docker's EndpointSettings."""
    exposed: tuple[str, ...] = ()
    """`80/tcp`: ports that it has, beside the image's."""
    ports: tuple[str, ...] = ()
    """`[ADDRESS:]PORT:PORT[/PROTOCOL]` of host and container; one alone: at a free one of the host's."""
    publish_all: bool = False
    """Each port that the image exposes, at a free one of the host's."""
    wall: str = ""
    """Empty: native."""
    limits: Limits = Limits()
    ulimits: tuple[tuple[str, int, int], ...] = ()
    devices: tuple[str, ...] = ()
    """`SOURCE[:TARGET[:ACCESS]]`."""
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    security: tuple[str, ...] = ()
    """Docker's words: `no-new-privileges`, `seccomp=unconfined`."""
    user_namespace: str = ""
    pid_namespace: str = ""
    ipc_namespace: str = ""
    uts_namespace: str = ""
    cgroup_namespace: str = ""
    sysctls: Mapping[str, str] = {}
    shm_size: int = 0
    extra_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    oom_score_adj: int = 0
    init: bool = False
    remove: bool = False
    """Whether it is removed when it ends."""
    restart: str = "no"
    """`no`, `always`, `unless-stopped`, `on-failure[:TIMES]`."""
    stop_signal: str = ""
    stop_timeout: int | None = None
    health: Health | None = None
    log: tuple[str, Mapping[str, str]] = ("", {})
    """Driver and its options."""
    platform: str = ""
    """As `linux/arm64`; empty: this machine's."""
    host: Mapping[str, Any] = {}
    """Members of Docker's HostConfig that nothing here has a name for."""

    def body(self) -> dict[str, Any]:
        """ContainerCreate's body: what is as by default is left away."""
        config: dict[str, Any] = {
            "Image": self.image,
            "Cmd": _listed(self.command),
            "Entrypoint": [""] if self.entrypoint == () else _listed(self.entrypoint),
            "Env": [f"{name}={value}" for name, value in self.env.items()],
            "WorkingDir": self.workdir,
            "User": self.user,
            "Hostname": self.hostname,
            "Domainname": self.domainname,
            "Labels": dict(self.labels),
            "Volumes": {path: {} for path in self.volumes},
            "ExposedPorts": {port: {} for port in self.exposed},
            "Tty": self.tty,
            "OpenStdin": self.stdin,
            "StdinOnce": self.stdin and self.stdin_once,
            "AttachStdin": self.stdin,
            "StopSignal": self.stop_signal,
            "StopTimeout": self.stop_timeout,
            "Healthcheck": self.health and self.health.body(),
        }
        own = {"Rootfs": self.rootfs and os.path.abspath(self.rootfs), "TimeLimit": self.limits.time}
        return (
            _said(config)
            | _nonempty("HostConfig", self._host())
            | _nonempty("NetworkingConfig", self._ends())
            | _nonempty("Stockade", _said(own))
        )

    def _ends(self) -> dict[str, Any]:
        ipv4, ipv6 = self.addresses
        end = _said(
            {
                "Aliases": list(self.aliases),
                "Links": list(self.links),
                "IPAMConfig": _said({"IPv4Address": ipv4, "IPv6Address": ipv6, "LinkLocalIPs": list(self.link_local)}),
                "MacAddress": self.mac,
                **self.end,
            }
        )
        ends = {**({self.network or "default": end} if end or self.further else {}), **self.further}
        return {"EndpointsConfig": ends} if ends else {}

    def _host(self) -> dict[str, Any]:
        driver, options = self.log
        name, _, times = self.restart.partition(":")
        if name not in _RESTART or (times and not (name == "on-failure" and times.isdigit())):
            raise BadValue(f"{self.restart!r} is no restart policy", hint=", ".join((*_RESTART, "on-failure:5")))
        return _said(
            {
                "ConsoleSize": list(self.size or ()),
                "Binds": [_bind(text) for text in self.binds],
                "Mounts": [dict(one) for one in self.mounts],
                "VolumesFrom": list(self.volumes_from),
                "Tmpfs": dict(self.tmpfs),
                "ReadonlyRootfs": self.read_only,
                "NetworkMode": self.network,
                "PortBindings": bindings(self.ports),
                "PublishAllPorts": self.publish_all,
                "Runtime": self.wall,
                "Ulimits": [{"Name": one, "Soft": soft, "Hard": hard} for one, soft, hard in self.ulimits],
                "Devices": [_device(text) for text in self.devices],
                "CapAdd": list(self.cap_add),
                "CapDrop": list(self.cap_drop),
                "Privileged": self.privileged,
                "SecurityOpt": list(self.security),
                "UsernsMode": self.user_namespace,
                "PidMode": self.pid_namespace,
                "IpcMode": self.ipc_namespace,
                "UTSMode": self.uts_namespace,
                "CgroupnsMode": self.cgroup_namespace,
                "Sysctls": dict(self.sysctls),
                "ShmSize": self.shm_size,
                "ExtraHosts": list(self.extra_hosts),
                "Dns": list(self.dns),
                "GroupAdd": list(self.groups),
                "OomScoreAdj": self.oom_score_adj,
                "Init": self.init or None,
                "AutoRemove": self.remove,
                "RestartPolicy": {"Name": name, "MaximumRetryCount": int(times or 0)} if name != "no" else {},
                "LogConfig": {"Type": driver, "Config": dict(options)} if driver or options else {},
                "Annotations": dict(self.annotations),
                **resources(self.limits),
            }
        ) | dict(self.host)


def resources(limits: Limits) -> dict[str, Any]:
    """Limits in the words of Docker's Resources; what is not limited is left away."""
    found: dict[str, Any] = {
        "Memory": limits.memory,
        "MemorySwap": limits.memory_swap if limits.memory_swap is not None else limits.memory,
        "NanoCpus": None if limits.cpus is None else round(limits.cpus * 1e9),
        "CpuShares": limits.cpu_shares,
        "CpusetCpus": limits.cpuset,
        "PidsLimit": limits.pids,
    }
    return _said(found)


def parse_ulimit(text: str) -> tuple[str, int, int]:
    """Read `nofile=1024[:2048]`; -1 is no limit."""
    name, equals, value = text.partition("=")
    soft, _, hard = value.partition(":")
    try:
        if name and equals:
            return name, int(soft), int(hard or soft)
    except ValueError:
        pass
    raise BadValue(f"{text!r} is no resource limit", hint="nofile=1024:2048")


def _bind(text: str) -> str:
    source, colon, rest = text.partition(":")
    if not colon or not source or not rest.startswith("/"):
        raise BadValue(f"{text!r} is not SOURCE:TARGET[:OPTIONS]", hint="./data:/data:ro")
    if _is_volume(source):
        return text
    return f"{os.path.abspath(os.path.expanduser(source))}:{rest}"


def _is_volume(source: str) -> bool:
    """Whether it is the name of a volume, not a path of this machine."""
    return "/" not in source and not source.startswith((".", "~"))


def _device(text: str) -> dict[str, str]:
    words = text.split(":")
    if not words[0].startswith("/") or len(words) > 3:
        raise BadValue(f"{text!r} is not a device", hint="/dev/fuse, /dev/sda:/dev/xvda:rwm")
    target = words[1] if len(words) > 1 and words[1].startswith("/") else words[0]
    access = words[-1] if len(words) > 1 and not words[-1].startswith("/") else "rwm"
    return {"PathOnHost": words[0], "PathInContainer": target, "CgroupPermissions": access}


def _said(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "", [], {}, 0, False)}


def _nonempty(name: str, value: dict[str, Any]) -> dict[str, Any]:
    return {name: value} if value else {}


def _listed(words: Sequence[str] | None) -> list[str] | None:
    return None if words is None else list(words)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
