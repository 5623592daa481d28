"""The files that are bound into every container: hosts, hostname, resolv.conf. Their texts are decided here, pure."""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple

from msgspec.structs import replace

from stockade.engine.records import Wanted
from stockade.errors import Unsupported

_HOSTS = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""
NAMES = ("hosts", "hostname", "resolv.conf")
MARK = ".dockerenv"
"""An empty file at the root, by which programs tell that they are in a container, as Docker's has it."""


class Placed(NamedTuple):
    """Where a container is among networks; empty before it has addresses."""

    addresses: tuple[str, ...] = ()
    gateway: str = ""
    """By which it leaves, an address of the host's."""
    resolvers: tuple[str, ...] = ()
    """Of the networks that have names."""
    fallback: str = ""
    """A resolver for those whose host has none that can be reached from within."""
    linked: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Addresses of other containers, with the names that they have here."""


NOWHERE = Placed()


def hostname(wanted: Wanted, host: str) -> str:
    """What it calls itself: as asked, the host's name in its namespace, else the beginning of its id."""
    if wanted.namespaces.uts == "host" or (wanted.namespaces.network == "host" and not wanted.hostname):
        return wanted.hostname or host
    return wanted.hostname or wanted.id[:12]


class Hosts(NamedTuple):
    """Files of the host."""

    hosts: str
    resolv: str


def texts(wanted: Wanted, name: str, host: Hosts, place: Placed = NOWHERE) -> dict[str, str]:
    """The files by name.

    Args:
        name: what the container calls itself.
    """
    return {
        "hosts": _hosts(wanted, name, host.hosts, place),
        "hostname": f"{name}\n",
        "resolv.conf": _networked(wanted, host.resolv, place) if place.addresses else _resolv(wanted, host.resolv),
    }


def _hosts(wanted: Wanted, name: str, host_hosts: str, place: Placed) -> str:
    host = wanted.namespaces.network == "host"
    text = host_hosts if host and host_hosts else _HOSTS
    for address, names in place.linked:
        text += f"{address}\t{' '.join(names)}\n"
    for extra in wanted.extra_hosts:
        word, _, address = extra.replace("=", ":", 1).partition(":")
        if address == "host-gateway":
            if wanted.networks and not place.addresses:
                continue  # it is known at the start
            if not place.gateway:
                raise Unsupported(f"host {word}: `host-gateway` needs a network with a gateway")
            address = place.gateway
        text += f"{address.strip('[]')}\t{word}\n"
    own = name if not wanted.domainname else f"{name}.{wanted.domainname} {name}"
    return text + "".join(f"{address}\t{own}\n" for address in place.addresses)


def _networked(wanted: Wanted, host_resolv: str, place: Placed) -> str:
    """On a network with names its resolver; else the host's resolvers, as far as they can be reached from within."""
    if place.resolvers:
        lines = [line for line in host_resolv.splitlines() if line.split(maxsplit=1)[:1] in (["search"], ["options"])]
        if not any(line.startswith("options") for line in lines):
            lines.append("options ndots:0")
        base = "".join(f"{line}\n" for line in lines)
        given = "".join(f"nameserver {one}\n" for one in place.resolvers)
        return given + _resolv(replace(wanted, dns=()), base)
    text = _resolv(wanted, host_resolv)
    lines = [line for line in text.splitlines() if not _unreachable(line, place)]
    if not any(line.startswith("nameserver") for line in lines) and place.fallback:
        lines.insert(0, f"nameserver {place.fallback}")
    return "".join(f"{line}\n" for line in lines)


def _unreachable(line: str, place: Placed) -> bool:
    """Whether a line names a resolver on the host's loopback, or of a family that the container has not."""
    word, *rest = line.split() or [""]
    if word != "nameserver" or not rest:
        return False
    try:
        address = ip_address(rest[0].partition("%")[0])
    except ValueError:
        return True
    families = {":" in one for one in place.addresses}
    return address.is_loopback or (address.version == 6) not in families


def _resolv(wanted: Wanted, host_resolv: str) -> str:
    """The host's, with what was asked for in place of its words."""
    lines = host_resolv.splitlines()
    for asked, word in ((wanted.dns, "nameserver"), (wanted.dns_search, "search"), (wanted.dns_options, "options")):
        if not asked:
            continue
        lines = [line for line in lines if line.split(maxsplit=1)[:1] != [word]]
        if word == "nameserver":
            lines += [f"nameserver {one}" for one in asked]
        elif asked != (".",):
            lines.append(f"{word} {' '.join(asked)}")
    return "".join(f"{line}\n" for line in lines)
