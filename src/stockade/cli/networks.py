"""Networks and ports."""

from __future__ import annotations

from stockade.cli import answers, ends
from stockade.cli.answers import FILTER, FORMAT, SHOWN
from stockade.cli.options import FORMAT as PLAIN
from stockade.cli.screen import agreed, as_json, note, out, rows
from stockade.cli.table import Args, Command, Option
from stockade.errors import BadValue, NotFound, Refused, StockadeError, exit_code
from stockade.sdk.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def create(args: Args) -> int:
    """Make a network."""
    subnets, gateways, ranges = args["subnet"], args["gateway"], args["ip-range"]
    made = Client().create_network(
        args.rest[0],
        {
            "Driver": args["driver"],
            "Internal": args["internal"],
            "Attachable": args["attachable"],
            "EnableIPv4": args["ipv4"],
            "EnableIPv6": args["ipv6"],
            "IPAM": {
                "Driver": args["ipam-driver"],
                "Config": _pools(subnets, gateways, ranges, _pairs(args["aux-address"])),
                "Options": _pairs(args["ipam-opt"]),
            },
            "Options": _pairs(args["opt"]),
            "Labels": _pairs(args["label"]),
        },
    )
    out(made["Id"])
    return 0


def _pools(
    subnets: Sequence[str], gateways: Sequence[str], ranges: Sequence[str], others: dict[str, str]
) -> list[dict[str, Any]]:
    """Each gateway, range and other address with the subnet of its family; there is one a family."""
    found: dict[bool, dict[str, Any]] = {}
    for subnet in subnets:
        six = ":" in subnet
        if six in found:
            raise BadValue(f"--subnet {subnet}: a network has one subnet a family", hint="make two networks")
        found[six] = {"Subnet": subnet}
    for option, name, values in (("gateway", "Gateway", gateways), ("ip-range", "IPRange", ranges)):
        for value in values:
            _of_family(found, option, value)[name] = value
    for name, value in others.items():
        _of_family(found, "aux-address", value).setdefault("AuxiliaryAddresses", {})[name] = value
    return list(found.values())


def _of_family(found: dict[bool, dict[str, Any]], option: str, value: str) -> dict[str, Any]:
    six = ":" in value
    if six not in found:
        raise BadValue(f"--{option} {value} needs the subnet that it is of", hint="--subnet")
    return found[six]


def _pairs(words: Sequence[str]) -> dict[str, str]:
    found = {}
    for word in words:
        name, _, value = word.partition("=")
        if not name:
            raise BadValue(f"{word!r} has no name", hint="NAME=VALUE")
        found[name] = value
    return found


def listing(args: Args) -> int:
    """List networks."""
    found = [
        {
            "ID": one["Id"] if args["no-trunc"] else one["Id"][:12],
            "Name": one["Name"],
            "Driver": one["Driver"],
            "Subnets": ", ".join(pool["Subnet"] for pool in one["IPAM"]["Config"] or ()),
            "Internal": one["Internal"],
            "Labels": one["Labels"],
        }
        for one in Client().networks(answers.filters(args["filter"]))
    ]
    if args["quiet"]:
        for one in found:
            out(one["ID"])
        return 0
    titles = ("NETWORK ID", "NAME", "DRIVER", "SUBNETS")
    answers.listing(args["format"], found, titles, lambda one: [one[name] for name in _COLUMNS])
    return 0


_COLUMNS = ("ID", "Name", "Driver", "Subnets")


def inspect(args: Args) -> int:
    """Show everything of networks."""
    client = Client()
    answers.objects(args["format"], [client.network(one, verbose=args["verbose"]) for one in args.rest])
    return 0


def remove(args: Args) -> int:
    """Remove networks; one that fails does not keep the others."""
    client, status = Client(), 0
    for reference in args.rest:
        try:
            client.remove_network(reference)
            out(reference)
        except StockadeError as error:
            if isinstance(error, NotFound) and args["force"]:
                continue
            note(f"stockade: {error.message}")
            status = exit_code(error)
    return status


def prune(args: Args) -> int:
    """Remove the networks that no container has."""
    if not args["force"] and not agreed("This removes every network that no running container has. Go on? [y/N] "):
        raise Refused("nothing was removed")
    for name in Client().prune_networks(answers.filters(args["filter"])).get("NetworksDeleted") or ():
        out(name)
    return 0


def connect(args: Args) -> int:
    """Give a container an end of a network."""
    network, container = args.rest
    Client().connect(network, container, ends.settings(args))
    return 0


def disconnect(args: Args) -> int:
    """Take a container's end of a network away."""
    network, container = args.rest
    Client().disconnect(network, container, force=args["force"])
    return 0


def port(args: Args) -> int:
    """Show where a container's ports are published, and which rule of the host's keeps others from them."""
    reference, *asked = args.rest
    client = Client()
    found = client.container(reference).attributes["NetworkSettings"]
    ports = {name: places for name, places in found["Ports"].items() if places}
    if asked:
        name = asked[0] if "/" in asked[0] else f"{asked[0]}/tcp"
        if name not in ports:
            raise NotFound(f"no public port {name!r} published for {reference}")
        ports = {name: ports[name]}
    if args["format"] == "json":
        as_json(ports)
    else:
        lines = [(name, _place(one)) for name, places in ports.items() for one in places]
        if asked:
            for _, place in lines:
                out(place)
        else:
            rows(("PORT", "PUBLISHED AT"), lines)
    if ports:
        for one in client.blocks():
            if "in" in one["Ways"] and one["Network"] in found["Networks"]:
                note(f"stockade: {one['Sentence']}\n\nhint: {one['Command']}")
    return 0


def _place(one: dict[str, str]) -> str:
    address = one["HostIp"]
    return f"[{address}]:{one['HostPort']}" if ":" in address else f"{address}:{one['HostPort']}"


COMMANDS = {
    "network create": Command(
        name="network create",
        summary="make a network whose containers reach one another by name",
        operands="NAME",
        run=create,
        least=1,
        most=1,
        options=(
            Option("--subnet", "its addresses, as 10.5.0.0/24; one a family", "", "SUBNET", many=True),
            Option("--gateway", "the host's own address in it", "", "ADDRESS", many=True),
            Option("--ip-range", "the part of the subnet that is given out", "", "SUBNET", many=True),
            Option("--aux-address", "an address that is somebody else's", "", "NAME=ADDRESS", many=True),
            Option("--ipv6", "with IPv6"),
            Option("--ipv4", "with IPv4, unless --ipv4=false", default=True),
            Option("--internal", "let nothing in or out"),
            Option("--attachable", "for tools that ask: containers may join each network here"),
            Option("--driver", "bridge: there is no other", "-d", "DRIVER", default="bridge"),
            Option("--ipam-driver", "default: there is no other", "", "DRIVER", default="default"),
            Option("--ipam-opt", "an option of that driver: it has none", "", "NAME=VALUE", many=True),
            Option("--opt", "as com.docker.network.driver.mtu=1400", "-o", "NAME=VALUE", many=True),
            Option("--label", "mark it", "-l", "NAME=VALUE", many=True),
        ),
        examples=(("stockade network create --ipv6 shop", "containers in it find one another by name"),),
    ),
    "network ls": Command(
        name="network ls",
        summary="list networks",
        operands="",
        run=listing,
        options=(
            FILTER,
            FORMAT,
            Option("--quiet", "ids only", "-q"),
            Option("--no-trunc", "whole ids"),
        ),
        examples=(("stockade network ls --filter label=shop", "the networks with that label"),),
    ),
    "network inspect": Command(
        name="network inspect",
        summary="show everything of networks",
        operands="NETWORK…",
        run=inspect,
        least=1,
        most=None,
        options=(SHOWN, Option("--verbose", "for Docker's swarms: as much as without it", "-v")),
        examples=(("stockade network inspect --format '{{json .Containers}}' shop", "who is in it, and where"),),
    ),
    "network rm": Command(
        name="network rm",
        summary="remove networks",
        operands="NETWORK…",
        run=remove,
        least=1,
        most=None,
        options=(Option("--force", "one that is not there is no error", "-f"),),
        examples=(("stockade network rm shop", "remove it, when no running container has it"),),
    ),
    "network prune": Command(
        name="network prune",
        summary="remove the networks that no running container has",
        operands="",
        run=prune,
        options=(Option("--force", "do not ask", "-f"), FILTER),
        examples=(("stockade network prune -f --filter until=24h", "those that are older than a day"),),
    ),
    "network connect": Command(
        name="network connect",
        summary="connect a container to a network, also while it runs",
        operands="NETWORK CONTAINER",
        run=connect,
        least=2,
        most=2,
        options=(
            Option("--alias", "one more name that it has there", "", "NAME", many=True),
            Option("--link", "a name that another container has for it", "", "CONTAINER:NAME", many=True),
            Option("--ip", "its IPv4 address", "", "ADDRESS"),
            Option("--ip6", "its IPv6 address", "", "ADDRESS"),
            Option("--link-local-ip", "one more address, of the cable alone", "", "ADDRESS", many=True),
            Option("--driver-opt", "as com.docker.network.endpoint.ifname=shop0", "", "NAME=VALUE", many=True),
            Option("--gw-priority", "the network with the highest has the default route", "", "NUMBER", int, 0),
        ),
        examples=(("stockade network connect --alias db shop store", "the container store is db in the network shop"),),
    ),
    "network disconnect": Command(
        name="network disconnect",
        summary="disconnect a container from a network, also while it runs",
        operands="NETWORK CONTAINER",
        run=disconnect,
        least=2,
        most=2,
        options=(Option("--force", "one that is not connected is no error", "-f"),),
        examples=(("stockade network disconnect shop store", "also while it runs"),),
    ),
    "port": Command(
        name="port",
        summary="show where a container's ports are published, and what of the host's keeps others from them",
        operands="CONTAINER [PORT[/PROTOCOL]]",
        run=port,
        least=1,
        most=2,
        completes="container",
        options=(PLAIN,),
        examples=(("stockade port web 80", "where its port 80 is reached"),),
    ),
}
