"""The walls: the one table of what a container can stand behind, and the only place that compares their names.

A wall is named as in Docker's `HostConfig.Runtime`: `native`; a runc-compatible command by its name or path (`runc`,
`/opt/bin/crun`); a shim by containerd's name or by path (`io.containerd.runc.v2`). All of them are driven by our shim,
which is told whose program to use by a field that containerd's clients know (`BinaryName`).
"""

from __future__ import annotations

import os
import re
from enum import StrEnum
from typing import NamedTuple

from stockade.errors import BadValue, Unsupported
from stockade.runtime import shim, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NATIVE = "native"
"""The wall of containers that ask for none."""

_ELSEWHERE = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHIM_NAME = re.compile(r"(?:[a-z0-9-]+\.)+(?P<name>[a-z0-9-]+)\.(?P<version>v\d+)")
_SHIM_PROGRAM = "containerd-shim-"
_OPTIONS = "containerd.runc.v1.Options"
_TABLE = {_OPTIONS: (("binary_name", 6, "string", False),)}


class Kind(StrEnum):
    """What a wall's program speaks."""

    NATIVE = "native"
    """Nothing: our shim is the wall."""
    OCI = "oci"
    """runc's command line."""
    SHIM = "shim"
    """containerd's shim protocol."""


class Wall(NamedTuple):
    """One entry of the table."""

    name: str
    kind: Kind
    program: str
    """Its path; of the native wall our shim's."""

    @property
    def options(self) -> dict[str, Any] | None:
        """The options of CreateTask that name it."""
        if self.kind is Kind.NATIVE:
            return None
        return {"type_url": _OPTIONS, "value": wire.encode(_OPTIONS, {"binary_name": self.program}, _TABLE)}


_KNOWN = {
    NATIVE: Kind.NATIVE,
    "stockade-oci": Kind.OCI,
    "runc": Kind.OCI,
    "crun": Kind.OCI,
    "youki": Kind.OCI,
    "runsc": Kind.OCI,
    "io.containerd.runc.v2": Kind.SHIM,
}


def find(name: str) -> Wall:
    """The wall of that name, or at that path.

    Raises:
        BadValue: there is none.
    """
    if name.startswith("/"):
        kind = Kind.SHIM if os.path.basename(name).startswith(_SHIM_PROGRAM) else Kind.OCI
        program = name if _is_program(name) else ""
    else:
        called = _SHIM_NAME.fullmatch(name)
        found = Kind.SHIM if called is not None else _KNOWN.get(name)
        if found is None:
            raise BadValue(f"unknown or invalid runtime name: {name}", hint=f"{', '.join(_KNOWN)}, or a path")
        kind = found
        program = _program(f"{_SHIM_PROGRAM}{called['name']}-{called['version']}" if called is not None else name)
    if not program:
        raise BadValue(f"unknown or invalid runtime name: {name}: it is not installed")
    return Wall(name, kind, program)


def installed() -> list[Wall]:
    """The walls that this machine has, the native one first."""
    found = []
    for name in _KNOWN:
        try:
            found.append(find(name))
        except BadValue:
            continue
    return found


def _program(name: str) -> str:
    """The path of a program; empty: it is not installed."""
    try:
        return shim.program(shim.PROGRAM if name == NATIVE else name)
    except Unsupported:
        # The one that is ours is beside us or nowhere.
        if name == NATIVE:
            return ""
    places = (*os.environ.get("PATH", "").split(":"), *_ELSEWHERE.split(":"))
    return next((path for place in places if place and _is_program(path := f"{place}/{name}")), "")


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)
