"""Images, networks, volumes, events, the system, and what is pruned of them."""

from __future__ import annotations

import io
import json
import tarfile
import time
from typing import Any

from conformance.differential.sides import Side
from support.daemon import image


def system(side: Side) -> None:
    for method in ("GET", "HEAD"):
        status, headers, data = side.request(method, "!/_ping")
        headers = {name: "" if name in ("date", "server") else value for name, value in headers.items()}
        side.write(f"ping {method}", {"status": status, "headers": headers, "body": data.decode()})
    found = json.loads(side.request("GET", "/version")[2])
    side.write("version", _kinds(found))
    found = json.loads(side.request("GET", "/info")[2])
    side.write("info", _kinds(found))
    side.get("df", "/system/df")
    side.get("df volumes", "/system/df", type="volume")
    side.get("df nonsense", "/system/df", type="nope")
    wrong: dict[str, dict[str, Any]] = {
        "filters x": {"filters": "x"},
        "until x": {"until": "x"},
        "since x": {"since": "x"},
        "since late": {"since": "100", "until": "10"},
        "unknown": {"until": "10", "filters": {"nope": ["x"]}},
    }
    for label, query in wrong.items():
        side.get(f"events {label}", "/events", **query)
    side.post("auth", "/auth", {"username": "u", "password": "p", "serveraddress": "http://127.0.0.1:1"})
    side.post("auth nonsense", "/auth", b"x")
    side.get("swarm", "/swarm")
    side.get("nodes", "/nodes")
    side.get("plugins", "/plugins")
    side.post("build prune", "/build/prune")


def _kinds(document: object) -> object:
    if isinstance(document, dict):
        return {key: _kinds(value) for key, value in document.items()}
    return type(document).__name__ if not isinstance(document, list) else "list"


def volumes(side: Side) -> None:
    begun = time.time()
    side.post("create", "/volumes/create", {"Name": "vol", "Labels": {"a": "b"}})
    side.post("create again", "/volumes/create", {"Name": "vol"})
    side.post(
        "create with options",
        "/volumes/create",
        {"Name": "tmp", "DriverOpts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}},
    )
    side.post(
        "create with other options",
        "/volumes/create",
        {"Name": "tmp", "DriverOpts": {"type": "tmpfs", "device": "tmpfs"}},
    )
    side.post("create nonsense option", "/volumes/create", {"Name": "bad", "DriverOpts": {"nope": "x"}})
    side.post("create no device", "/volumes/create", {"Name": "bad", "DriverOpts": {"type": "tmpfs"}})
    for name in ("a", "a b", "x/y", "-x", "../x", "a" * 300):
        side.post(f"create named {name[:9]}", "/volumes/create", {"Name": name})
    side.get("inspect", "/volumes/vol")
    side.get("inspect options", "/volumes/tmp")
    side.post("create nameless", "/volumes/create", {})
    side.get("list", "/volumes", filters={"name": ["vol", "tmp"]})
    for label, chosen in {
        "name": {"name": ["vo"]},
        "label": {"label": ["a=b"]},
        "label no": {"label": ["x"]},
        "driver": {"driver": ["local"]},
        "driver no": {"driver": ["nope"]},
        "dangling x": {"dangling": ["x"]},
        "unknown": {"nope": ["x"]},
    }.items():
        found = json.loads(side.request("GET", f"/volumes?filters={json.dumps(chosen).replace(' ', '')}")[2])
        names = [one["Name"] for one in found.get("Volumes") or []]
        side.write(f"filter {label}", sorted(names) if "Volumes" in found else found)
    side.run("c1", "sleep", "100", host={"Binds": ["vol:/m"]})
    side.delete("remove in use", "/volumes/vol")
    side.delete("remove in use force", "/volumes/vol", force="1")
    side.get("dangling", "/volumes", filters={"dangling": ["false"]})
    side.must("DELETE", "/containers/c1?force=1")
    side.post("prune", "/volumes/prune")
    side.post("prune x", "/volumes/prune", filters={"nope": ["x"]})
    side.post("prune label", "/volumes/prune", filters={"label": ["nope"], "all": ["1"]})
    side.delete("remove", "/volumes/vol")
    side.post("prune all", "/volumes/prune", filters={"all": ["true"]})
    side.events("events", begun, type=["volume"])


WRONG_NETWORKS: dict[str, dict[str, Any]] = {
    "nameless": {},
    "bridge": {"Name": "bridge"},
    "host": {"Name": "host"},
    "default": {"Name": "default"},
    "container": {"Name": "container"},
    "host driver": {"Name": "n2", "Driver": "host"},
    "null driver": {"Name": "n2", "Driver": "null"},
    "blank": {"Name": " "},
    "spaces": {"Name": "a b"},
    "slash": {"Name": "a/b"},
    "subnet nonsense": {"Name": "n2", "IPAM": {"Config": [{"Subnet": "nope"}]}},
    "subnet host bits": {"Name": "n2", "IPAM": {"Config": [{"Subnet": "192.0.2.1/24"}]}},
    "gateway outside": {"Name": "n2", "IPAM": {"Config": [{"Subnet": "192.0.2.0/24", "Gateway": "198.51.100.1"}]}},
    "gateway nonsense": {"Name": "n2", "IPAM": {"Config": [{"Subnet": "192.0.2.0/24", "Gateway": "nope"}]}},
    "gateway alone": {"Name": "n2", "IPAM": {"Config": [{"Gateway": "192.0.2.1"}]}},
    "range outside": {"Name": "n2", "IPAM": {"Config": [{"Subnet": "192.0.2.0/24", "IPRange": "198.51.100.0/25"}]}},
    "range nonsense": {"Name": "n2", "IPAM": {"Config": [{"Subnet": "192.0.2.0/24", "IPRange": "x"}]}},
    "auxiliary outside": {
        "Name": "n2",
        "IPAM": {"Config": [{"Subnet": "192.0.2.0/24", "AuxiliaryAddresses": {"a": "198.51.100.1"}}]},
    },
    "two of a family": {"Name": "n2", "IPAM": {"Config": [{"Subnet": "192.0.2.0/25"}, {"Subnet": "192.0.2.0/24"}]}},
    "swarm scope": {"Name": "n2", "Scope": "swarm"},
    "ipv6 without v6": {"Name": "n2", "IPAM": {"Config": [{"Subnet": "2001:db8::/64"}]}},
    "mtu nonsense": {"Name": "n2", "Options": {"com.docker.network.driver.mtu": "x"}},
    "option unknown": {"Name": "n2", "Options": {"nope": "x"}},
    "bridge name": {"Name": "n2", "Options": {"com.docker.network.bridge.name": "a-name-that-is-too-long"}},
}
NETWORK_FILTERS = {
    "name": {"name": ["n"]},
    "id": {"id": ["nope"]},
    "label": {"label": ["a=b"]},
    "driver": {"driver": ["bridge"]},
    "driver no": {"driver": ["nope"]},
    "type": {"type": ["custom"]},
    "type builtin": {"type": ["builtin"]},
    "type x": {"type": ["nope"]},
    "scope": {"scope": ["local"]},
    "scope x": {"scope": ["nope"]},
    "dangling": {"dangling": ["true"]},
    "dangling x": {"dangling": ["x"]},
    "unknown": {"nope": ["x"]},
}
FULL: dict[str, Any] = {
    "Name": "n3",
    "Internal": True,
    "EnableIPv6": True,
    "IPAM": {
        "Config": [
            {
                "Subnet": "192.0.2.0/24",
                "Gateway": "192.0.2.7",
                "IPRange": "192.0.2.128/25",
                "AuxiliaryAddresses": {"x": "192.0.2.200"},
            },
            {"Subnet": "2001:db8:7::/64"},
        ]
    },
    "Options": {"com.docker.network.driver.mtu": "1400"},
}


def networks(side: Side) -> None:
    side.post("create", "/networks/create", {"Name": "n1", "Labels": {"a": "b"}})
    side.get("inspect", "/networks/n1")
    side.post("create again", "/networks/create", {"Name": "n1"})
    for label, body in WRONG_NETWORKS.items():
        made = side.post(f"create: {label}", "/networks/create", body)
        if isinstance(made, dict) and "Id" in made:
            side.request("DELETE", f"/networks/{made['Id']}")
    side.post("create full", "/networks/create", FULL)
    side.get("inspect full", "/networks/n3")
    side.post(
        "create overlapping", "/networks/create", {"Name": "n4", "IPAM": {"Config": [{"Subnet": "192.0.2.0/25"}]}}
    )
    for name in ("bridge", "host", "none"):
        side.get(f"inspect {name}", f"/networks/{name}")
        side.delete(f"remove {name}", f"/networks/{name}")


def connections(side: Side) -> None:
    begun = time.time()
    side.must("POST", "/networks/create", {"Name": "n1", "Labels": {"a": "b"}})
    side.must("POST", "/networks/create", FULL)
    found = side.run("c1", "sleep", "100", host={"NetworkMode": "n1"})
    side.get("inspect with one", "/networks/n1")
    side.get("verbose", "/networks/n1", verbose="1")
    side.get("scope", "/networks/n1", scope="swarm")
    side.post("connect again", "/networks/n1/connect", {"Container": "c1"})
    side.post(
        "connect",
        "/networks/n3/connect",
        {
            "Container": "c1",
            "EndpointConfig": {
                "Aliases": ["al"],
                "IPAMConfig": {"IPv4Address": "192.0.2.20"},
                "GwPriority": 5,
                "DriverOpts": {},
            },
        },
    )
    side.get("container", "/containers/c1/json")
    side.run("c2", "sleep", "100", host={"NetworkMode": "n1"})
    side.post(
        "connect taken",
        "/networks/n3/connect",
        {"Container": "c2", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "192.0.2.20"}}},
    )
    side.post(
        "connect outside",
        "/networks/n3/connect",
        {"Container": "c2", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "198.51.100.1"}}},
    )
    side.post(
        "connect nonsense",
        "/networks/n3/connect",
        {"Container": "c2", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "x"}}},
    )
    side.post("connect link", "/networks/n3/connect", {"Container": "c2", "EndpointConfig": {"Links": ["c1:one"]}})
    side.post("connect to host", "/networks/host/connect", {"Container": "c2"})
    side.post("connect to none", "/networks/none/connect", {"Container": "c2"})
    side.post("connect nobody", "/networks/n3/connect", {})
    side.delete("remove in use", "/networks/n1")
    side.post("disconnect", "/networks/n3/disconnect", {"Container": "c1"})
    side.post("disconnect again", "/networks/n3/disconnect", {"Container": "c1"})
    side.post("disconnect again force", "/networks/n3/disconnect", {"Container": "c1", "Force": True})
    side.must("POST", "/containers/c1/stop?t=0")
    side.post("connect stopped", "/networks/n3/connect", {"Container": "c1"})
    side.get("container stopped", "/containers/c1/json")
    side.events("events", begun, type=["network"])
    side.events("events of a container", begun, container=[found])
    side.post("start", "/containers/c1/start")


def other_networks(side: Side) -> None:
    """Containers on the host's network and on another's; lists and prunes."""
    side.must("POST", "/networks/create", {"Name": "n1", "Labels": {"a": "b"}})
    side.run("c1", "sleep", "100", host={"NetworkMode": "n1"})
    side.run("h1", "sleep", "100", host={"NetworkMode": "host"})
    side.get("on host", "/containers/h1/json")
    side.post("connect from host", "/networks/n1/connect", {"Container": "h1"})
    side.run("s1", "sleep", "100", host={"NetworkMode": "container:c1"})
    side.get("shared", "/containers/s1/json")
    side.post("connect shared", "/networks/n1/connect", {"Container": "s1"})
    for label, chosen in NETWORK_FILTERS.items():
        found = json.loads(side.request("GET", f"/networks?filters={json.dumps(chosen).replace(' ', '')}")[2])
        side.write(f"filter {label}", sorted(one["Name"] for one in found) if isinstance(found, list) else found)
    side.must("POST", "/networks/create", {"Name": "gone"})
    side.post("prune label", "/networks/prune", filters={"label": ["x"]})
    side.post("prune until", "/networks/prune", filters={"until": ["10h"]})
    side.post("prune unknown", "/networks/prune", filters={"nope": ["x"]})
    side.post("prune", "/networks/prune")
    side.post("prune again", "/networks/prune")


def images(side: Side) -> None:
    side.get("list", "/images/json")
    side.get("list with more", "/images/json", **{"shared-size": "1", "digests": "1"})
    side.get("inspect", "/images/box:1/json")
    side.get("history", "/images/box:1/history")
    side.post("tag", "/images/box:1/tag", repo="other", tag="2")
    side.post("tag nonsense", "/images/box:1/tag", repo="NOPE", tag="2")
    side.post("tag nonsense tag", "/images/box:1/tag", repo="other", tag="a b")
    side.post("tag no repo", "/images/box:1/tag")
    side.post("tag digest", "/images/box:1/tag", repo="other@sha256:" + "0" * 64)
    side.post("tag latest", "/images/box:1/tag", repo="other")
    found = side.must("GET", "/images/box:1/json")["Id"]
    side.get("by id", f"/images/{found}/json")
    side.get("by short id", f"/images/{found.removeprefix('sha256:')[:12]}/json")
    side.get("by nonsense", "/images/NOPE:/json")
    for label, chosen in {
        "reference": {"reference": ["oth*"]},
        "reference no": {"reference": ["nope"]},
        "label": {"label": ["x"]},
        "dangling": {"dangling": ["true"]},
        "dangling x": {"dangling": ["x"]},
        "before": {"before": ["box:1"]},
        "since": {"since": ["box:1"]},
        "since no": {"since": ["nope"]},
        "until": {"until": ["10h"]},
        "until x": {"until": ["x"]},
        "unknown": {"nope": ["x"]},
    }.items():
        listed = json.loads(side.request("GET", f"/images/json?filters={json.dumps(chosen).replace(' ', '')}")[2])
        side.write(
            f"filter {label}", [sorted(one["RepoTags"]) for one in listed] if isinstance(listed, list) else listed
        )


def images_going(side: Side) -> None:
    """Removed, brought, given and pruned."""
    begun = time.time()
    side.must("POST", "/images/box:1/tag?repo=other&tag=2")
    side.must("POST", "/images/box:1/tag?repo=other")
    found = side.must("GET", "/images/box:1/json")["Id"]
    side.run("c1", "sleep", "100")
    side.delete("remove tag", "/images/other:2")
    side.delete("remove used by id", f"/images/{found}")
    side.delete("remove used by id force", f"/images/{found}", force="1")
    side.delete("remove a tag of more", "/images/other:latest")
    side.delete("remove used", "/images/box:1")
    side.must("DELETE", "/containers/c1?force=1")
    side.ended("c2", "true")
    side.delete("remove used by stopped", "/images/box:1")
    side.must("DELETE", "/containers/c2")
    side.post("pull nowhere", "/images/create", fromImage="127.0.0.1:1/x", tag="1")
    side.post("pull nonsense", "/images/create", fromImage="NOPE")
    side.post("pull nonsense tag", "/images/create", fromImage="x", tag="a b")
    side.post("create nothing", "/images/create")
    side.post("push nowhere", "/images/box:1/push")
    side.ask("push to nobody", "POST", "/images/127.0.0.1:1/x/push?tag=1", None, {"X-Registry-Auth": "e30="})
    side.ask("import", "POST", "/images/create?fromSrc=-&repo=brought&tag=1&message=why&changes=CMD%20x", _root())
    side.get("inspect import", "/images/brought:1/json")
    side.get("history import", "/images/brought:1/history")
    side.ask("import nonsense", "POST", "/images/create?fromSrc=-&repo=brought&tag=2", b"nonsense")
    side.ask("load", "POST", "/images/load", image())
    side.ask("load quiet", "POST", "/images/load?quiet=1", image())
    side.ask("load nonsense", "POST", "/images/load", b"nonsense")
    side.ask("load empty", "POST", "/images/load", b"")
    _, headers, data = side.request("GET", "/images/box:1/get")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        side.write("save", {"type": headers.get("content-type"), "names": sorted(tar.getnames())})
        side.write("save manifest", json.loads(tar.extractfile("manifest.json").read()))  # type: ignore[union-attr]
    side.get("save none", "/images/get")
    side.post("prune", "/images/prune")
    side.post("prune x", "/images/prune", filters={"nope": ["x"]})
    side.post("prune dangling x", "/images/prune", filters={"dangling": ["x"]})
    side.post("prune all", "/images/prune", filters={"dangling": ["false"], "label": ["nope"]})
    side.delete("remove import", "/images/brought:1")
    side.events("events", begun, type=["image"])


def _root() -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        entry = tarfile.TarInfo("hello")
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"x"))
    return whole.getvalue()


def events(side: Side) -> None:
    """The order and the attributes of what a life says."""
    begun = time.time()
    side.create(
        "c1",
        "sh",
        "-c",
        "trap 'exit 5' TERM; while true; do sleep 0.1; done",
        Labels={"a": "b"},
        host={"NetworkMode": "bridge", "Binds": ["vol:/m"]},
    )
    side.must("POST", "/containers/c1/start")
    time.sleep(0.3)
    side.must("POST", "/containers/c1/pause")
    side.must("POST", "/containers/c1/unpause")
    made = side.must("POST", "/containers/c1/exec", {"Cmd": ["sh", "-c", "exit 3"]})
    side.must("POST", f"/exec/{made['Id']}/start", {"Detach": True})
    time.sleep(0.5)
    side.must("GET", "/containers/c1/top")
    side.must("POST", "/containers/c1/rename?name=c9")
    side.must("POST", "/containers/c9/update", {"CpuShares": 100})
    side.must("POST", "/containers/c9/restart?t=2")
    time.sleep(0.3)
    side.must("POST", "/containers/c9/stop?t=2")
    side.must("POST", "/commit?container=c9&repo=made")
    side.request("GET", "/containers/c9/export")
    side.request("GET", "/containers/c9/archive?path=/etc/passwd")
    side.must("POST", "/containers/c9/start")
    side.must("POST", "/containers/c9/kill")
    side.must("POST", "/containers/c9/wait")
    side.must("DELETE", "/containers/c9")
    side.events("all", begun)
    side.events("containers", begun, type=["container"])
    side.events("by name", begun, container=["c9"])
    side.events("by label", begun, label=["a=b"])
    side.events("by event", begun, event=["die"])
    side.events("by image", begun, image=["box"])
    side.events("by volume", begun, volume=["vol"])
    side.events("by network", begun, network=["bridge"])
    side.events("by scope", begun, scope=["swarm"])


def prunes(side: Side) -> None:
    side.ended("c1", "sh", "-c", "echo x >/x")
    side.create("c2", "true")
    side.run("c3", "sleep", "100")
    side.post("until x", "/containers/prune", filters={"until": ["x"]})
    side.post("until", "/containers/prune", filters={"until": ["10h"]})
    side.post("label", "/containers/prune", filters={"label": ["nope"]})
    side.post("unknown", "/containers/prune", filters={"nope": ["x"]})
    side.post("all", "/containers/prune")
    side.post("again", "/containers/prune")


STORIES = (system, volumes, networks, connections, other_networks, images, images_going, events, prunes)
