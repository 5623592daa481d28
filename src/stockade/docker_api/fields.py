"""Every field of every request body: its type, and whether it is served, refused or without meaning here.

The law: no field is ignored. A field that is not served may only have its empty value; one that this table does not
know may too, and else is named in a 400. `REFUSED` says why not; `NEUTRAL` names what is taken in and means nothing
to any engine on Linux, or is another's business (the client's). All else is read by `wanted.py` and its neighbours,
which a test holds: each field that is served changes what comes out.

Names and types are those of the Engine API 1.56; that is a fact of its definition, which a test compares.
"""

from __future__ import annotations

import functools
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from stockade.errors import BadValue

Int = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Words = list[str] | str
"""A list of words; one string is a list of one (Docker's strslice)."""
Table = dict[str, str]
T = TypeVar("T")

WINDOWS = "it is for Windows"
GONE = "the kernel no longer has it"


class Fields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="pascal"):
    """A JSON object of a request."""

    REFUSED: ClassVar[dict[str, str]] = {}
    NEUTRAL: ClassVar[dict[str, str]] = {}


class Health(Fields, frozen=True, kw_only=True):
    """Config.Healthcheck; times in nanoseconds."""

    test: Words | None = None
    interval: Int | None = None
    timeout: Int | None = None
    retries: Int | None = None
    start_period: Int | None = None
    start_interval: Int | None = None


class Config(Fields, frozen=True, kw_only=True):
    """What of a container is independent of its host."""

    REFUSED = {
        "args_escaped": WINDOWS,
        "on_build": "triggers belong to an image that is built",
    }

    hostname: str | None = None
    domainname: str | None = None
    user: str | None = None
    attach_stdin: bool | None = None
    attach_stdout: bool | None = None
    attach_stderr: bool | None = None
    exposed_ports: dict[str, Any] | None = None
    tty: bool | None = None
    open_stdin: bool | None = None
    stdin_once: bool | None = None
    env: list[str] | None = None
    cmd: Words | None = None
    healthcheck: Health | None = None
    args_escaped: bool | None = None
    image: str | None = None
    volumes: dict[str, Any] | None = None
    working_dir: str | None = None
    entrypoint: Words | None = None
    network_disabled: bool | None = None
    mac_address: str | None = None
    on_build: list[str] | None = None
    labels: Table | None = None
    stop_signal: str | None = None
    stop_timeout: Int | None = None
    shell: Words | None = None


class LogConfig(Fields, frozen=True, kw_only=True):
    """HostConfig.LogConfig."""

    type: str | None = None
    config: Table | None = None


class RestartPolicy(Fields, frozen=True, kw_only=True):
    """HostConfig.RestartPolicy."""

    name: str | None = None
    maximum_retry_count: Int | None = None


class WeightDevice(Fields, frozen=True, kw_only=True):
    """A device's share of input and output."""

    path: str = ""
    weight: Int = 0


class ThrottleDevice(Fields, frozen=True, kw_only=True):
    """A device's limit a second."""

    path: str = ""
    rate: Int = 0


class DeviceMapping(Fields, frozen=True, kw_only=True):
    """A device node of the host's."""

    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class Ulimit(Fields, frozen=True, kw_only=True):
    """A limit of setrlimit(2)."""

    name: str = ""
    soft: Int = 0
    hard: Int = 0


class BindOptions(Fields, frozen=True, kw_only=True):
    """Of a mount of type bind."""

    propagation: str | None = None
    non_recursive: bool | None = None
    create_mountpoint: bool | None = None
    read_only_non_recursive: bool | None = None
    read_only_force_recursive: bool | None = None


class TmpfsOptions(Fields, frozen=True, kw_only=True):
    """Of a mount of type tmpfs."""

    size_bytes: Int | None = None
    mode: Int | None = None
    options: list[list[str]] | None = None


class DriverConfig(Fields, frozen=True, kw_only=True):
    """By what a volume is made."""

    name: str | None = None
    options: Table | None = None


class VolumeOptions(Fields, frozen=True, kw_only=True):
    """Of a mount of type volume."""

    no_copy: bool | None = None
    labels: Table | None = None
    driver_config: DriverConfig | None = None
    subpath: str | None = None


class ImageOptions(Fields, frozen=True, kw_only=True):
    """Of a mount of type image."""

    subpath: str | None = None


class Mount(Fields, frozen=True, kw_only=True):
    """One of HostConfig.Mounts."""

    REFUSED = {
        "cluster_options": "there is no swarm",
    }
    NEUTRAL = {"consistency": "it is a wish of Docker Desktop on other systems"}

    type: str | None = None
    source: str | None = None
    target: str | None = None
    read_only: bool | None = None
    consistency: str | None = None
    bind_options: BindOptions | None = None
    tmpfs_options: TmpfsOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    cluster_options: dict[str, Any] | None = None


_IRREGULAR = {
    "blkio_device_read_iops": "BlkioDeviceReadIOps",
    "blkio_device_write_iops": "BlkioDeviceWriteIOps",
    "kernel_memory_tcp": "KernelMemoryTCP",
    "io_maximum_iops": "IOMaximumIOps",
    "io_maximum_bandwidth": "IOMaximumBandwidth",
    "container_id_file": "ContainerIDFile",
    "uts_mode": "UTSMode",
    "ipam_config": "IPAMConfig",
    "ipv4_address": "IPv4Address",
    "ipv6_address": "IPv6Address",
    "link_local_ips": "LinkLocalIPs",
    "network_id": "NetworkID",
    "endpoint_id": "EndpointID",
    "ip_address": "IPAddress",
    "ip_prefix_len": "IPPrefixLen",
    "ipv6_gateway": "IPv6Gateway",
    "global_ipv6_address": "GlobalIPv6Address",
    "global_ipv6_prefix_len": "GlobalIPv6PrefixLen",
    "dns_names": "DNSNames",
    "enable_ipv4": "EnableIPv4",
    "enable_ipv6": "EnableIPv6",
    "ipam": "IPAM",
    "ip_range": "IPRange",
}


def _rename(name: str) -> str:
    return _IRREGULAR.get(name) or "".join(part.capitalize() for part in name.split("_"))


class PortBinding(Fields, frozen=True, kw_only=True):
    """A port of the host's."""

    host_ip: str | None = None
    host_port: str | None = None


class Resources(Fields, frozen=True, kw_only=True, rename=_rename):
    """What of HostConfig limits a container; also all that /containers/{id}/update takes, with a restart policy."""

    REFUSED = {
        "device_requests": "devices by request (GPUs, CDI) are not served yet",
        "kernel_memory": GONE,
        "kernel_memory_tcp": GONE,
        "cpu_count": WINDOWS,
        "cpu_percent": WINDOWS,
        "io_maximum_iops": WINDOWS,
        "io_maximum_bandwidth": WINDOWS,
    }

    cpu_shares: Int | None = None
    memory: Int | None = None
    nano_cpus: Int | None = None
    cgroup_parent: str | None = None
    blkio_weight: Int | None = None
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = None
    blkio_device_write_iops: list[ThrottleDevice] | None = None
    cpu_period: Int | None = None
    cpu_quota: Int | None = None
    cpu_realtime_period: Int | None = None
    cpu_realtime_runtime: Int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    devices: list[DeviceMapping] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[Any] | None = None
    kernel_memory: Int | None = None
    kernel_memory_tcp: Int | None = None
    memory_reservation: Int | None = None
    memory_swap: Int | None = None
    memory_swappiness: Int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: Int | None = None
    ulimits: list[Ulimit] | None = None
    cpu_count: Int | None = None
    cpu_percent: Int | None = None
    io_maximum_iops: Int | None = None
    io_maximum_bandwidth: Int | None = None


class HostConfig(Resources, frozen=True, kw_only=True, rename=_rename):
    """What of a container depends on its host."""

    REFUSED = {
        **Resources.REFUSED,
        "cgroup": "another container's cgroup cannot be joined",
        "storage_opt": "a size of the root file system is not served yet",
    }
    NEUTRAL = {"container_id_file": "the client writes it"}

    binds: list[str] | None = None
    container_id_file: str | None = None
    log_config: LogConfig | None = None
    network_mode: str | None = None
    port_bindings: dict[str, list[PortBinding] | None] | None = None
    restart_policy: RestartPolicy | None = None
    auto_remove: bool | None = None
    volume_driver: str | None = None
    volumes_from: list[str] | None = None
    console_size: list[Int] | None = None
    annotations: Table | None = None
    cap_add: Words | None = None
    cap_drop: Words | None = None
    cgroupns_mode: str | None = None
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str | None = None
    cgroup: str | None = None
    links: list[str] | None = None
    oom_score_adj: Int | None = None
    pid_mode: str | None = None
    privileged: bool | None = None
    publish_all_ports: bool | None = None
    readonly_rootfs: bool | None = None
    security_opt: list[str] | None = None
    storage_opt: Table | None = None
    tmpfs: Table | None = None
    uts_mode: str | None = None
    userns_mode: str | None = None
    shm_size: Int | None = None
    sysctls: Table | None = None
    runtime: str | None = None
    isolation: str | None = None
    mounts: list[Mount] | None = None
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    init: bool | None = None
    umask: Int | None = None


class EndpointIpam(Fields, frozen=True, kw_only=True, rename=_rename):
    """The addresses that an end of a network is to have."""

    ipv4_address: str | None = None
    ipv6_address: str | None = None
    link_local_ips: list[str] | None = None


class EndpointSettings(Fields, frozen=True, kw_only=True, rename=_rename):
    """An end of a network; what is neutral tells how it is, and comes back from clients that copy an inspect."""

    NEUTRAL = dict.fromkeys(
        "network_id endpoint_id gateway ip_address ip_prefix_len ipv6_gateway global_ipv6_address "
        "global_ipv6_prefix_len dns_names".split(),
        "it says how an end is, not how it is to be",
    )

    ipam_config: EndpointIpam | None = None
    links: list[str] | None = None
    aliases: list[str] | None = None
    mac_address: str | None = None
    driver_opts: Table | None = None
    gw_priority: Int | None = None
    network_id: str | None = None
    endpoint_id: str | None = None
    gateway: str | None = None
    ip_address: str | None = None
    ip_prefix_len: Int | None = None
    ipv6_gateway: str | None = None
    global_ipv6_address: str | None = None
    global_ipv6_prefix_len: Int | None = None
    dns_names: list[str] | None = None


class Networking(Fields, frozen=True, kw_only=True):
    """Network name → settings of the container's end."""

    endpoints_config: dict[str, EndpointSettings | None] | None = None


class IpamConfig(Fields, frozen=True, kw_only=True, rename=_rename):
    """One subnet of a network."""

    subnet: str | None = None
    ip_range: str | None = None
    gateway: str | None = None
    auxiliary_addresses: Table | None = None


class Ipam(Fields, frozen=True, kw_only=True):
    """How the addresses of a network are managed."""

    driver: str | None = None
    config: list[IpamConfig] | None = None
    options: Table | None = None


class NetworkCreate(Fields, frozen=True, kw_only=True, rename=_rename):
    """The body of /networks/create."""

    REFUSED = {
        "ingress": "there is no swarm",
        "config_only": "networks that only hold a configuration are not served",
        "config_from": "networks that only hold a configuration are not served",
    }
    NEUTRAL = {"check_duplicate": "names are unique here always"}

    name: str | None = None
    check_duplicate: bool | None = None
    driver: str | None = None
    scope: str | None = None
    internal: bool | None = None
    attachable: bool | None = None
    ingress: bool | None = None
    config_only: bool | None = None
    config_from: dict[str, Any] | None = None
    ipam: Ipam | None = None
    enable_ipv4: bool | None = None
    enable_ipv6: bool | None = None
    options: Table | None = None
    labels: Table | None = None


class NetworkConnect(Fields, frozen=True, kw_only=True):
    """The body of /networks/{id}/connect."""

    container: str | None = None
    endpoint_config: EndpointSettings | None = None


class NetworkDisconnect(Fields, frozen=True, kw_only=True):
    """The body of /networks/{id}/disconnect."""

    container: str | None = None
    force: bool | None = None


class Extension(Fields, frozen=True, kw_only=True):
    """What Docker lacks; taken under /stockade/v1 only."""

    rootfs: str = ""
    """A directory of the host in place of an image."""
    time_limit: float = 0
    """Seconds from each start."""


class Create(Config, frozen=True, kw_only=True):
    """The body of /containers/create."""

    host_config: HostConfig | None = None
    networking_config: Networking | None = None
    stockade: Extension | None = None


class Update(Resources, frozen=True, kw_only=True, rename=_rename):
    """The body of /containers/{id}/update."""

    REFUSED = {
        **Resources.REFUSED,
        **dict.fromkeys(("devices", "device_cgroup_rules", "ulimits"), "a container that was made keeps what it has"),
    }

    restart_policy: RestartPolicy | None = None


class VolumeCreate(Fields, frozen=True, kw_only=True):
    """The body of /volumes/create."""

    REFUSED = {"cluster_volume_spec": "there is no swarm"}

    name: str | None = None
    driver: str | None = None
    driver_opts: Table | None = None
    labels: Table | None = None
    cluster_volume_spec: dict[str, Any] | None = None


class ExecCreate(Fields, frozen=True, kw_only=True):
    """The body of /containers/{id}/exec."""

    NEUTRAL = {
        "detach": "it counts when the exec is started, where it is sent again",
        "container": "docker-py repeats what the path says",
    }

    user: str | None = None
    privileged: bool | None = None
    tty: bool | None = None
    console_size: list[Int] | None = None
    attach_stdin: bool | None = None
    attach_stdout: bool | None = None
    attach_stderr: bool | None = None
    detach: bool | None = None
    detach_keys: str | None = None
    env: list[str] | None = None
    working_dir: str | None = None
    cmd: list[str] | None = None
    container: str | None = None


class AuthConfig(Fields, frozen=True, kw_only=True, rename=None):
    """Who somebody is to a registry: the body of /auth, and in base64 the header X-Registry-Auth."""

    NEUTRAL = {"email": "registries no longer ask for it"}

    username: str | None = None
    password: str | None = None
    auth: str | None = None
    email: str | None = None
    serveraddress: str | None = None
    identitytoken: str | None = None
    registrytoken: str | None = None


class ExecStart(Fields, frozen=True, kw_only=True):
    """The body of /exec/{id}/start."""

    detach: bool | None = None
    tty: bool | None = None
    console_size: list[Int] | None = None


# Reading ---------------------------------------------------------------------------------------------------------


def decode(content: bytes, kind: type[T]) -> T:
    """Read a body as one of the types above; what is malformed, unknown or not served is a 400 that names it."""
    try:
        value = _decoder(kind).decode(b"{}" if content.strip() in (b"", b"null") else content)
    except msgspec.ValidationError:
        value = _patiently(content, kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadValue(f"invalid JSON: {error}") from None
    refuse(value)
    return value


def refuse(value: object, path: str = "") -> None:
    """Refuse the first field that has a value and is not served."""
    if isinstance(value, list):
        for item in value:
            refuse(item, path)
    elif isinstance(value, dict):
        for name, item in value.items():
            refuse(item, f"{path}{name}.")
    elif isinstance(value, Fields):
        refused, nested = _looked_at(type(value))
        for name, encoded, why in refused:
            if not empty(getattr(value, name)):
                raise BadValue(f"{path}{encoded} is not served: {why}")
        for name, encoded in nested:
            refuse(getattr(value, name), f"{path}{encoded}.")


@functools.cache
def _looked_at(kind: type[Fields]) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    """The fields of a type that are refused, and those that hold objects of this table."""
    named = list(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    hints = get_type_hints(kind, include_extras=True)
    refused = [(name, encoded, kind.REFUSED[name]) for name, encoded in named if name in kind.REFUSED]
    return refused, [(name, encoded) for name, encoded in named if _struct_of(hints[name]) is not None]


def empty(value: object) -> bool:
    """Whether a field of this value asks for nothing: null, false, 0, "", or made of nothing else."""
    if not value:
        return True
    if isinstance(value, dict):
        return all(empty(item) for item in value.values())
    return isinstance(value, list) and all(empty(item) for item in value)


_decoders: dict[type, msgspec.json.Decoder[Any]] = {}


def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    return decoder


def _patiently(content: bytes, kind: type[T]) -> T:
    """As `decode`, for what Docker takes too: names in another case, null for anything, unknown and empty fields."""
    unknown: list[str] = []
    try:
        fitted = _fit(msgspec.json.decode(content), kind, "", unknown)
        if unknown:
            raise BadValue(f"unknown field{'s' * (len(unknown) > 1)} with a value: {', '.join(unknown)}")
        return msgspec.convert(fitted, kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadValue(f"invalid JSON: {error}") from None


def _fit(value: Any, kind: Any, path: str, unknown: list[str]) -> Any:
    """The same value, its members named as the type names them."""
    struct = _struct_of(kind)
    if struct is None:
        return value
    if isinstance(value, dict) and (table := _table_of(kind)) is not None:
        return {name: None if item is None else _fit(item, table, f"{path}{name}.", unknown)
                for name, item in value.items()}  # fmt: skip
    if isinstance(value, list):
        return [_fit(item, struct, path, unknown) for item in value if item is not None]
    if not isinstance(value, dict):
        return value
    hints = get_type_hints(struct, include_extras=True)
    names = dict(zip(struct.__struct_encode_fields__, struct.__struct_fields__, strict=True))
    folded = {encoded.lower(): encoded for encoded in names}
    result = {}
    for key, item in value.items():
        encoded = key if key in names else folded.get(key.lower(), "")
        if item is None or (not encoded and empty(item)):
            continue
        if encoded:
            result[encoded] = _fit(item, hints[names[encoded]], f"{path}{encoded}.", unknown)
        else:
            unknown.append(path + key)
    return result


def _table_of(kind: Any) -> Any:
    """What the values of a type are that is a table of names, or an option of one."""
    if get_origin(kind) is dict:
        return get_args(kind)[1]
    if isinstance(kind, type) or get_origin(kind) is list:
        return None
    return next((found for part in get_args(kind) if (found := _table_of(part)) is not None), None)


def _struct_of(kind: Any) -> type[Fields] | None:
    """The struct that a type is, or is a list or an option of."""
    if isinstance(kind, type) and issubclass(kind, Fields):
        return kind
    return next((found for part in get_args(kind) if (found := _struct_of(part)) is not None), None)
