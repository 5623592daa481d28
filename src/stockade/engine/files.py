"""The files that are bound into every container: hosts, hostname, resolv.conf. Their texts are decided here, pure."""

from __future__ import annotations

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


def hostname(wanted: Wanted, host: str) -> str:
    """What it calls itself: as asked, the host's name in its namespace, else the beginning of its id."""
    if wanted.namespaces.uts == "host" or (wanted.namespaces.network == "host" and not wanted.hostname):
        return wanted.hostname or host
    return wanted.hostname or wanted.id[:12]


def texts(wanted: Wanted, name: str, host_hosts: str, host_resolv: str) -> dict[str, str]:
    """The files by name.

    Args:
        name: what the container calls itself.
        host_hosts: /etc/hosts of the host.
        host_resolv: /etc/resolv.conf of the host.
    """
    return {
        "hosts": _hosts(wanted, name, host_hosts),
        "hostname": f"{name}\n",
        "resolv.conf": _resolv(wanted, host_resolv),
    }


def _hosts(wanted: Wanted, name: str, host_hosts: str) -> str:
    host = wanted.namespaces.network == "host"
    text = host_hosts if host and host_hosts else _HOSTS
    for extra in wanted.extra_hosts:
        word, _, address = extra.replace("=", ":", 1).partition(":")
        if address == "host-gateway":
            raise Unsupported(f"host {word}: `host-gateway` needs a network with a gateway; none and host have none")
        text += f"{address.strip('[]')}\t{word}\n"
    return text


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
