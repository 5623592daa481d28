"""What the store keeps of a container: what was wanted of it, and where it is.

Values only. Durations are seconds, sizes bytes, times nanoseconds since the epoch (0: never), unless a field says
otherwise. Words are Docker's where Docker has one.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct, field

from stockade.images.values import HealthCheck
from stockade.networks.values import Endpoint, EndpointWanted, PortBinding

NAMESPACE = "default"
"""Of the Docker door; another door's prune never sees its records."""


class Health(StrEnum):
    """What the health check says; `none`: there is no check."""

    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Status(StrEnum):
    """Where a container is; the values are Docker's `State.Status`."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"
    """What is left of it could not be removed; `State.reason` says why."""


class RestartPolicy(Struct, frozen=True, omit_defaults=True):
    """When to start it again."""

    name: str = "no"
    """`no`, `always`, `unless-stopped`, `on-failure`."""
    maximum: int = 0
    """Of `on-failure`; 0: no end."""


class LogConfig(Struct, frozen=True, omit_defaults=True):
    """Where its output goes: `json-file` (max-size, max-file) or `none`."""

    driver: str = "json-file"
    options: dict[str, str] = field(default_factory=dict)


class MountPoint(Struct, frozen=True, omit_defaults=True):
    """Something of the host's at a path of the container's."""

    target: str
    kind: str = "bind"
    """`bind`, `tmpfs`, `volume` or `image`."""
    source: str = ""
    """A path of the host, the name of a volume, or the id of an image."""
    options: tuple[str, ...] = ()
    """Of mount(8): `ro`, `rprivate`, `size=64m`, `mode=1777`…"""
    recursive_readonly: bool = False
    create_source: bool = False
    """Whether a source that is missing is made as a directory (`-v`, not `--mount`)."""
    subpath: str = ""
    """Of a volume: what of it is mounted."""
    nocopy: bool = False
    """Of a volume: whether it stays empty, whatever the image has at its place."""
    anonymous: bool = False
    """Of a volume: whether nobody named it, so that it may go with the container."""
    driver: str = ""
    driver_options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    """Of a volume that is made with the container."""


class Device(Struct, frozen=True, omit_defaults=True):
    """A device node of the host's."""

    source: str
    target: str
    access: str = "rwm"


class Ulimit(Struct, frozen=True):
    """A limit of setrlimit(2); name as `nofile`."""

    name: str
    soft: int
    hard: int


class Resources(Struct, frozen=True, omit_defaults=True):
    """What it may use; 0 or empty: no limit of its own. Changed while it lives by `update`."""

    memory: int = 0
    memory_swap: int = 0
    """Memory and swap together; -1: no limit; 0 with `memory`: twice that, as Docker."""
    memory_reservation: int = 0
    memory_swappiness: int = -1
    """-1: the kernel's."""
    oom_kill_disable: bool = False
    nano_cpus: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int = 4096
    """-1: none."""
    blkio_weight: int = 0
    blkio_weight_device: tuple[tuple[str, int], ...] = ()
    blkio_read_bps: tuple[tuple[str, int], ...] = ()
    blkio_write_bps: tuple[tuple[str, int], ...] = ()
    blkio_read_iops: tuple[tuple[str, int], ...] = ()
    blkio_write_iops: tuple[tuple[str, int], ...] = ()
    devices: tuple[Device, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    cgroup_parent: str = ""


class Security(Struct, frozen=True, omit_defaults=True):
    """What it may do."""

    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    no_new_privileges: bool = False
    seccomp: str | None = None
    """The profile's JSON text; None: the default one; empty: unconfined."""
    apparmor: str = ""
    masked_paths: tuple[str, ...] | None = None
    """None: the default ones."""
    readonly_paths: tuple[str, ...] | None = None
    readonly_root: bool = False


class Namespaces(Struct, frozen=True, omit_defaults=True):
    """Which it has of its own: `private`, `host`, `container:ID`, and `none` of network; `shareable` of ipc."""

    network: str = "none"
    """`none`: its own, without ends; another word: the network of its first end, as it was asked for."""
    ipc: str = "private"
    pid: str = "private"
    uts: str = "private"
    user: str = "private"
    cgroup: str = "private"


class Wanted(Struct, frozen=True, omit_defaults=True):
    """Everything that was asked of a container, complete: defaults of door and image are already in it."""

    id: str
    """64 hexadecimal digits."""
    name: str
    """Without Docker's slash."""
    created: int
    image: str
    """As it was asked for."""
    image_id: str
    """`sha256:…` of the image's configuration; empty: `rootfs` it is."""
    namespace: str = NAMESPACE
    rootfs: str = ""
    """A directory of the host to stand on in place of an image."""
    wall: str = "native"
    """Of the table in runtime.walls."""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    """Entrypoint and command together are the argument vector."""
    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    """`USER[:GROUP]`, by name or number of the image's."""
    group_add: tuple[str, ...] = ()
    hostname: str = ""
    domainname: str = ""
    extra_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    console_size: tuple[int, int] = (0, 0)
    """Rows, columns."""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    """Paths that the image or the caller named as volumes; each without a mount gets an anonymous one."""
    volumes_from: tuple[str, ...] = ()
    """Containers whose mounts it has too: `REFERENCE[:ro]`; `mounts` has them already."""
    stop_signal: str = ""
    """Empty: SIGTERM."""
    stop_timeout: int | None = None
    health: HealthCheck | None = None
    shell: tuple[str, ...] = ()
    init: bool = False
    auto_remove: bool = False
    restart: RestartPolicy = RestartPolicy()
    log: LogConfig = LogConfig()
    mounts: tuple[MountPoint, ...] = ()
    resources: Resources = Resources()
    security: Security = Security()
    namespaces: Namespaces = Namespaces()
    networks: tuple[EndpointWanted, ...] = ()
    """Changed by connect and disconnect; empty where the namespace is none, the host's or another container's."""
    ports: tuple[PortBinding, ...] = ()
    publish_all: bool = False
    """Each exposed port at a free one of the host's."""
    sysctls: dict[str, str] = field(default_factory=dict)
    shm_size: int = 64 << 20
    oom_score_adj: int = 0
    umask: int | None = None
    """None: the runtime's own, 022."""
    time_limit: float = 0
    """Seconds from each start until everything inside is killed; 0: none."""
    origin: dict[str, object] = field(default_factory=dict)
    """What the door was asked (Docker: Config and HostConfig), given back by inspect; nothing is decided by it."""


class Probe(Struct, frozen=True):
    """One answer to a health check."""

    start: int
    end: int
    status: int
    output: str
    """4,096 characters at most."""


class State(Struct, frozen=True, omit_defaults=True):
    """Where a container is, and why."""

    status: Status = Status.CREATED
    reason: str = ""
    """One sentence: why it is there, when that is not plain (`the machine was restarted`, `its shim died`)."""
    pid: int = 0
    pid_start: int = 0
    """Field 22 of /proc/PID/stat: tells the process from a later one of its pid."""
    boot: str = ""
    """The boot id in which it was started."""
    slot: int = -1
    """Its range of ids (host.ids)."""
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    """Docker's State.Error: why the last start failed."""
    started: int = 0
    finished: int = 0
    restarts: int = 0
    """How often the restart policy started it since somebody did."""
    stopped_by_hand: bool = False
    """Whether somebody stopped it: `unless-stopped` and the policies leave it so."""
    has_run: bool = False
    health: Health = Health.NONE
    failing: int = 0
    """Failed health checks in a row."""
    probes: tuple[Probe, ...] = ()
    """The last five."""
    endpoints: tuple[Endpoint, ...] = ()
    """While it runs; addresses, ports and interface names are taken by these and by nothing else."""


class Record(Struct, frozen=True):
    """One container, as the store and `record.json` in its directory have it."""

    wanted: Wanted
    state: State = State()
