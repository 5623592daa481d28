"""The filter of a container: the default one for its capabilities, or a profile in the format that Docker reads. Pure.

A profile of Docker's says which rules hold for which architectures, capabilities and kernels; the runtime-spec knows
nothing of that, so that it is decided here.
"""

from __future__ import annotations

import functools
import json
import os
import platform
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from stockade.errors import BadValue
from stockade.runtime import spec

_OURS = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
_KEPT = ("defaultErrnoRet", "listenerPath", "listenerMetadata", "flags")


@functools.lru_cache(maxsize=32)
def default(capabilities: tuple[str, ...]) -> str:
    """The JSON text of the default filter: what a capability above the usual ones allows, it lets through."""
    more = [rule for name, rules in _of_capabilities().items() if name in capabilities for rule in rules]
    if not more:
        return spec.default_seccomp()
    profile = json.loads(spec.default_seccomp())
    # Before the others: where two rules name a call, the more permissive one is to be met first.
    profile["syscalls"] = [*more, *profile["syscalls"]]
    return json.dumps(profile, separators=(",", ":"))


@functools.cache
def _of_capabilities() -> dict[str, list[dict[str, Any]]]:
    path = os.path.join(os.path.dirname(spec.__file__), "seccomp-capabilities.json")
    with open(path, encoding="utf-8") as file:
        found: dict[str, list[dict[str, Any]]] = json.load(file)
    return found


def translate(text: str, capabilities: Collection[str], kernel: str = "", machine: str = "") -> str:
    """The runtime-spec's object of a profile in Docker's format; one of the runtime-spec's own stays as it is.

    Raises:
        BadValue: it is no profile.
    """
    machine = machine or platform.machine()
    profile = _read(text)
    found: dict[str, Any] = {
        "defaultAction": profile["defaultAction"],
        "architectures": _architectures(profile, machine),
        **{key: profile[key] for key in _KEPT if profile.get(key)},
    }
    given = (capabilities, _release(kernel or platform.release()), _NAMES.get(machine, machine))
    syscalls = [_rule(one) for one in profile.get("syscalls") or [] if _holds(one, *given)]
    return msgspec.json.encode({**found, "syscalls": syscalls}).decode()


def _read(text: str) -> dict[str, Any]:
    try:
        profile = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise BadValue(f"Decoding seccomp profile failed: {error}") from error
    if not isinstance(profile, dict) or not isinstance(profile.get("defaultAction"), str):
        raise BadValue("Decoding seccomp profile failed: it has no defaultAction")
    if profile.get("architectures") and profile.get("archMap"):
        raise BadValue("both 'architectures' and 'archMap' are specified in the seccomp profile, use one of them")
    rules = profile.get("syscalls") or []
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise BadValue("Decoding seccomp profile failed: syscalls is no list of rules")
    if any(rule.get("name") and rule.get("names") for rule in rules):
        raise BadValue("both 'name' and 'names' are specified in the seccomp profile, use one of them")
    return profile


def _architectures(profile: Mapping[str, Any], machine: str) -> list[str]:
    if profile.get("architectures"):
        return list(profile["architectures"])
    ours = _OURS.get(machine, "")
    for one in profile.get("archMap") or []:
        if one.get("architecture") == ours:
            return [ours, *(one.get("subArchitectures") or [])]
    return []


def _holds(rule: Mapping[str, Any], capabilities: Collection[str], kernel: tuple[int, int], arch: str) -> bool:
    """Whether a rule is for this container on this machine."""
    excludes, includes = rule.get("excludes") or {}, rule.get("includes") or {}
    if arch in (excludes.get("arches") or []) or any(one in capabilities for one in excludes.get("caps") or []):
        return False
    if excludes.get("minKernel") and kernel >= _release(excludes["minKernel"]):
        return False
    if includes.get("arches") and arch not in includes["arches"]:
        return False
    if includes.get("minKernel") and kernel < _release(includes["minKernel"]):
        return False
    return all(one in capabilities for one in includes.get("caps") or [])


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    names = rule.get("names") or [rule.get("name", "")]
    found: dict[str, Any] = {"names": names, "action": rule.get("action", "")}
    if rule.get("errnoRet") is not None:
        found["errnoRet"] = rule["errnoRet"]
    if rule.get("args"):
        found["args"] = [{key: value for key, value in one.items() if value is not None} for one in rule["args"]]
    return found


def _release(text: str) -> tuple[int, int]:
    words = text.split(".")
    try:
        return int(words[0]), int("".join(c for c in words[1] if c.isdigit()) or "0")
    except (IndexError, ValueError):
        raise BadValue(f"invalid kernel version in the seccomp profile: {text!r}") from None
