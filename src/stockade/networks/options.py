"""What a request for a network says, held against what is served. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, NamedTuple

from stockade.errors import BadValue, Refused, Unsupported
from stockade.networks.values import BUILT_IN

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_INTERFACE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,14}")
_PREFIX = re.compile(r"[a-zA-Z][a-zA-Z0-9]{0,9}")
_BRIDGE = "com.docker.network.bridge."
_MTU = range(68, 65536)


class Subnet(NamedTuple):
    """One of IPAM's configurations."""

    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    auxiliary: Mapping[str, str] = {}


class Asked(NamedTuple):
    """A request for a network."""

    name: str
    driver: str = "bridge"
    internal: bool = False
    attachable: bool = False
    ipv4: bool = True
    ipv6: bool = False
    ipam_driver: str = "default"
    ipam_options: Mapping[str, str] = {}
    subnets: tuple[Subnet, ...] = ()
    options: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}


def check(asked: Asked) -> None:
    """Refuse what means nothing, or is not served.

    Raises:
        BadValue, Refused, Unsupported: so it is.
    """
    if not _NAME.fullmatch(asked.name):
        raise BadValue(f"invalid network name: {asked.name!r}: only {_NAME.pattern} are allowed")
    if asked.name in (*BUILT_IN, "default") or asked.name.startswith("container:"):
        raise Refused(f"operation is not permitted on predefined {asked.name} network")
    if asked.name == "container":
        raise Refused('network name "container" is reserved and cannot be created')
    if asked.driver in ("host", "null"):
        raise Refused(f'only one instance of "{asked.driver}" network is allowed')
    if asked.driver not in ("", "bridge", "default"):
        raise Unsupported(f"could not find plugin {asked.driver} in v1 plugin registry: this driver is not served",
                          hint="--driver bridge")  # fmt: skip
    if asked.ipam_driver not in ("", "default"):
        raise Unsupported(f"the IPAM driver {asked.ipam_driver} is not served", hint="--ipam-driver default")
    if asked.ipam_options:
        raise BadValue(f"the IPAM option {min(asked.ipam_options)} is not served")
    if not asked.ipv4 and not asked.ipv6:
        raise BadValue("IPv4 or IPv6 must be enabled")


def settings(options: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a Network that driver options decide.

    Raises:
        BadValue: one is unknown, not served, or has no sense.
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        short = name.removeprefix(_BRIDGE)
        if name == "com.docker.network.driver.mtu":
            found["mtu"] = _number(name, value)
        elif name == "com.docker.network.container_iface_prefix":
            if not _PREFIX.fullmatch(value):
                raise BadValue(f"invalid value for {name}: {value!r}")
            found["prefix"] = value
        elif name in ("com.docker.network.enable_ipv4", "com.docker.network.enable_ipv6"):
            _truth(name, value)
        elif not name.startswith(_BRIDGE) or short not in _OF_BRIDGE:
            raise BadValue(f"the network option {name} is not served")
        else:
            found |= _of_bridge(name, short, value)
    return found


_OF_BRIDGE = frozenset(
    "name enable_icc enable_ip_masquerade host_binding_ipv4 default_bridge inhibit_ipv4 gateway_mode_ipv4 "
    "gateway_mode_ipv6 trusted_host_interfaces".split()
)


def _of_bridge(name: str, short: str, value: str) -> dict[str, Any]:
    match short:
        case "name":
            if not _INTERFACE.fullmatch(value):
                raise BadValue(f"invalid bridge name {value!r}: 1 to 15 letters, digits, dots, dashes and underscores")
            return {"bridge": value}
        case "enable_icc":
            return {"between": _truth(name, value)}
        case "enable_ip_masquerade":
            return {"masquerade": _truth(name, value)}
        case "host_binding_ipv4":
            try:
                return {"host_binding": str(ip_address(value))} if value else {}
            except ValueError:
                raise BadValue(f"invalid value for {name}: {value!r} is no address") from None
        case "gateway_mode_ipv4" | "gateway_mode_ipv6" if value in ("", "nat"):
            return {}
        case "default_bridge" | "inhibit_ipv4" if value.lower() in ("", "false", "0"):
            return {}
    raise BadValue(f"the network option {name}={value} is not served")


# An end's -----------------------------------------------------------------------------------------------------------

_END = "com.docker.network.endpoint."
_KEPT_NAMES = frozenset({"lo", "all", "default", ".", ".."})
_SYSCTL = re.compile(r"net\.([a-z0-9_]{1,64})\.([a-z0-9_]{1,64})\.(?:IFNAME|ifname)\.([a-z0-9_]{1,64})=([ -~]{1,64})")
_MOST_SYSCTLS = 64


class Sysctl(NamedTuple):
    """A setting of the kernel's for one device."""

    family: str
    group: str
    name: str
    value: str


class OfEnd(NamedTuple):
    """What the options of an end decide."""

    interface: str = ""
    """Empty: the network's prefix and a number."""
    sysctls: tuple[Sysctl, ...] = ()


def of_end(options: Mapping[str, str]) -> OfEnd:
    """Read the driver options of an end.

    Raises:
        BadValue: one is unknown, or has no sense.
    """
    found = OfEnd()
    for name, value in options.items():
        if name == f"{_END}ifname":
            if not _INTERFACE.fullmatch(value) or value in _KEPT_NAMES:
                raise BadValue(f"invalid value for {name}: {value!r} is no name of an interface")
            found = found._replace(interface=value)
        elif name == f"{_END}sysctls":
            found = found._replace(sysctls=_sysctls(name, value))
        else:
            raise BadValue(f"the endpoint option {name} is not served", hint=f"{_END}ifname, {_END}sysctls")
    return found


def _sysctls(name: str, value: str) -> tuple[Sysctl, ...]:
    found = []
    for text in value.split(","):
        matched = _SYSCTL.fullmatch(text.strip())
        if matched is None:
            hint = "as net.ipv4.conf.IFNAME.log_martians=1, with IFNAME as it stands here"
            raise BadValue(f"invalid value for {name}: {text!r} is no setting of an interface", hint=hint)
        found.append(Sysctl(*matched.groups()))
    if len(found) > _MOST_SYSCTLS:
        raise BadValue(f"invalid value for {name}: {_MOST_SYSCTLS} settings are enough")
    return tuple(found)


def _truth(name: str, value: str) -> bool:
    word = value.lower()
    if word not in ("true", "false", "1", "0", "t", "f"):
        raise BadValue(f"invalid value for {name}: {value!r} is neither true nor false")
    return word in ("true", "1", "t")


def _number(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or int(value) not in _MTU:
        raise BadValue(f"invalid value for {name}: {value!r} is no size of a packet")
    return int(value)
