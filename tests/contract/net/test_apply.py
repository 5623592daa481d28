"""`stockade-net apply` and `routes`: what stands afterwards, twice the same, and nothing when it fails."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from contract.net.harness import Host, attach, bridge, port
from support import programs
from support.netns import Netns

pytestmark = pytest.mark.root
Boxes = Callable[[], Netns]


def address(ns: Netns, device: str) -> dict[str, Any]:
    [found] = json.loads(ns.run(["ip", "-j", "address", "show", "dev", device]))
    return dict(found)


def addresses(ns: Netns, device: str) -> set[str]:
    return {f"{one['local']}/{one['prefixlen']}" for one in address(ns, device)["addr_info"] if one["scope"] != "link"}


def setting(ns: Netns, name: str) -> str:
    return ns.run(["cat", f"/proc/sys/net/{name}"]).strip()


def default(ns: Netns, family: str = "-4") -> list[tuple[str, str]]:
    found = json.loads(ns.run(["ip", "-j", family, "route", "show", "default"]))
    return [(one["gateway"], one["dev"]) for one in found]


def test_a_container_on_a_network(host: Host, boxes: Boxes) -> None:
    box = boxes()
    for _ in range(2):
        host.apply(bridge(forward4=True, forward6=True, mtu=1400), attach(box))
    assert addresses(host.ns, "br-1") == {"172.30.0.1/16", "fd30::1/64"}
    assert addresses(box, "eth0") == {"172.30.0.2/16", "fd30::2/64"}
    inside = address(box, "eth0")
    assert inside["address"] == "02:42:ac:1e:00:02"
    assert inside["mtu"] == 1400
    assert not any(one.get("tentative") for one in (*inside["addr_info"], *address(host.ns, "br-1")["addr_info"]))
    assert default(box) == [("172.30.0.1", "eth0")]
    assert default(box, "-6") == [("fd30::1", "eth0")]
    assert setting(host.ns, "ipv4/ip_forward") == setting(host.ns, "ipv4/conf/br-1/route_localnet") == "1"
    assert setting(host.ns, "ipv6/conf/all/forwarding") == "1"
    assert setting(host.ns, "ipv6/conf/br-1/accept_ra") == setting(box, "ipv6/conf/eth0/accept_ra") == "0"
    for gateway in ("172.30.0.1", "fd30::1"):
        with pytest.raises(ConnectionRefusedError):
            box.connect(gateway, 1)


def test_without_ipv6_there_is_none(host: Host, boxes: Boxes) -> None:
    box = boxes()
    host.apply(bridge("br-1", "172.30.0.1/16"), attach(box, addresses=["172.30.0.2/16"], gateway6=None))
    assert addresses(box, "eth0") == {"172.30.0.2/16"}
    assert setting(box, "ipv6/conf/eth0/disable_ipv6") == "1"


def test_a_bridge_keeps_its_address_when_containers_come_and_go(host: Host, boxes: Boxes) -> None:
    host.apply(bridge())
    before = address(host.ns, "br-1")["address"]
    host.apply(attach(boxes(), 2, mac="02:00:00:00:00:01"))
    host.apply({"detach": {"host": "veth0000000002"}}, {"detach": {"host": "veth0000000002"}})
    assert address(host.ns, "br-1")["address"] == before
    assert "veth0000000002" not in host.links()
    host.apply({"remove_bridge": {"name": "br-1"}}, {"remove_bridge": {"name": "br-1"}})
    assert host.links() == {"lo"}


def test_forwarding_leaves_a_host_its_routers(host: Host) -> None:
    host.ns.run(["ip", "link", "add", "up0", "type", "veth"])
    host.apply(bridge(forward6=True))
    assert setting(host.ns, "ipv6/conf/up0/accept_ra") == "2"


def test_a_name_that_is_used_again_before_the_old_end_is_gone(host: Host, boxes: Boxes) -> None:
    old, new = boxes(), boxes()
    host.apply(bridge(), attach(old), attach(new))
    assert addresses(new, "eth0") == {"172.30.0.2/16", "fd30::2/64"}
    assert "eth0" not in old.run(["ip", "link"])


def test_an_end_that_is_cut_off_is_neither_heard_nor_spoken_to(host: Host, boxes: Boxes) -> None:
    """Its addresses are another's at once, though the old device is there still and says the same."""
    old, new = boxes(), boxes()
    host.apply(bridge(), attach(old, 2))
    with pytest.raises(ConnectionRefusedError):
        host.ns.connect("172.30.0.2", 1)
    host.apply({"cut": {"host": "veth0000000002"}}, {"cut": {"host": "veth0000000002"}})
    assert "veth0000000002" in host.links()
    with pytest.raises(OSError, match=r"timed out|No route"):
        old.connect("172.30.0.1", 1, timeout=1)
    taken = attach(new, 2)
    host.apply({"attach": {**taken["attach"], "host": "veth00000000aa"}})
    with new.socket() as listener:
        listener.bind(("172.30.0.2", 7))
        listener.listen()
        host.ns.connect("172.30.0.2", 7).close()
    host.apply({"cut": {"host": "veth00000000bb"}})


def test_ends_that_nobody_knows_are_swept(host: Host, boxes: Boxes) -> None:
    host.apply(bridge(), bridge("br-2", "172.31.0.1/16"), *(attach(boxes(), number) for number in (2, 3)))
    host.apply(attach(boxes(), 4, master="br-2", addresses=["172.31.0.4/16"], gateway4=None, gateway6=None))
    host.ns.run(["ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth00000000cc"])
    host.ns.run(["ip", "link", "set", "veth0", "master", "br-1"])
    host.apply({"sweep": {"bridges": ["br-1", "br-none"], "keep": ["veth0000000002"]}})
    # What hangs on another bridge, is called otherwise or hangs on none is somebody's.
    assert host.links() == {"lo", "br-1", "br-2", "veth0000000002", "veth0000000004", "veth0", "veth00000000cc"}


def test_isolated_ends_reach_the_host_alone(host: Host, boxes: Boxes) -> None:
    one, two = boxes(), boxes()
    host.apply(bridge(), attach(one, 2, isolated=True), attach(two, 3, isolated=True))
    with pytest.raises(ConnectionRefusedError):
        one.connect("172.30.0.1", 1)
    with pytest.raises(OSError, match=r"timed out|No route") as found:
        one.connect("172.30.0.3", 1, timeout=1)
    assert not isinstance(found.value, ConnectionRefusedError)


def test_gateways_move_between_devices_and_come_back(host: Host, boxes: Boxes) -> None:
    box = boxes()
    second = {"host": "veth0000000003", "name": "eth1", "addresses": ["172.31.0.2/16"], "master": "br-2"}
    host.apply(
        bridge(),
        bridge("br-2", "172.31.0.1/16"),
        attach(box),
        attach(box, 3, **second, gateway4=None, gateway6=None),
    )
    assert default(box) == [("172.30.0.1", "eth0")]
    host.apply({"gateway": {"netns": box.path, "name": "eth1", "gateway4": "172.31.0.1", "gateway6": None}})
    assert default(box) == [("172.31.0.1", "eth1")]
    # What another device's default route is stays.
    host.apply({"gateway": {"netns": box.path, "name": "eth0", "gateway4": None, "gateway6": None}})
    assert default(box) == [("172.31.0.1", "eth1")]
    assert default(box, "-6") == []
    code, answer, _ = host.call(
        [{"gateway": {"netns": box.path, "name": "eth0", "gateway4": "172.30.0.1"}}, {"detach": {"host": "lo"}}]
    )
    assert (code, answer["failed"]["undone"]) == (1, True)
    assert default(box) == [("172.31.0.1", "eth1")]
    host.apply({"gateway": {"netns": box.path, "name": "eth1"}})
    assert default(box) == []


def test_ports_are_elements(host: Host) -> None:
    host.table()
    ports = [
        port(80, "172.30.0.2"),
        port(80, "172.30.0.2", protocol="udp"),
        port(81, "172.30.0.2", 8081, "127.0.0.1"),
        port(82, "fd30::2", 8082),
        port(83, "fd30::2", 8083, "fd30::1", "sctp"),
        port(84, "172.30.0.2", 84, "::"),
    ]
    for _ in range(2):
        host.apply({"publish": ports})
    assert host.elements("ports4") == ["tcp 80 : 172.30.0.2 80", "udp 80 : 172.30.0.2 80"]
    assert host.elements("bound4") == ["127.0.0.1 tcp 81 : 172.30.0.2 8081"]
    assert host.elements("ports6") == ["tcp 82 : fd30::2 8082"]
    assert host.elements("bound6") == ["fd30::1 sctp 83 : fd30::2 8083"]
    # One that leads elsewhere by now is somebody else's.
    host.apply({"unpublish": [port(80, "172.30.0.3"), *ports[1:]]})
    assert host.elements("ports4") == ["tcp 80 : 172.30.0.2 80"]
    assert host.elements("bound4") == host.elements("ports6") == host.elements("bound6") == []
    host.apply({"unpublish": ports})
    assert host.elements("ports4") == []


def test_a_thousand_ports_all_or_none(host: Host) -> None:
    host.table()
    ports = [port(number, "172.30.0.2") for number in range(1, 1001)]
    host.apply({"publish": [port(1000, "172.30.0.9")]})
    code, answer, said = host.call([{"publish": ports}])
    assert (code, said) == (1, "stockade-net: port 1000/tcp is published to another container")
    assert answer == {"done": 0, "failed": {"operation": 0, "errno": 17, "undone": True}}
    assert host.elements("ports4") == ["tcp 1000 : 172.30.0.9 80"]
    host.apply({"unpublish": [port(1000, "172.30.0.9")]}, {"publish": ports}, {"publish": ports})
    assert len(host.elements("ports4")) == 1000
    host.apply({"unpublish": ports})
    assert host.elements("ports4") == []


def test_what_a_call_did_is_undone_and_what_was_there_stays(host: Host, boxes: Boxes) -> None:
    host.table()
    box = boxes()
    host.apply(bridge("br-1", "172.30.0.1/16"), {"publish": [port(1, "172.30.0.2")]})
    nowhere = {"attach": {**attach(box, 3)["attach"], "master": "br-none"}}
    wanted = [
        bridge(),
        bridge("br-2", "172.31.0.1/16"),
        attach(box),
        {"publish": [port(1, "172.30.0.2"), port(2, "172.30.0.2")]},
        nowhere,
    ]
    code, answer, said = host.call(wanted)
    assert (code, said) == (1, "stockade-net: there is no device br-none")
    assert answer == {"done": 0, "failed": {"operation": 4, "errno": 2, "undone": True}}
    assert host.links() == {"lo", "br-1"}
    assert addresses(host.ns, "br-1") == {"172.30.0.1/16"}
    assert host.elements("ports4") == ["tcp 1 : 172.30.0.2 80"]


def test_what_is_somebody_elses_is_refused(host: Host, boxes: Boxes) -> None:
    host.ns.run(["ip", "link", "add", "own0", "type", "veth"])
    box = boxes()
    box.run(["ip", "link", "add", "eth0", "type", "bridge"])
    host.apply(bridge())
    cases = [
        (bridge("own0"), 'the device own0 is of the kind "veth", not a bridge'),
        ({"remove_bridge": {"name": "own0"}}, 'the device own0 is of the kind "veth", not a bridge'),
        ({"detach": {"host": "br-1"}}, 'the device br-1 is of the kind "bridge", not a veth'),
        (attach(box), f'a device eth0 exists in "{box.path}" already'),
        (attach(box, netns="/etc/passwd"), 'enter the network namespace "/etc/passwd": Invalid argument (os error 22)'),
        (attach(box, netns=host.ns.path), f'"{host.ns.path}" is the host\'s own network namespace'),
        (attach(box, gateway4="fd30::1"), "fd30::1 is no IPv4 address: it cannot be gateway4"),
        ({"publish": [port(1, "172.30.0.2")]}, "publish port 1/tcp: the table inet stockade has no map for it"),
    ]
    for operation, sentence in cases:
        code, answer, said = host.call([operation])
        assert (code, said) == (1, f"stockade-net: {sentence}")
        assert answer["failed"]["undone"] is True
    # Nothing to take away is taken away.
    host.apply({"unpublish": [port(1, "172.30.0.2")]})
    assert {"lo", "own0", "br-1"} <= host.links()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"do":[{}]}', '{"do":[{"frob":{}}]}', '{"do":[],"x":1}'])
def test_what_is_no_request_is_wrong_usage(text: str) -> None:
    done = subprocess.run(
        [programs.program("stockade-net"), "apply"], input=text, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("stockade-net: the request is not one: ")


def test_where_the_hosts_networks_are(host: Host) -> None:
    host.ns.run(["ip", "link", "add", "up0", "type", "veth"])
    host.ns.run(["ip", "address", "add", "10.1.2.3/24", "dev", "up0"])
    host.ns.run(["ip", "link", "set", "up0", "up"])
    host.ns.run(["ip", "route", "add", "default", "via", "10.1.2.1"])
    host.ns.run(["ip", "route", "add", "10.9.0.0/16", "via", "10.1.2.1", "table", "77"])
    host.ns.run(["ip", "route", "add", "blackhole", "10.8.0.0/16"])
    host.ns.run(["ip", "-6", "route", "add", "fd99::/48", "dev", "up0"])
    found = json.loads(host.ns.run([str(programs.program("stockade-net")), "routes"]))
    assert {"10.1.2.0/24", "10.8.0.0/16", "10.9.0.0/16", "fd99::/48"} <= set(found["routes"])
    assert not {"0.0.0.0/0", "::/0", "127.0.0.0/8"} & set(found["routes"])
    assert {"10.1.2.3/24", "127.0.0.1/8", "::1/128"} <= set(found["addresses"])
