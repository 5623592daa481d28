"""A container's networks and ports as Docker's clients read them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stockade.engine.ends import exposed
from stockade.engine.records import Record
from stockade.networks.values import DEFAULT, Endpoint, EndpointWanted

_LEGACY: dict[str, Any] = {
    "Bridge": "",
    "HairpinMode": False,
    "LinkLocalIPv6Address": "",
    "LinkLocalIPv6PrefixLen": 0,
    "SecondaryIPAddresses": None,
    "SecondaryIPv6Addresses": None,
    "EndpointID": "",
    "Gateway": "",
    "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0,
    "IPAddress": "",
    "IPPrefixLen": 0,
    "IPv6Gateway": "",
    "MacAddress": "",
}


def settings(record: Record, ids: Mapping[str, str] = {}) -> dict[str, Any]:
    """Docker's NetworkSettings."""
    state = record.state
    own = state.pid and not record.wanted.namespaces.network.startswith("container:")
    return {
        "SandboxID": record.wanted.id if own else "",
        "SandboxKey": f"/proc/{state.pid}/ns/net" if own else "",
        "Ports": ports(record),
        "Networks": networks(record, ids),
    }


def legacy_settings(record: Record) -> dict[str, Any]:
    """The fields that it has before 1.52 too; they tell of the default network."""
    found = dict(_LEGACY)
    for end in record.state.endpoints:
        if end.network == DEFAULT:
            found |= _addresses(end)
    return found


def networks(record: Record, ids: Mapping[str, str] = {}) -> dict[str, Any]:
    """The ends of its networks by the networks' names; a container within another's network has none.

    Args:
        ids: of the networks that it may have had once: Docker says them from the first start on.
    """
    mode = record.wanted.namespaces.network
    if mode.startswith("container:"):
        return {}
    if mode in ("none", "host"):
        return {mode: _end(record, EndpointWanted(mode), Endpoint(mode, _id(record, mode, ids), "", "", "", ""))}
    held = {one.network: one for one in record.state.endpoints}
    return {
        one.network: _end(
            record, one, held.get(one.network, Endpoint(one.network, _id(record, one.network, ids), "", "", "", ""))
        )
        for one in record.wanted.networks
    }


def _id(record: Record, network: str, ids: Mapping[str, str]) -> str:
    return ids.get(network, "") if record.state.has_run else ""


def _end(record: Record, wanted: EndpointWanted, end: Endpoint) -> dict[str, Any]:
    own = record.wanted
    asked = {"IPv4Address": wanted.ipv4, "IPv6Address": wanted.ipv6, "LinkLocalIPs": list(wanted.link_local)}
    ipam = {name: value for name, value in asked.items() if value}
    names = None
    if wanted.network not in (DEFAULT, "none", "host"):
        names = list(
            dict.fromkeys((own.name, *wanted.aliases, own.id[:12], *((own.hostname,) if own.hostname else ())))
        )
    return {
        "IPAMConfig": ipam or None,
        "Links": list(wanted.links) or None,
        "Aliases": list(wanted.aliases) or None,
        "DriverOpts": wanted.driver_options or None,
        "GwPriority": wanted.priority,
        "NetworkID": end.network_id,
        **_addresses(end),
        "DNSNames": names,
    }


def _addresses(end: Endpoint) -> dict[str, Any]:
    return {
        "MacAddress": end.mac,
        "EndpointID": end.endpoint_id,
        "Gateway": end.gateway4,
        "IPAddress": end.ipv4,
        "IPPrefixLen": end.prefix4,
        "IPv6Gateway": end.gateway6,
        "GlobalIPv6Address": end.ipv6,
        "GlobalIPv6PrefixLen": end.prefix6,
    }


def ports(record: Record) -> dict[str, Any]:
    """Where each exposed port is published; of a container that does not run nothing is."""
    found: dict[str, Any] = {}
    if not record.state.endpoints:
        return found
    for end in record.state.endpoints:
        for one in end.published:
            place = {"HostIp": one.host_ip, "HostPort": str(one.host_port)}
            found.setdefault(f"{one.port}/{one.protocol}", []).append(place)
    for number, protocol in exposed(record.wanted):
        found.setdefault(f"{number}/{protocol}", None)
    return found


def summary_ports(record: Record) -> list[dict[str, Any]]:
    """The PORTS column of `docker ps`."""
    if record.wanted.namespaces.network in ("host", "none"):
        return []
    found: list[dict[str, Any]] = []
    published = [one for end in record.state.endpoints for one in end.published]
    for one in published:
        found.append({"IP": one.host_ip, "PrivatePort": one.port, "PublicPort": one.host_port, "Type": one.protocol})
    named = {(one.port, one.protocol) for one in published}
    if record.state.endpoints:
        found += [{"PrivatePort": number, "Type": kind} for number, kind in exposed(record.wanted)
                  if (number, kind) not in named]  # fmt: skip
    return found
