"""What of a request says where a container is connected, and which ports are published. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address

from stockade.docker_api import fields
from stockade.errors import BadValue
from stockade.networks.options import of_end
from stockade.networks.values import DEFAULT, EndpointWanted, PortBinding

Named = Callable[[str], str]
"""The name of the network that a reference means; the reference itself where it means none yet."""
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_ALIAS = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_.-]{0,250}[a-zA-Z0-9_])?")
_MOST_PORTS = 1 << 16
_WITHOUT = ("none", "host")


def endpoints(body: fields.Create, host: fields.HostConfig, mode: str, named: Named) -> tuple[EndpointWanted, ...]:
    """The ends that a container is to have, that of its mode first.

    Args:
        mode: a network as it was asked for, `none`, `host` or `container:X`.

    Raises:
        BadValue: the request contradicts itself.
    """
    settings = (body.networking_config and body.networking_config.endpoints_config) or {}
    if mode in _WITHOUT or mode.startswith("container:"):
        _refuse_settings(settings, host, mode)
        return ()
    first = named(mode)
    found: dict[str, EndpointWanted] = {}
    for reference, asked in {mode: None, **settings}.items():
        name = first if reference in (mode, "default") else named(reference)
        if name not in found or asked is not None:
            found[name] = endpoint(name, asked or fields.EndpointSettings())
    links = tuple(host.links or ())
    if body.mac_address and not found[first].mac:
        found[first] = endpoint(first, fields.EndpointSettings(), found[first], mac=body.mac_address)
    if links:
        found[first] = endpoint(first, fields.EndpointSettings(), found[first], links=links)
    return tuple(found.values())


def _refuse_settings(settings: dict[str, fields.EndpointSettings | None], host: fields.HostConfig, mode: str) -> None:
    """A client names the one network again, with empty settings; anything more contradicts it."""
    for name, asked in settings.items():
        if name != mode and not (mode == "none" and name == "default"):
            raise BadValue(f"container cannot be connected to network {name}: its network mode is {mode}")
        for key in fields.EndpointSettings.__struct_fields__ if asked is not None else ():
            value = getattr(asked, key)
            if isinstance(value, fields.EndpointIpam):
                value = [value.ipv4_address, value.ipv6_address, value.link_local_ips]
            if key not in fields.EndpointSettings.NEUTRAL and not fields.empty(value):
                raise BadValue(f"invalid endpoint settings: {key} means nothing for the network mode {mode}")
    if host.links:
        raise BadValue(f"conflicting options: {mode} type networking can't be used with links. "
                       "This would result in undefined behavior")  # fmt: skip
    if (host.port_bindings or host.publish_all_ports) and mode.startswith("container:"):
        raise BadValue("conflicting options: port publishing and the container type network mode")


def endpoint(
    network: str,
    asked: fields.EndpointSettings,
    base: EndpointWanted | None = None,
    *,
    mac: str = "",
    links: tuple[str, ...] = (),
) -> EndpointWanted:
    """One end.

    Raises:
        BadValue: an address, name or link is none; or it is asked of the default network what only others serve.
    """
    ipam = asked.ipam_config or fields.EndpointIpam()
    before = base or EndpointWanted(network)
    found = EndpointWanted(
        network=network,
        aliases=tuple(dict.fromkeys((*before.aliases, *(asked.aliases or ())))),
        links=tuple(_link(one) for one in (*before.links, *(asked.links or ()), *links)),
        ipv4=_address(ipam.ipv4_address, 4) or before.ipv4,
        ipv6=_address(ipam.ipv6_address, 6) or before.ipv6,
        mac=(mac or asked.mac_address or before.mac).lower(),
        driver_options={**before.driver_options, **(asked.driver_opts or {})},
        priority=asked.gw_priority or before.priority,
        link_local=tuple(map(_link_local, ipam.link_local_ips or ())) or before.link_local,
    )
    of_end(found.driver_options)
    if found.mac and (not _MAC.fullmatch(found.mac) or int(found.mac[:2], 16) & 1):
        raise BadValue(f"invalid MAC address: {found.mac}")
    for alias in found.aliases:
        if not _ALIAS.fullmatch(alias):
            raise BadValue(f"invalid network alias: {alias!r}")
    if network == DEFAULT and (found.ipv4 or found.ipv6):
        raise BadValue("invalid endpoint settings:\nuser specified IP address is supported on user defined networks "
                       "only")  # fmt: skip
    if network == DEFAULT and found.aliases:
        raise BadValue("invalid endpoint settings:\nnetwork-scoped alias is supported only for containers in user "
                       "defined networks")  # fmt: skip
    return found


def _link(text: str) -> str:
    name, _, alias = text.partition(":")
    name = name.removeprefix("/")
    alias = alias.rpartition("/")[2] or name
    if not name or not _ALIAS.fullmatch(alias):
        raise BadValue(f"bad format for links: {text}")
    return f"{name}:{alias}"


def _link_local(text: str) -> str:
    """One that no network gives out (RFC 3927, RFC 4291): any other could be somebody else's."""
    try:
        found = ip_address(text)
    except ValueError:
        found = None
    if found is None or not found.is_link_local or "%" in text:
        raise BadValue(f"invalid endpoint settings:\ninvalid link-local IP address: {text}")
    return str(found)


def _address(text: str | None, version: int) -> str:
    if not text:
        return ""
    try:
        found = ip_address(text)
    except ValueError:
        found = None
    if found is None or found.version != version:
        raise BadValue(f"invalid endpoint settings:\ninvalid IPv{version} address: {text}")
    return str(found)


# Ports ------------------------------------------------------------------------------------------------------------


def ports(host: fields.HostConfig) -> tuple[PortBinding, ...]:
    """The ports that are to be published.

    Raises:
        BadValue: one is none.
    """
    found: list[PortBinding] = []
    for text, places in (host.port_bindings or {}).items():
        first, last, protocol = port_range(text)
        for number in range(first, last + 1):
            for place in places or [fields.PortBinding()]:
                found.append(_binding(number, protocol, place))
    if len(found) > _MOST_PORTS:
        raise BadValue(f"{len(found)} ports are more than there are")
    return tuple(found)


def port_range(text: str) -> tuple[int, int, str]:
    """First, last and protocol of `80`, `80/udp`, `8000-8010/tcp`.

    Raises:
        BadValue: it is none.
    """
    numbers, _, protocol = text.partition("/")
    first, dash, last = numbers.partition("-")
    protocol = protocol.lower() or "tcp"
    if protocol not in ("tcp", "udp", "sctp"):
        raise BadValue(f"invalid proto: {protocol}", hint="tcp, udp and sctp are served")
    try:
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(text)
        low, high = int(first), int(last or first)
        if not 0 < low <= high < 1 << 16:
            raise ValueError(text)
    except ValueError:
        raise BadValue(f"invalid port specification: {text!r}") from None
    return low, high, protocol


def _binding(port: int, protocol: str, place: fields.PortBinding) -> PortBinding:
    host_ip = place.host_ip or ""
    if host_ip:
        try:
            host_ip = str(ip_address(host_ip))
        except ValueError:
            raise BadValue(f"invalid IP address: {host_ip}") from None
    if not place.host_port or place.host_port == "0":
        return PortBinding(port, protocol, host_ip)
    first, last, _ = port_range(place.host_port)
    return PortBinding(port, protocol, host_ip, first, last if last > first else 0)
