"""Options that say how a container is connected: to one network, or to several."""

from __future__ import annotations

from stockade.cli.table import Args, Option
from stockade.errors import BadValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

_INSIDE = "What it sees"

OPTIONS = (
    Option(
        "--network",
        "a network, none (unless ports are published), or host; with words: name=n,alias=a,ip=…,gw-priority=1",
        "",
        "NETWORK",
        many=True,
        heading=_INSIDE,
    ),
    Option(
        "--publish", "lead a port of this machine to one of its", "-p", "[[IP:]PORT:]PORT", many=True, heading=_INSIDE
    ),
    Option("--publish-all", "lead free ports to each that the image exposes", "-P", heading=_INSIDE),
    Option("--expose", "a port that it has, as 80/tcp or 8000-8010", "", "PORT", many=True, heading=_INSIDE),
    Option("--network-alias", "one more name that it has there", "", "NAME", many=True, heading=_INSIDE),
    Option("--link", "a name that another container has for it", "", "CONTAINER:NAME", many=True, heading=_INSIDE),
    Option("--ip", "its IPv4 address", "", "ADDRESS", heading=_INSIDE),
    Option("--ip6", "its IPv6 address", "", "ADDRESS", heading=_INSIDE),
    Option("--link-local-ip", "one more address, of the cable alone", "", "ADDRESS", many=True, heading=_INSIDE),
    Option("--mac-address", "its hardware address", "", "ADDRESS", heading=_INSIDE),
)
_FLAGS = ("network-alias", "link", "ip", "ip6", "link-local-ip", "mac-address")
"""Those of one network only, which is not asked for in words."""
_MOST_PORTS = 1 << 16


def wanted(args: Args) -> dict[str, Any]:
    """The fields of Wanted. Without a word of networks it has none; a port needs one."""
    published = args["publish"] or args["publish-all"]
    asked = [one(text) for text in args["network"]]
    first, own = asked[0] if asked else ("bridge" if published else "none", {})
    if own:
        for flag in _FLAGS:
            if args[flag]:
                raise BadValue(f"--{flag} and the words of --network {first} contradict each other")
    further: dict[str, Any] = {}
    for name, settings in asked[1:]:
        if name == first or name in further:
            raise BadValue(f"--network {name} stands twice")
        further[name] = settings
    return {
        "network": first,
        "aliases": args["network-alias"],
        "links": args["link"],
        "addresses": (args["ip"] or "", args["ip6"] or ""),
        "link_local": args["link-local-ip"],
        "mac": args["mac-address"] or "",
        "end": own,
        "further": further,
        "ports": args["publish"],
        "publish_all": args["publish-all"],
        "exposed": tuple(port for text in args["expose"] for port in exposed(text)),
    }


def settings(args: Args) -> dict[str, Any]:
    """The end that `network connect` asks for, as Docker's EndpointSettings."""
    ipam = {
        "IPv4Address": args["ip"] or "",
        "IPv6Address": args["ip6"] or "",
        "LinkLocalIPs": list(args["link-local-ip"]),
    }
    return {
        "Aliases": list(args["alias"]),
        "Links": list(args["link"]),
        "IPAMConfig": ipam,
        "DriverOpts": pairs("--driver-opt", args["driver-opt"]),
        "GwPriority": args["gw-priority"],
    }


def one(text: str) -> tuple[str, dict[str, Any]]:
    """A network and the end that a container is to have of it: `NAME`, or `name=NAME,alias=…`.

    Raises:
        BadValue: a word means nothing here.
    """
    if "=" not in text:
        return text, {}
    import csv

    said: dict[str, list[str]] = {}
    for word in next(csv.reader([text])):
        key, _, value = word.partition("=")
        key = key.strip().lower()
        if key not in _WORDS:
            raise BadValue(f"--network: {word!r} means nothing", hint=", ".join(_WORDS))
        said.setdefault(key, []).append(value)
    if not any(said.get("name", ())):
        raise BadValue(f"--network {text!r} names no network", hint="name=NETWORK,…")
    found: dict[str, Any] = {}
    for key, values in said.items():
        member, read = _WORDS[key]
        _put(found, member, read(values))
    return said["name"][-1], found


def _put(found: dict[str, Any], member: str, value: Any) -> None:
    within, _, name = member.rpartition(".")
    if name:
        (found.setdefault(within, {}) if within else found)[name] = value


def _number(values: list[str]) -> int:
    try:
        return int(values[-1])
    except ValueError:
        raise BadValue(f"--network: gw-priority={values[-1]} is no number") from None


def _last(values: list[str]) -> str:
    return values[-1]


_WORDS: dict[str, tuple[str, Callable[[list[str]], Any]]] = {
    "name": ("", _last),
    "alias": ("Aliases", list),
    "ip": ("IPAMConfig.IPv4Address", _last),
    "ip6": ("IPAMConfig.IPv6Address", _last),
    "link-local-ip": ("IPAMConfig.LinkLocalIPs", list),
    "mac-address": ("MacAddress", _last),
    "driver-opt": ("DriverOpts", lambda values: pairs("--network: driver-opt", values)),
    "gw-priority": ("GwPriority", _number),
}
"""Of `--network`: the member of Docker's EndpointSettings that each is."""


def pairs(option: str, words: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE`, several of them.

    Raises:
        BadValue: one has no name.
    """
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise BadValue(f"{option} {word!r} is not NAME=VALUE")
        found[name] = value
    return found


def exposed(text: str) -> list[str]:
    """`80`, `80/udp`, `8000-8010/tcp` as Docker's API names them, port by port.

    Raises:
        BadValue: it is no port.
    """
    numbers, _, protocol = text.partition("/")
    first, _, last = numbers.partition("-")
    if not first.isdigit() or not (last or first).isdigit():
        raise BadValue(f"--expose: {text!r} is no port", hint="80, 80/udp or 8000-8010")
    low, high = int(first), int(last or first)
    if not 0 < low <= high < _MOST_PORTS:
        raise BadValue(f"--expose: {text!r} is no port", hint="1 to 65535")
    return [f"{port}/{protocol or 'tcp'}" for port in range(low, high + 1)]
