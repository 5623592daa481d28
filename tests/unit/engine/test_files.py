"""hosts and resolv.conf of a container that has networks."""

from __future__ import annotations

import pytest

from stockade.engine import files
from stockade.engine.files import Hosts, Placed
from stockade.engine.records import Namespaces, Wanted
from stockade.errors import Unsupported
from stockade.networks.values import EndpointWanted

NAMED = Placed(("172.18.0.2", "fd00::2"), "172.18.0.1", ("172.18.0.1", "172.19.0.1"), "172.18.0.1")
DEFAULT = Placed(("172.17.0.2",), "172.17.0.1", (), "172.17.0.1", (("172.17.0.3", ("db", "store")),))


def wanted(**fields: object) -> Wanted:
    usual = {"networks": (EndpointWanted("n"),), "namespaces": Namespaces(network="n")}
    return Wanted("ab" * 32, "n", 1, "i", "", **{**usual, **fields})  # type: ignore[arg-type]


def texts(place: Placed, resolv: str = "", **fields: object) -> dict[str, str]:
    return files.texts(wanted(**fields), "me", Hosts("", resolv), place)


def test_a_network_with_names_has_its_resolver() -> None:
    found = texts(NAMED, "nameserver 127.0.0.53\nsearch lan\noptions edns0\n", dns=("9.9.9.9",), dns_search=("x",))
    assert found["resolv.conf"] == "nameserver 172.18.0.1\nnameserver 172.19.0.1\noptions edns0\nsearch x\n"
    assert texts(NAMED)["resolv.conf"].endswith("options ndots:0\n")


@pytest.mark.parametrize(
    ("resolv", "found"),
    [
        ("nameserver 1.1.1.1\nnameserver 127.0.0.53\n", "nameserver 1.1.1.1\n"),
        ("nameserver 127.0.0.53\nsearch lan\n", "nameserver 172.17.0.1\nsearch lan\n"),
        ("nameserver ::1\nnameserver 2001:db8::1\n", "nameserver 172.17.0.1\n"),
        ("nameserver fe80::1%eth0\nnameserver odd\n", "nameserver 172.17.0.1\n"),
        ("", "nameserver 172.17.0.1\n"),
    ],
)
def test_the_default_network_has_the_hosts_resolvers_as_far_as_they_are_reached(resolv: str, found: str) -> None:
    assert texts(DEFAULT, resolv)["resolv.conf"] == found


def test_who_is_in_hosts() -> None:
    found = texts(DEFAULT, extra_hosts=("host:host-gateway", "six:[fd00::9]"), domainname="lan")["hosts"]
    for line in ("172.17.0.3\tdb store", "172.17.0.1\thost", "fd00::9\tsix", "172.17.0.2\tme.lan me"):
        assert f"{line}\n" in found


def test_the_hosts_gateway_where_there_is_none() -> None:
    assert "host" not in texts(files.NOWHERE, extra_hosts=("gate:host-gateway",))["hosts"].replace("localhost", "")
    with pytest.raises(Unsupported, match="needs a network with a gateway"):
        texts(Placed(("10.0.0.2",)), extra_hosts=("gate:host-gateway",))
    with pytest.raises(Unsupported):
        texts(files.NOWHERE, extra_hosts=("gate:host-gateway",), networks=())
