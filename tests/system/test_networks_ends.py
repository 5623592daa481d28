"""What `docker run --network …` and `network connect` say of one end: its name, its settings, further addresses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.api import ask, create, must
from support.daemon import IMAGE, Daemon, stocked

pytestmark = pytest.mark.root
IFNAME = "com.docker.network.endpoint.ifname"
SYSCTLS = "com.docker.network.endpoint.sysctls"
QUIET = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.hop_limit=33,net.ipv4.neigh.IFNAME.gc_stale_time=77"


@pytest.fixture(scope="module", name="docker")
def _docker() -> Iterator[Daemon]:
    with stocked() as made:
        made.docker("network", "create", "--ipv6", "lan")
        made.docker("network", "create", "side")
        yield made


@pytest.fixture(autouse=True)
def _nothing_left(docker: Daemon) -> Iterator[None]:
    yield
    docker.clear()


def devices(docker: Daemon, name: str) -> list[str]:
    return docker.said("exec", name, "busybox", "ls", "/sys/class/net").split()


def seen(docker: Daemon, name: str, path: str) -> str:
    return docker.said("exec", name, "cat", f"/proc/sys/net/{path}")


def test_a_name_and_settings_at_the_start(docker: Daemon) -> None:
    end = f'name=lan,"driver-opt={IFNAME}=up0","driver-opt={SYSCTLS}={QUIET}"'
    docker.run("--name", "box", "--network", end, "--network", "side", IMAGE, "sleep", "1000")
    for _ in range(2):
        assert devices(docker, "box") == ["eth0", "lo", "up0"]
        assert seen(docker, "box", "ipv4/conf/up0/log_martians") == "1"
        assert seen(docker, "box", "ipv6/conf/up0/hop_limit") == "33"
        assert seen(docker, "box", "ipv4/neigh/up0/gc_stale_time") == "77"
        assert seen(docker, "box", "ipv4/conf/eth0/log_martians") == "0"
        docker.docker("restart", "-t", "0", "box")
    options = docker.inspect("box", "{{json .NetworkSettings.Networks.lan.DriverOpts}}")
    # The command of docker 20 and 28 writes all of it in small letters.
    assert options in ({IFNAME: "up0", SYSCTLS: QUIET}, {IFNAME: "up0", SYSCTLS: QUIET.lower()})


def test_connected_while_it_runs(docker: Daemon) -> None:
    docker.run("--name", "box", IMAGE, "sleep", "1000")
    docker.docker("network", "connect", "--driver-opt", f"{IFNAME}=late0", "--driver-opt",
                  f"{SYSCTLS}=net.ipv4.conf.IFNAME.log_martians=1", "--link-local-ip", "169.254.7.7",
                  "--link-local-ip", "fe80::77", "lan", "box")  # fmt: skip
    assert devices(docker, "box") == ["eth0", "late0", "lo"]
    assert seen(docker, "box", "ipv4/conf/late0/log_martians") == "1"
    said = docker.said("exec", "box", "busybox", "ip", "address", "show", "late0")
    assert "inet 169.254.7.7/16" in said
    assert "inet6 fe80::77/64" in said
    shown = docker.inspect("box", "{{json .NetworkSettings.Networks.lan.IPAMConfig.LinkLocalIPs}}")
    assert shown == ["169.254.7.7", "fe80::77"]
    docker.run("--name", "other", IMAGE, "sleep", "1000")
    docker.docker("network", "connect", "--link-local-ip", "169.254.8.8", "lan", "other")
    docker.docker("exec", "other", "busybox", "ping", "-c", "1", "-w", "5", "169.254.7.7")
    docker.docker("network", "disconnect", "lan", "box")
    assert devices(docker, "box") == ["eth0", "lo"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((f"{IFNAME}=eth0",), "two interfaces of one container cannot be called eth0"),
        ((f"{IFNAME}=../x",), "no name of an interface"),
        ((f"{SYSCTLS}=net.ipv4.ip_forward=1",), "no setting of an interface"),
        ((f"{SYSCTLS}=net.ipv4.conf.IFNAME.no_such=1",), "no_such"),
        (("com.example.option=1",), "the endpoint option com.example.option is not served"),
    ],
)
def test_refusals_leave_the_container_as_it_was(docker: Daemon, options: tuple[str, ...], words: str) -> None:
    docker.run("--name", "box", IMAGE, "sleep", "1000")
    flags = [word for one in options for word in ("--driver-opt", one)]
    done = docker.docker("network", "connect", *flags, "lan", "box", check=False)
    assert done.returncode != 0
    assert words in done.stderr
    assert devices(docker, "box") == ["eth0", "lo"]
    assert list(docker.inspect("box", "{{json .NetworkSettings.Networks}}")) == ["bridge"]  # type: ignore[call-overload]
    docker.docker("network", "connect", "lan", "box")


def test_settings_that_the_kernel_refuses_at_the_start(docker: Daemon) -> None:
    end = {"DriverOpts": {SYSCTLS: "net.ipv4.conf.IFNAME.log_martians=martian"}}
    body = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": "lan"},
            "NetworkingConfig": {"EndpointsConfig": {"lan": end}}}  # fmt: skip
    assert ask(docker, "POST", "/containers/create?name=box", body)[0] == 201
    done = docker.docker("start", "box", check=False)
    assert "log_martians" in done.stderr
    assert docker.inspect("box", "{{json .State.Running}}") is False


def test_who_waited_finds_it_off_its_networks(docker: Daemon) -> None:
    """Also who asks when the end is recorded and the ends are not taken back yet."""
    for _ in range(15):
        identity = create(docker, "true", NetworkMode="bridge", Binds=["vol:/v"])
        must(docker, "POST", f"/containers/{identity}/start")
        must(docker, "POST", f"/containers/{identity}/wait")
        end = must(docker, "GET", f"/containers/{identity}/json")["NetworkSettings"]["Networks"]["bridge"]
        assert (end["EndpointID"], end["IPAddress"]) == ("", "")
        assert len(end["NetworkID"]) == 64


def test_the_traffic_of_an_end_is_counted(docker: Daemon) -> None:
    identity = docker.run("--network", "side", IMAGE, "sleep", "1000")
    docker.said("exec", identity, "busybox", "nslookup", identity[:12])
    counted = must(docker, "GET", f"/containers/{identity}/stats?stream=0&one-shot=1")["networks"]
    assert list(counted) == ["eth0"]
    assert counted["eth0"]["tx_packets"] > 0
    none = docker.run("--network", "none", IMAGE, "sleep", "1000")
    assert "networks" not in must(docker, "GET", f"/containers/{none}/stats?stream=0&one-shot=1")
