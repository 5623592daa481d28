"""Where a request connects a container, and which ports it publishes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stockade.docker_api import ends, fields
from stockade.errors import BadValue
from stockade.networks.options import of_end
from stockade.networks.values import EndpointWanted, PortBinding

KNOWN = {"bridge": "bridge", "n": "n", "abc123": "n", "m": "m"}

IFNAME = "com.docker.network.endpoint.ifname"
SYSCTLS = "com.docker.network.endpoint.sysctls"


def named(reference: str) -> str:
    return KNOWN.get(reference, reference)


def made(mode: str, settings: dict[str, Any] | None = None, **more: Any) -> tuple[EndpointWanted, ...]:
    host = more.pop("HostConfig", {})
    body = {"Image": "box", "HostConfig": host, "NetworkingConfig": {"EndpointsConfig": settings or {}}, **more}
    create = fields.decode(msgspec.json.encode(body), fields.Create)
    return ends.endpoints(create, create.host_config or fields.HostConfig(), mode, named)


def ports(bindings: dict[str, Any]) -> tuple[PortBinding, ...]:
    return ends.ports(fields.decode(msgspec.json.encode({"PortBindings": bindings}), fields.HostConfig))


def test_the_network_of_the_mode_comes_first() -> None:
    assert [one.network for one in made("n", {"m": {}, "n": None})] == ["n", "m"]
    assert [one.network for one in made("bridge", {"default": {}})] == ["bridge"]
    assert [one.network for one in made("abc123", {"abc123": {"GwPriority": 2}})] == ["n"]


def test_every_setting_of_an_end() -> None:
    settings = {
        "n": {
            "IPAMConfig": {"IPv4Address": "10.0.0.5", "IPv6Address": "fd00::5"},
            "Links": ["db:data"],
            "Aliases": ["a", "b", "a"],
            "MacAddress": "02:42:AA:00:00:01",
            "GwPriority": 7,
            "NetworkID": "old",
            "IPAddress": "1.2.3.4",
            "DNSNames": ["x"],
        }
    }
    assert made("n", settings) == (
        EndpointWanted("n", ("a", "b"), ("db:data",), "10.0.0.5", "fd00::5", "02:42:aa:00:00:01", {}, 7),
    )


def test_names_and_settings_of_an_interface() -> None:
    options = {IFNAME: "lan0", SYSCTLS: "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.neigh.IFNAME.gc_stale_time=9"}
    [end] = made("n", {"n": {"DriverOpts": options, "IPAMConfig": {"LinkLocalIPs": ["169.254.1.1", "FE80::1"]}}})
    assert (end.driver_options, end.link_local) == (options, ("169.254.1.1", "fe80::1"))
    assert of_end(options).interface == "lan0"
    assert of_end(options).sysctls[1] == ("ipv4", "neigh", "gc_stale_time", "9")


def test_the_older_fields() -> None:
    [end] = made("bridge", MacAddress="02:42:ac:11:00:09", HostConfig={"Links": ["/web:/name/w", "db"]})
    assert (end.mac, end.links) == ("02:42:ac:11:00:09", ("web:w", "db:db"))


@pytest.mark.parametrize(
    ("mode", "settings", "more", "words"),
    [
        ("none", {"n": {}}, {}, "cannot be connected to network n"),
        ("host", {}, {"HostConfig": {"Links": ["a:b"]}}, "can't be used with links"),
        ("container:x", {}, {"HostConfig": {"PublishAllPorts": True}}, "port publishing and the container type"),
        ("n", {"n": {"MacAddress": "01:00:5e:00:00:01"}}, {}, "invalid MAC address"),
        ("n", {"n": {"Aliases": ["a b"]}}, {}, "invalid network alias"),
        ("n", {"n": {"IPAMConfig": {"IPv4Address": "fd00::1"}}}, {}, "invalid IPv4 address"),
        ("n", {"n": {"IPAMConfig": {"LinkLocalIPs": ["172.17.0.5"]}}}, {}, "invalid link-local IP address"),
        ("n", {"n": {"IPAMConfig": {"LinkLocalIPs": ["fe80::1%eth0"]}}}, {}, "invalid link-local IP address"),
        ("none", {"none": {"IPAMConfig": {"LinkLocalIPs": ["169.254.1.1"]}}}, {}, "ipam_config means nothing"),
        ("n", {"n": {"DriverOpts": {"a": "b"}}}, {}, "the endpoint option a is not served"),
        ("n", {"n": {"DriverOpts": {IFNAME: "a/b"}}}, {}, "no name of an interface"),
        ("n", {"n": {"DriverOpts": {IFNAME: "lo"}}}, {}, "no name of an interface"),
        ("n", {"n": {"DriverOpts": {SYSCTLS: "net.ipv4.conf.eth0.log_martians=1"}}}, {}, "no setting of an interface"),
        ("n", {"n": {"DriverOpts": {SYSCTLS: "net.ipv4.conf.IFNAME.../x=1"}}}, {}, "no setting of an interface"),
        ("n", {"n": {"DriverOpts": {SYSCTLS: "net.ipv4.conf.IFNAME.x=1,,"}}}, {}, "no setting of an interface"),
        ("bridge", {"bridge": {"IPAMConfig": {"IPv4Address": "10.0.0.1"}}}, {}, "user defined networks"),
        ("bridge", {"bridge": {"Aliases": ["a"]}}, {}, "user defined"),
        ("n", {"n": {"Links": [":x"]}}, {}, "bad format for links"),
    ],
)
def test_what_has_no_sense_is_refused(mode: str, settings: dict[str, Any], more: dict[str, Any], words: str) -> None:
    with pytest.raises(BadValue, match=words):
        made(mode, settings, **more)


def test_a_network_that_is_not_there_yet() -> None:
    assert [one.network for one in made("later")] == ["later"]


def test_ports() -> None:
    assert ports({"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}) == (PortBinding(80, "tcp", "", 8080),)
    assert ports({"53/udp": [{"HostIp": "127.0.0.1"}]}) == (PortBinding(53, "udp", "127.0.0.1"),)
    assert ports({"80": None}) == (PortBinding(80),)
    assert ports({"80/tcp": [{"HostPort": "8000-8010"}]}) == (PortBinding(80, "tcp", "", 8000, 8010),)
    assert ports({"1-2/sctp": []}) == (PortBinding(1, "sctp"), PortBinding(2, "sctp"))


@pytest.mark.parametrize(
    "bindings",
    [{"0/tcp": []}, {"x/tcp": []}, {"80/icmp": []}, {"90-80": []}, {"80": [{"HostPort": "70000"}]},
     {"80": [{"HostIp": "localhost"}]}, {"80": [{"HostPort": "-1"}]}],
)  # fmt: skip
def test_ports_that_are_none(bindings: dict[str, Any]) -> None:
    with pytest.raises(BadValue):
        ports(bindings)
