"""A request for a container, field by field: each one served changes what is wanted, or is refused by its name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stockade.docker_api import fields, limits
from stockade.docker_api.wanted import Asked, Image, wanted
from stockade.engine.records import MountPoint, Wanted
from stockade.errors import BadValue, NotFound, Unsupported
from stockade.images.values import HealthCheck

BASE = Image("sha256:1", cmd=("sh",), env=("PATH=/bin", "A=1"), labels={"of": "image"}, workdir="/w", user="u")


def resolve(reference: str) -> str:
    if reference != "other":
        raise NotFound(f"No such container: {reference}")
    return "f" * 64


def made(config: dict[str, Any] | None = None, host: dict[str, Any] | None = None, image: Image = BASE) -> Wanted:
    return both(config, host, image)[0]


def both(
    config: dict[str, Any] | None = None, host: dict[str, Any] | None = None, image: Image = BASE
) -> tuple[Wanted, tuple[str, ...]]:
    body = {"Image": "box", **(config or {}), **({"HostConfig": host} if host else {})}
    asked = Asked("a" * 64, "name", 1, 2, "machine", resolve, "default")
    return wanted(fields.decode(msgspec.json.encode(body), fields.Create), image, asked)


# One value for each field that is served, by the JSON name.
CONFIG: dict[str, Any] = {
    "Hostname": "h",
    "Domainname": "d",
    "User": "0:0",
    "AttachStdin": True,
    "AttachStdout": True,
    "AttachStderr": True,
    "ExposedPorts": {"80/tcp": {}},
    "Tty": True,
    "OpenStdin": True,
    "StdinOnce": True,
    "Env": ["B=2"],
    "Cmd": ["x"],
    "Healthcheck": {"Test": ["CMD", "x"]},
    "Image": "another",
    "Volumes": {"/v": {}},
    "WorkingDir": "/x",
    "Entrypoint": ["e"],
    "Labels": {"l": "1"},
    "StopSignal": "SIGINT",
    "StopTimeout": 3,
    "Shell": ["/bin/ash", "-c"],
}
HOST: dict[str, Any] = {
    "Umask": 0o77,
    "Binds": ["/a:/b"],
    "LogConfig": {"Type": "none"},
    "NetworkMode": "host",
    "RestartPolicy": {"Name": "always"},
    "AutoRemove": True,
    "ConsoleSize": [24, 80],
    "Annotations": {"a": "1"},
    "CapAdd": ["NET_ADMIN"],
    "CapDrop": ["ALL"],
    "CgroupnsMode": "host",
    "Dns": ["1.1.1.1"],
    "DnsOptions": ["x"],
    "DnsSearch": ["y"],
    "ExtraHosts": ["a:1.2.3.4"],
    "GroupAdd": ["1"],
    "IpcMode": "host",
    "OomScoreAdj": 5,
    "PidMode": "host",
    "Privileged": True,
    "ReadonlyRootfs": True,
    "SecurityOpt": ["no-new-privileges"],
    "Tmpfs": {"/t": "size=1m"},
    "UTSMode": "host",
    "UsernsMode": "host",
    "ShmSize": 1 << 20,
    "Sysctls": {"net.a": "1"},
    "Mounts": [{"Type": "bind", "Source": "/a", "Target": "/b"}],
    "MaskedPaths": [],
    "ReadonlyPaths": [],
    "Init": True,
    "VolumesFrom": ["other:ro"],
}
RESOURCES: dict[str, Any] = {
    "CpuShares": 10,
    "Memory": 64 << 20,
    "NanoCpus": 10**9,
    "CgroupParent": "/p",
    "BlkioWeight": 100,
    "BlkioWeightDevice": [{"Path": "/dev/a", "Weight": 10}],
    "BlkioDeviceReadBps": [{"Path": "/dev/a", "Rate": 10}],
    "BlkioDeviceWriteBps": [{"Path": "/dev/a", "Rate": 10}],
    "BlkioDeviceReadIOps": [{"Path": "/dev/a", "Rate": 10}],
    "BlkioDeviceWriteIOps": [{"Path": "/dev/a", "Rate": 10}],
    "CpuPeriod": 5000,
    "CpuQuota": 5000,
    "CpuRealtimePeriod": 5000,
    "CpuRealtimeRuntime": 5000,
    "CpusetCpus": "0",
    "CpusetMems": "0",
    "Devices": [{"PathOnHost": "/dev/fuse"}],
    "DeviceCgroupRules": ["c 1:3 r"],
    "MemoryReservation": 16 << 20,
    "MemorySwappiness": 5,
    "OomKillDisable": True,
    "PidsLimit": 5,
    "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}],
}
# Served, and meant for one value only or together with another.
ELSEWHERE = {"NetworkDisabled", "Isolation", "Runtime", "MemorySwap", "HostConfig", "NetworkingConfig", "Stockade"}
ELSEWHERE |= {"VolumeDriver"}
# Of a container that has networks: test_ends.py.
ELSEWHERE |= {"MacAddress", "PortBindings", "PublishAllPorts", "Links"}


def served(kind: type[fields.Fields]) -> set[str]:
    named = zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
    return {encoded for name, encoded in named if name not in kind.REFUSED and name not in kind.NEUTRAL}


AS_IT_WAS_MADE = {"Devices", "DeviceCgroupRules", "Ulimits"}
"""What no update changes."""


def test_every_field_that_is_served_stands_here() -> None:
    assert served(fields.Config) - ELSEWHERE == set(CONFIG)
    assert served(fields.Resources) - ELSEWHERE == set(RESOURCES)
    assert served(fields.HostConfig) - ELSEWHERE == set(HOST) | set(RESOURCES)
    assert served(fields.Update) - ELSEWHERE == {*RESOURCES, "RestartPolicy"} - AS_IT_WAS_MADE


def without_origin(one: Wanted) -> Wanted:
    return msgspec.structs.replace(one, origin={})


@pytest.mark.parametrize("name", CONFIG)
def test_a_field_of_config_counts(name: str) -> None:
    assert without_origin(made({name: CONFIG[name]})) != without_origin(made())


@pytest.mark.parametrize("name", [*HOST, *RESOURCES])
def test_a_field_of_host_config_counts(name: str) -> None:
    value = (HOST | RESOURCES)[name]
    assert without_origin(made(None, {name: value})) != without_origin(made())


@pytest.mark.parametrize("name", [name for name in RESOURCES if name not in AS_IT_WAS_MADE])
def test_a_field_of_an_update_counts(name: str) -> None:
    body = fields.decode(msgspec.json.encode({name: RESOURCES[name]}), fields.Update)
    assert limits.changed(body, 2)


def test_an_update_gives_no_devices() -> None:
    with pytest.raises(BadValue, match="Devices is not served"):
        fields.decode(b'{"Devices": [{"PathOnHost": "/dev/null"}]}', fields.Update)


@pytest.mark.parametrize("kind", [fields.Config, fields.HostConfig, fields.Mount])
def test_what_is_not_served_is_refused_by_name(kind: type[fields.Fields]) -> None:
    samples: dict[type, Any] = {str: "x", bool: True, list: ["x"], dict: {"x": "y"}}
    for name, encoded in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True):
        if name not in kind.REFUSED:
            continue
        for sample in (*samples.values(), 1):
            try:
                value = msgspec.json.decode(msgspec.json.encode({encoded: sample}), type=kind)
            except msgspec.ValidationError:
                continue
            with pytest.raises(BadValue, match=f"{encoded} is not served"):
                fields.refuse(value)
            break
        else:
            pytest.fail(f"{encoded} takes no sample")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"Strange": 1}, "unknown field with a value: Strange"),
        (
            {"HostConfig": {"Odd": "x", "Memory": None}, "More": [1]},
            "unknown fields with a value: HostConfig.Odd, More",
        ),
        ({"Env": "A=1"}, "invalid JSON"),
        ({"HostConfig": {"Memory": "1g"}}, r"invalid JSON.*HostConfig.Memory"),
        ({"HostConfig": {"Memory": 1 << 70}}, "invalid JSON"),
        ({"HostConfig": {"PortBindings": {"80/icmp": [{"HostPort": "1"}]}}}, "invalid proto: icmp"),
        (
            {"NetworkingConfig": {"EndpointsConfig": {"web": {}}}, "NetworkDisabled": True},
            "cannot be connected to network web",
        ),
        (
            {"NetworkingConfig": {"EndpointsConfig": {"default": {"Aliases": ["x"]}}}, "NetworkDisabled": True},
            "aliases means nothing for the network mode",
        ),
    ],
)
def test_bad_bodies(body: dict[str, Any], words: str) -> None:
    with pytest.raises(BadValue, match=words):
        made(body)


@pytest.mark.parametrize("text", [b"{", b"[1]", b'"x"', b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(BadValue, match="invalid JSON"):
        fields.decode(text, fields.Create)


def test_what_clients_send_without_a_meaning_is_let_in() -> None:
    fields.decode(
        b'{"hostname": "h", "Old": null, "Older": "", "HostConfig": {"binds": null, "Gone": [], "Gone2": {"a": 0}, '
        b'"ContainerIDFile": "/x"}, "NetworkingConfig": {"EndpointsConfig": {"default": {"IPAMConfig": null}}}}',
        fields.Create,
    )


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ({"Memory": 1}, "Minimum memory limit allowed is 6MB"),
        ({"Memory": 64 << 20, "MemorySwap": 32 << 20}, "Minimum memoryswap limit should be larger"),
        ({"MemorySwap": 1}, "You should always set the Memory limit"),
        ({"MemorySwappiness": 101}, "valid memory swappiness range is 0-100"),
        ({"NanoCpus": 3 * 10**9}, "range of CPUs is from 0.01 to 2.00"),
        ({"NanoCpus": 1, "CpuPeriod": 5000}, "Nano CPUs and CPU Period cannot both be set"),
        ({"CpuPeriod": 1}, "CPU cfs period can not be less than 1ms"),
        ({"RestartPolicy": {"Name": "sometimes"}}, "unknown policy 'sometimes'"),
        ({"RestartPolicy": {"Name": "always", "MaximumRetryCount": 1}}, "can only be used with 'on-failure'"),
        ({"RestartPolicy": {"Name": "always"}, "AutoRemove": True}, "can't create 'AutoRemove' container"),
        ({"NetworkMode": "container:none-such"}, "No such container"),
        ({"IpcMode": "odd"}, "invalid IPC mode: odd"),
        ({"IpcMode": "container:x"}, "IpcMode container:x is not served yet"),
        ({"CapAdd": ["ODD"]}, 'invalid CapAdd: unknown capability: "CAP_ODD"'),
        ({"SecurityOpt": ["odd"]}, "invalid --security-opt 1"),
        ({"SecurityOpt": ["seccomp={"]}, "Decoding seccomp profile failed"),
        ({"Binds": ["a:/b"]}, "too short"),
        ({"Binds": ["/a:b"]}, "mount path must be absolute"),
        ({"Binds": ["/a:/b:odd"]}, "invalid mode"),
        ({"Binds": ["/a:/b", "/c:/b/"]}, "Duplicate mount point: /b"),
        ({"Binds": ["/a:/"]}, "destination can't be '/'"),
        (
            {"Mounts": [{"Type": "volume", "Target": "/x", "BindOptions": {"NonRecursive": True}}]},
            "field BindOptions must not be specified",
        ),
        ({"Mounts": [{"Type": "bind", "Source": "x", "Target": "/x"}]}, "mount path must be absolute"),
        ({"Mounts": [{"Type": "bind", "Target": "/x"}]}, "field Source must not be empty"),
        ({"Tmpfs": {"/t": "odd"}}, "Invalid tmpfs option"),
        ({"LogConfig": {"Type": "syslog"}}, "no log driver named 'syslog' is registered"),
        ({"LogConfig": {"Config": {"odd": "1"}}}, "unknown log opt 'odd' for json-file log driver"),
        ({"OomScoreAdj": 2000}, "range for oom score adj"),
        ({"UTSMode": "odd"}, "invalid UTS mode"),
        ({"Isolation": "hyperv"}, "it is for Windows"),
    ],
)
def test_refusals_of_host_config(host: dict[str, Any], words: str) -> None:
    with pytest.raises((BadValue, NotFound, Unsupported), match=words):
        made(None, host)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"Env": ["=x"]}, "invalid environment variable: =x"),
        ({"WorkingDir": "rel"}, "it needs to be an absolute path"),
        ({"Hostname": "-"}, "invalid hostname format"),
        ({"ExposedPorts": {"x": {}}}, "invalid port number"),
        ({"Healthcheck": {"Test": ["ODD"]}}, "unknown type"),
        ({"Healthcheck": {"Interval": 5}}, "cannot be less than 1ms"),
    ],
)
def test_refusals_of_config(config: dict[str, Any], words: str) -> None:
    with pytest.raises(BadValue, match=words):
        made(config)


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "image", "expected"),
    [
        (None, None, (("e",), ("c",)), (("e",), ("c",))),
        (None, ["x"], (("e",), ("c",)), (("e",), ("x",))),
        (["n"], None, (("e",), ("c",)), (("n",), ())),
        (["n"], ["x"], (("e",), ("c",)), (("n",), ("x",))),
        ([""], ["x"], (("e",), ("c",)), ((), ("x",))),
        ([], ["x"], (("e",), ("c",)), (("e",), ("x",))),
        ("n", "x", ((), ()), (("n",), ("x",))),
    ],
)
def test_entrypoint_and_command(
    entrypoint: Any, cmd: Any, image: tuple[tuple[str, ...], tuple[str, ...]], expected: Any
) -> None:
    found = made({"Entrypoint": entrypoint, "Cmd": cmd}, image=Image("i", image[0], image[1]))
    assert (found.entrypoint, found.command) == expected


def test_no_command_at_all() -> None:
    with pytest.raises(BadValue, match="no command specified"):
        made(image=Image("i"))


def test_what_the_image_says_and_what_is_asked() -> None:
    found = made({"Env": ["A=2", "PATH", "B=3"], "Labels": {"mine": "1"}})
    assert found.env == ("A=2", "B=3")
    assert found.labels == {"of": "image", "mine": "1"}
    assert (found.workdir, found.user) == ("/w", "u")
    assert found.hostname == "a" * 12
    assert found.log.options == {"max-size": "10m", "max-file": "3"}
    assert made({"Healthcheck": {"Retries": 2}}, image=BASE._replace(health=HealthCheck(("CMD", "x"), 5))).health == (
        HealthCheck(("CMD", "x"), 5, retries=2)
    )


def test_namespaces_and_their_warnings() -> None:
    plain, warnings = both()
    assert plain.namespaces.network == "bridge"
    assert [one.network for one in plain.networks] == ["bridge"]
    assert plain.namespaces.user == "private"
    assert warnings == ()
    assert made({"NetworkDisabled": True}).namespaces.network == "none"
    assert both(None, {"NetworkMode": "none"})[1] == ()
    one, warnings = both(None, {"NetworkMode": "none", "Privileged": True})
    assert one.namespaces.user == "host"
    assert "--privileged" in warnings[0]
    assert made(None, {"NetworkMode": "container:other"}).namespaces.user == f"container:{'f' * 64}"
    assert made(None, {"NetworkMode": "host"}).hostname == "machine"


def test_volumes() -> None:
    found = made(
        {"Volumes": {"/v": {}}},
        {
            "Binds": ["data:/a:ro,nocopy"],
            "VolumeDriver": "local",
            "Mounts": [
                {"Type": "volume", "Target": "/b", "ReadOnly": True},
                {
                    "Type": "volume",
                    "Source": "named",
                    "Target": "/c",
                    "VolumeOptions": {
                        "NoCopy": True,
                        "Labels": {"a": "b"},
                        "Subpath": "x/../y",
                        "DriverConfig": {"Name": "local", "Options": {"o": "bind"}},
                    },
                },
                {"Type": "image", "Source": "web:1", "Target": "/d"},
                {"Type": "image", "Source": "web:1", "Target": "/e", "ImageOptions": {"Subpath": "srv//www/"}},
            ],
        },
    )
    assert found.volumes == ("/v",)
    assert found.mounts == (
        MountPoint("/a", "volume", "data", ("rbind", "ro", "rprivate"), True, nocopy=True, driver="local"),
        MountPoint("/b", "volume", "", ("rbind", "ro", "rprivate"), True),
        MountPoint(
            "/c", "volume", "named", ("rbind", "rprivate"), subpath="y", nocopy=True,
            driver="local", driver_options={"o": "bind"}, labels={"a": "b"},
        ),
        MountPoint("/d", "image", "web:1", ("ro",)),
        MountPoint("/e", "image", "web:1", ("ro",), subpath="srv/www"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        ({"Type": "volume", "Source": "named", "VolumeOptions": {"Subpath": "../x"}}, "must be a relative path"),
        ({"Type": "volume", "VolumeOptions": {"Subpath": "x"}}, "must not set Subpath when using anonymous volumes"),
        ({"Type": "volume", "Source": "/x"}, "invalid characters for a local volume name"),
        ({"Type": "image", "Source": "i", "ImageOptions": {"Subpath": "/x"}}, "must be a relative path"),
        ({"Type": "image", "Source": "i", "ImageOptions": {"Subpath": "a:b"}}, "cannot be told to an overlay"),
        ({"Type": "image"}, "field Source must not be empty"),
    ],
)
def test_refusals_of_mounts(mount: dict[str, Any], words: str) -> None:
    with pytest.raises(BadValue, match=words):
        made(None, {"Mounts": [{"Target": "/x", **mount}]})
