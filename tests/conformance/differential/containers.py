"""What is said of a container and to it: made, listed, inspected, waited for, refused."""

from __future__ import annotations

import time
from typing import Any

from conformance.differential.sides import Side

RICH = {
    "Hostname": "h",
    "Domainname": "d.example",
    "User": "www",
    "AttachStdout": True,
    "Env": ["A=b", "PATH=/bin:/x"],
    "Labels": {"l": "1", "e": ""},
    "WorkingDir": "/tmp",
    "Entrypoint": ["sleep"],
    "StopSignal": "SIGINT",
    "StopTimeout": 3,
    "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
    "Volumes": {"/v": {}},
    "Tty": True,
    "OpenStdin": True,
    "StdinOnce": True,
    "Healthcheck": {
        "Test": ["CMD", "true"],
        "Interval": 1000000000,
        "Timeout": 2000000000,
        "Retries": 2,
        "StartPeriod": 3000000000,
    },
}
RICH_HOST = {
    "Memory": 64 << 20,
    "MemoryReservation": 32 << 20,
    "NanoCpus": 500000000,
    "CpuShares": 512,
    "PidsLimit": 50,
    "CapAdd": ["NET_ADMIN"],
    "CapDrop": ["MKNOD"],
    "Dns": ["192.0.2.1"],
    "DnsSearch": ["example"],
    "DnsOptions": ["ndots:2"],
    "ExtraHosts": ["other:192.0.2.2"],
    "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
    "ReadonlyRootfs": True,
    "Tmpfs": {"/t": "size=1m"},
    "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}],
    "ShmSize": 1 << 20,
    "Sysctls": {"net.ipv4.ip_forward": "1"},
    "OomScoreAdj": 100,
    "Init": True,
    "GroupAdd": ["audio", "7"],
    "SecurityOpt": ["no-new-privileges"],
    "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
    "PortBindings": {"80/tcp": [{"HostPort": "18080", "HostIp": "127.0.0.1"}]},
    "NetworkMode": "bridge",
    "Annotations": {"x": "y"},
    "Mounts": [{"Type": "volume", "Source": "vol", "Target": "/m", "ReadOnly": True}],
}


def made_plain(side: Side) -> None:
    """As little as possible is asked for."""
    side.post("create", "/containers/create", {"Image": "box:1"}, name="c1")
    side.get("inspect", "/containers/c1/json")
    side.get("inspect with size", "/containers/c1/json", size="1")
    side.get("list", "/containers/json", all="1")
    side.get("list with size", "/containers/json", all="1", size="1")
    side.post("start", "/containers/c1/start")
    side.post("wait", "/containers/c1/wait")
    side.get("inspect ended", "/containers/c1/json")
    side.get("list ended", "/containers/json", all="1")
    side.delete("remove", "/containers/c1")
    side.get("inspect gone", "/containers/c1/json")
    side.post("create nameless", "/containers/create", {"Image": "box:1", "Cmd": ["true"]})


def running(side: Side) -> None:
    side.run("c1", "sleep", "100", host={"NetworkMode": "bridge"})
    side.get("inspect", "/containers/c1/json")
    side.get("list", "/containers/json")
    side.get("list old", "!/v1.43/containers/json")
    side.get("top", "/containers/c1/top")
    side.get("top columns", "/containers/c1/top", ps_args="-o pid,comm")
    side.get("top bad columns", "/containers/c1/top", ps_args="-o nope")
    side.get("top without pid", "/containers/c1/top", ps_args="-o comm")
    side.get("stats", "/containers/c1/stats", stream="0")
    side.get("stats at once", "/containers/c1/stats", stream="0", **{"one-shot": "1"})
    side.get("changes", "/containers/c1/changes")
    side.post("pause", "/containers/c1/pause")
    side.get("inspect paused", "/containers/c1/json")
    side.get("list paused", "/containers/json")
    side.post("pause again", "/containers/c1/pause")
    side.get("top paused", "/containers/c1/top")
    side.post("start paused", "/containers/c1/start")
    side.post("exec paused", "/containers/c1/exec", {"Cmd": ["true"]})
    side.post("rename paused", "/containers/c1/rename", name="d1")
    side.delete("remove paused", "/containers/d1")
    side.post("unpause", "/containers/d1/unpause")
    side.post("unpause again", "/containers/d1/unpause")
    side.delete("remove running", "/containers/d1")
    side.post("resize no tty", "/containers/d1/resize", h="10", w="20")
    side.post("resize nonsense", "/containers/d1/resize", h="x", w="20")
    side.post("signal nonsense", "/containers/d1/kill", signal="NOPE")
    side.post("signal 0", "/containers/d1/kill", signal="0")
    side.post("signal 99", "/containers/d1/kill", signal="99")
    side.post("start started", "/containers/d1/start")
    side.post("restart", "/containers/d1/restart", t="0")
    side.post("stop t nonsense", "/containers/d1/stop", t="x")
    side.post("stop", "/containers/d1/stop", t="0")
    side.post("stop stopped", "/containers/d1/stop")
    side.get("inspect stopped", "/containers/d1/json")
    side.get("stats stopped", "/containers/d1/stats", stream="0")
    side.delete("remove force", "/containers/d1", force="1")


def rich(side: Side) -> None:
    """Nearly everything is asked for."""
    side.post(
        "create", "/containers/create", {"Image": "box:1", "Cmd": ["100"], **RICH, "HostConfig": RICH_HOST}, name="c1"
    )
    side.get("inspect", "/containers/c1/json")
    side.post("start", "/containers/c1/start")
    side.until("c1", lambda found: found["State"].get("Health", {}).get("Log"))
    side.get("inspect running", "/containers/c1/json")
    side.get("list", "/containers/json")
    side.post("update", "/containers/c1/update", {"Memory": 96 << 20, "MemorySwap": 192 << 20, "CpuShares": 256})
    side.post("update restart", "/containers/c1/update", {"RestartPolicy": {"Name": "always"}})
    side.post("update nothing", "/containers/c1/update", {})
    side.get("inspect updated", "/containers/c1/json")
    side.post("restart", "/containers/c1/restart", t="0")
    side.post("kill", "/containers/c1/kill")
    side.delete("remove", "/containers/c1", force="1", v="1")


REFUSED_BODIES = {
    "no body": None,
    "empty": {},
    "no image": {"Cmd": ["true"]},
    "unknown image": {"Image": "nope:1"},
    "image nonsense": {"Image": "NOPE/:x"},
    "image digest": {"Image": "nope@sha256:" + "0" * 64},
    "wrong type": {"Image": 3},
    "network mode nonsense": {"Image": "box:1", "HostConfig": {"NetworkMode": "container:"}},
    "network of nobody": {"Image": "box:1", "HostConfig": {"NetworkMode": "container:nope"}},
    "ports with host": {"Image": "box:1", "HostConfig": {"NetworkMode": "host", "PortBindings": {"80/tcp": [{}]}}},
    "hostname with host": {
        "Image": "box:1",
        "Hostname": "h",
        "HostConfig": {"NetworkMode": "host", "UsernsMode": "host"},
    },
    "port nonsense": {"Image": "box:1", "HostConfig": {"PortBindings": {"x/tcp": [{"HostPort": "80"}]}}},
    "host port nonsense": {"Image": "box:1", "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "x"}]}}},
    "protocol nonsense": {"Image": "box:1", "HostConfig": {"PortBindings": {"80/nope": [{"HostPort": "80"}]}}},
    "exposed nonsense": {"Image": "box:1", "ExposedPorts": {"x": {}}},
    "memory too little": {"Image": "box:1", "HostConfig": {"Memory": 1000}},
    "swap below memory": {"Image": "box:1", "HostConfig": {"Memory": 64 << 20, "MemorySwap": 32 << 20}},
    "swap alone": {"Image": "box:1", "HostConfig": {"MemorySwap": 32 << 20}},
    "reservation above": {"Image": "box:1", "HostConfig": {"Memory": 8 << 20, "MemoryReservation": 32 << 20}},
    "swappiness": {"Image": "box:1", "HostConfig": {"MemorySwappiness": 300}},
    "cpus too many": {"Image": "box:1", "HostConfig": {"NanoCpus": 10**13}},
    "cpus and quota": {"Image": "box:1", "HostConfig": {"NanoCpus": 10**9, "CpuQuota": 10000}},
    "cpuset nonsense": {"Image": "box:1", "HostConfig": {"CpusetCpus": "x"}},
    "cpuset absent": {"Image": "box:1", "HostConfig": {"CpusetCpus": "900"}},
    "cpu period": {"Image": "box:1", "HostConfig": {"CpuPeriod": 5}},
    "cpu quota": {"Image": "box:1", "HostConfig": {"CpuQuota": 5}},
    "blkio weight": {"Image": "box:1", "HostConfig": {"BlkioWeight": 5}},
    "shm negative": {"Image": "box:1", "HostConfig": {"ShmSize": -1}},
    "score": {"Image": "box:1", "HostConfig": {"OomScoreAdj": 2000}},
    "restart nonsense": {"Image": "box:1", "HostConfig": {"RestartPolicy": {"Name": "nope"}}},
    "restart retries": {"Image": "box:1", "HostConfig": {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 3}}},
    "restart retries below 0": {
        "Image": "box:1",
        "HostConfig": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": -3}},
    },
    "restart and remove": {"Image": "box:1", "HostConfig": {"AutoRemove": True, "RestartPolicy": {"Name": "always"}}},
    "capability": {"Image": "box:1", "HostConfig": {"CapAdd": ["NOPE"]}},
    "security option": {"Image": "box:1", "HostConfig": {"SecurityOpt": ["nope=1"]}},
    "seccomp nonsense": {"Image": "box:1", "HostConfig": {"SecurityOpt": ["seccomp={"]}},
    "bind nonsense": {"Image": "box:1", "HostConfig": {"Binds": ["x:y:z:w"]}},
    "bind relative": {"Image": "box:1", "HostConfig": {"Binds": ["/tmp:relative"]}},
    "bind mode": {"Image": "box:1", "HostConfig": {"Binds": ["/tmp:/x:nope"]}},
    "bind on root": {"Image": "box:1", "HostConfig": {"Binds": ["/tmp:/"]}},
    "bind twice": {"Image": "box:1", "HostConfig": {"Binds": ["/tmp:/x", "/etc:/x"]}},
    "bind absent": {"Image": "box:1", "HostConfig": {"Mounts": [{"Type": "bind", "Source": "/nope", "Target": "/x"}]}},
    "volume name": {"Image": "box:1", "HostConfig": {"Binds": ["a!b:/x"]}},
    "mount type": {"Image": "box:1", "HostConfig": {"Mounts": [{"Type": "nope", "Target": "/x"}]}},
    "mount target": {"Image": "box:1", "HostConfig": {"Mounts": [{"Type": "volume"}]}},
    "mount relative": {"Image": "box:1", "HostConfig": {"Mounts": [{"Type": "volume", "Target": "x"}]}},
    "mount options": {
        "Image": "box:1",
        "HostConfig": {"Mounts": [{"Type": "tmpfs", "Target": "/x", "BindOptions": {"Propagation": "shared"}}]},
    },
    "tmpfs source": {"Image": "box:1", "HostConfig": {"Mounts": [{"Type": "tmpfs", "Target": "/x", "Source": "y"}]}},
    "propagation": {
        "Image": "box:1",
        "HostConfig": {
            "Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/x", "BindOptions": {"Propagation": "nope"}}]
        },
    },
    "tmpfs options": {"Image": "box:1", "HostConfig": {"Tmpfs": {"/x": "nope"}}},
    "volumes from nobody": {"Image": "box:1", "HostConfig": {"VolumesFrom": ["nope"]}},
    "log option": {"Image": "box:1", "HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"nope": "1"}}}},
    "log size": {"Image": "box:1", "HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "x"}}}},
    "runtime": {"Image": "box:1", "HostConfig": {"Runtime": "nope"}},
    "ipc": {"Image": "box:1", "HostConfig": {"IpcMode": "nope"}},
    "pid": {"Image": "box:1", "HostConfig": {"PidMode": "nope"}},
    "uts": {"Image": "box:1", "HostConfig": {"UTSMode": "nope"}},
    "userns": {"Image": "box:1", "HostConfig": {"UsernsMode": "nope"}},
    "cgroupns": {"Image": "box:1", "HostConfig": {"CgroupnsMode": "nope"}},
    "sysctl host": {"Image": "box:1", "HostConfig": {"NetworkMode": "host", "Sysctls": {"net.ipv4.ip_forward": "1"}}},
    "device": {"Image": "box:1", "HostConfig": {"Devices": [{"PathOnHost": "/nope", "PathInContainer": "/dev/x"}]}},
    "device rule": {"Image": "box:1", "HostConfig": {"DeviceCgroupRules": ["nope"]}},
    "ulimit": {"Image": "box:1", "HostConfig": {"Ulimits": [{"Name": "nope", "Soft": 1, "Hard": 1}]}},
    "ulimit soft": {"Image": "box:1", "HostConfig": {"Ulimits": [{"Name": "nofile", "Soft": 2, "Hard": 1}]}},
    "dns": {"Image": "box:1", "HostConfig": {"Dns": ["nope"]}},
    "extra host": {"Image": "box:1", "HostConfig": {"ExtraHosts": ["nope"]}},
    "link to nobody": {"Image": "box:1", "HostConfig": {"Links": ["nope:x"]}},
    "stop signal": {"Image": "box:1", "StopSignal": "NOPE"},
    "health interval": {"Image": "box:1", "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5}},
    "health retries": {"Image": "box:1", "Healthcheck": {"Test": ["CMD", "true"], "Retries": -1}},
    "health kind": {"Image": "box:1", "Healthcheck": {"Test": ["NOPE", "true"]}},
    "working directory": {"Image": "box:1", "WorkingDir": "relative"},
    "environment": {"Image": "box:1", "Env": ["=x"]},
    "hostname": {"Image": "box:1", "Hostname": "a" * 70},
    "mac": {"Image": "box:1", "NetworkingConfig": {"EndpointsConfig": {"bridge": {"MacAddress": "nope"}}}},
    "static on bridge": {
        "Image": "box:1",
        "NetworkingConfig": {"EndpointsConfig": {"bridge": {"IPAMConfig": {"IPv4Address": "192.0.2.9"}}}},
    },
    "alias on bridge": {"Image": "box:1", "NetworkingConfig": {"EndpointsConfig": {"bridge": {"Aliases": ["x"]}}}},
    "address nonsense": {
        "Image": "box:1",
        "HostConfig": {"NetworkMode": "n"},
        "NetworkingConfig": {"EndpointsConfig": {"n": {"IPAMConfig": {"IPv4Address": "nope"}}}},
    },
    "address outside": {
        "Image": "box:1",
        "HostConfig": {"NetworkMode": "n"},
        "NetworkingConfig": {"EndpointsConfig": {"n": {"IPAMConfig": {"IPv4Address": "192.0.2.9"}}}},
    },
    "network of nobody's name": {"Image": "box:1", "HostConfig": {"NetworkMode": "nope"}},
}
"""Bodies of creation, most of them wrong; what one engine takes it is then told to start."""


def refused_creations(side: Side) -> None:
    side.must("POST", "/networks/create", {"Name": "n"})
    for label, body in REFUSED_BODIES.items():
        made = side.post(f"create: {label}", "/containers/create", body)
        if isinstance(made, dict) and "Id" in made:
            side.post(f"start: {label}", f"/containers/{made['Id']}/start")
            side.request("DELETE", f"/containers/{made['Id']}?force=1&v=1")
    side.ask("create: broken", "POST", "/containers/create", b"{", {"Content-Type": "application/json"})
    side.ask("create: two", "POST", "/containers/create", b"{}{}", {"Content-Type": "application/json"})
    side.ask("create: not JSON", "POST", "/containers/create", b"x", {"Content-Type": "text/plain"})
    for name in ("a", "-x", "a b", "x/y", "_x", "a" * 300, "/slash"):
        side.post(f"create named {name[:9]}", "/containers/create", {"Image": "box:1"}, name=name)
    side.post("platform nonsense", "/containers/create", {"Image": "box:1"}, platform="nope/nope/nope/nope")
    side.post("platform other", "/containers/create", {"Image": "box:1"}, platform="linux/s390x")


ABSENT = (
    ("GET", "/containers/nope/json"),
    ("GET", "/containers/nope/top"),
    ("GET", "/containers/nope/logs?stdout=1"),
    ("GET", "/containers/nope/changes"),
    ("GET", "/containers/nope/export"),
    ("GET", "/containers/nope/stats?stream=0"),
    ("POST", "/containers/nope/resize?h=1&w=1"),
    ("POST", "/containers/nope/start"),
    ("POST", "/containers/nope/stop"),
    ("POST", "/containers/nope/restart"),
    ("POST", "/containers/nope/kill"),
    ("POST", "/containers/nope/rename?name=x"),
    ("POST", "/containers/nope/pause"),
    ("POST", "/containers/nope/unpause"),
    ("POST", "/containers/nope/wait"),
    ("POST", "/containers/nope/attach?stream=1&stdout=1"),
    ("DELETE", "/containers/nope"),
    ("HEAD", "/containers/nope/archive?path=/"),
    ("GET", "/containers/nope/archive?path=/"),
    ("GET", "/exec/nope/json"),
    ("POST", "/exec/nope/resize?h=1&w=1"),
    ("GET", "/images/nope/json"),
    ("GET", "/images/nope/history"),
    ("POST", "/images/nope/tag?repo=x"),
    ("DELETE", "/images/nope"),
    ("GET", "/images/nope/get"),
    ("POST", "/images/nope/push?tag=x"),
    ("POST", "/commit?container=nope"),
    ("GET", "/networks/nope"),
    ("DELETE", "/networks/nope"),
    ("GET", "/volumes/nope"),
    ("DELETE", "/volumes/nope"),
    ("DELETE", "/volumes/nope?force=1"),
    ("DELETE", "/containers/nope?force=1"),
    ("GET", "/nope"),
    ("POST", "/containers/json"),
    ("GET", "!/v1.20/version"),
    ("GET", "!/v9.99/version"),
    ("GET", "!/vx/version"),
    ("GET", "!/v1.41"),
    ("GET", "!/"),
)


def absent(side: Side) -> None:
    """Everything is asked of what is not there."""
    for method, target in ABSENT:
        side.ask(f"{method} {target}", method, target)
    side.post("exec", "/containers/nope/exec", {"Cmd": ["true"]})
    side.post("start exec", "/exec/nope/start", {})
    side.post("update", "/containers/nope/update", {"Memory": 8 << 20})
    side.post("connect", "/networks/nope/connect", {"Container": "nope"})
    side.post("connect container", "/networks/bridge/connect", {"Container": "nope"})
    side.post("disconnect", "/networks/nope/disconnect", {"Container": "nope"})
    side.post("disconnect container", "/networks/bridge/disconnect", {"Container": "nope"})


def waits(side: Side) -> None:
    side.create("c1", "sh", "-c", "exit 3")
    side.post("condition nonsense", "/containers/c1/wait", condition="nope")
    side.post("not running, not started", "/containers/c1/wait", condition="not-running")
    side.must("POST", "/containers/c1/start")
    side.post("not running", "/containers/c1/wait", condition="not-running")
    side.post("not running again", "/containers/c1/wait")
    side.create("d1", "sh", "-c", "exit 4", host={"AutoRemove": True})
    side.must("POST", "/containers/d1/start")
    side.delete("remove", "/containers/c1")
    side.create("f1", "nope")
    side.post("start nope", "/containers/f1/start")
    side.get("inspect nope", "/containers/f1/json")
    side.post("wait nope", "/containers/f1/wait")
    side.create("g1", "/etc")
    side.post("start directory", "/containers/g1/start")
    side.get("inspect directory", "/containers/g1/json")
    side.post(
        "create in a file",
        "/containers/create",
        {"Image": "box:1", "Cmd": ["true"], "WorkingDir": "/etc/passwd"},
        name="h1",
    )
    side.post("start in a file", "/containers/h1/start")
    side.post(
        "create as nobody-here",
        "/containers/create",
        {"Image": "box:1", "Cmd": ["true"], "User": "nobody-here"},
        name="i1",
    )
    side.post("start as nobody", "/containers/i1/start")
    side.post(
        "create as 33:nogroup",
        "/containers/create",
        {"Image": "box:1", "Cmd": ["true"], "User": "33:nogroup"},
        name="j1",
    )
    side.post("start as no group", "/containers/j1/start")
    side.ended("k1", "sh", "-c", "kill -9 $$")
    side.get("inspect killed", "/containers/k1/json")
    side.create("bash", "/bin/nope.sh")
    side.post("start absent path", "/containers/bash/start")


def names(side: Side) -> None:
    """Names, conflicts, prefixes of ids."""
    one, two = side.run("one", "sleep", "100"), side.create("two", "true")
    side.post("create taken", "/containers/create", {"Image": "box:1"}, name="one")
    side.post("rename taken", "/containers/two/rename", name="one")
    side.post("rename same", "/containers/two/rename", name="two")
    side.post("rename empty", "/containers/two/rename", name="")
    side.post("rename nonsense", "/containers/two/rename", name="a b")
    side.post("rename", "/containers/two/rename", name="three")
    side.get("old name", "/containers/two/json")
    side.post("rename slash", "/containers/three/rename", name="/four")
    side.get("with slash", "/containers//four/json")
    side.get("id", f"/containers/{one}/json")
    side.get("short id", f"/containers/{one[:12]}/json")
    side.get("one letter", f"/containers/{two[:5]}/json")
    side.create(one[:12], "true")
    side.get("a name that is another's id", f"/containers/{one[:12]}/json")


def restarts(side: Side) -> None:
    begun = time.time()
    side.run("c1", "sh", "-c", "exit 3", host={"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}})
    side.until("c1", lambda found: found["RestartCount"] == 2 and found["State"]["Status"] == "exited")
    side.get("inspect", "/containers/c1/json")
    side.events("events", begun, type=["container"])
    side.run("d1", "sh", "-c", "exit 3", host={"RestartPolicy": {"Name": "always"}})
    side.until("d1", lambda found: found["State"]["Restarting"])
    side.post("stop restarting", "/containers/d1/stop", t="0")
    side.get("inspect stopped", "/containers/d1/json")
    side.run("e1", "sh", "-c", "exit 3", host={"RestartPolicy": {"Name": "unless-stopped"}})
    side.until("e1", lambda found: found["RestartCount"] >= 3 and found["State"]["Restarting"])
    side.get("list restarting", "/containers/json", filters={"status": ["restarting"]})
    side.post("exec restarting", "/containers/e1/exec", {"Cmd": ["true"]})
    side.post("kill restarting", "/containers/e1/kill")
    side.delete("remove restarting", "/containers/e1")
    side.delete("remove restarting force", "/containers/e1", force="1")


def health(side: Side) -> None:
    begun = time.time()
    check = {"Test": ["CMD-SHELL", "echo said; test -e /well"], "Interval": 10**9, "Timeout": 10**9 * 5, "Retries": 1}
    side.run("c1", "sleep", "100", Healthcheck=check)
    side.until("c1", lambda found: found["State"]["Health"]["Status"] == "unhealthy")
    side.get("unhealthy", "/containers/json")
    side.post("exec", "/containers/c1/exec", {"Cmd": ["touch", "/well"]})
    made = side.must("POST", "/containers/c1/exec", {"Cmd": ["touch", "/well"]})
    side.must("POST", f"/exec/{made['Id']}/start", {"Detach": True})
    side.until("c1", lambda found: found["State"]["Health"]["Status"] == "healthy")
    side.get("healthy", "/containers/json", filters={"health": ["healthy"]})
    found = side.state("c1")["State"]["Health"]
    side.write("last", {**found, "Log": found["Log"][-1]})
    side.events("status", begun, event=["health_status", "health_status: healthy"])
    side.run("none", "sleep", "100", Healthcheck={"Test": ["NONE"]})
    side.get("none", "/containers/none/json")
    side.get("filter none", "/containers/json", filters={"health": ["none"]})


def updates(side: Side) -> None:
    side.run("c1", "sleep", "100", host={"Memory": 64 << 20})
    for label, body in {
        "memory below": {"Memory": 1000},
        "memory above swap": {"Memory": 512 << 20},
        "swap below": {"MemorySwap": 1 << 20},
        "cpus": {"NanoCpus": 2 * 10**8},
        "cpus and quota": {"CpuQuota": 20000, "CpuPeriod": 100000},
        "cpuset": {"CpusetCpus": "900"},
        "pids": {"PidsLimit": 10},
        "pids off": {"PidsLimit": -1},
        "nonsense": {"Nope": 1},
        "restart nonsense": {"RestartPolicy": {"Name": "nope"}},
        "blkio": {"BlkioWeight": 1},
        "restart": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 4}},
        "reservation": {"MemoryReservation": 256 << 20},
        "devices": {"Devices": [{"PathOnHost": "/dev/null"}]},
        "wrong type": {"Memory": "x"},
    }.items():
        side.post(label, "/containers/c1/update", body)
    side.get("inspect", "/containers/c1/json")
    side.create("r1", "true", host={"AutoRemove": True})
    side.post("restart of what is removed", "/containers/r1/update", {"RestartPolicy": {"Name": "always"}})
    side.create("s1", "true")
    side.post("not running", "/containers/s1/update", {"Memory": 32 << 20})
    side.get("inspect not running", "/containers/s1/json")


FILTERS: dict[str, dict[str, Any]] = {
    "name": {"name": ["on"]},
    "name start": {"name": ["^/?o"]},
    "name no": {"name": ["nope"]},
    "name regex": {"name": ["("]},
    "id no": {"id": ["nope"]},
    "label": {"label": ["a"]},
    "label value": {"label": ["a=b"]},
    "label no": {"label": ["x"]},
    "label!": {"label!": ["a"]},
    "status": {"status": ["exited", "created"]},
    "status no": {"status": ["nope"]},
    "exited": {"exited": ["3"]},
    "exited x": {"exited": ["x"]},
    "ancestor": {"ancestor": ["box"]},
    "ancestor tag": {"ancestor": ["box:1"]},
    "ancestor no": {"ancestor": ["nope"]},
    "before": {"before": ["two"]},
    "since": {"since": ["two"]},
    "since no": {"since": ["nope"]},
    "volume": {"volume": ["vol"]},
    "volume path": {"volume": ["/m"]},
    "network": {"network": ["n"]},
    "network no": {"network": ["nope"]},
    "expose": {"expose": ["80"]},
    "expose tcp": {"expose": ["80/tcp"]},
    "expose x": {"expose": ["x"]},
    "publish": {"publish": ["80"]},
    "publish range": {"publish": ["80-90/tcp"]},
    "health": {"health": ["none"]},
    "health x": {"health": ["nope"]},
    "is-task": {"is-task": ["false"]},
    "is-task x": {"is-task": ["x"]},
    "isolation": {"isolation": ["default"]},
    "unknown": {"nope": ["1"]},
    "old": {"name": {"one": True}},
    "removing": {"status": ["removing"]},
}


def filters(side: Side) -> None:
    """Each filter of the list of containers, with a value that fits, one that does not, and nonsense."""
    side.must("POST", "/networks/create", {"Name": "n"})
    one = side.run(
        "one",
        "sleep",
        "100",
        Labels={"a": "b"},
        host={"NetworkMode": "n", "Binds": ["vol:/m"]},
        ExposedPorts={"80/tcp": {}},
    )
    side.ended("two", "sh", "-c", "exit 3", Labels={"a": "c"})
    side.create("three", "true")
    for label, chosen in {"id": {"id": [one[:6]]}, **FILTERS}.items():
        found = side.request("GET", f"/containers/json?all=1&filters={_quoted(chosen)}")
        side.write(label, _names(found))
    for label, query in {
        "limit": "limit=1",
        "limit 0": "limit=0",
        "limit x": "limit=x",
        "filters x": "filters=x",
        "filters list": "filters=[]",
        "filters value": 'filters={"a":1}',
        "all x": "all=maybe",
    }.items():
        side.write(label, _names(side.request("GET", f"/containers/json?{query}")))


def _quoted(chosen: object) -> str:
    import json
    import urllib.parse

    return urllib.parse.quote(json.dumps(chosen))


def _names(found: tuple[int, dict[str, str], bytes]) -> object:
    import json

    document = json.loads(found[2])
    return {"status": found[0], "found": [one["Names"] for one in document] if isinstance(document, list) else document}


STORIES = (made_plain, running, rich, refused_creations, absent, waits, names, restarts, health, updates, filters)
