"""What is kept of networks, and of a container's ends of them."""

from __future__ import annotations

from msgspec import Struct, field

NAMESPACE = "default"
DEFAULT = "bridge"
"""The network that a container has when none is named; it has no names, as Docker's."""
BUILT_IN = ("bridge", "host", "none")


class Pool(Struct, frozen=True, omit_defaults=True):
    """A range of addresses of a network."""

    subnet: str
    """`172.18.0.0/16`."""
    gateway: str
    """The bridge's own address; the containers' route out, unless the network is internal."""
    ip_range: str = ""
    """Where free addresses are taken from; empty: all of the subnet."""
    auxiliary: dict[str, str] = field(default_factory=dict)
    """Name → an address that is somebody else's."""


class Network(Struct, frozen=True, omit_defaults=True):
    """A network: a bridge with its pools, one a family."""

    id: str
    """64 hexadecimal digits."""
    name: str
    created: int
    """Nanoseconds since the epoch."""
    bridge: str
    """The interface of the host's."""
    pool4: Pool | None = None
    pool6: Pool | None = None
    internal: bool = False
    """Nothing of it reaches anything else."""
    attachable: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    """Docker's `com.docker.network.*`, as they were asked for."""
    ipam_options: dict[str, str] = field(default_factory=dict)
    mtu: int = 1500
    between: bool = True
    """Whether its containers reach one another (`enable_icc`)."""
    masquerade: bool = True
    """Whether the host's address stands for theirs outside."""
    host_binding: str = ""
    """Where ports are published that name no address."""
    prefix: str = "eth"
    """Of the interfaces' names in containers."""

    @property
    def names(self) -> bool:
        """Whether names resolve on it."""
        return self.name != DEFAULT

    @property
    def pools(self) -> tuple[Pool, ...]:
        return tuple(one for one in (self.pool4, self.pool6) if one is not None)


class EndpointWanted(Struct, frozen=True, omit_defaults=True):
    """An end of a network that a container is to have."""

    network: str
    """Its name."""
    aliases: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    """`container:alias`."""
    ipv4: str = ""
    """Empty: a free one."""
    ipv6: str = ""
    mac: str = ""
    """Empty: made of the address."""
    driver_options: dict[str, str] = field(default_factory=dict)
    priority: int = 0
    """The end with the highest has the default route."""
    link_local: tuple[str, ...] = ()
    """Further addresses, of 169.254/16 or fe80::/10."""


class PortBinding(Struct, frozen=True, omit_defaults=True):
    """A port that the host's addresses are to lead to."""

    port: int
    """The container's."""
    protocol: str = "tcp"
    """`tcp`, `udp` or `sctp`."""
    host_ip: str = ""
    """Empty: every address of the host, of both families."""
    host_port: int = 0
    """0: a free one."""
    host_port_end: int = 0
    """The last one of a range of which a free one is taken; 0: `host_port` and no other."""


class Published(Struct, frozen=True, omit_defaults=True):
    """A port of the host's that leads to one of the container's."""

    port: int
    protocol: str
    host_ip: str
    """`0.0.0.0` and `::`: every address of a family."""
    host_port: int


class Endpoint(Struct, frozen=True, omit_defaults=True):
    """An end of a network as it is; what it holds is taken as long as this is recorded."""

    network: str
    """The network's name."""
    network_id: str
    endpoint_id: str
    interface: str
    """In the container: `eth0`."""
    host_interface: str
    """The other end of the cable, in the bridge."""
    mac: str
    ipv4: str = ""
    prefix4: int = 0
    gateway4: str = ""
    """Empty: the network is internal."""
    ipv6: str = ""
    prefix6: int = 0
    gateway6: str = ""
    published: tuple[Published, ...] = ()


class Held(Struct, frozen=True):
    """What a container holds of networks, as the engine tells it."""

    container: str
    names: tuple[str, ...]
    """By which it is known on every network."""
    endpoints: tuple[Endpoint, ...]
    wanted: tuple[EndpointWanted, ...] = ()
    dns: tuple[str, ...] = ()
    """Resolvers of its own."""
