"""What `stockade-net` is asked to do, and what the resolver reads, as documents. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from stockade.networks import options, pools
from stockade.networks.values import Endpoint, EndpointWanted, Held, Network

Operation = dict[str, Any]


def bridge(network: Network) -> Operation:
    """Have the bridge of a network made, or made right."""
    return {
        "bridge": {
            "name": network.bridge,
            "addresses": [f"{one.gateway}/{pools.prefix(one)}" for one in network.pools],
            "mtu": network.mtu,
            "mac": None,
            "forward4": network.pool4 is not None and not network.internal,
            "forward6": network.pool6 is not None and not network.internal,
        }
    }


def remove_bridge(network: Network) -> Operation:
    """Have it taken away."""
    return {"remove_bridge": {"name": network.bridge}}


def gateways(ends: Sequence[Endpoint], wanted: Iterable[EndpointWanted]) -> tuple[Endpoint | None, Endpoint | None]:
    """The ends by which IPv4 and IPv6 leave: of those that lead out the one of highest priority, then by name."""
    priorities = {one.network: one.priority for one in wanted}
    ranked = sorted(ends, key=lambda one: (-priorities.get(one.network, 0), one.network))
    return (
        next((one for one in ranked if one.gateway4), None),
        next((one for one in ranked if one.gateway6), None),
    )


def attach(held: Held, networks: Mapping[str, Network], netns: str) -> list[Operation]:
    """Have the ends that a container holds, its default routes and its ports."""
    first4, first6 = gateways(held.endpoints, held.wanted)
    found: list[Operation] = []
    by_network = {one.network: one for one in held.wanted}
    for end in held.endpoints:
        network = networks[end.network_id]
        wanted = by_network.get(end.network, EndpointWanted(end.network))
        sysctls = [one._asdict() for one in options.of_end(wanted.driver_options).sysctls]
        found.append(
            {
                "attach": {
                    "netns": netns,
                    "host": end.host_interface,
                    "name": end.interface,
                    "master": network.bridge,
                    "mac": end.mac,
                    "mtu": network.mtu,
                    "addresses": [*addresses(end), *map(_link_local, wanted.link_local)],
                    "gateway4": end.gateway4 if end is first4 else None,
                    "gateway6": end.gateway6 if end is first6 else None,
                    **({} if network.between else {"isolated": True}),
                    **({"sysctls": sysctls} if sysctls else {}),
                }
            }
        )
    return [*found, *published("publish", held.endpoints)]


def reroute(held: Held, netns: str) -> list[Operation]:
    """Have the default routes by the ends that lead out now, and by no other."""
    first4, first6 = gateways(held.endpoints, held.wanted)
    ordered = sorted(held.endpoints, key=lambda one: (one is first4, one is first6))
    return [
        {
            "gateway": {
                "netns": netns,
                "name": end.interface,
                "gateway4": end.gateway4 if end is first4 else None,
                "gateway6": end.gateway6 if end is first6 else None,
            }
        }
        for end in ordered
    ]


def cut(ends: Iterable[Endpoint]) -> list[Operation]:
    """Have ports taken away and ends cut off, at once: the kernel takes them away with their network namespace."""
    ends = tuple(ends)
    return [*published("unpublish", ends), *({"cut": {"host": one.host_interface}} for one in ends)]


def remove_ends(names: Iterable[str]) -> list[Operation]:
    """Have ends taken away, by the names of their devices on the host."""
    return [{"detach": {"host": one}} for one in names]


def sweep(networks: Iterable[Network], held: Iterable[Held]) -> Operation:
    """Have the ends on the bridges of networks taken away that nobody holds."""
    keep = [end.host_interface for one in held for end in one.endpoints]
    return {"sweep": {"bridges": [one.bridge for one in networks], "keep": keep}}


def published(word: str, ends: Iterable[Endpoint]) -> list[Operation]:
    """Have the ports of ends published or not."""
    ports = [port for end in ends for port in _led(end)]
    return [{word: ports}] if ports else []


def datagrams(held: Iterable[Held]) -> Operation:
    """Have the ports of UDP published, which are: flows that lead elsewhere are forgotten."""
    ports = [port for one in held for end in one.endpoints for port in _led(end) if port["protocol"] == "udp"]
    return {"publish": ports}


def _led(end: Endpoint) -> Iterator[dict[str, Any]]:
    """Its ports as the kernel leads them; one of `::` without an IPv6 address is a matter of the proxy alone."""
    for one in end.published:
        to = end.ipv6 if ":" in one.host_ip else end.ipv4
        if to:
            yield {
                "host_ip": "" if ip_address(one.host_ip).is_unspecified else one.host_ip,
                "host_port": one.host_port,
                "protocol": one.protocol,
                "to": to,
                "port": one.port,
            }


def addresses(end: Endpoint) -> list[str]:
    """Its addresses with the lengths of their prefixes."""
    both = ((end.ipv4, end.prefix4), (end.ipv6, end.prefix6))
    return [f"{address}/{length}" for address, length in both if address]


def _link_local(address: str) -> str:
    """With the prefix of all such addresses (RFC 3927, 2.1; RFC 4291, 2.5.6)."""
    return f"{address}/{64 if ':' in address else 16}"


# What the resolver and port holder reads ------------------------------------------------------------------------------


def network_file(network: Network) -> dict[str, Any]:
    """RUN/net/networks/ID.json."""
    return {
        "id": network.id,
        "name": network.name,
        "bridge": network.bridge,
        "listen": [one.gateway for one in network.pools],
        "names": network.names,
        "internal": network.internal,
    }


def endpoint_file(held: Held) -> dict[str, Any]:
    """RUN/net/endpoints/CONTAINER.json."""
    by_network = {one.network: one for one in held.wanted}
    ends = []
    for end in held.endpoints:
        wanted = by_network.get(end.network)
        ends.append(
            {
                "network": end.network_id,
                "addresses": [one for one in (end.ipv4, end.ipv6) if one],
                "names": list(dict.fromkeys((*held.names, *(wanted.aliases if wanted else ())))),
                "ports": [
                    {
                        "host_ip": one.host_ip,
                        "host_port": one.host_port,
                        "protocol": one.protocol,
                        "to": (end.ipv6 if ":" in one.host_ip else end.ipv4) or end.ipv4 or end.ipv6,
                        "port": one.port,
                    }
                    for one in end.published
                ],
            }
        )
    links = {}
    for one in held.wanted:
        for link in one.links:
            name, _, alias = link.partition(":")
            links[alias or name] = name
    return {"container": held.container, "dns": list(held.dns), "ends": ends, "links": links}


def upstreams(resolv: str) -> dict[str, Any]:
    """RUN/net/upstreams.json, from the host's resolv.conf."""
    servers, search = [], []
    for line in resolv.splitlines():
        word, *rest = line.split() or [""]
        if word == "nameserver" and rest:
            servers.append(rest[0])
        elif word == "search":
            search = rest
    return {"servers": servers[:8], "search": search[:16]}
