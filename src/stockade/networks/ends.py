"""A container's ends: which addresses, interfaces and ports it gets. Pure but for chance and what `probe` looks at."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from msgspec.structs import replace

from stockade.errors import Conflict, NotFound, Refused
from stockade.networks import options, plan, pools
from stockade.networks.ledger import Ledger, Probe
from stockade.networks.values import Endpoint, EndpointWanted, Network, PortBinding

MOST = 16
"""Networks of one container."""


class Wish(NamedTuple):
    """What a container wants of networks."""

    container: str
    networks: Sequence[EndpointWanted]
    ports: Sequence[PortBinding] = ()
    held: Sequence[Endpoint] = ()
    """What it has already, and keeps as far as it is wanted still."""
    ipv6: bool = True
    """Whether its kernel settings leave it any."""


class Ground(NamedTuple):
    """What is decided upon."""

    networks: Mapping[str, Network]
    """By name."""
    ledger: Ledger
    probe: Probe
    ipv6: bool
    """Whether the host has IPv6."""


def decide(wish: Wish, ground: Ground) -> tuple[Endpoint, ...]:
    """The ends of a container, complete. Nothing is taken yet.

    Raises:
        NotFound: a network is not there.
        Conflict, Refused: an address or port is taken, or none is free.
    """
    if len(wish.networks) > MOST:
        raise Conflict(f"a container has {MOST} networks at most")
    before = {one.network: one for one in wish.held}
    named = {one.network: options.of_end(one.driver_options).interface for one in wish.networks}
    found: list[Endpoint] = []
    for wanted in wish.networks:
        kept = before.get(wanted.network)
        if kept is None:
            others = [*(one.interface for one in (*wish.held, *found)),
                      *(name for network, name in named.items() if network != wanted.network)]  # fmt: skip
            kept = _end(wanted, (named[wanted.network], others), wish.ipv6, ground)
        found.append(kept)
    return _with_ports(found, wish, ground)


def _end(wanted: EndpointWanted, interface: tuple[str, Sequence[str]], six: bool, ground: Ground) -> Endpoint:
    network = ground.networks.get(wanted.network)
    if network is None:
        raise NotFound(f"network {wanted.network} not found")
    ipv4 = _address(network, 4, wanted.ipv4, ground)
    if not six and (wanted.ipv6 or network.pool4 is None):
        raise Conflict(f"network {network.name} is to give an IPv6 address to a container that has IPv6 turned off",
                       hint="--sysctl net.ipv6.conf.all.disable_ipv6=0")  # fmt: skip
    pool6 = network.pool6 if six else None
    ipv6 = _address(network, 6, wanted.ipv6, ground) if six else ""
    identity = secrets.token_hex(32)
    outward = not network.internal
    return Endpoint(
        network=network.name,
        network_id=network.id,
        endpoint_id=identity,
        interface=_interface(network.prefix, *interface),
        host_interface=f"veth{identity[:10]}",
        mac=wanted.mac or pools.mac_of(ipv4 or ipv6),
        ipv4=ipv4,
        prefix4=pools.prefix(network.pool4) if network.pool4 else 0,
        gateway4=network.pool4.gateway if network.pool4 and outward else "",
        ipv6=ipv6,
        prefix6=pools.prefix(pool6) if pool6 else 0,
        gateway6=pool6.gateway if pool6 and outward else "",
    )


def _address(network: Network, family: int, asked: str, ground: Ground) -> str:
    pool = network.pool4 if family == 4 else network.pool6
    if pool is None:
        if asked:
            raise Conflict(f"network {network.name} has no IPv{family}: {asked} cannot be had")
        return ""
    taken = ground.ledger.addresses(network.id, family)
    if asked:
        return pools.free(pool, taken, asked)
    found = pools.free(pool, taken, lowest=ground.ledger.lowest(network.id, family))
    ground.ledger.searched(network.id, found)
    return found


def _interface(prefix: str, asked: str, others: Sequence[str]) -> str:
    if asked and asked in others:
        raise Conflict(f"two interfaces of one container cannot be called {asked}")
    return asked or next(name for number in range(2 * MOST + 1) if (name := f"{prefix}{number}") not in others)


def _refuse_unled(port: PortBinding, host: str, target: Endpoint) -> None:
    """An address that others ask by a family which the network has not: no rule of a firewall's could drop that."""
    if not host or ip_address(host).is_unspecified or ip_address(host).is_loopback:
        return
    version = ip_address(host).version
    if not (target.ipv4 if version == 4 else target.ipv6):
        raise Refused(
            f"port {port.port}/{port.protocol} cannot be published at {host}: "
            f"network {target.network} has no IPv{version}",
            hint=f"a network that has IPv{version}",
        )


def _with_ports(ends: list[Endpoint], wish: Wish, ground: Ground) -> tuple[Endpoint, ...]:
    """The end that leads out has the ports; those that it has already stay as they are, also when it changes."""
    first4, first6 = plan.gateways(ends, wish.networks)
    target = first4 or first6
    if target is None or not wish.ports:
        return tuple(replace(one, published=()) if one.published else one for one in ends)
    published = tuple(port for one in wish.held for port in one.published)
    if not published:
        binding = ground.networks[target.network].host_binding
        for one in wish.ports:
            _refuse_unled(one, one.host_ip or binding, target)
        published = ground.ledger.publish(wish.ports, binding, ground.ipv6, ground.probe)
    return tuple(replace(one, published=published if one is target else ()) for one in ends)
