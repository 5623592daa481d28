"""docker-py, unmodified, makes networks, connects containers and publishes ports."""

from __future__ import annotations

from typing import Any

import pytest

from support import fixtures
from support.daemon import IMAGE

docker = pytest.importorskip("docker")

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


_docker, _client = fixtures.docker, fixtures.client


def test_a_networks_life(client: Any) -> None:
    pool = docker.types.IPAMPool(subnet="10.8.0.0/24", gateway="10.8.0.3", aux_addresses={"printer": "10.8.0.4"})
    ipam = docker.types.IPAMConfig(pool_configs=[pool])
    made = client.networks.create("lab", ipam=ipam, labels={"of": "lab"}, check_duplicate=True, attachable=True)
    assert made.attrs["IPAM"]["Config"] == [
        {"Subnet": "10.8.0.0/24", "Gateway": "10.8.0.3", "AuxiliaryAddresses": {"printer": "10.8.0.4"}}
    ]
    assert [one.name for one in client.networks.list(filters={"label": "of=lab"})] == ["lab"]
    box = client.containers.run(IMAGE, ["sleep", "1000"], detach=True, name="box", network="lab")
    made.reload()
    assert [one.name for one in made.containers] == ["box"]
    assert made.attrs["Containers"][box.id]["IPv4Address"] == "10.8.0.1/24"
    with pytest.raises(docker.errors.APIError, match="has active endpoints"):
        made.remove()
    box.remove(force=True)
    made.remove()
    with pytest.raises(docker.errors.NotFound):
        client.networks.get("lab")


def test_connect_disconnect_and_names(client: Any) -> None:
    one, two = client.networks.create("one"), client.networks.create("two")
    config = client.api.create_networking_config(
        {"one": client.api.create_endpoint_config(aliases=["first"], links={"other": "peer"})}
    )
    client.containers.run(IMAGE, ["sleep", "1000"], detach=True, name="other", network="one")
    made = client.api.create_container(
        IMAGE, ["sleep", "1000"], name="box", networking_config=config,
        host_config=client.api.create_host_config(network_mode="one"),
    )  # fmt: skip
    client.api.start(made["Id"])
    box = client.containers.get("box")
    assert box.attrs["NetworkSettings"]["Networks"]["one"]["Aliases"] == ["first"]
    assert box.exec_run(["busybox", "nslookup", "peer"]).exit_code == 0
    other = client.containers.get("other")
    assert b"Address" in other.exec_run(["busybox", "nslookup", "first"]).output
    two.connect(
        box, aliases=["second"], ipv4_address=two.attrs["IPAM"]["Config"][0]["Subnet"].replace("0.0/16", "0.99")
    )
    box.reload()
    assert box.attrs["NetworkSettings"]["Networks"]["two"]["IPAddress"].endswith(".0.99")
    one.disconnect("box")
    box.reload()
    assert list(box.attrs["NetworkSettings"]["Networks"]) == ["two"]
    with pytest.raises(docker.errors.APIError, match="is not connected to network one"):
        one.disconnect("box")
    one.disconnect("box", force=True)


def test_ports_and_the_default_network(client: Any) -> None:
    ports = {"80/tcp": 8080, "81/tcp": ("127.0.0.1", 8081), "82/udp": None, "83/tcp": [8083, 8084]}
    box = client.containers.run(IMAGE, ["sleep", "1000"], detach=True, ports=ports)
    box.reload()
    found = box.ports
    assert found["80/tcp"] == [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}]
    assert found["81/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": "8081"}]
    assert 32768 <= int(found["82/udp"][0]["HostPort"]) < 61000
    assert [one["HostPort"] for one in found["83/tcp"] if one["HostIp"] == "0.0.0.0"] == ["8083", "8084"]
    gateway = client.networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"]
    assert box.attrs["NetworkSettings"]["Networks"]["bridge"]["Gateway"] == gateway
    assert box.attrs["HostConfig"]["NetworkMode"] == "bridge"
    with pytest.raises(docker.errors.APIError, match="port is already allocated"):
        client.containers.run(IMAGE, ["true"], ports={"80/tcp": 8080})
