"""What a version of the API changes of requests and answers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stockade.docker_api import fields, limits, render, usage
from stockade.docker_api.images import image_config
from stockade.docker_api.selection import Listed, choose
from stockade.docker_api.system import stream_kind
from stockade.docker_api.versions import Version
from stockade.docker_api.wanted import since_1_52
from stockade.engine.records import Health, Record, State, Status, Wanted
from stockade.errors import BadValue
from stockade.images import Image, ImageConfig
from stockade.images.values import Kept
from stockade.networks.values import Endpoint


def record(**more: Any) -> Record:
    return Record(Wanted("a" * 64, "box", 1, "busybox", "sha256:1", command=("sh",), **more), State())


def create(**body: Any) -> fields.Create:
    return fields.decode(msgspec.json.encode(body), fields.Create)


@pytest.mark.parametrize(
    ("accept", "version", "kind"),
    [
        (b"", "1.56", "application/json"),
        (b"*/*", "1.56", "application/json"),
        (b"application/json", "1.56", "application/json"),
        (b"application/jsonl, application/x-ndjson;q=0.9, application/json-seq;q=0.5", "1.56", "application/jsonl"),
        (b"application/jsonl, application/x-ndjson;q=0.9", "1.52", "application/x-ndjson"),
        (b"application/json-seq", "1.52", "application/json-seq"),
        (b"application/json-seq; q=0.2, application/JSONL; q=0.4", "1.53", "application/jsonl"),
        (b"application/jsonl;q=0, application/json-seq;q=nan", "1.53", "application/json"),
        (b"application/json-seq", "1.51", "application/json"),
    ],
)
def test_in_which_form_events_are_told(accept: bytes, version: str, kind: str) -> None:
    assert stream_kind(accept, Version(*map(int, version.split(".")))) == kind


def test_ends_are_told_once_since_1_52() -> None:
    end = Endpoint("bridge", "n" * 64, "e" * 64, "02:42:ac:11:00:02", "eth0", "veth0", ipv4="172.17.0.2", prefix4=16)
    one = record()
    one = Record(one.wanted, msgspec.structs.replace(one.state, pid=7, status=Status.RUNNING, endpoints=(end,)))
    found = render.inspect(one, "/d")
    assert "IPAddress" not in found["NetworkSettings"]
    assert "OnBuild" not in found["Config"]
    render.add_legacy(found, one)
    assert found["NetworkSettings"]["IPAddress"] == "172.17.0.2"
    assert found["NetworkSettings"]["SandboxKey"] == "/proc/7/ns/net"
    assert found["Config"]["OnBuild"] is None


def test_a_list_tells_of_health_since_1_52() -> None:
    lines = render.Summaries()
    one = record()
    one = Record(one.wanted, msgspec.structs.replace(one.state, health=Health.UNHEALTHY, failing=3))
    assert msgspec.json.decode(lines.line(one, "busybox", 1))["Health"] == {"Status": "unhealthy", "FailingStreak": 3}
    assert "Health" not in msgspec.json.decode(lines.line(one, "busybox", 1, healthy=False))


def test_a_containers_own_mac_address_is_refused_since_1_52() -> None:
    with pytest.raises(BadValue, match="MacAddress is not served since"):
        since_1_52(create(Image="busybox", MacAddress="02:42:ac:11:00:09"))


def test_empty_bindings_are_warned_of_since_1_52() -> None:
    [warning] = since_1_52(create(Image="b", HostConfig={"PortBindings": {"80/tcp": [], "81/tcp": [{}]}}))
    assert "'80/tcp'" in warning


@pytest.mark.parametrize(("clears", "found"), [(False, {}), (True, {"blkio_weight_device": (), "blkio_read_bps": ()})])
def test_an_empty_list_of_an_update_clears_since_1_55(clears: bool, found: dict[str, Any]) -> None:
    body = fields.decode(b'{"BlkioWeightDevice": [], "BlkioDeviceReadBps": [], "Memory": 0}', fields.Update)
    assert limits.changed(body, 2, clears=clears) == found


@pytest.mark.parametrize(
    ("text", "passes"), [("color", True), ("color=red", True), ("color=blue", False), ("n", False)]
)
def test_the_filter_of_annotations(text: str, passes: bool) -> None:
    one = record(annotations={"color": "red"})
    assert bool(choose([one], Listed({"annotation": (text,)}, everything=True))) is passes


def test_an_image_says_only_what_it_has_since_1_52() -> None:
    image = Image(Kept("sha256:1", "sha256:2", (), 1, 1, 1), ImageConfig(cmd=("sh",)), ())
    assert image_config(image, Version(1, 52)) == {"Cmd": ("sh",)}
    assert image_config(image, Version(1, 51))["Entrypoint"] is None


def test_what_the_disk_holds_summed_up() -> None:
    found = {
        "layers": 100,
        "image": [{"Containers": 1, "Size": 60, "SharedSize": 10}, {"Containers": 0, "Size": 50, "SharedSize": 10}],
        "container": [{"State": "running", "SizeRw": 3}, {"State": "exited", "SizeRw": 4}],
        "volume": [{"UsageData": {"RefCount": 0, "Size": 5}}, {"UsageData": {"RefCount": 1, "Size": -1}}],
        "build-cache": [],
    }
    summed = usage.summed(found, verbose=False)
    assert summed["ImageUsage"] == {"ActiveCount": 1, "TotalCount": 2, "Reclaimable": 40, "TotalSize": 100}
    assert summed["ContainerUsage"] == {"ActiveCount": 1, "TotalCount": 2, "Reclaimable": 4, "TotalSize": 7}
    assert summed["VolumeUsage"] == {"ActiveCount": 1, "TotalCount": 2, "Reclaimable": 5, "TotalSize": 5}
    assert summed["BuildCacheUsage"] == {"ActiveCount": 0, "TotalCount": 0, "Reclaimable": 0, "TotalSize": 0}
    assert usage.summed(found, verbose=True)["VolumeUsage"]["Items"] == found["volume"]
    assert usage.summed({"volume": []}, verbose=True).keys() == {"VolumeUsage"}
