"""What a container gets, what is taken by others, and the documents and table that are made of it."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from msgspec.structs import replace

from stockade.errors import BadValue, Conflict, NotFound, Refused
from stockade.networks import firewall, monitor, options, plan
from stockade.networks.ends import Ground, Wish, decide
from stockade.networks.ledger import FIRST, Ledger
from stockade.networks.values import Endpoint, EndpointWanted, Held, Network, Pool, PortBinding, Published

ONE = Network("1" * 64, "one", 1, "br-one", Pool("172.18.0.0/16", "172.18.0.1"), Pool("fd00:1::/64", "fd00:1::1"))
TWO = Network("2" * 64, "two", 2, "br-two", Pool("172.19.0.0/16", "172.19.0.1"))
INSIDE = Network("3" * 64, "inside", 3, "br-in", Pool("172.20.0.0/16", "172.20.0.1"), internal=True, between=False)
KNOWN = {one.name: one for one in (ONE, TWO, INSIDE)}


def ground(ledger: Ledger | None = None, busy: tuple[int, ...] = ()) -> Ground:
    return Ground(KNOWN, ledger or Ledger(), lambda protocol, host, number: number not in busy, True)


def ends(*names: str, ports: tuple[PortBinding, ...] = (), **more: Any) -> tuple[Endpoint, ...]:
    return decide(Wish("c", [EndpointWanted(name) for name in names], ports, **more), ground())


def test_addresses_and_interfaces() -> None:
    first, second = ends("two", "one")
    assert (first.interface, first.ipv4, first.gateway4, first.ipv6) == ("eth0", "172.19.0.2", "172.19.0.1", "")
    assert (second.interface, second.ipv4, second.ipv6) == ("eth1", "172.18.0.2", "fd00:1::2")
    assert second.mac == "02:42:ac:12:00:02"
    assert len(second.host_interface) <= 15
    assert ends("inside")[0].gateway4 == ""


def test_what_others_hold_is_taken() -> None:
    ledger = Ledger()
    held = ends("one")
    ledger.take("other", held)
    [next_one] = decide(Wish("c", [EndpointWanted("one")]), ground(ledger))
    assert (next_one.ipv4, next_one.ipv6) == ("172.18.0.3", "fd00:1::3")
    with pytest.raises(Conflict, match="in use"):
        decide(Wish("c", [EndpointWanted("one", ipv4="172.18.0.2")]), ground(ledger))
    ledger.give("other", held)
    ledger.give("other", held)
    assert decide(Wish("c", [EndpointWanted("one")]), ground(ledger))[0].ipv4 == "172.18.0.2"
    assert not ledger.in_use(ONE.id)


def test_what_is_given_back_is_the_lowest_again() -> None:
    ledger = Ledger()

    def given() -> tuple[Endpoint, ...]:
        found = decide(Wish("c", [EndpointWanted("one")]), ground(ledger))
        ledger.take("c", found)
        return found

    held = [given() for _ in range(5)]
    for number in (3, 1):
        ledger.give("c", held[number])
    again = [given()[0] for _ in range(3)]
    assert [one.ipv4 for one in again] == ["172.18.0.3", "172.18.0.5", "172.18.0.7"]
    assert [one.ipv6 for one in again] == ["fd00:1::3", "fd00:1::5", "fd00:1::7"]


def test_a_network_that_is_gone() -> None:
    with pytest.raises(NotFound, match="network none-such not found"):
        ends("none-such")
    with pytest.raises(Conflict, match="has no IPv6"):
        decide(Wish("c", [EndpointWanted("two", ipv6="fd00::9")]), ground())


def test_ports_are_at_the_end_that_leads_out() -> None:
    inside, two, one = ends("inside", "two", "one", ports=(PortBinding(80, host_port=8080),))
    assert (inside.published, two.published) == ((), ())
    assert one.published == (Published(80, "tcp", "0.0.0.0", 8080), Published(80, "tcp", "::", 8080))
    wanted = [EndpointWanted("one"), EndpointWanted("two", priority=1)]
    moved = decide(Wish("c", wanted, (PortBinding(80, host_port=8080),), (one, two)), ground())
    assert [len(end.published) for end in moved] == [0, 2]
    assert ends("inside", ports=(PortBinding(80),))[0].published == ()


def test_an_address_of_a_family_that_the_network_has_not() -> None:
    port = PortBinding(80, host_ip="fd99::1", host_port=80)
    with pytest.raises(Refused, match="80/tcp cannot be published at fd99::1: network two has no IPv6"):
        ends("two", ports=(port,))
    assert ends("one", ports=(port,))[0].published[0].host_ip == "fd99::1"
    for own in ("::1", "::"):
        assert ends("two", ports=(replace(port, host_ip=own),))[0].published != ()


def test_ports_that_are_taken() -> None:
    ledger = Ledger()
    publish = (PortBinding(80, host_port=8080),)
    ledger.take("other", decide(Wish("other", [EndpointWanted("one")], publish), ground(ledger)))
    for host in ("", "127.0.0.1", "::1"):
        with pytest.raises(Refused, match="8080 failed: port is already allocated"):
            decide(Wish("c", [EndpointWanted("one")], (PortBinding(1, "tcp", host, 8080),)), ground(ledger))
    decide(Wish("c", [EndpointWanted("one")], (PortBinding(80, "udp", "", 8080),)), ground(ledger))
    ranged = (PortBinding(80, host_port=8080, host_port_end=8081),)
    [end] = decide(Wish("c", [EndpointWanted("one")], ranged), ground(ledger))
    assert end.published[0].host_port == 8081
    with pytest.raises(Conflict, match="all ports are allocated"):
        decide(Wish("c", [EndpointWanted("one")], ranged), ground(ledger, busy=(8081,)))


def test_free_ports_are_not_taken_twice() -> None:
    ledger = Ledger()
    made = decide(Wish("c", [EndpointWanted("one")], (PortBinding(80), PortBinding(81))), ground(ledger, (FIRST,)))
    assert [one.host_port for one in made[0].published] == [FIRST + 1, FIRST + 1, FIRST + 2, FIRST + 2]
    ledger.take("c", made)
    again = decide(Wish("d", [EndpointWanted("one")], (PortBinding(80),)), ground(ledger))
    assert again[0].published[0].host_port == FIRST + 3


def test_the_network_says_where_ports_are_bound() -> None:
    known = {"one": replace(ONE, host_binding="127.0.0.1")}
    made = decide(
        Wish("c", [EndpointWanted("one")], (PortBinding(80, host_port=1),)), ground()._replace(networks=known)
    )
    assert made[0].published == (Published(80, "tcp", "127.0.0.1", 1),)


def held(*names: str, **more: Any) -> Held:
    wanted = tuple(EndpointWanted(name, aliases=("alias",), links=("db:data",)) for name in names)
    return Held("c" * 64, ("web", "c" * 12), ends(*names, **more), wanted)


def test_what_stockade_net_is_asked() -> None:
    one = held("two", "one", ports=(PortBinding(80, host_port=8080), PortBinding(53, "udp", "127.0.0.1", 53)))
    known = {network.id: network for network in KNOWN.values()}
    first, second, publish = plan.attach(one, known, "/proc/7/ns/net")
    # By name: one before two.
    assert (first["attach"]["gateway4"], first["attach"]["gateway6"]) == (None, None)
    assert (second["attach"]["gateway4"], second["attach"]["gateway6"]) == ("172.18.0.1", "fd00:1::1")
    assert second["attach"]["addresses"] == ["172.18.0.2/16", "fd00:1::2/64"]
    assert [(x["host_ip"], x["to"]) for x in publish["publish"]] == [
        ("", "172.18.0.2"), ("", "fd00:1::2"), ("127.0.0.1", "172.18.0.2"),
    ]  # fmt: skip
    gone = [*plan.published("unpublish", one.endpoints), *plan.remove_ends(x.host_interface for x in one.endpoints)]
    assert [next(iter(x)) for x in gone] == ["unpublish", "detach", "detach"]
    assert [next(iter(x)) for x in plan.cut(one.endpoints)] == ["unpublish", "cut", "cut"]
    assert [x["gateway"]["name"] for x in plan.reroute(one, "n")] == ["eth0", "eth1"]
    assert plan.bridge(INSIDE)["bridge"]["forward4"] is False
    assert plan.bridge(ONE)["bridge"]["addresses"] == ["172.18.0.1/16", "fd00:1::1/64"]


def test_what_the_resolver_reads() -> None:
    found = plan.endpoint_file(held("two", ports=(PortBinding(80, host_port=8080),)))
    [end] = found["ends"]
    assert end["names"] == ["web", "c" * 12, "alias"]
    # By IPv6 from the host's loopback alone, for the container has none.
    assert [(one["host_ip"], one["to"]) for one in end["ports"]] == [("0.0.0.0", "172.19.0.2"), ("::", "172.19.0.2")]
    assert found["links"] == {"data": "db"}
    assert plan.network_file(ONE)["listen"] == ["172.18.0.1", "fd00:1::1"]
    assert plan.upstreams("nameserver 127.0.0.53\nsearch a b\n\nnameserver\n") == {
        "servers": ["127.0.0.53"], "search": ["a", "b"],
    }  # fmt: skip


def test_the_table_has_every_port_once() -> None:
    found = firewall.elements([held("one", ports=(PortBinding(80, host_port=8080),)), held("one")])
    assert found == {
        "ports4": ["tcp . 8080 : 172.18.0.2 . 80"],
        "bound4": [],
        "ports6": ["tcp . 8080 : fd00:1::2 . 80"],
        "bound6": [],
    }
    text = firewall.render(KNOWN.values(), [held("one")])
    assert text.startswith("table inet stockade\ndelete table inet stockade\n")
    assert 'iifname "br-in" oifname != "br-in" drop' in text
    assert "priority -" not in text.replace("priority -100", "")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, {}),
        ({"com.docker.network.driver.mtu": "1400"}, {"mtu": 1400}),
        ({"com.docker.network.bridge.name": "lab0"}, {"bridge": "lab0"}),
        ({"com.docker.network.bridge.enable_icc": "false"}, {"between": False}),
        ({"com.docker.network.bridge.enable_ip_masquerade": "0"}, {"masquerade": False}),
        ({"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}, {"host_binding": "127.0.0.1"}),
        ({"com.docker.network.container_iface_prefix": "net"}, {"prefix": "net"}),
        ({"com.docker.network.bridge.gateway_mode_ipv4": "nat"}, {}),
    ],
)
def test_options_that_are_served(given: dict[str, str], found: dict[str, Any]) -> None:
    assert options.settings(given) == found


@pytest.mark.parametrize(
    "given",
    [
        {"com.docker.network.driver.mtu": "9"},
        {"com.docker.network.bridge.name": "a/b"},
        {"com.docker.network.bridge.name": "far-too-long-a-name"},
        {"com.docker.network.bridge.enable_icc": "maybe"},
        {"com.docker.network.bridge.gateway_mode_ipv4": "routed"},
        {"com.docker.network.bridge.inhibit_ipv4": "true"},
        {"com.docker.network.windowsshim.x": "1"},
        {"parent": "eth0"},
    ],
)
def test_options_that_are_refused_by_name(given: dict[str, str]) -> None:
    with pytest.raises(BadValue, match=next(iter(given)) if "name" not in next(iter(given)) else "bridge name"):
        options.settings(given)


def message(kind: int, table: str) -> bytes:
    name = table.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(name), 1) + name
    attribute += b"\0" * (-len(attribute) % 4)
    body = bytes(4) + attribute
    return struct.pack("=IHHII", 16 + len(body), 10 << 8 | kind, 0, 0, 0) + body


def test_what_happens_to_our_table_is_seen() -> None:
    text = (
        message(2, "stockade")
        + message(2, "other")
        + message(0, "stockade")
        + message(15, "x")
        + message(8, "stockade")
    )
    assert list(monitor.ours(text)) == [2, 0, 8]
    assert list(monitor.ours(text[:-3] + b"")) != []
    assert list(monitor.ours(b"\1\0\0\0" * 4)) == []
