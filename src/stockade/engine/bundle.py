"""config.json of a container: a record, its image's accounts and its ids, in the runtime-spec's words.

Pure but for device numbers. Whatever the request says is honoured here or refused by name; defaults of a door are
already in the request.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from stockade.engine import capabilities, resources, seccomp
from stockade.engine.files import NAMES
from stockade.engine.records import MountPoint, Wanted
from stockade.engine.users import Identity, identify
from stockade.errors import BadValue, NotFound, Unsupported
from stockade.host.ids import Ids
from stockade.images.values import Accounts
from stockade.model import IdMap, Mount, Process, Rlimit, render_duration
from stockade.model.container import Capabilities
from stockade.runtime import spec

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INIT = "dev.stockade.init"
_STDIN = "dev.stockade.stdin"
DEVICES = "devices"
_TMPFS = ("noexec", "nosuid", "nodev")
_PROPAGATIONS = ("rshared", "rslave", "shared", "slave")


class Joined(NamedTuple):
    """A running container whose namespaces are joined."""

    pid: int
    uid: tuple[IdMap, ...]
    gid: tuple[IdMap, ...]
    """Empty: it has no user namespace of its own."""


class Given(NamedTuple):
    """What a request is rendered with."""

    directory: str
    """The bundle, where the files that are bound in lie."""
    hostname: str
    ids: Ids | None
    """Of its user namespace; None: the host's."""
    accounts: Accounts = Accounts()
    joined: Mapping[str, Joined] = {}
    """By the word behind `container:`."""
    volumes: Mapping[str, str] = {}
    """What is bound at the paths where it has volumes."""
    cgroups: str = "/stockade"
    """The cgroup that containers lie in which asked for no other."""


def own_user_namespace(wanted: Wanted) -> bool:
    """Whether it gets a range of ids of its own: it does unless it takes the host's or another container's."""
    return wanted.namespaces.user == "private" and not wanted.security.privileged and not joins(wanted)


def joins(wanted: Wanted) -> tuple[str, ...]:
    """The containers whose namespaces it joins, as they were named."""
    spaces = wanted.namespaces
    words = (spaces.network, spaces.pid, spaces.ipc, spaces.user)
    return tuple(dict.fromkeys(word.partition(":")[2] for word in words if word.startswith("container:")))


def render(wanted: Wanted, given: Given) -> bytes:
    """The text of config.json.

    Raises:
        BadValue, NotFound: the request says something that means nothing for this image or host.
        Unsupported: it says something that is not served.
    """
    ids, user_path = _user_namespace(wanted, given)
    who = identify(wanted.user, given.accounts, wanted.group_add)
    held = capabilities.granted(wanted.security)
    privileged = wanted.security.privileged
    config = {
        "ociVersion": spec.VERSION,
        "process": _process(wanted, given, who, held),
        "root": {"path": "rootfs", "readonly": wanted.security.readonly_root},
        "mounts": [spec.mount_object(one) for one in _mounts(wanted, given, ids)],
        "annotations": _annotations(wanted),
        "linux": {
            "namespaces": _namespaces(wanted, given, user_path),
            "cgroupsPath": cgroup(wanted, given.cgroups),
            "resources": resources.render(wanted.resources, privileged=privileged),
            "devices": _devices(wanted, ids is None),
            "sysctl": _sysctls(wanted, ids[1] if ids else ()),
            "maskedPaths": _paths(wanted.security.masked_paths, spec.MASKED_PATHS, privileged),
            "readonlyPaths": _paths(wanted.security.readonly_paths, spec.READONLY_PATHS, privileged),
            "rootfsPropagation": _propagation(wanted),
            **_maps(ids),
            **_filter(wanted, held),
        },
    }
    if wanted.namespaces.uts == "private":
        config["hostname"] = given.hostname
        if wanted.domainname:
            config["domainname"] = wanted.domainname
    return msgspec.json.encode(config)


def _sysctls(wanted: Wanted, groups: tuple[IdMap, ...]) -> dict[str, str]:
    """What was asked, over Docker's own: every port and a ping of its own network are everybody's in it."""
    space = wanted.namespaces.network
    if space == "host" or space.startswith("container:"):
        return wanted.sysctls
    # A group that its user namespace has not would be refused.
    last = max((one.container + one.size for one in groups), default=1 << 31) - 1
    free = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": f"0 {last}"}
    return {**free, **wanted.sysctls}


def cgroup(wanted: Wanted, ours: str) -> str:
    """Where its cgroup lies: beneath the one that was asked for, or ours."""
    return f"/{(wanted.resources.cgroup_parent or ours).strip('/')}/{wanted.id}"


def _user_namespace(wanted: Wanted, given: Given) -> tuple[tuple[tuple[IdMap, ...], tuple[IdMap, ...]] | None, str]:
    """The maps of its ids (None: the host's), and the namespace to join (empty: a new one)."""
    if given.ids is not None:
        return (given.ids.uid, given.ids.gid), ""
    others = [given.joined[word] for word in joins(wanted)]
    mapped = [one for one in others if one.uid]
    if len({one.uid for one in others}) > 1:
        raise BadValue(
            "the containers whose namespaces it joins have different user namespaces",
            hint="a process is in one user namespace; start them with --userns=host",
        )
    if not mapped or wanted.security.privileged:
        return None, ""
    return (mapped[0].uid, mapped[0].gid), f"/proc/{mapped[0].pid}/ns/user"


def _process(wanted: Wanted, given: Given, who: Identity, held: tuple[str, ...]) -> dict[str, Any]:
    args = (*wanted.entrypoint, *wanted.command)
    if not args:
        raise BadValue("no command specified")
    size = wanted.console_size if wanted.tty and all(wanted.console_size) else None
    found = spec.process_object(
        Process(
            args=args,
            env=environment(wanted, given.hostname, who.home),
            cwd=wanted.workdir or "/",
            uid=who.uid,
            gid=who.gid,
            groups=who.groups,
            umask=wanted.umask,
            terminal=wanted.tty,
            size=size,
            capabilities=Capabilities(held, ()),
            no_new_privileges=wanted.security.no_new_privileges,
            rlimits=tuple(Rlimit(f"RLIMIT_{one.name.upper()}", _limit(one.soft), _limit(one.hard))
                          for one in wanted.resources.ulimits),
            oom_score_adj=wanted.oom_score_adj,
        )
    )  # fmt: skip
    profile = wanted.security.apparmor
    if profile and profile != "unconfined":
        found["apparmorProfile"] = profile
    return found


def _limit(value: int) -> int:
    return (1 << 64) - 1 if value == -1 else value


def environment(wanted: Wanted, hostname: str, home: str) -> tuple[str, ...]:
    """What Docker gives every program, under what was asked for; a word without `=` takes a name away."""
    found = {"PATH": _PATH, "HOSTNAME": f"HOSTNAME={hostname}"}
    if wanted.tty:
        found["TERM"] = "TERM=xterm"
    for word in wanted.env:
        name, sign, _ = word.partition("=")
        if sign:
            found[name] = word
        else:
            found.pop(name, None)
    found.setdefault("HOME", f"HOME={home}")
    return tuple(found.values())


def _mounts(wanted: Wanted, given: Given, ids: tuple[tuple[IdMap, ...], ...] | None) -> list[Mount]:
    """The usual ones, our files, then what was asked for: by depth, so that none hides another."""
    usual = [one for mount in spec.USUAL_MOUNTS if (one := _usual(wanted, mount)) is not None]
    files = [Mount(f"/etc/{name}", "bind", f"{given.directory}/{name}", ("rbind", "rprivate")) for name in NAMES]
    asked = [_asked(one, ids, given.volumes) for one in wanted.mounts if one.kind != "image"]
    if ids is not None:
        asked += _bound_devices(wanted, given.directory)
    given_places = {one.destination for one in asked}
    kept = [one for one in (*usual, *files) if one.destination not in given_places]
    return kept + sorted(asked, key=lambda one: one.destination.count("/") if one.destination != "/" else 0)


def _usual(wanted: Wanted, mount: Mount) -> Mount | None:
    """A usual mount as the namespaces allow: the host's cannot be mounted anew within another user namespace."""
    spaces, privileged = wanted.namespaces, wanted.security.privileged
    mapped = spaces.user != "host" and not privileged
    where = mount.destination
    writable = privileged and where in ("/sys", "/sys/fs/cgroup")
    if where == "/dev/shm" and spaces.ipc == "host":
        return Mount(where, "bind", where, ("rbind", "rprivate", "nosuid", "noexec", "nodev"))
    if where == "/dev/shm":
        return mount._replace(options=(*mount.options[:-1], f"size={wanted.shm_size}"))
    if where == "/dev/mqueue" and spaces.ipc == "host" and not os.path.ismount(where):
        return None
    if where == "/dev/mqueue" and spaces.ipc == "host":
        return Mount(where, "bind", where, ("rbind", "rprivate", "nosuid", "noexec", "nodev"))
    if where == "/sys" and spaces.network == "host" and mapped:
        return Mount(where, "bind", where, ("rbind", "rprivate", "nosuid", "noexec", "nodev", "rro"))
    if where == "/proc" and spaces.pid == "host" and mapped:
        return Mount(where, "bind", where, ("rbind", "rprivate", "nosuid", "noexec", "nodev"))
    if writable:
        return mount._replace(options=tuple("rw" if one == "ro" else one for one in mount.options))
    return mount


def _asked(point: MountPoint, ids: tuple[tuple[IdMap, ...], ...] | None, volumes: Mapping[str, str]) -> Mount:
    if not point.target.startswith("/"):
        raise BadValue(f"invalid mount path: '{point.target}' mount path must be absolute")
    if point.kind == "tmpfs":
        return Mount(point.target, "tmpfs", "tmpfs", (*_TMPFS, *point.options))
    source = point.source
    if point.kind == "volume":
        if point.target not in volumes:
            raise NotFound(f"get {source}: no such volume")
        source = volumes[point.target]
    elif point.kind != "bind":
        raise Unsupported(f"mounts of type {point.kind!r} are not served", hint="bind, volume, tmpfs or image")
    options = list(point.options)
    if not any(one in (*_PROPAGATIONS, "rprivate", "private") for one in options):
        options.append("rprivate")
    if not any(one in ("bind", "rbind") for one in options):
        options.insert(0, "rbind")
    if point.recursive_readonly:
        options = ["rro" if one == "ro" else one for one in options]
    uids, gids = ids if ids is not None else ((), ())
    return Mount(point.target, "bind", source, tuple(options), uids, gids)


def _bound_devices(wanted: Wanted, directory: str) -> list[Mount]:
    """Nodes that were made for it on the host: one made in a user namespace could not be opened, the host's own would
    be nobody's.
    """
    options = ("bind", "rprivate", "nosuid", "noexec")
    return [
        Mount(node["path"], "bind", f"{directory}/{DEVICES}/{number}", options)
        for number, node in enumerate(resources.nodes(wanted.resources.devices))
    ]


def _namespaces(wanted: Wanted, given: Given, user_path: str) -> list[dict[str, str]]:
    spaces = wanted.namespaces
    found = [{"type": "mount"}]
    if user_path:
        found.append({"type": "user", "path": user_path})
    elif given.ids is not None:
        found.append({"type": "user"})
    for kind, file, word in (
        ("pid", "pid", spaces.pid),
        ("network", "net", spaces.network),
        ("ipc", "ipc", spaces.ipc),
        ("uts", "uts", spaces.uts),
        ("cgroup", "cgroup", spaces.cgroup),
    ):
        if word == "host":
            continue
        if word.startswith("container:"):
            pid = given.joined[word.partition(":")[2]].pid
            found.append({"type": kind, "path": f"/proc/{pid}/ns/{file}"})
        else:
            found.append({"type": kind})
    return found


def _maps(ids: tuple[tuple[IdMap, ...], ...] | None) -> dict[str, Any]:
    if ids is None:
        return {}
    return {"uidMappings": spec.map_objects(ids[0]), "gidMappings": spec.map_objects(ids[1])}


def _devices(wanted: Wanted, hosts_ids: bool) -> list[dict[str, Any]]:
    """Nodes to be made; in a user namespace of its own they are bound from its directory (`_bound_devices`)."""
    if not hosts_ids:
        return []
    found = resources.of_host() if wanted.security.privileged else []
    found += resources.nodes(wanted.resources.devices)
    return [{key: value for key, value in node.items() if key != "access"} for node in found]


def _paths(asked: tuple[str, ...] | None, usual: tuple[str, ...], privileged: bool) -> tuple[str, ...]:
    if asked is not None:
        return asked
    return () if privileged else usual


def _propagation(wanted: Wanted) -> str:
    words = {one for point in wanted.mounts for one in point.options}
    if words & {"rshared", "shared"}:
        return "rshared"
    return "rslave" if words & {"rslave", "slave"} else "rprivate"


def _filter(wanted: Wanted, held: tuple[str, ...]) -> dict[str, Any]:
    profile = wanted.security.seccomp
    if profile == "" or (profile is None and wanted.security.privileged):
        return {}
    if profile is None:
        return {"seccomp": _default_filter(held)}
    return {"seccomp": msgspec.Raw(seccomp.translate(profile, held).encode())}


@functools.lru_cache(maxsize=32)
def _default_filter(held: tuple[str, ...]) -> msgspec.Raw:
    return msgspec.Raw(seccomp.default(held).encode())


def _annotations(wanted: Wanted) -> dict[str, str]:
    found = dict(wanted.annotations)
    if wanted.init:
        found[_INIT] = "true"
    if wanted.open_stdin:
        found[_STDIN] = "open"
    if wanted.time_limit:
        found[spec.TIME_LIMIT] = render_duration(wanted.time_limit)
    return found
