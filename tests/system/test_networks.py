"""Networks through the unmodified docker CLI: reach, names, ports, walls between, and what stays when things die."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support import api, reach
from support import place as places
from support.api import must
from support.daemon import IMAGE, Daemon, daemon, stocked
from support.netns import Netns, netns
from support.patience import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

# Says the address of whoever asks.
WHO = (
    r'mkdir -p /w/cgi-bin; printf "#!/bin/sh\necho\necho \$REMOTE_ADDR\n" > /w/cgi-bin/who; chmod +x /w/cgi-bin/who;'
    " exec busybox httpd -f -h /w -p 80"
)


@pytest.fixture(scope="module", name="docker")
def _docker() -> Iterator[Daemon]:
    with stocked() as made:
        # The default network is decided when it is first asked for: 172.17.0.0/16, and the next one is 172.18.
        made.said("network", "inspect", "bridge")
        yield made


@pytest.fixture(scope="module", name="outside")
def _outside(docker: Daemon) -> Iterator[Netns]:
    """A machine beside the daemon's: 10.99.0.2 and fd99::2; the daemon's is .1."""
    assert docker.ns is not None
    with netns() as made:
        docker.ns.link(made, ["10.99.0.1/24", "fd99::1/64"], ["10.99.0.2/24", "fd99::2/64"])
        yield made


@pytest.fixture(autouse=True)
def _nothing_left(docker: Daemon) -> Iterator[None]:
    yield
    docker.clear()
    docker.docker("network", "prune", "-f")
    assert_clean(docker)


def assert_clean(docker: Daemon) -> None:
    """No cable, soon, and no element, no file of an end."""
    ns = docker.ns
    assert ns is not None
    eventually(lambda: "veth" not in ns.run(["ip", "-br", "link"]))
    for name in ("ports4", "ports6", "bound4", "bound6"):
        assert "elements" not in ns.run(["nft", "list", "map", "inet", "stockade", name], check=False)
    directory = docker.place.run / "net/endpoints"
    assert not directory.exists() or list(directory.iterdir()) == []


def server(docker: Daemon, name: str, *words: str) -> str:
    identity = docker.run("--name", name, *words, IMAGE, "sh", "-c", WHO)
    eventually(lambda: inside(docker, name, "busybox", "wget", "-qO-", "http://127.0.0.1/cgi-bin/who"))
    return identity


def inside(docker: Daemon, name: str, *words: str) -> str:
    """What a command in a container says; empty when it fails."""
    done = docker.docker("exec", name, *words, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def ask(docker: Daemon, name: str, where: str) -> str:
    """Whom a server sees when it is asked from within a container; empty: nobody answers."""
    return plain(
        inside(docker, name, "busybox", "timeout", "3", "busybox", "wget", "-qO-", f"http://{where}/cgi-bin/who")
    )


def plain(text: str) -> str:
    """An address as a server that listens on both families says it."""
    return text.strip("[]").removeprefix("::ffff:")


def ask_from(ns: Netns, address: str, port: int, patience: float = 3) -> str:
    """The same from a machine."""
    try:
        with ns.connect(address, port, patience) as made:
            made.sendall(b"GET /cgi-bin/who HTTP/1.0\r\n\r\n")
            said = b""
            while piece := made.recv(4096):
                said += piece
    except OSError:
        return ""
    return plain(said.decode().split()[-1]) if said else ""


def address(docker: Daemon, name: str, network: str, field: str = "IPAddress") -> str:
    found: Any = docker.inspect(name, "{{json .NetworkSettings.Networks}}")
    return str(found[network][field])


def host(docker: Daemon) -> Netns:
    assert docker.ns is not None
    return docker.ns


# The slice ----------------------------------------------------------------------------------------------------------


def test_names_and_ports_go_on_while_the_daemon_is_dead(docker: Daemon) -> None:
    docker.said("network", "create", "n")
    server(docker, "web", "--network", "n", "-p", "8080:80")
    docker.run("--name", "other", "--network", "n", IMAGE, "sleep", "1000")
    assert ask(docker, "other", "web") == address(docker, "other", "n")
    assert ask_from(host(docker), "127.0.0.1", 8080) == "172.18.0.1"
    pid = docker.inspect("other", "{{json .State.Pid}}")
    words = ["nsenter", "-t", str(pid), "-a", "/bin/busybox", "wget", "-qO-", "http://web/cgi-bin/who"]
    docker.stop(signal.SIGKILL)
    assert ask_from(host(docker), "127.0.0.1", 8080) == "172.18.0.1"
    assert plain(host(docker).run(words).strip()) == "172.18.0.3"
    docker.start()
    assert ask_from(host(docker), "127.0.0.1", 8080) == "172.18.0.1"
    assert ask(docker, "other", "web") == "172.18.0.3"
    docker.said("rm", "-f", "web")
    assert ask_from(host(docker), "127.0.0.1", 8080) == ""
    server(docker, "web", "--network", "n", "-p", "8080:80")
    assert ask(docker, "other", "web")


def test_what_inspect_and_lists_say(docker: Daemon) -> None:
    labels = ["--label", "a=b", "-o", "com.docker.network.driver.mtu=1400"]
    identity = docker.said("network", "create", *labels, "--subnet", "10.7.0.0/24", "--gateway", "10.7.0.9", "n")
    server(docker, "web", "--network", "n", "--ip", "10.7.0.20", "-p", "127.0.0.1:8081:80", "-p", "53/udp")
    found: Any = json.loads(docker.said("network", "inspect", "n"))[0]
    assert (found["Id"], found["Driver"], found["Labels"], found["Internal"]) == (identity, "bridge", {"a": "b"}, False)
    assert found["IPAM"]["Config"] == [{"Subnet": "10.7.0.0/24", "Gateway": "10.7.0.9"}]
    [end] = found["Containers"].values()
    assert (end["Name"], end["IPv4Address"]) == ("web", "10.7.0.20/24")
    settings: Any = docker.inspect("web", "{{json .NetworkSettings}}")
    assert settings["Ports"]["80/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": "8081"}]
    assert settings["Networks"]["n"]["Gateway"] == "10.7.0.9"
    assert "127.0.0.1:8081->80/tcp" in docker.said("ps", "--format", "{{.Ports}}")
    assert docker.said("port", "web", "80") == "127.0.0.1:8081"
    assert docker.said("ps", "-q", "--filter", "network=n", "--no-trunc") == docker.inspect("web", "{{json .Id}}")
    assert docker.said("network", "ls", "-q", "--filter", "label=a=b", "--no-trunc") == identity
    assert "mtu 1400" in inside(docker, "web", "busybox", "ip", "link", "show", "eth0")
    assert docker.said("network", "ls", "--filter", "type=builtin", "--format", "{{.Name}}").split() == [
        "bridge", "host", "none",
    ]  # fmt: skip


def test_events_in_dockers_order(docker: Daemon) -> None:
    begun = str(time.time())
    docker.said("network", "create", "n")
    docker.run("--name", "web", "--network", "n", IMAGE, "sleep", "1000")
    docker.said("rm", "-f", "web")
    docker.said("network", "rm", "n")
    until = str(time.time() + 1)
    lines = docker.said("events", "--since", begun, "--until", until, "--format", "{{.Type}} {{.Action}}").splitlines()
    assert [line for line in lines if line != "container kill"] == [
        "network create", "container create", "network connect", "container start",
        "network disconnect", "container die", "container destroy", "network destroy",
    ]  # fmt: skip


# Several networks ---------------------------------------------------------------------------------------------------


def test_connect_and_disconnect_while_it_runs_and_while_it_does_not(docker: Daemon) -> None:
    for name in ("one", "two"):
        docker.said("network", "create", name)
    server(docker, "web", "--network", "one", "-p", "8080:80")
    docker.run("--name", "other", "--network", "two", IMAGE, "sleep", "1000")
    assert ask(docker, "other", "web") == ""
    docker.said("network", "connect", "--alias", "site", "two", "web")
    assert ask(docker, "other", "web") == address(docker, "other", "two")
    assert ask(docker, "other", "site")
    assert ask_from(host(docker), "127.0.0.1", 8080)
    docker.said("network", "disconnect", "one", "web")
    assert ask(docker, "other", "web")
    # The port goes over to the network that is left.
    assert ask_from(host(docker), "127.0.0.1", 8080) == "172.19.0.1"
    docker.said("stop", "-t", "0", "web")
    docker.said("network", "connect", "one", "web")
    docker.said("network", "disconnect", "two", "web")
    docker.said("start", "web")
    assert list(docker.inspect("web", "{{json .NetworkSettings.Networks}}")) == ["one"]  # type: ignore[call-overload]
    assert eventually(lambda: ask_from(host(docker), "127.0.0.1", 8080)) == "172.18.0.1"
    assert ask(docker, "other", "web") == ""


def test_the_gateway_is_that_of_the_highest_priority(docker: Daemon) -> None:
    docker.said("network", "create", "--subnet", "10.1.0.0/24", "aa")
    docker.said("network", "create", "--subnet", "10.2.0.0/24", "bb")
    # By the API, whose newer members an older docker CLI has no words for.
    wanted = {"Image": IMAGE, "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "aa"}}
    ends = {"EndpointsConfig": {"aa": {}, "bb": {"GwPriority": 5}}}
    status, made = api.ask(docker, "POST", "/v1.48/containers/create?name=web", wanted | {"NetworkingConfig": ends})
    assert status == 201, made
    docker.said("start", "web")
    assert "default via 10.2.0.1" in inside(docker, "web", "busybox", "ip", "route")
    docker.said("network", "disconnect", "bb", "web")
    assert "default via 10.1.0.1" in inside(docker, "web", "busybox", "ip", "route")


def test_networks_do_not_reach_one_another_but_by_ports(docker: Daemon, outside: Netns) -> None:
    docker.said("network", "create", "--subnet", "10.1.0.0/24", "one")
    docker.said("network", "create", "--subnet", "10.2.0.0/24", "two")
    server(docker, "web", "--network", "one", "--ip", "10.1.0.5", "-p", "8080:80")
    docker.run("--name", "other", "--network", "two", IMAGE, "sleep", "1000")
    assert ask(docker, "other", "10.1.0.5") == ""
    assert ask(docker, "other", "10.2.0.1:8080")
    outside.run(["ip", "route", "add", "10.1.0.0/24", "via", "10.99.0.1"])
    assert ask_from(outside, "10.1.0.5", 80, 1) == ""
    assert ask_from(outside, "10.99.0.1", 8080)
    outside.run(["ip", "route", "del", "10.1.0.0/24"])


def test_an_internal_network(docker: Daemon, outside: Netns) -> None:
    docker.said("network", "create", "--internal", "--subnet", "10.3.0.0/24", "inner")
    server(docker, "web", "--network", "inner", "-p", "8080:80")
    docker.run("--name", "other", "--network", "inner", IMAGE, "sleep", "1000")
    assert ask(docker, "other", "web")
    assert "default" not in inside(docker, "other", "busybox", "ip", "route")
    assert ask_from(host(docker), "127.0.0.1", 8080) == ""
    assert inside(docker, "other", "busybox", "ping", "-c1", "-W1", "10.99.0.2") == ""


def test_containers_that_must_not_talk(docker: Daemon) -> None:
    docker.said("network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "apart")
    server(docker, "web", "--network", "apart", "-p", "8080:80")
    docker.run("--name", "other", "--network", "apart", IMAGE, "sleep", "1000")
    assert ask(docker, "other", address(docker, "web", "apart")) == ""
    assert ask_from(host(docker), "127.0.0.1", 8080)


def test_a_container_within_anothers_network(docker: Daemon) -> None:
    docker.said("network", "create", "n")
    server(docker, "web", "--network", "n")
    docker.said("create", "--name", "side", "--network", "container:web", IMAGE, "sleep", "1000")
    docker.said("start", "side")
    assert ask(docker, "side", "127.0.0.1") == "127.0.0.1"
    assert ask(docker, "side", "web")
    assert inside(docker, "side", "hostname") == inside(docker, "web", "hostname")


def test_what_a_container_leaves_to_its_neighbour(docker: Daemon) -> None:
    """An address is another's at once, though somebody is still in the namespace where it was."""
    docker.said("network", "create", "n")
    server(docker, "web", "--network", "n", "-p", "8080:80")
    docker.run("--name", "side", "--network", "container:web", IMAGE, "sleep", "1000")
    docker.said("stop", "-t", "0", "web")
    assert ask_from(host(docker), "127.0.0.1", 8080) == ""
    server(docker, "next", "--network", "n", "-p", "8080:80")
    assert address(docker, "next", "n") == "172.18.0.2"
    assert ask_from(host(docker), "127.0.0.1", 8080, 0.9) == "172.18.0.1"
    eventually(lambda: host(docker).run(["ip", "-br", "link"]).count("veth") == 1)
    assert "eth0" not in inside(docker, "side", "busybox", "ip", "link")


def test_ends_of_containers_that_ended_before_the_daemon_did(docker: Daemon) -> None:
    docker.said("network", "create", "n")
    for name in ("web", "stays"):
        server(docker, name, "--network", "n")
    docker.run("--name", "side", "--network", "container:web", IMAGE, "sleep", "1000")
    docker.said("kill", "web")
    docker.restart(signal.SIGKILL)
    eventually(lambda: host(docker).run(["ip", "-br", "link"]).count("veth") == 1)
    assert ask(docker, "stays", "127.0.0.1")


def test_what_serves_names_and_ports_is_back_at_once(docker: Daemon) -> None:
    docker.said("network", "create", "n")
    server(docker, "web", "--network", "n", "-p", "8080:80")
    for _ in range(2):
        before = reach.serving(docker)
        os.kill(before, signal.SIGKILL)
        eventually(lambda before=before: reach.serving(docker) not in (0, before), patience=1)  # type: ignore[misc]
        assert ask(docker, "web", "web") == "172.18.0.2"
        assert ask_from(host(docker), "::1", 8080)


def test_aliases_and_links(docker: Daemon) -> None:
    docker.said("network", "create", "n")
    server(docker, "web", "--network", "n", "--network-alias", "a", "--network-alias", "b")
    docker.run("--name", "other", "--network", "n", "--link", "web:data", IMAGE, "sleep", "1000")
    for name in ("web", "a", "B", "data", docker.inspect("web", "{{json .Config.Hostname}}")):
        assert ask(docker, "other", str(name)), name
    docker.said("rename", "web", "renamed")
    assert ask(docker, "other", "renamed")
    assert ask(docker, "other", "web") == ""


# The default network ------------------------------------------------------------------------------------------------


def test_the_default_network_has_links_and_no_names(docker: Daemon) -> None:
    server(docker, "web", "--network", "bridge")
    docker.run("--name", "other", "--link", "web:data", IMAGE, "sleep", "1000")
    assert address(docker, "web", "bridge") == "172.17.0.2"
    assert ask(docker, "other", "data")
    docker.said("rm", "-f", "other")
    docker.run("--name", "other", "--network", "bridge", IMAGE, "sleep", "1000")
    assert ask(docker, "other", "172.17.0.2")
    assert ask(docker, "other", "web") == ""
    assert "172.17.0.1" in docker.said("network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}")


def test_the_default_network_has_its_rules_when_others_were_first() -> None:
    with places.place() as place, daemon(place) as docker:
        docker.load()
        docker.said("network", "create", "n")
        docker.said("run", "--rm", "--network", "bridge", IMAGE, "true")
        assert "from-stockade0" in host(docker).run(["nft", "list", "table", "inet", "stockade"])
        docker.restart(signal.SIGKILL)
        docker.said("network", "rm", "n")
        rules = host(docker).run(["nft", "list", "table", "inet", "stockade"])
        assert "from-stockade0" in rules
        assert "from-br-" not in rules


# IPv6 ---------------------------------------------------------------------------------------------------------------


def test_ipv6(docker: Daemon, outside: Netns) -> None:
    docker.said("network", "create", "--ipv6", "--subnet", "10.6.0.0/24", "--subnet", "fd06::/64", "six")
    server(docker, "web", "--network", "six", "-p", "8080:80")
    docker.run("--name", "other", "--network", "six", "--ip6", "fd06::77", IMAGE, "sleep", "1000")
    assert address(docker, "web", "six", "GlobalIPv6Address") == "fd06::2"
    assert ask(docker, "other", "[fd06::2]") == "fd06::77"
    assert ask_from(outside, "fd99::1", 8080) == "fd99::2"
    assert ask_from(outside, "10.99.0.1", 8080) == "10.99.0.2"
    assert ask_from(host(docker), "::1", 8080)
    made: Any = json.loads(docker.said("network", "inspect", docker.said("network", "create", "--ipv6", "own")))[0]
    assert any(one["Subnet"].startswith("fd") for one in made["IPAM"]["Config"])


def test_a_container_that_turns_ipv6_off(docker: Daemon) -> None:
    docker.said("network", "create", "--ipv6", "--subnet", "10.7.0.0/24", "--subnet", "fd07::/64", "n")
    off = ("--sysctl", "net.ipv6.conf.all.disable_ipv6=1")
    docker.run("--name", "web", "--network", "n", *off, IMAGE, "sleep", "1000")
    assert address(docker, "web", "n", "GlobalIPv6Address") == ""
    assert "inet6" not in docker.said("exec", "web", "busybox", "ip", "addr")
    assert "fd07" not in docker.said("run", "--rm", "--network", "n", IMAGE, "busybox", "nslookup", "web")
    done = docker.docker("run", "--rm", "--network", "n", "--ip6", "fd07::9", *off, IMAGE, "true", check=False)
    assert "has IPv6 turned off" in done.stderr


def test_a_new_network_is_reached_by_ipv6_at_once(docker: Daemon, outside: Netns) -> None:
    """No address waits for its test (two seconds): also where another network than the port's leads out."""
    docker.said("network", "create", "--ipv6", "n")
    docker.said("network", "create", "--ipv6", "m")
    server(docker, "web", "--network", "n", "-p", "8080:80")
    assert ask_from(outside, "fd99::1", 8080, 0.5) == "fd99::2"
    for network in ("m", "n"):
        docker.said("network", "disconnect", network, "web") if network == "n" else None
        docker.said("network", "connect", "--gw-priority", "5", network, "web")
        assert ask_from(outside, "fd99::1", 8080, 0.5) == "fd99::2"


def test_loopback_of_ipv6_without_an_ipv6_network(docker: Daemon) -> None:
    docker.said("network", "create", "n")
    server(docker, "web", "--network", "n", "-p", "8080:80")
    assert ask_from(host(docker), "::1", 8080)


def test_nobody_is_carried_past_the_hosts_forward_rules(docker: Daemon, outside: Netns) -> None:
    """What another machine asks by a family that the network has not, no rule could drop: it is led nowhere."""
    docker.said("network", "create", "four")
    docker.said("network", "create", "--ipv6", "--subnet", "10.6.0.0/24", "--subnet", "fd06::/64", "both")
    server(docker, "web", "--network", "four", "-p", "8080:80")
    server(docker, "other", "--network", "both", "-p", "8082:80")
    assert ask_from(outside, "10.99.0.1", 8080) == "10.99.0.2"
    assert ask_from(outside, "fd99::1", 8080) == ""
    assert ask_from(outside, "fd99::1", 8082) == "fd99::2"
    for address_of_ours in ("::1", "fd99::1", "127.0.0.1", "10.99.0.1"):
        assert ask_from(host(docker), address_of_ours, 8080), address_of_ours
    words = ["run", "-d", "--network", "four", "-p", "[fd99::1]:8081:80", IMAGE, "true"]
    refused = docker.docker(*words, check=False)
    assert "80/tcp cannot be published at fd99::1: network four has no IPv6" in refused.stderr


# Ports --------------------------------------------------------------------------------------------------------------


def test_whom_a_server_sees(docker: Daemon, outside: Netns) -> None:
    docker.said("network", "create", "n")
    server(docker, "web", "--network", "n", "-p", "8080:80")
    assert ask_from(outside, "10.99.0.1", 8080) == "10.99.0.2"
    assert ask_from(host(docker), "127.0.0.1", 8080) == "172.18.0.1"
    # Nobody outside is let near the host's loopback.
    outside.run(["ip", "route", "add", "127.0.0.0/8", "via", "10.99.0.1"], check=False)
    outside.run(["ip", "address", "del", "127.0.0.1/8", "dev", "lo"])
    outside.run(["sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1"])
    with host(docker).socket() as own, outside.socket() as theirs:
        own.bind(("127.0.0.1", 7001))
        own.listen()
        theirs.settimeout(1)
        with pytest.raises(OSError):
            theirs.connect(("127.0.0.1", 7001))


def test_datagrams_follow_their_port(docker: Daemon, outside: Netns) -> None:
    """A client that goes on sending from one port is led to whoever has the port now, and to nobody else."""
    docker.said("network", "create", "n")

    def serving(name: str, *options: str) -> socket.socket:
        docker.run("--name", name, "--network", "n", *options, IMAGE, "sleep", "1000")
        pid = int(docker.said("inspect", "--format", "{{.State.Pid}}", name))
        made = Netns(pid).socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.settimeout(3)
        made.bind(("0.0.0.0", 53))
        return made

    with outside.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("10.99.0.2", 4000))

        def send(word: bytes) -> None:
            client.sendto(word, ("10.99.0.1", 5353))

        send(b"nobody")
        with serving("one", "-p", "5353:53/udp") as one:
            send(b"one")
            assert one.recvfrom(16) == (b"one", ("10.99.0.2", 4000))
        docker.docker("rm", "-f", "one")
        with serving("other") as other:
            send(b"nobody")
            other.settimeout(0.3)
            with pytest.raises(TimeoutError):
                other.recvfrom(16)
            with serving("two", "-p", "5353:53/udp") as two:
                send(b"two")
                assert two.recvfrom(16) == (b"two", ("10.99.0.2", 4000))
            with pytest.raises(TimeoutError):
                other.recvfrom(16)


def test_datagrams_find_their_port_again_when_the_table_is_back(docker: Daemon, outside: Netns) -> None:
    docker.said("network", "create", "n")
    docker.run("--name", "one", "--network", "n", "-p", "5353:53/udp", IMAGE, "sleep", "1000")
    pid = int(docker.said("inspect", "--format", "{{.State.Pid}}", "one"))
    kinds = (socket.AF_INET, socket.SOCK_DGRAM)
    with outside.socket(*kinds) as client, Netns(pid).socket(*kinds) as one:
        client.connect(("10.99.0.1", 5353))
        one.bind(("0.0.0.0", 53))
        one.settimeout(0.1)

        def arrives() -> bool:
            with contextlib.suppress(OSError):
                client.send(b"x")
                return one.recv(16) == b"x"
            return False

        host(docker).run(["nft", "delete", "table", "inet", "stockade"])
        assert not arrives()
        assert eventually(arrives)


def test_every_port_and_ranges(docker: Daemon) -> None:
    docker.said("network", "create", "n")
    server(docker, "web", "--network", "n", "--expose", "80", "--expose", "81/udp", "-P")
    ports: Any = docker.inspect("web", "{{json .NetworkSettings.Ports}}")
    assert sorted(ports) == ["80/tcp", "81/udp"]
    assert ask_from(host(docker), "127.0.0.1", int(ports["80/tcp"][0]["HostPort"]))
    first = server(docker, "one", "--network", "n", "-p", "9000-9001:80")
    second = server(docker, "two", "--network", "n", "-p", "9000-9001:80")
    assert {docker.said("port", one, "80").splitlines()[0] for one in (first, second)} == {
        "0.0.0.0:9000", "0.0.0.0:9001",
    }  # fmt: skip
    done = docker.docker("run", "-d", "--network", "n", "-p", "9000-9001:80", IMAGE, "sleep", "9", check=False)
    assert done.returncode == 125
    assert "all ports are allocated" in done.stderr


def test_a_port_that_somebody_has(docker: Daemon) -> None:
    docker.said("network", "create", "n")
    server(docker, "web", "--network", "n", "-p", "8080:80")
    done = docker.docker("run", "--rm", "--network", "n", "-p", "8080:80", IMAGE, "true", check=False)
    assert (done.returncode, "Bind for 0.0.0.0:8080 failed: port is already allocated" in done.stderr) == (125, True)
    with host(docker).socket() as taken:
        taken.bind(("127.0.0.1", 7000))
        taken.listen()
        done = docker.docker("run", "--rm", "--network", "n", "-p", "7000:80", IMAGE, "true", check=False)
        assert done.returncode == 125, done
        assert "failed to bind host port" in done.stderr
        assert "address already in use" in done.stderr.lower()
    assert docker.docker("run", "--rm", "--network", "n", "-p", "7000:80", IMAGE, "true").returncode == 0


# The host's own rules -------------------------------------------------------------------------------------------------


def test_a_table_that_is_flushed_is_back_within_two_seconds(docker: Daemon) -> None:
    docker.said("network", "create", "n")
    server(docker, "web", "--network", "n", "-p", "8080:80")
    for words in (["nft", "flush", "ruleset"], ["nft", "delete", "table", "inet", "stockade"],
                  ["nft", "flush", "chain", "inet", "stockade", "ports"]):  # fmt: skip
        host(docker).run(words)
        eventually(lambda: ask_from(host(docker), "127.0.0.1", 8080, 0.3), patience=2)


def test_a_port_never_overrides_the_hosts_rules(docker: Daemon, outside: Netns) -> None:
    docker.said("network", "create", "n")
    server(docker, "web", "--network", "n", "-p", "8080:80")
    assert ask_from(outside, "10.99.0.1", 8080)
    table = "add table ip mine; add chain ip mine passing { type filter hook forward priority 0; policy drop; }"
    host(docker).run(["nft", table])
    try:
        assert ask_from(outside, "10.99.0.1", 8080, 1) == ""
        [block] = must(docker, "GET", "/stockade/v1/networks/blocks")
        assert (block["Network"], block["Chain"]) == ("n", "ip mine passing")
        assert "ip mine passing drops what goes to the network (its policy is drop)" in block["Sentence"]
        for command in block["Command"].split(" && "):
            host(docker).run(["sh", "-c", command])
        assert ask_from(outside, "10.99.0.1", 8080)
        assert must(docker, "GET", "/stockade/v1/networks/blocks") == []
    finally:
        host(docker).run(["nft", "delete", "table", "ip", "mine"])
    assert ask_from(outside, "10.99.0.1", 8080)


# Removing -------------------------------------------------------------------------------------------------------------


def test_what_is_in_use_stays(docker: Daemon) -> None:
    for name in ("used", "free"):
        docker.said("network", "create", name)
    docker.run("--network", "used", IMAGE, "sleep", "1000")
    done = docker.docker("network", "rm", "used", check=False)
    assert (done.returncode, "has active endpoints" in done.stderr) == (1, True)
    assert docker.said("network", "prune", "-f").split()[-1] == "free"
    assert docker.docker("network", "create", "used", check=False).stderr.strip().endswith("already exists")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--subnet", "10.0.0.0/33", "x"], "invalid"),
        (["--subnet", "10.0.0.0/24", "--gateway", "10.1.0.1", "x"], "no matching subnet for gateway"),
        (["-o", "com.docker.network.bridge.gateway_mode_ipv4=routed", "x"], "is not served"),
        (["-o", "strange=1", "x"], "strange is not served"),
        (["--ipam-driver", "dhcp", "x"], "is not served"),
        (["-d", "overlay", "x"], "not served"),
        (["host"], "predefined host network"),
    ],
)
def test_refusals(docker: Daemon, words: list[str], said: str) -> None:
    done = docker.docker("network", "create", *words, check=False)
    assert (done.returncode, said in done.stderr) == (1, True), done.stderr


def test_what_cannot_be_connected(docker: Daemon) -> None:
    docker.said("network", "create", "--subnet", "10.1.0.0/29", "n")
    docker.run("--name", "none", "--network", "none", IMAGE, "sleep", "1000")
    docker.run("--name", "web", "--network", "n", "--ip", "10.1.0.5", IMAGE, "sleep", "1000")
    for words, said in (
        (["connect", "n", "none"], "private (none) mode"),
        (["connect", "n", "web"], "already exists in network n"),
        (["connect", "n", "none-such"], "No such container"),
        (["connect", "none-such", "web"], "network none-such not found"),
        (["disconnect", "bridge", "web"], "is not connected to network bridge"),
    ):
        done = docker.docker("network", *words, check=False)
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    for words, said in (
        (["--network", "n", "--ip", "10.1.0.5"], "Address already in use"),
        (["--network", "n", "--ip", "10.9.0.5"], "no configured subnet contains IP address 10.9.0.5"),
        (["--network", "later"], "network later not found"),
    ):
        done = docker.docker("run", "--rm", *words, IMAGE, "true", check=False)
        assert (done.returncode, said in done.stderr) == (125, True), done.stderr


def test_a_restart_keeps_what_can_be_kept(docker: Daemon) -> None:
    docker.said("network", "create", "n")
    server(docker, "web", "--network", "n", "-p", "8080:80")
    before = address(docker, "web", "n")
    docker.said("restart", "-t", "0", "web")
    assert address(docker, "web", "n") == before
    assert eventually(lambda: ask_from(host(docker), "127.0.0.1", 8080))
    docker.said("kill", "web")
    eventually(lambda: docker.inspect("web", "{{json .NetworkSettings.Ports}}") == {})
    assert_clean(docker)


# Our own command ------------------------------------------------------------------------------------------------------


def stockade(docker: Daemon, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from stockade.cli import main; sys.exit(main())", *words],
        env=docker.place.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_our_own_words(docker: Daemon) -> None:
    status, out, _ = stockade(docker, "network", "create", "--subnet", "10.4.0.0/24", "--label", "a=b", "n")
    assert (status, len(out.strip())) == (0, 64)
    words = ["--name", "web", "--network", "n", "--ip", "10.4.0.9", "--network-alias", "x", "-p", "8080:80"]
    assert stockade(docker, "create", *words, IMAGE, "sleep", "1000")[0] == 0
    assert stockade(docker, "start", "web")[0] == 0
    assert address(docker, "web", "n") == "10.4.0.9"
    assert "10.4.0.0/24" in stockade(docker, "network", "ls", "--filter", "label=a=b")[1]
    assert stockade(docker, "network", "inspect", "--format", "{{.Name}}", "n")[1] == "n\n"
    assert stockade(docker, "port", "web", "80") == (0, "0.0.0.0:8080\n[::]:8080\n", "")
    docker.said("network", "create", "m")
    assert stockade(docker, "network", "connect", "--alias", "site", "m", "web")[0] == 0
    assert stockade(docker, "network", "disconnect", "n", "web")[0] == 0
    assert list(docker.inspect("web", "{{json .NetworkSettings.Networks}}")) == ["m"]  # type: ignore[call-overload]
    host(docker).run(["nft", "add table ip mine; add chain ip mine passing { type filter hook forward priority 0; policy drop; }"])  # fmt: skip # noqa: E501
    try:
        _, _, said = stockade(docker, "port", "web")
        assert "ip mine passing drops what goes to the network" in said
        assert "nft insert rule ip mine passing" in said
        assert "nft insert rule ip mine passing" in stockade(docker, "system", "check")[1]
    finally:
        host(docker).run(["nft", "delete", "table", "ip", "mine"])
    assert stockade(docker, "network", "prune")[0] == 125, "there is nobody to ask"
    assert stockade(docker, "network", "prune", "--force")[1] == "n\n"
    assert stockade(docker, "network", "rm", "m")[0] == 125
    assert stockade(docker, "network", "rm", "--force", "none-such")[0] == 0


def test_our_own_words_for_ends(docker: Daemon) -> None:
    for words in (
        ("--ipam-opt", "a=b", "x"), ("--ipam-driver", "other", "x"), ("--config-only", "x"), ("--ipv4=false", "x"),
    ):  # fmt: skip
        assert stockade(docker, "network", "create", *words)[0] == 125
    create = ("network", "create", "--attachable", "-o", "com.docker.network.driver.mtu=1400")
    assert stockade(docker, *create, "--subnet", "10.4.0.0/24", "n")[0] == 0
    assert stockade(docker, "network", "create", "--ipv4=false", "--ipv6", "--subnet", "fd04::/64", "six")[0] == 0
    end = "ip=10.4.0.9,mac-address=02:00:00:00:00:09,gw-priority=5,link-local-ip=169.254.7.7"
    option = "driver-opt=com.docker.network.endpoint.ifname=shop0"
    more = ["--network", f"name=n,alias=x,{end},{option}", "--network", "six", "--dns-search", "a.example"]
    status, _, said = stockade(docker, "run", "-d", "--name", "web", *more, "--expose", "80-81", IMAGE, "sleep", "1000")
    assert status == 0, said
    shown = docker.said("exec", "web", "busybox", "ip", "addr", "show", "shop0")
    for words_shown in ("10.4.0.9/24", "169.254.7.7/16", "02:00:00:00:00:09", "mtu 1400"):
        assert words_shown in shown
    assert "fd04::2/64" in docker.said("exec", "web", "busybox", "ip", "addr", "show", "eth0")
    assert "search a.example" in docker.said("exec", "web", "cat", "/etc/resolv.conf")
    assert stockade(docker, "network", "disconnect", "n", "web")[0] == 0
    connect = ("--link-local-ip", "fe80::77", "--driver-opt", "com.docker.network.endpoint.ifname=late0")
    assert stockade(docker, "network", "connect", *connect, "n", "web")[0] == 0
    assert "fe80::77/64" in docker.said("exec", "web", "busybox", "ip", "addr", "show", "late0")
    assert stockade(docker, "network", "inspect", "-v", "-f", "{{.Attachable}}", "n")[1] == "true\n"
    more = ["--name", "one", "--network", "n", "--link-local-ip", "169.254.7.8", "--mac-address", "02:00:00:00:00:08"]
    status, said, complaint = stockade(docker, "run", "--rm", *more, IMAGE, "busybox", "ip", "addr", "show", "eth0")
    assert ("169.254.7.8/16" in said, "02:00:00:00:00:08" in said) == (True, True), complaint
