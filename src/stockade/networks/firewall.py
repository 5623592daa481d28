"""The whole of our nft table as text, made of the records. Pure.

One table, applied in one transaction at set-up; a container's start and end add and remove elements of its maps and
write no rule. No chain stands ahead of the host's filter, and `accept` ends our own chain only: what another table
drops stays dropped. Traffic to a network is let in when it answers something, when it came by a published port, or from
the network itself; nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from stockade.networks.values import Held, Network

TABLE = "stockade"
FAMILY = "inet"
_KEYS = {
    "ports4": "inet_proto . inet_service : ipv4_addr . inet_service",
    "bound4": "ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service",
    "ports6": "inet_proto . inet_service : ipv6_addr . inet_service",
    "bound6": "ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service",
}
_PORTS = """\
  chain guard {
    type filter hook prerouting priority raw; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 drop
    iifname != "lo" ip saddr 127.0.0.0/8 drop
  }
  chain arriving {
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local jump ports
  }
  chain own {
    type nat hook output priority -100; policy accept;
    ip6 daddr ::1 return
    fib daddr type local jump ports
  }
  chain ports {
    dnat ip to ip daddr . meta l4proto . th dport map @bound4
    dnat ip to meta l4proto . th dport map @ports4
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @bound6
    dnat ip6 to meta l4proto . th dport map @ports6
  }
"""


def render(networks: Iterable[Network], held: Iterable[Held]) -> str:
    """Text for `nft -f -` that puts the table in place of the one that is there, at once."""
    known = sorted(networks, key=lambda one: one.bridge)
    bridges = " ".join(f'"{one.bridge}",' for one in known).rstrip(",")
    lines = [f"table {FAMILY} {TABLE}", f"delete table {FAMILY} {TABLE}", f"table {FAMILY} {TABLE} {{"]
    for name, of in elements(held).items():
        lines += [f"  map {name} {{", f"    type {_KEYS[name]};"]
        lines += [f"    elements = {{ {', '.join(of)} }}"] if of else []
        lines += ["  }"]
    lines += [_PORTS.rstrip("\n"), *_leaving(known, bridges), *_forward(known, bridges)]
    return "\n".join([*lines, "}"]) + "\n"


REMOVED = f"table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"
"""Text that takes everything of ours away, whether it is there or not."""


def elements(held: Iterable[Held]) -> dict[str, list[str]]:
    """The maps' elements by map; a later end never takes a port that an earlier one has."""
    found: dict[str, dict[str, str]] = {name: {} for name in _KEYS}
    for one in held:
        for end in one.endpoints:
            for port in end.published:
                six = ":" in port.host_ip
                target = end.ipv6 if six else end.ipv4
                if not target:
                    continue
                every = ip_address(port.host_ip).is_unspecified
                name = f"{'ports' if every else 'bound'}{6 if six else 4}"
                key = f"{port.protocol} . {port.host_port}"
                key = key if every else f"{port.host_ip} . {key}"
                found[name].setdefault(key, f"{target} . {port.port}")
    return {name: [f"{key} : {value}" for key, value in of.items()] for name, of in found.items()}


def _leaving(networks: list[Network], bridges: str) -> list[str]:
    """What leaves: from the host's loopback, back into its own network by a port, or out of it."""
    lines = ["  chain leaving {", "    type nat hook postrouting priority srcnat; policy accept;"]
    if bridges:
        lines += [f"    oifname {{ {bridges} }} ip saddr 127.0.0.0/8 masquerade"]
    own: list[str] = []
    for family, word in ((4, "ip"), (6, "ip6")):
        pools = [(one, pool) for one in networks if (pool := one.pool4 if family == 4 else one.pool6) is not None]
        verdicts = [f"{pool.subnet} : jump from-{one.bridge}" for one, pool in pools]
        lines += [f"    {word} saddr vmap {{ {', '.join(verdicts)} }}"] if verdicts else []
    for one in networks:
        own += [f"  chain from-{one.bridge} {{", f'    oifname "{one.bridge}" ct status dnat masquerade']
        own += [f'    oifname "{one.bridge}" return']
        own += ["    masquerade"] if one.masquerade and not one.internal else []
        own += ["  }"]
    return [*own, *lines, "  }"]


def _forward(networks: list[Network], bridges: str) -> list[str]:
    own: list[str] = []
    for one in networks:
        own += [f"  chain to-{one.bridge} {{"]
        own += [f'    iifname "{one.bridge}" {"accept" if one.between else "ct status dnat accept"}']
        own += [] if one.internal else ["    ct status dnat accept"]
        own += ["    drop", "  }"]
    lines = ["  chain forward {", "    type filter hook forward priority filter; policy accept;"]
    for one in networks:
        if one.internal:
            lines += [f'    iifname "{one.bridge}" oifname != "{one.bridge}" drop']
            lines += [f'    iifname != "{one.bridge}" oifname "{one.bridge}" drop']
    lines += ["    ct state established,related accept"]
    if bridges:
        verdicts = ", ".join(f'"{one.bridge}" : jump to-{one.bridge}' for one in networks)
        lines += [f"    oifname vmap {{ {verdicts} }}"]
    return [*own, *lines, "  }"]
