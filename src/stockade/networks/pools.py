"""Which addresses: subnets that nobody on the host uses, and free ones within them. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from stockade.errors import BadValue, Conflict
from stockade.networks.values import Pool

Address = IPv4Address | IPv6Address
Subnet = IPv4Network | IPv6Network

# Docker's: fifteen of 65,536 addresses, then sixteen of 4,096.
_DEFAULTS = (*(f"172.{number}.0.0/16" for number in range(17, 32)), *(f"192.168.{n}.0/20" for n in range(0, 256, 16)))
_MOST = 1000
"""Ends of one network: a bridge of Linux carries 1,023 ports."""
_NOBODYS = tuple(map(ip_network, ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "::/127", "ff00::/8")))
"""This host, loopback and groups (RFC 1122, 3.2.1.3; RFC 4291, 2.4)."""
_LARGEST4 = 30
_LARGEST6 = 126
_SEARCHED = 1 << 17
_UINT64 = (1 << 64) - 1


def default4(used: Iterable[str]) -> str:
    """The first of the usual IPv4 subnets that touches nothing that is in use.

    Raises:
        Conflict: there is none.
    """
    taken = [one for one in map(_network, used) if one.version == 4 and one.prefixlen]
    for text in _DEFAULTS:
        if not any(ip_network(text).overlaps(other) for other in taken):
            return text
    raise Conflict("all predefined address pools have been fully subnetted", hint="remove a network, or give --subnet")


def default6(machine: str, used: Iterable[str]) -> str:
    """A subnet of the machine's own unique local prefix (RFC 4193) that nothing uses."""
    digits = hashlib.sha256(f"stockade {machine}".encode()).hexdigest()
    prefix = IPv6Address(int(f"fd{digits[:10]}", 16) << 80)
    taken = [one for one in map(_network, used) if one.version == 6 and one.prefixlen]
    for number in range(1 << 16):
        found = IPv6Network((int(prefix) | number << 64, 64))
        if not any(found.overlaps(other) for other in taken):
            return str(found)
    raise Conflict("every IPv6 subnet of this machine's own prefix is in use", hint="give --subnet")


def pool(subnet: str, gateway: str, ip_range: str, auxiliary: dict[str, str]) -> Pool:
    """A pool as it was asked for; the gateway is the first address unless another one is named.

    Raises:
        BadValue: something in it is no address, or lies outside.
    """
    net = _asked(subnet)
    if ip_address(subnet.partition("/")[0]) != net.network_address:
        raise BadValue(f"invalid network config:\ninvalid subnet {subnet}: it should be {net}")
    if net.prefixlen > (_LARGEST4 if net.version == 4 else _LARGEST6):
        raise BadValue(f"invalid subnet {subnet}: it has no room for a gateway and a container")
    if any(net.version == other.version and net.overlaps(other) for other in _NOBODYS):
        raise BadValue(f"invalid subnet {subnet}: no network can have such addresses")
    own = _inside(gateway, net, "gateway") if gateway else net[1]
    if own in (net.network_address, _last(net)):
        raise BadValue(f"invalid gateway {gateway}: it is the address of the subnet {net} as a whole")
    if ip_range:
        part = _asked(ip_range)
        if part.version != net.version or not part.subnet_of(net):  # type: ignore[arg-type]
            raise BadValue(
                f"invalid network config:\ninvalid ip-range {ip_range}: parent subnet {net} doesn't contain ip-range"
            )
    others = {name: str(_inside(text, net, f"auxiliary address {name}")) for name, text in auxiliary.items()}
    return Pool(str(net), str(own), ip_range, others)


def refuse_overlap(subnet: str, networks: Iterable[tuple[str, str]]) -> None:
    """Refuse a subnet that another network of ours has.

    Args:
        networks: name and subnet of each.
    """
    own = _network(subnet)
    for name, text in networks:
        other = _network(text)
        if own.version == other.version and own.overlaps(other):
            raise Conflict(
                "invalid pool request: Pool overlaps with other one on this address space",
                hint=f"network {name} has {text}",
            )


def free(of: Pool, taken: Collection[str], asked: str = "", lowest: str = "") -> str:
    """An address of a pool that is free: the one that was asked for, or the lowest.

    Args:
        lowest: none below it is free; empty: that is not known.

    Raises:
        BadValue: what was asked for is not of the subnet.
        Conflict: it is taken, or nothing is free.
    """
    if len(taken) >= _MOST:
        raise Conflict(
            f"the network with the subnet {of.subnet} has {_MOST} ends, which is as many as a bridge carries",
            hint="make another network",
        )
    net = _network(of.subnet)
    held = {of.gateway, *of.auxiliary.values()}
    if asked:
        found = str(_inside(asked, net, "address"))
        if found in taken or found in held or ip_address(found) in (net.network_address, _last(net)):
            raise Conflict("Address already in use", hint=f"{asked} is taken in {of.subnet}")
        return found
    for address in _candidates(net, of.ip_range, int(ip_address(lowest)) if lowest else 0):
        text = str(address)
        if text not in taken and text not in held:
            return text
    raise Conflict(f"no available IPv{net.version} addresses on this network's address pools: {of.subnet}")


def _candidates(net: Subnet, ip_range: str, lowest: int) -> Iterator[Address]:
    part = _network(ip_range) if ip_range else net
    first, last = int(part.network_address), int(part.broadcast_address)
    kind = IPv4Address if net.version == 4 else IPv6Address
    beyond = (net.network_address, _last(net))
    for number in range(max(first, lowest), min(last, first + _SEARCHED) + 1):
        address = kind(number)
        if address not in beyond:
            yield address


def usage(of: Pool, taken: Collection[str]) -> tuple[int, int]:
    """How many addresses of a pool are in use or nobody's to have, and how many of those that are given out are free;
    both at most 2**64 - 1."""
    net = _network(of.subnet)
    part = _network(of.ip_range) if of.ip_range else net
    held = {ip_address(text) for text in (of.gateway, *of.auxiliary.values(), *taken)}
    held |= {net.network_address, _last(net)}
    free = part.num_addresses - sum(one in part for one in held)
    return min(sum(one in net for one in held), _UINT64), min(max(free, 0), _UINT64)


def _last(net: Subnet) -> Address:
    """Of IPv4 the broadcast address; IPv6 has none, and its last one is as good as any."""
    return net.broadcast_address if net.version == 4 else net.network_address


def mac_of(address: str) -> str:
    """A locally administered MAC address, the same for an address each time: neighbours need learn nothing anew."""
    packed = ip_address(address).packed
    if len(packed) == 16:
        packed = hashlib.sha256(packed).digest()[:4]
    return ":".join(f"{byte:02x}" for byte in b"\x02\x42" + packed)


def prefix(of: Pool) -> int:
    """The length of its prefix."""
    return int(of.subnet.rpartition("/")[2])


def _network(text: str) -> Subnet:
    return ip_network(text, strict=False)


def _asked(text: str) -> Subnet:
    try:
        if "/" not in text:
            raise ValueError(text)
        return ip_network(text, strict=False)
    except ValueError:
        raise BadValue(f"invalid CIDR address: {text}") from None


def _inside(text: str, net: Subnet, what: str) -> Address:
    try:
        found = ip_address(text)
    except ValueError:
        raise BadValue(f"invalid {what}: {text} is no address") from None
    if found.version != net.version or found not in net:
        raise BadValue(f"invalid {what} {text}: it is not within the subnet {net}")
    return found
