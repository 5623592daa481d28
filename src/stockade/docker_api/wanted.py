"""A request for a container to what the engine keeps of it, complete with the defaults of image and door. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any, NamedTuple

import msgspec

from stockade.docker_api import ends, fields
from stockade.docker_api.limits import resources, restart_policy
from stockade.docker_api.mounts import mount_points
from stockade.docker_api.security import Resolve, namespaces, security, words
from stockade.engine import logdrivers
from stockade.engine.records import LogConfig, RestartPolicy, Wanted
from stockade.errors import BadValue
from stockade.images.values import HealthCheck
from stockade.runtime import walls

LOG_OPTIONS = {"max-size": "10m", "max-file": "3"}
"""Names of HostConfig.Runtime."""
SHM_SIZE = 64 << 20
_HOSTNAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,62}[a-zA-Z0-9])?")
_LONGEST_HOSTNAME = 64
_LEAST_NANOSECONDS = 1_000_000
_MOST_UMASK = 0o777
_SIGNAL = re.compile(r"(SIG)?[A-Z0-9+-]+|\d{1,2}", re.IGNORECASE)


class Image(NamedTuple):
    """What an image says of its containers."""

    id: str
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    labels: Mapping[str, str] = {}
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    health: HealthCheck | None = None
    shell: tuple[str, ...] = ()


class Asked(NamedTuple):
    """Where and when a container is asked for."""

    id: str
    name: str
    created: int
    """Nanoseconds since the epoch."""
    processors: int
    hostname: str
    """The machine's."""
    resolve: Resolve
    namespace: str
    network: ends.Named = str
    """A network's name by what it was asked as."""


def wanted(body: fields.Create, image: Image | None, asked: Asked) -> tuple[Wanted, tuple[str, ...]]:
    """Everything that the engine keeps, and what the caller is to be warned of.

    Raises:
        BadValue: a field has no sense, or is not served.
        NotFound: another container that it names is not there.
    """
    host = body.host_config or fields.HostConfig()
    own = body.stockade or fields.Extension()
    base = image or Image("")
    shared, warnings = namespaces(host, bool(body.network_disabled), asked.resolve)
    if (host.port_bindings or host.publish_all_ports) and shared.network in ("none", "host"):
        warnings = (*warnings, f"Published ports are discarded when using {shared.network} network mode")
    restart = restart_policy(host.restart_policy) or RestartPolicy()
    if host.auto_remove and restart.name != "no":
        raise BadValue("can't create 'AutoRemove' container with restart policy")
    entrypoint, command = _arguments(body, base)
    result = Wanted(
        id=asked.id,
        name=asked.name,
        created=asked.created,
        image=body.image or "",
        image_id=base.id,
        namespace=asked.namespace,
        rootfs=own.rootfs,
        wall=host.runtime or walls.NATIVE,
        entrypoint=entrypoint,
        command=command,
        env=_environment(base.env, body.env or ()),
        workdir=_workdir(body.working_dir or base.workdir),
        user=body.user or base.user,
        hostname=_hostname(body, shared.uts, shared.network, asked),
        domainname=body.domainname or "",
        **_streams(body, host),
        labels={**base.labels, **(body.labels or {})},
        annotations=host.annotations or {},
        exposed_ports=_ports(base.exposed_ports, body.exposed_ports),
        volumes=_volumes(base.volumes, body.volumes),
        volumes_from=tuple(host.volumes_from or ()),
        stop_signal=_signal(body.stop_signal or base.stop_signal),
        stop_timeout=body.stop_timeout,
        health=_health(body.healthcheck, base.health),
        shell=words(body.shell) or base.shell,
        **_of_host(host),
        restart=restart,
        resources=resources(host, asked.processors),
        namespaces=shared,
        networks=ends.endpoints(body, host, shared.network, asked.network),
        ports=ends.ports(host),
        publish_all=bool(host.publish_all_ports),
        time_limit=own.time_limit,
        origin={"HostConfig": _origin(host)},
    )
    return result, warnings


def since_1_52(body: fields.Create) -> tuple[str, ...]:
    """What the caller of this version and newer ones is to be warned of.

    Raises:
        BadValue: a field is no longer the container's but that of its ends.
    """
    if body.mac_address:
        raise BadValue("MacAddress is not served since 1.52",
                       hint="NetworkingConfig.EndpointsConfig[].MacAddress")  # fmt: skip
    bindings = (body.host_config and body.host_config.port_bindings) or {}
    return tuple(
        f"PortBindings[{port!r}] is an empty list, which is taken for one free port; a later version of the API will"
        " publish nothing for it"
        for port, places in bindings.items()
        if not places
    )


def _streams(body: fields.Create, host: fields.HostConfig) -> dict[str, Any]:
    size = host.console_size or (0, 0)
    if len(size) != 2 or not all(0 <= side < 1 << 16 for side in size):
        raise BadValue(f"ConsoleSize: {list(size)} is not a height and a width")
    return {
        "tty": bool(body.tty),
        "open_stdin": bool(body.open_stdin),
        "stdin_once": bool(body.stdin_once),
        "attach_stdin": bool(body.attach_stdin),
        "attach_stdout": bool(body.attach_stdout),
        "attach_stderr": bool(body.attach_stderr),
        "console_size": (size[0], size[1]),
    }


def _of_host(host: fields.HostConfig) -> dict[str, Any]:
    if (host.isolation or "default") != "default":
        raise BadValue(f"Isolation {host.isolation!r}: {fields.WINDOWS}")
    adjust, shm = host.oom_score_adj or 0, host.shm_size or 0
    if not -1000 <= adjust <= 1000:
        raise BadValue(f"Invalid value {adjust}, range for oom score adj is [-1000, 1000]")
    if shm < 0:
        raise BadValue("SHM size can not be less than 0")
    if not 0 <= (host.umask or 0) <= _MOST_UMASK:
        raise BadValue(f"invalid umask {host.umask:#o}: it is from 0 to 0o777")
    return {
        "group_add": tuple(host.group_add or ()),
        "extra_hosts": tuple(_extra_host(one) for one in host.extra_hosts or ()),
        "dns": tuple(map(_resolver, host.dns or ())),
        "dns_search": tuple(host.dns_search or ()),
        "dns_options": tuple(host.dns_options or ()),
        "init": bool(host.init),
        "auto_remove": bool(host.auto_remove),
        "log": _log(host.log_config),
        "mounts": mount_points(host),
        "security": security(host),
        "sysctls": host.sysctls or {},
        "shm_size": shm or SHM_SIZE,
        "oom_score_adj": adjust,
        "umask": host.umask,
    }


def _arguments(body: fields.Create, image: Image) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Entrypoint and command: the image's command goes with the image's entrypoint only."""
    entrypoint, command = words(body.entrypoint), words(body.cmd)
    if body.entrypoint is None:
        entrypoint = image.entrypoint
        command = command or image.cmd
    elif entrypoint == ("",):
        entrypoint = ()
    elif not entrypoint:
        entrypoint = image.entrypoint
        command = command or image.cmd
    if not entrypoint and not command:
        raise BadValue("no command specified")
    return entrypoint, command


def _environment(of_image: Iterable[str], given: Iterable[str]) -> tuple[str, ...]:
    """Given variables, and the image's that are not among them; one without `=` takes the image's away."""
    found: dict[str, str | None] = {}
    for variable in given:
        name, equals, _ = variable.partition("=")
        if not name or "\0" in variable:
            raise BadValue(f"invalid environment variable: {variable}")
        found.pop(name, None)
        found[name] = variable if equals else None
    for variable in of_image:
        found.setdefault(variable.partition("=")[0], variable)
    return tuple(variable for variable in found.values() if variable is not None)


def _workdir(path: str) -> str:
    if path and not path.startswith("/"):
        raise BadValue(f"the working directory '{path}' is invalid, it needs to be an absolute path")
    return posixpath.normpath(path) if path else ""


def _hostname(body: fields.Create, uts: str, network: str, asked: Asked) -> str:
    given = body.hostname or ""
    if given and not _HOSTNAME.fullmatch(given):
        if len(given) > _LONGEST_HOSTNAME:
            raise BadValue(f'hostname "{given}" is too long (maximum {_LONGEST_HOSTNAME} bytes)')
        raise BadValue(f"invalid hostname format: {given}")
    if uts == "host":
        if given:
            raise BadValue("conflicting options: hostname and the UTS mode")
        return ""
    if not given and network == "host":
        return asked.hostname
    return given or asked.id[:12]


def _ports(of_image: Iterable[str], given: Mapping[str, Any] | None) -> tuple[str, ...]:
    for port in given or ():
        number, _, protocol = port.partition("/")
        ends = number.split("-")
        if len(ends) > 2 or not all(end.isdigit() and int(end) < 1 << 16 for end in ends):
            raise BadValue(f"invalid port number: {port}")
        if protocol and protocol.lower() not in ("tcp", "udp", "sctp"):
            raise BadValue(f"invalid protocol: {port}")
    named = (port if "/" in port else f"{port}/tcp" for port in (*of_image, *(given or ())))
    return tuple(dict.fromkeys(named))


def _volumes(of_image: Iterable[str], given: Mapping[str, Any] | None) -> tuple[str, ...]:
    for path in given or ():
        if not path.startswith("/") or ":" in path:
            raise BadValue(f"invalid volume specification: '{path}'")
        if posixpath.normpath(path) == "/":
            raise BadValue(f"invalid volume specification: '{path}': destination can't be '/'")
    return tuple(dict.fromkeys(posixpath.normpath(path) for path in (*of_image, *(given or ()))))


def _signal(name: str) -> str:
    if name and not _SIGNAL.fullmatch(name):
        raise BadValue(f"invalid signal: {name}")
    return name


def _health(given: fields.Health | None, of_image: HealthCheck | None) -> HealthCheck | None:
    """The image's check, each part of it overridden by what was given."""
    if given is None:
        return of_image
    base = of_image or HealthCheck()
    for name, value in (
        ("Interval", given.interval),
        ("Timeout", given.timeout),
        ("StartPeriod", given.start_period),
        ("StartInterval", given.start_interval),
    ):
        if value and value < _LEAST_NANOSECONDS:
            raise BadValue(f"{name} in Healthcheck cannot be less than 1ms")
    if given.retries is not None and given.retries < 0:
        raise BadValue("Retries in Healthcheck cannot be negative")
    test = words(given.test)
    if test and test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise BadValue(f'unknown type "{test[0]}" in Healthcheck: one of NONE, CMD and CMD-SHELL')
    return HealthCheck(
        test=test or base.test,
        interval=_seconds(given.interval) or base.interval,
        timeout=_seconds(given.timeout) or base.timeout,
        retries=given.retries or base.retries,
        start_period=_seconds(given.start_period) or base.start_period,
        start_interval=_seconds(given.start_interval) or base.start_interval,
    )


def _seconds(nanoseconds: int | None) -> float:
    return (nanoseconds or 0) / 1e9


def _log(asked: fields.LogConfig | None) -> LogConfig:
    driver = (asked and asked.type) or "json-file"
    given = LogConfig(driver, dict((asked and asked.config) or {}))
    logdrivers.target("/", given)
    return LogConfig(driver, LOG_OPTIONS | given.options) if driver == "json-file" else given


def _extra_host(text: str) -> str:
    name, colon, address = text.partition(":")
    if not name or not colon or not address:
        raise BadValue(f"bad format for add-host: {text!r}")
    return text


def _resolver(text: str) -> str:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        raise BadValue(f"invalid DNS address: {text} is no IP address") from None
    return text


def _origin(host: fields.HostConfig) -> dict[str, object]:
    """What was asked, without what asks for nothing."""
    found = msgspec.to_builtins(host)
    return {name: _said(value) for name, value in found.items() if not fields.empty(value)}


def _said(value: object) -> object:
    """Without the members that are null."""
    if isinstance(value, dict):
        return {name: _said(item) for name, item in value.items() if item is not None}
    return [_said(item) for item in value] if isinstance(value, list) else value
