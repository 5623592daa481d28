"""What `run` and `create` make of their options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stockade import cli
from stockade.cli import ends
from stockade.cli.making import wanted
from stockade.errors import BadValue


def body(*words: str) -> dict[str, Any]:
    return wanted(cli.load("create").parse([*words, "image"]), False).body()


@pytest.mark.parametrize(
    ("text", "name", "end"),
    [
        ("shop", "shop", {}),
        ("name=shop", "shop", {}),
        ("alias=a,name=shop,alias=b", "shop", {"Aliases": ["a", "b"]}),
        ("name=shop,ip=10.0.0.9,ip6=fd00::9,link-local-ip=169.254.1.1", "shop",
         {"IPAMConfig": {"IPv4Address": "10.0.0.9", "IPv6Address": "fd00::9", "LinkLocalIPs": ["169.254.1.1"]}}),
        ("name=shop,mac-address=02:00:00:00:00:01,gw-priority=-3", "shop",
         {"MacAddress": "02:00:00:00:00:01", "GwPriority": -3}),
        ('name=shop,"driver-opt=com.docker.network.endpoint.sysctls=a=1,b=2"', "shop",
         {"DriverOpts": {"com.docker.network.endpoint.sysctls": "a=1,b=2"}}),
    ],
)  # fmt: skip
def test_a_network(text: str, name: str, end: dict[str, Any]) -> None:
    assert ends.one(text) == (name, end)


@pytest.mark.parametrize("text", ["alias=a", "name=shop,nonsense=1", "name=shop,gw-priority=high", "name=,alias=a",
                                  "name=shop,driver-opt=x"])  # fmt: skip
def test_what_no_network_is(text: str) -> None:
    with pytest.raises(BadValue, match="--network"):
        ends.one(text)


def test_networks() -> None:
    assert body()["HostConfig"]["NetworkMode"] == "none"
    assert body("-p", "80")["HostConfig"]["NetworkMode"] == "bridge"
    made = body("--network", "a", "--network-alias", "x", "--mac-address", "02:00:00:00:00:01",
                "--link-local-ip", "169.254.1.1", "--network", "name=b,alias=y")  # fmt: skip
    assert made["HostConfig"]["NetworkMode"] == "a"
    assert made["NetworkingConfig"]["EndpointsConfig"] == {
        "a": {"Aliases": ["x"], "IPAMConfig": {"LinkLocalIPs": ["169.254.1.1"]}, "MacAddress": "02:00:00:00:00:01"},
        "b": {"Aliases": ["y"]},
    }


@pytest.mark.parametrize(
    "words",
    [
        ("--network", "a", "--network", "a"),
        ("--network", "a", "--network", "b", "--network", "name=b"),
        ("--network", "name=a,alias=x", "--ip", "10.0.0.9"),
        ("--expose", "x"),
        ("--expose", "9-8"),
        ("--expose", "0"),
        ("--device-read-bps", "sda:1m"),
        ("--blkio-weight-device", "/dev/sda:x"),
        ("--label-file", "/nonesuch"),
    ],
)
def test_what_contradicts_itself_or_is_nothing(words: tuple[str, ...]) -> None:
    with pytest.raises(BadValue):
        body(*words)


def test_members_of_the_host_configuration(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("# marks\na=1\n\nb=2\n")
    made = body("--dns-search", "a.example", "--cpu-quota", "5000", "--device-read-bps", "/dev/sda:1m",
                "--oom-kill-disable", "--expose", "80", "--expose", "90-91/udp",
                "--label-file", str(tmp_path / "labels"), "--label", "b=3")  # fmt: skip
    host = made["HostConfig"]
    assert (host["DnsSearch"], host["CpuQuota"], host["OomKillDisable"]) == (["a.example"], 5000, True)
    assert host["BlkioDeviceReadBps"] == [{"Path": "/dev/sda", "Rate": 1 << 20}]
    assert made["ExposedPorts"] == {"80/tcp": {}, "90/udp": {}, "91/udp": {}}
    assert made["Labels"] == {"a": "1", "b": "3"}
    assert "CpuPeriod" not in host


@pytest.mark.parametrize(("word", "umask"), [("077", 63), ("0027", 23), ("0", 0)])
def test_the_umask(word: str, umask: int) -> None:
    assert body("--umask", word)["HostConfig"]["Umask"] == umask


@pytest.mark.parametrize("word", ["8", "1000", "-1", "0o77", ""])
def test_what_no_umask_is(word: str) -> None:
    with pytest.raises(BadValue, match="is no umask"):
        body("--umask", word)


def test_what_docker_has_and_this_has_not_is_refused_with_its_reason() -> None:
    with pytest.raises(BadValue, match="does not serve --gpus: devices by request"):
        cli.load("create").parse(["--gpus", "all", "image"])


def test_letters_as_docker_has_them(capsys: pytest.CaptureFixture[str]) -> None:
    made = body("-h", "web", "-c", "512")
    assert (made["Hostname"], made["HostConfig"]["CpuShares"]) == ("web", 512)
    assert cli.main(["run", "--help"]) == 0
    assert "-h, --hostname NAME" in capsys.readouterr().out
    assert cli.main(["run", "-h"]) == 125
    assert "`stockade run --help` shows how it is used" in capsys.readouterr().err
    assert cli.main(["ps", "-h"]) == 0
