"""Subnets and addresses: nobody else's, and free."""

from __future__ import annotations

import pytest

from stockade.errors import BadValue, Conflict
from stockade.networks import pools
from stockade.networks.values import Pool


@pytest.mark.parametrize(
    ("used", "found"),
    [
        ((), "172.17.0.0/16"),
        (("172.17.0.0/16",), "172.18.0.0/16"),
        (("172.16.0.0/12",), "192.168.0.0/20"),
        (("172.17.3.0/24", "172.18.0.1/32", "fd00::/8"), "172.19.0.0/16"),
        (("0.0.0.0/0",), "172.17.0.0/16"),
        (("172.16.0.0/12", "192.168.1.0/24"), "192.168.16.0/20"),
        (("172.17.0.1/16",), "172.18.0.0/16"),
    ],
)
def test_the_first_subnet_that_nobody_uses(used: tuple[str, ...], found: str) -> None:
    assert pools.default4(used) == found


def test_when_none_is_left() -> None:
    with pytest.raises(Conflict, match="fully subnetted"):
        pools.default4(["172.16.0.0/12", "192.168.0.0/16"])


def test_the_machines_own_ipv6_prefix() -> None:
    first = pools.default6("m", ())
    assert first.startswith("fd")
    assert first == pools.default6("m", ())
    assert first != pools.default6("n", ())
    assert pools.default6("m", (first,)) not in ("", first)


def test_a_pool_as_it_is_asked_for() -> None:
    assert pools.pool("10.0.0.0/24", "", "", {}) == Pool("10.0.0.0/24", "10.0.0.1")
    assert pools.pool("10.0.0.0/24", "10.0.0.9", "10.0.0.128/25", {"a": "10.0.0.2"}) == Pool(
        "10.0.0.0/24", "10.0.0.9", "10.0.0.128/25", {"a": "10.0.0.2"}
    )
    assert pools.pool("fd00::/64", "", "", {}).gateway == "fd00::1"
    six = pools.pool("fd00::/64", "FD00::9", "", {"a": "fd00:0::2"})
    assert (six.gateway, six.auxiliary) == ("fd00::9", {"a": "fd00::2"})
    assert pools.free(six, ()) == "fd00::1"
    assert pools.free(six, ("fd00::1",)) == "fd00::3"


@pytest.mark.parametrize(
    ("subnet", "gateway", "ip_range", "auxiliary"),
    [
        ("10.0.0.0", "", "", {}),
        ("x/24", "", "", {}),
        ("10.0.0.7/24", "", "", {}),
        ("10.0.0.0/24", "10.1.0.1", "", {}),
        ("10.0.0.0/24", "fd00::1", "", {}),
        ("10.0.0.0/24", "", "10.1.0.0/25", {}),
        ("10.0.0.0/24", "", "", {"a": "10.1.0.1"}),
        ("10.0.0.0/31", "", "", {}),
        ("10.0.0.0/24", "10.0.0.0", "", {}),
        ("10.0.0.0/24", "10.0.0.255", "", {}),
        ("fd00::/64", "fd00::", "", {}),
        ("0.0.0.0/0", "", "", {}),
        ("127.5.0.0/16", "", "", {}),
        ("224.0.0.0/8", "", "", {}),
        ("::/0", "", "", {}),
        ("::1/64", "", "", {}),
        ("ff02::/64", "", "", {}),
    ],
)
def test_what_means_nothing(subnet: str, gateway: str, ip_range: str, auxiliary: dict[str, str]) -> None:
    with pytest.raises(BadValue):
        pools.pool(subnet, gateway, ip_range, auxiliary)


def test_free_addresses() -> None:
    of = Pool("10.0.0.0/29", "10.0.0.1", "", {"printer": "10.0.0.2"})
    assert pools.free(of, ()) == "10.0.0.3"
    taken = {"10.0.0.3", "10.0.0.4", "10.0.0.5"}
    assert pools.free(of, taken) == "10.0.0.6"
    with pytest.raises(Conflict, match="no available IPv4 addresses"):
        pools.free(of, taken | {"10.0.0.6"})
    for asked in ("10.0.0.3", "10.0.0.1", "10.0.0.2", "10.0.0.0", "10.0.0.7"):
        with pytest.raises(Conflict, match="Address already in use"):
            pools.free(of, taken, asked)
    with pytest.raises(BadValue, match="not within the subnet"):
        pools.free(of, taken, "10.0.1.3")
    assert pools.free(Pool("10.0.0.0/16", "10.0.0.1", "10.0.5.0/24"), ()) == "10.0.5.0"
    assert pools.free(Pool("fd00::/64", "fd00::1"), {"fd00::2"}) == "fd00::3"


@pytest.mark.parametrize(
    ("of", "taken", "found"),
    [
        (Pool("172.17.0.0/16", "172.17.0.1"), (), (3, 65533)),
        (Pool("172.17.0.0/16", "172.17.0.1"), ("172.17.0.2", "172.17.0.3"), (5, 65531)),
        (Pool("10.0.0.0/24", "10.0.0.1", "10.0.0.128/25", {"printer": "10.0.0.130"}), ("10.0.0.9",), (5, 126)),
        (Pool("fd00::/96", "fd00::1"), ("fd00::2", "10.0.0.9"), (3, (1 << 32) - 3)),
        (Pool("fd00::/48", "fd00::1"), (), (2, (1 << 64) - 1)),
    ],
)
def test_how_many_are_in_use(of: Pool, taken: tuple[str, ...], found: tuple[int, int]) -> None:
    assert pools.usage(of, taken) == found


def test_a_bridge_has_an_end() -> None:
    taken = {f"10.0.{number // 256}.{number % 256}" for number in range(2, 1002)}
    with pytest.raises(Conflict, match="1000 ends"):
        pools.free(Pool("10.0.0.0/16", "10.0.0.1"), taken)


def test_overlaps_of_our_own() -> None:
    pools.refuse_overlap("10.0.0.0/24", [("a", "10.0.1.0/24"), ("b", "fd00::/64")])
    with pytest.raises(Conflict, match="Pool overlaps"):
        pools.refuse_overlap("10.0.0.0/16", [("a", "10.0.1.0/24")])


def test_a_mac_address_is_an_addresses_own() -> None:
    assert pools.mac_of("172.17.0.2") == "02:42:ac:11:00:02"
    assert pools.mac_of("fd00::2") == pools.mac_of("fd00::2") != pools.mac_of("fd00::3")
