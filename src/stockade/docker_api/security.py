"""What of a request says what a container may do, and which namespaces it shares. Pure."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from stockade.docker_api import fields
from stockade.engine.records import Namespaces, Security
from stockade.errors import BadValue, Unsupported
from stockade.networks.values import DEFAULT
from stockade.runtime.spec import ALL_CAPABILITIES

_CAPABILITIES = frozenset(ALL_CAPABILITIES)
Resolve = Callable[[str], str]
"""The id of the container that a reference means; refuses one that is not there."""


def words(value: fields.Words | None) -> tuple[str, ...]:
    """A list of words, or one string as a list of one."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def security(host: fields.HostConfig) -> Security:
    """Privileges, capabilities and what --security-opt says."""
    no_new_privileges, seccomp, apparmor = False, None, ""
    masked = None if host.masked_paths is None else tuple(host.masked_paths)
    readonly = None if host.readonly_paths is None else tuple(host.readonly_paths)
    for option in host.security_opt or ():
        name, value = _option(option)
        if name == "no-new-privileges":
            no_new_privileges = _truth(option, value or "true")
        elif name == "seccomp":
            seccomp = _profile(value)
        elif name == "apparmor":
            apparmor = value
        elif name == "label" and value == "disable":
            pass  # there are no SELinux labels to leave away
        elif name == "systempaths" and value == "unconfined":
            masked = readonly = ()
        else:
            raise BadValue(f'invalid --security-opt 2: "{option}": it is not served')
    if host.privileged:
        # As with Docker: everything, and nothing hidden, whatever else was asked.
        seccomp, masked, readonly = "", (), ()
    return Security(
        privileged=bool(host.privileged),
        cap_add=_capabilities("CapAdd", host.cap_add),
        cap_drop=_capabilities("CapDrop", host.cap_drop),
        no_new_privileges=no_new_privileges,
        seccomp=seccomp,
        apparmor=apparmor,
        masked_paths=masked,
        readonly_paths=readonly,
        readonly_root=bool(host.readonly_rootfs),
    )


def _option(option: str) -> tuple[str, str]:
    if option == "no-new-privileges":
        return option, ""
    for separator in ("=", ":"):
        name, found, value = option.partition(separator)
        if found:
            return name, value
    raise BadValue(f'invalid --security-opt 1: "{option}"')


def _truth(option: str, value: str) -> bool:
    if value not in ("true", "false", "1", "0"):
        raise BadValue(f'invalid --security-opt 2: "{option}"')
    return value in ("true", "1")


def _profile(value: str) -> str | None:
    """None: the default profile; empty: none at all."""
    if value in ("", "builtin", "default"):
        return None
    if value == "unconfined":
        return ""
    try:
        if not isinstance(msgspec.json.decode(value), dict):
            raise msgspec.DecodeError("it is no object")
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadValue(f"Decoding seccomp profile failed: {error}") from None
    return value


def _capabilities(field: str, value: fields.Words | None) -> tuple[str, ...]:
    found = []
    for word in words(value):
        name = word.strip().upper()
        if name != "ALL" and not name.startswith("CAP_"):
            name = f"CAP_{name}"
        if name != "ALL" and name not in _CAPABILITIES:
            raise BadValue(f'invalid {field}: unknown capability: "{name}"')
        found.append(name)
    return tuple(dict.fromkeys(found))


def namespaces(host: fields.HostConfig, network_disabled: bool, resolve: Resolve) -> tuple[Namespaces, tuple[str, ...]]:
    """Which namespaces it has of its own, and what its caller is to be warned of."""
    warnings = []
    network = _network(host.network_mode or "", resolve)
    if network == "default":
        network = "none" if network_disabled else DEFAULT
    if network_disabled and network != "none":
        raise BadValue(f"NetworkDisabled and NetworkMode {host.network_mode} exclude each other")
    pid = _shared("PidMode", host.pid_mode, ("host",), resolve)
    if (host.ipc_mode or "").startswith("container:"):
        # The namespace could be joined; /dev/shm, which people mean by it, is the other container's own mount.
        raise Unsupported(f"IpcMode {host.ipc_mode} is not served yet", hint="--ipc host, or a volume")
    ipc = _shared("IpcMode", host.ipc_mode, ("host", "private", "shareable"), None)
    uts = _shared("UTSMode", host.uts_mode, ("host",), None)
    cgroup = _shared("CgroupnsMode", host.cgroupns_mode, ("host", "private"), None)
    user = _shared("UsernsMode", host.userns_mode, ("host", "private"), None)
    if user == "private" and (host.privileged or pid == "host"):
        user = "host"
        why = "--privileged" if host.privileged else "--pid=host"
        warnings.append(f"The container has the host's user namespace because of {why}: root in it is root outside.")
    joined = next((one for one in (network, pid) if one.startswith("container:")), "")
    if joined and user == "private":
        user = joined
    return Namespaces(network, ipc, pid, uts, user, cgroup), tuple(warnings)


def _network(mode: str, resolve: Resolve) -> str:
    if mode in ("", "default"):
        return "default"
    if mode in ("none", "host"):
        return mode
    if mode.startswith("container:"):
        return f"container:{resolve(mode.removeprefix('container:'))}"
    return mode


_SPOKEN = {
    "IpcMode": "IPC mode",
    "PidMode": "PID mode",
    "UTSMode": "UTS mode",
    "CgroupnsMode": "cgroup namespace mode",
    "UsernsMode": "UsernsMode",
}
"""How Docker's refusals say it."""


def _shared(field: str, mode: str | None, known: tuple[str, ...], resolve: Resolve | None) -> str:
    if not mode:
        return "private"
    if mode in known:
        return mode
    if resolve is not None and mode.startswith("container:"):
        return f"container:{resolve(mode.removeprefix('container:'))}"
    raise BadValue(f"invalid {_SPOKEN[field]}: {mode}")
