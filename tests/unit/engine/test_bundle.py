"""Each field of a request, as config.json has it: tables."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from stockade.engine import bundle, capabilities, files, resources, seccomp
from stockade.engine.bundle import Given, Joined
from stockade.engine.records import Device, MountPoint, Namespaces, Resources, Security, Ulimit, Wanted
from stockade.errors import BadValue, NotFound, StockadeError
from stockade.host.ids import Ids
from stockade.images.values import Account as User
from stockade.images.values import Accounts, Group
from stockade.model import IdMap
from stockade.runtime import spec

MAP = (IdMap(0, 1_000_000, 65536),)
IDS = Ids(MAP, MAP, "range", 3)
PEOPLE = Accounts((User("root", 0, 0, "/root"), User("web", 33, 33, "/srv")), (Group("tape", 26, ("web",)),))


def wanted(**fields: Any) -> Wanted:
    return msgspec.structs.replace(Wanted("ab" * 32, "n", 1, "i", "sha256:1", command=("sh",)), **fields)


def config(given: Given | None = None, **fields: Any) -> Any:
    one = wanted(**fields)
    own = IDS if bundle.own_user_namespace(one) else None
    return json.loads(bundle.render(one, given or Given("/b", "host", own, PEOPLE)))


def kinds(found: Any) -> dict[str, str]:
    return {one["type"]: one.get("path", "") for one in found["linux"]["namespaces"]}


def mounts(found: Any) -> dict[str, Any]:
    return {one["destination"]: one for one in found["mounts"]}


def test_the_defaults() -> None:
    found = config()
    assert found["process"]["args"] == ["sh"]
    assert found["process"]["cwd"] == "/"
    assert found["process"]["env"] == [spec_path(), "HOSTNAME=host", "HOME=/root"]
    assert found["process"]["capabilities"]["effective"] == sorted(spec.USUAL_CAPABILITIES)
    assert found["process"]["noNewPrivileges"] is False
    assert kinds(found) == dict.fromkeys(("mount", "user", "pid", "network", "ipc", "uts", "cgroup"), "")
    assert found["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 1_000_000, "size": 65536}]
    assert found["linux"]["resources"]["pids"] == {"limit": 4096}
    assert found["linux"]["cgroupsPath"] == "/stockade/" + "ab" * 32
    assert found["linux"]["maskedPaths"] == list(spec.MASKED_PATHS)
    assert found["linux"]["seccomp"]["defaultAction"]
    assert mounts(found)["/etc/hosts"]["source"] == "/b/hosts"
    assert found["hostname"] == "host"


PORTS, PINGS = "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range"
OPEN = {PORTS: "0", PINGS: "0 65535"}


def spec_path() -> str:
    return "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.mark.parametrize(
    ("fields", "where", "value"),
    [
        ({"entrypoint": ("a", "b"), "command": ("c",)}, "process.args", ["a", "b", "c"]),
        ({"workdir": "/w"}, "process.cwd", "/w"),
        ({"user": "web"}, "process.user", {"uid": 33, "gid": 33, "additionalGids": [33, 26]}),
        ({"user": "7:tape", "group_add": ("9",)}, "process.user", {"uid": 7, "gid": 26, "additionalGids": [26, 9]}),
        ({"tty": True, "console_size": (24, 80)}, "process.consoleSize", {"height": 24, "width": 80}),
        ({"security": Security(no_new_privileges=True)}, "process.noNewPrivileges", True),
        ({"security": Security(apparmor="mine")}, "process.apparmorProfile", "mine"),
        ({"security": Security(readonly_root=True)}, "root.readonly", True),
        ({"security": Security(masked_paths=("/a",))}, "linux.maskedPaths", ["/a"]),
        ({"security": Security(readonly_paths=())}, "linux.readonlyPaths", []),
        ({"oom_score_adj": 300}, "process.oomScoreAdj", 300),
        ({"domainname": "d"}, "domainname", "d"),
        ({"sysctls": {"net.core.somaxconn": "9"}}, "linux.sysctl", {**OPEN, "net.core.somaxconn": "9"}),
        ({"sysctls": {PORTS: "1024"}}, "linux.sysctl", {**OPEN, PORTS: "1024"}),
        ({"security": Security(privileged=True)}, "linux.sysctl", {**OPEN, PINGS: "0 2147483647"}),
        ({"namespaces": Namespaces(network="host"), "sysctls": {"a": "b"}}, "linux.sysctl", {"a": "b"}),
        ({"annotations": {"a": "b"}}, "annotations", {"a": "b"}),
        ({"init": True}, "annotations", {"dev.stockade.init": "true"}),
        ({"open_stdin": True}, "annotations", {"dev.stockade.stdin": "open"}),
        ({"open_stdin": True, "stdin_once": True}, "annotations", {"dev.stockade.stdin": "open"}),
        ({"time_limit": 1.5}, "annotations", {"dev.stockade.time-limit": "1500000us"}),
        (
            {"resources": Resources(ulimits=(Ulimit("nofile", 10, 20), Ulimit("core", -1, -1)))},
            "process.rlimits",
            [
                {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20},
                {"type": "RLIMIT_CORE", "soft": 2**64 - 1, "hard": 2**64 - 1},
            ],
        ),
        ({"resources": Resources(nano_cpus=1_500_000_000)}, "linux.resources.cpu", {"period": 100000, "quota": 150000}),
        ({"resources": Resources(cpu_shares=7, cpuset_cpus="0")}, "linux.resources.cpu", {"shares": 7, "cpus": "0"}),
        ({"resources": Resources(pids_limit=-1)}, "linux.resources.pids", {"limit": -1}),
        ({"resources": Resources(memory_reservation=9 << 20)}, "linux.resources.memory", {"reservation": 9 << 20}),
        ({"resources": Resources(cgroup_parent="/up")}, "linux.cgroupsPath", "/up/" + "ab" * 32),
        (
            {"resources": Resources(blkio_weight=100, blkio_read_bps=(("/dev/null", 5),))},
            "linux.resources.blockIO",
            {"weight": 100, "throttleReadBpsDevice": [{"major": 1, "minor": 3, "rate": 5}]},
        ),
    ],
)
def test_a_field(fields: dict[str, Any], where: str, value: Any) -> None:
    found = config(**fields)
    for word in where.split("."):
        found = found[word]
    assert found == value


def test_privileged_takes_the_hosts_user_namespace_and_everything_else() -> None:
    found = config(security=Security(privileged=True))
    assert "user" not in kinds(found)
    assert "uidMappings" not in found["linux"]
    assert "seccomp" not in found["linux"]
    assert found["linux"]["maskedPaths"] == found["linux"]["readonlyPaths"] == []
    assert found["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert {"c"} <= {one["type"] for one in found["linux"]["devices"]}
    assert "ro" not in mounts(found)["/sys"]["options"]
    assert len(found["process"]["capabilities"]["bounding"]) == len(spec.ALL_CAPABILITIES)


@pytest.mark.parametrize("kind", ["network", "ipc", "pid", "uts", "cgroup"])
def test_a_namespace_of_the_hosts(kind: str) -> None:
    found = config(namespaces=Namespaces(**{kind: "host"}))
    assert kind not in kinds(found)
    assert "user" in kinds(found)


def test_host_network_binds_sys_read_only() -> None:
    entry = mounts(config(namespaces=Namespaces(network="host")))["/sys"]
    assert entry["type"] == "bind"
    assert "rro" in entry["options"]


def test_joining_takes_the_others_user_namespace_too() -> None:
    given = Given("/b", "h", None, PEOPLE, {"other": Joined(42, MAP, MAP)})
    found = config(given, namespaces=Namespaces(network="container:other"))
    assert kinds(found)["network"] == "/proc/42/ns/net"
    assert kinds(found)["user"] == "/proc/42/ns/user"
    assert found["linux"]["uidMappings"][0]["hostID"] == 1_000_000


def test_a_bind_shows_the_hosts_ids_as_they_are() -> None:
    point = MountPoint("/in", source="/src", options=("ro",), recursive_readonly=True)
    entry = mounts(config(mounts=(point,)))["/in"]
    assert entry["options"] == ["rbind", "rro", "rprivate"]
    assert entry["uidMappings"] == [{"containerID": 0, "hostID": 1_000_000, "size": 65536}]
    own = mounts(config(mounts=(point,), namespaces=Namespaces(user="host")))["/in"]
    assert "uidMappings" not in own


def test_a_mount_over_one_of_ours_replaces_it() -> None:
    point = MountPoint("/etc/hosts", source="/mine")
    assert mounts(config(mounts=(point,)))["/etc/hosts"]["source"] == "/mine"


def test_tmpfs_and_shm() -> None:
    found = mounts(config(mounts=(MountPoint("/t", "tmpfs", options=("size=1m",)),), shm_size=123))
    assert found["/t"]["options"] == ["noexec", "nosuid", "nodev", "size=1m"]
    assert "size=123" in found["/dev/shm"]["options"]


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"command": ()}, BadValue, "no command specified"),
        ({"user": "nobody-here"}, BadValue, "unable to find user nobody-here"),
        ({"group_add": ("none",)}, BadValue, "unable to find group none"),
        ({"security": Security(cap_add=("SYS_MAGIC",))}, BadValue, 'unknown capability: "CAP_SYS_MAGIC"'),
        ({"mounts": (MountPoint("relative", source="/x"),)}, BadValue, "must be absolute"),
        ({"mounts": (MountPoint("/x", "volume", "v"),)}, NotFound, "no such volume"),
        ({"resources": Resources(devices=(Device("/dev/none", "/dev/x"),))}, NotFound, "/dev/none"),
        ({"resources": Resources(devices=(Device("/etc/passwd", "/dev/x"),))}, BadValue, "not a device node"),
        ({"resources": Resources(device_cgroup_rules=("x 1:1 r",))}, BadValue, "invalid device cgroup rule"),
        ({"security": Security(seccomp="{")}, BadValue, "Decoding seccomp profile failed"),
    ],
)
def test_what_means_nothing(fields: dict[str, Any], kind: type[StockadeError], words: str) -> None:
    with pytest.raises(kind, match=words.replace("(", r"\(")):
        config(**fields)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Resources(memory=1 << 20), "Minimum memory limit"),
        (Resources(memory_swap=1 << 30), "always set the Memory limit"),
        (Resources(memory=1 << 30, memory_swap=1 << 20), "should be larger"),
        (Resources(nano_cpus=1, cpu_quota=5000), "Conflicting options"),
        (Resources(nano_cpus=10**15), "Range of CPUs"),
        (Resources(cpu_period=5), "CPU cfs period"),
        (Resources(cpuset_cpus="900"), "Requested CPUs are not available - requested 900"),
        (Resources(cpuset_mems="0-zero"), "Invalid value 0-zero for cpuset mems"),
        (Resources(cpu_quota=5), "CPU cfs quota"),
        (Resources(blkio_weight=5), "blkio weight"),
        (Resources(ulimits=(Ulimit("nosuch", 1, 1),)), "invalid ulimit type"),
        (Resources(ulimits=(Ulimit("nofile", 9, 1),)), "less than or equal"),
    ],
)
def test_limits_that_contradict_themselves(limits: Resources, words: str) -> None:
    with pytest.raises(BadValue, match=words):
        resources.check(limits)


@pytest.mark.parametrize(
    ("add", "drop", "has", "lacks"),
    [
        ((), (), "CAP_CHOWN", "CAP_SYS_ADMIN"),
        (("sys_admin",), (), "CAP_SYS_ADMIN", "CAP_SYS_MODULE"),
        (("ALL",), (), "CAP_SYS_MODULE", ""),
        ((), ("ALL",), "", "CAP_CHOWN"),
        (("CAP_CHOWN",), ("all",), "CAP_CHOWN", "CAP_KILL"),
        (("ALL",), ("CHOWN",), "CAP_KILL", "CAP_CHOWN"),
    ],
)
def test_capabilities(add: tuple[str, ...], drop: tuple[str, ...], has: str, lacks: str) -> None:
    found = capabilities.granted(Security(cap_add=add, cap_drop=drop))
    assert not has or has in found
    assert not lacks or lacks not in found


def test_a_capability_opens_the_filter_for_what_it_is_for() -> None:
    usual = json.loads(seccomp.default(tuple(spec.USUAL_CAPABILITIES)))
    more = json.loads(seccomp.default((*spec.USUAL_CAPABILITIES, "CAP_SYS_ADMIN")))
    assert len(more["syscalls"]) > len(usual["syscalls"])


PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 1,
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": None},
    ],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["arch"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        {"names": ["new"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.0"}},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]},
         "args": [{"index": 0, "value": 1, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]},
        {"name": "old", "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("held", "kernel", "machine", "names"),
    [
        ((), "5.10.0-1-amd64", "x86_64", ["read", "clone", "old"]),
        (("CAP_SYS_ADMIN",), "6.18.0", "x86_64", ["read", "mount", "new", "old"]),
        ((), "6.1", "aarch64", ["read", "arch", "new", "clone", "old"]),
    ],
)
def test_a_profile_in_dockers_format(held: tuple[str, ...], kernel: str, machine: str, names: list[str]) -> None:
    found = json.loads(seccomp.translate(json.dumps(PROFILE), held, kernel, machine))
    assert [rule["names"][0] for rule in found["syscalls"]] == names
    assert found["defaultErrnoRet"] == 1
    assert found["architectures"][0] == {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}[machine]


def test_files() -> None:
    one = wanted(extra_hosts=("db:10.0.0.9",), dns=("9.9.9.9",), dns_options=("ndots:2",))
    found = files.texts(one, "me", files.Hosts("", "nameserver 1.1.1.1\nsearch lan\noptions edns0\n"))
    assert "10.0.0.9\tdb\n" in found["hosts"]
    assert found["hostname"] == "me\n"
    assert found["resolv.conf"] == "search lan\nnameserver 9.9.9.9\noptions ndots:2\n"
