"""What is kept of a volume, and what its options mean. Pure; the words are those of Docker's `local` driver."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from msgspec import Struct, field

from stockade.errors import BadValue

NAMESPACE = "default"
"""Of the Docker door; another door's prune never sees its volumes."""
DRIVER = "local"
ANONYMOUS = "com.docker.volume.anonymous"
"""The label by which Docker knows a volume that nobody named."""
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}")
_OPTIONS = ("type", "o", "device")


class Volume(Struct, frozen=True, omit_defaults=True):
    """One volume."""

    name: str
    created: int = 0
    """Nanoseconds since the epoch."""
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    """`type`, `o` and `device` of mount(8); none: a directory of ours."""
    namespace: str = NAMESPACE

    @property
    def anonymous(self) -> bool:
        """Whether nobody named it."""
        return ANONYMOUS in self.labels


class Asked(NamedTuple):
    """A volume that is to be there."""

    name: str = ""
    """Empty: a new anonymous one."""
    driver: str = ""
    options: Mapping[str, str] = MappingProxyType({})
    labels: Mapping[str, str] = MappingProxyType({})


class Device(NamedTuple):
    """What is mounted in place of a directory of ours."""

    kind: str
    source: str
    options: str

    @property
    def bind(self) -> bool:
        """Whether it is a directory of the host, which is bound as it is."""
        return bool({"bind", "rbind"} & set(self.options.split(",")))


def check_name(name: str) -> str:
    """A name as it is.

    Raises:
        BadValue: it is none.
    """
    if len(name) == 1:
        raise BadValue(f"create {name}: volume name is too short, names should be at least two alphanumeric characters")
    if not NAME.fullmatch(name):
        raise BadValue(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only'
            ' "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    return name


def check_driver(name: str, driver: str) -> None:
    """Refuse a driver that would be a plug-in.

    Raises:
        BadValue: it is not `local`.
    """
    if driver not in ("", DRIVER):
        raise BadValue(
            f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found',
            hint="the driver `local` is served",
        )


def device(name: str, options: Mapping[str, str]) -> Device | None:
    """What the options of a volume ask to be mounted; None: nothing.

    Raises:
        BadValue: they make no sense.
    """
    for option in options:
        if option == "size":
            raise BadValue(f"volume {name}: the option size needs quotas of the file system, which are not served")
        if option not in _OPTIONS:
            raise BadValue(f'create {name}: invalid option: "{option}"', hint="type, o and device are served")
    if not any(options.values()):
        return None
    found = Device(options.get("type", ""), options.get("device", ""), options.get("o", ""))
    if not found.source:
        raise BadValue(f'create {name}: missing required option: "device"')
    if not found.kind and not found.bind:
        raise BadValue(f'create {name}: missing required option: "type"')
    if found.bind and not found.source.startswith("/"):
        raise BadValue(f"volume {name}: the device {found.source!r} of a bind is no absolute path")
    return found
