"""The daemon itself: version, info, events."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stockade.docker_api import render
from stockade.docker_api.answers import JSON, Answer, encode, json
from stockade.docker_api.containers import architecture
from stockade.docker_api.query import only, served
from stockade.docker_api.router import Route
from stockade.docker_api.times import NEVER, nanoseconds
from stockade.docker_api.versions import NEWEST, NO_LEGACY_SINCE, OLDEST, Version
from stockade.engine import logdrivers
from stockade.engine.events import Event
from stockade.engine.records import NAMESPACE, Status
from stockade.errors import BadValue
from stockade.runtime import walls

if TYPE_CHECKING:
    from stockade.docker_api.server import Request
    from stockade.engine.engine import Engine

EVENT_FILTERS = frozenset(
    "config container daemon event image label network node plugin scope secret service type volume".split()
)
_IMAGE_CREATE_SINCE = Version(1, 46)
_LINES, _NEWLINES, _SEQUENCE = "application/jsonl", "application/x-ndjson", "application/json-seq"
_LINES_SINCE = Version(1, 53)
_RECORD_SEPARATOR = b"\x1e"
"""Before each text of a sequence (RFC 7464)."""


class System:
    """The routes of the daemon itself."""

    def __init__(self, engine: Engine, version: str) -> None:
        self._engine = engine
        self._version = version

    def routes(self) -> list[Route]:
        """Docker's table."""
        return [
            Route("GET", "/_ping", self.ping),
            Route("HEAD", "/_ping", self.ping),
            Route("GET", "/version", self.version),
            Route("GET", "/info", self.info),
            Route("GET", "/events", self.events, served("since", "until", "filters"), waits=True),
        ]

    async def ping(self, request: Request) -> Answer:
        """Docker's SystemPing."""
        headers = (
            ("Cache-Control", "no-cache, no-store, must-revalidate"),
            ("Pragma", "no-cache"),
            ("Swarm", "inactive"),
        )
        return Answer(200, b"OK" if request.method == "GET" else b"", "text/plain; charset=utf-8", headers)

    async def version(self, request: Request) -> Answer:
        """Docker's SystemVersion."""
        kernel = platform.release()
        details = {
            "ApiVersion": str(NEWEST),
            "MinAPIVersion": str(OLDEST),
            "Os": "linux",
            "Arch": architecture(),
            "KernelVersion": kernel,
            "Experimental": "false",
            "PythonVersion": platform.python_version(),
        }
        return json(
            {
                "Platform": {"Name": "Stockade"},
                "Components": [{"Name": "Engine", "Version": self._version, "Details": details}],
                "Version": self._version,
                "ApiVersion": str(NEWEST),
                "MinAPIVersion": str(OLDEST),
                "GitCommit": "",
                "GoVersion": "",
                "Os": "linux",
                "Arch": architecture(),
                "KernelVersion": kernel,
                "BuildTime": "",
            }
        )

    async def info(self, request: Request) -> Answer:
        """Docker's SystemInfo."""
        records = self._engine.list()
        states = [record.state.status for record in records]
        running = sum(state in (Status.RUNNING, Status.RESTARTING) for state in states)
        paused = states.count(Status.PAUSED)
        return json(
            {
                "ID": _machine_id(),
                "Containers": len(records),
                "ContainersRunning": running,
                "ContainersPaused": paused,
                "ContainersStopped": len(records) - running - paused,
                "Images": len(self._engine.images.list()),
                "Driver": render.DRIVER,
                "DriverStatus": [["Backing Filesystem", "overlayfs over id-mapped layers"]],
                "Plugins": {
                    "Volume": [],
                    "Network": ["bridge", "host", "null"],
                    "Authorization": None,
                    "Log": list(logdrivers.names()),
                },
                "SystemTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                **_ABILITIES,
                **self._machine(),
                "IndexServerAddress": "https://index.docker.io/v1/",
                "RegistryConfig": _REGISTRIES,
                "HttpProxy": "",
                "HttpsProxy": "",
                "NoProxy": "",
                "Labels": [],
                "ExperimentalBuild": False,
                "ServerVersion": self._version,
                "Runtimes": {wall.name: {"path": wall.program} for wall in walls.installed()},
                "DefaultRuntime": walls.NATIVE,
                "Swarm": _NO_SWARM,
                "LiveRestoreEnabled": True,
                "Isolation": "",
                "InitBinary": "stockade-init",
                "ContainerdCommit": {"ID": ""},
                "RuncCommit": {"ID": ""},
                "InitCommit": {"ID": ""},
                "SecurityOptions": ["name=seccomp,profile=builtin", "name=userns", "name=cgroupns"],
                "FirewallBackend": {"Driver": "nftables"},
                "CDISpecDirs": [],
                "Warnings": None,
            }
        )

    def _machine(self) -> dict[str, Any]:
        return {
            "NFd": len(os.listdir("/proc/self/fd")),
            "KernelVersion": platform.release(),
            "OperatingSystem": _operating_system(),
            "OSVersion": "",
            "OSType": "linux",
            "Architecture": platform.machine(),
            "NCPU": os.cpu_count() or 1,
            "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "DockerRootDir": self._engine.paths.data,
            "Name": platform.node(),
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": "2" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "1",
        }

    async def events(self, request: Request) -> None:
        """Docker's SystemEvents."""
        query = request.query
        since, until = _moment(query.text("since"), "since"), _moment(query.text("until"), "until")
        if since and until and until < since:
            raise BadValue(f"`since` time ({query.text('since')}) cannot be after `until` time ({query.text('until')})")
        filters = query.filters()
        only(filters, EVENT_FILTERS)
        old = request.version < _IMAGE_CREATE_SINCE

        def matches(event: Event) -> bool:
            if old and (event.type, event.action) == ("image", "create"):
                return False
            return event.namespace == NAMESPACE and event_matches(event, filters)

        listening = self._engine.events.listen(since, until, matches)
        kind = stream_kind(request.header(b"accept") or b"", request.version)
        stream = await request.start(kind)
        mark = _RECORD_SEPARATOR if kind == _SEQUENCE else b""
        legacy = request.version < NO_LEGACY_SINCE
        async for event in listening:
            await stream.write(mark + encode(render_event(event, legacy)))


_REGISTRIES = {
    "IndexConfigs": {"docker.io": {"Name": "docker.io", "Mirrors": [], "Secure": True, "Official": True}},
    "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
    "Mirrors": [],
}
_ABILITIES = {
    "MemoryLimit": True,
    "SwapLimit": True,
    "CpuCfsPeriod": True,
    "CpuCfsQuota": True,
    "CPUShares": True,
    "CPUSet": True,
    "PidsLimit": True,
    "IPv4Forwarding": True,
    "Debug": False,
    "NGoroutines": 0,
    "LoggingDriver": "json-file",
    "NEventsListener": 0,
    "OomKillDisable": True,
}
_NO_SWARM = {
    "NodeID": "",
    "NodeAddr": "",
    "LocalNodeState": "inactive",
    "ControlAvailable": False,
    "Error": "",
    "RemoteManagers": None,
}


def stream_kind(accept: bytes, version: Version) -> str:
    """In which form events are told: the one that the client likes best of those that its version has (RFC 9110,
    section 12.5.1); plain JSON where it names none of them."""
    if version < NO_LEGACY_SINCE:
        return JSON
    offered = [_LINES] * (version >= _LINES_SINCE) + [_NEWLINES, _SEQUENCE, JSON]
    liked = {}
    for part in accept.decode("latin-1").lower().split(","):
        kind, *parameters = (word.strip() for word in part.split(";"))
        liked[kind] = max((_quality(word) for word in parameters if word.startswith("q=")), default=1.0)
    best = max(offered, key=lambda kind: liked.get(kind, 0.0))
    return best if liked.get(best, 0.0) > 0 else JSON


def _quality(text: str) -> float:
    return float(text[2:]) if re.fullmatch(r"q=[01](\.\d{0,3})?", text) else 0.0


def render_event(event: Event, legacy: bool = False) -> dict[str, Any]:
    """One event as Docker's clients read it; `legacy` with the fields that were told twice before 1.52."""
    found: dict[str, Any] = {}
    if legacy and event.type in ("container", "image"):
        found = {"status": event.action, "id": event.id}
        if event.type == "container":
            found["from"] = event.attributes.get("image", "")
    return {
        **found,
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.id, "Attributes": event.attributes},
        "scope": "local",
        "time": event.time // 1_000_000_000,
        "timeNano": event.time,
    }


def event_matches(event: Event, filters: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether an event passes Docker's filters: of one name any value, of all names each."""
    attributes = event.attributes
    for name, values in filters.items():
        if not values:
            continue
        match name:
            case "event":
                known = {event.action, event.action.partition(":")[0]}
                passes = bool(known.intersection(values))
            case "type":
                passes = event.type in values
            case "scope":
                passes = "local" in values
            case "label":
                passes = all(_has_label(attributes, value) for value in values)
            case "image":
                passes = _names_image(event, values)
            case _:
                passes = event.type == name and any(
                    event.id.startswith(value) or attributes.get("name") == value for value in values
                )
        if not passes:
            return False
    return True


def _has_label(known: dict[str, str], text: str) -> bool:
    name, equals, value = text.partition("=")
    return name in known and (not equals or known[name] == value)


def _names_image(event: Event, values: tuple[str, ...]) -> bool:
    named = {event.id, event.attributes.get("image", ""), event.attributes.get("name", "")} - {""}
    named |= {_without_tag(name) for name in named}
    return bool(named.intersection(values))


def _without_tag(name: str) -> str:
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


def _moment(text: str, name: str) -> int | None:
    """Seconds since the epoch with a fraction, or RFC 3339, in nanoseconds."""
    if not text:
        return None
    whole, _, fraction = text.partition(".")
    if whole.isdigit() and (not fraction or fraction.isdigit()):
        return int(whole) * 1_000_000_000 + int(f"{fraction:0<9}"[:9])
    found = nanoseconds(text)
    if not found:
        raise BadValue(f'invalid {name}: "{text}" is neither seconds since the epoch nor RFC 3339')
    return found


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", sys.platform)
    except OSError:
        return "Linux"


def _machine_id() -> str:
    try:
        with open("/etc/machine-id") as file:
            return file.read().strip()
    except OSError:
        return NEVER
