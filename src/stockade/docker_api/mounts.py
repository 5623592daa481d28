"""Binds, Mounts and Tmpfs of a request to the engine's mount points. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from stockade.docker_api import fields
from stockade.engine.records import MountPoint
from stockade.errors import BadValue
from stockade.volumes.values import check_name

_PROPAGATION = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_LABELS = frozenset({"z", "Z"})
_NOCOPY = frozenset({"nocopy"})
_CONSISTENCY = frozenset({"consistent", "cached", "delegated", "default"})
_OF_OVERLAY = frozenset(":,\\")
"""What means something in the options of an overlay."""
_TMPFS = ("noexec", "nosuid", "nodev")
_TMPFS_FLAGS = frozenset(
    "defaults ro rw suid nosuid dev nodev exec noexec sync async dirsync remount mand nomand atime noatime diratime "
    "nodiratime bind rbind unbindable runbindable private rprivate shared rshared slave rslave relatime norelatime "
    "strictatime nostrictatime".split()
)
_TMPFS_VALUES = frozenset({"mode", "uid", "gid", "size", "nr_inodes", "nr_blocks", "mpol"})


def mount_points(host: fields.HostConfig) -> tuple[MountPoint, ...]:
    """All that is mounted at paths of the container's, each path once."""
    found = [_bind(text, host.volume_driver or "") for text in host.binds or ()]
    found += [_mount(one) for one in host.mounts or ()]
    found += [_tmpfs(target, text.split(",")) for target, text in (host.tmpfs or {}).items()]
    seen = set()
    for point in found:
        if point.target in seen:
            raise BadValue(f"Duplicate mount point: {point.target}")
        seen.add(point.target)
    return tuple(found)


def _bind(text: str, driver: str) -> MountPoint:
    """`SOURCE:TARGET[:MODE]` (docker run -v); a source without a slash is the name of a volume."""
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if not source or not target or ":" in mode:
        raise BadValue(f"invalid volume specification: '{text}'")
    named = not source.startswith("/")
    if named:
        check_name(source)
    _check_target(target, f"invalid volume specification: '{text}'")
    words = [word for word in mode.split(",") if word]
    propagation = "rprivate"
    for word in words:
        if word in _PROPAGATION:
            propagation = word
        elif word not in {"ro", "rw", *_LABELS, *_CONSISTENCY, *(_NOCOPY if named else ())}:
            raise BadValue(f"invalid volume specification: '{text}': invalid mode: {mode}")
    if {"ro", "rw"} <= set(words):
        raise BadValue(f"invalid volume specification: '{text}': invalid mode: {mode}")
    readonly = "ro" in words
    options = ("rbind", *(("ro",) if readonly else ()), propagation)
    if named:
        return MountPoint(
            posixpath.normpath(target), "volume", source, options, readonly, nocopy="nocopy" in words, driver=driver
        )
    return MountPoint(
        posixpath.normpath(target), "bind", posixpath.normpath(source), options, readonly, create_source=True
    )


def _mount(one: fields.Mount) -> MountPoint:
    """One of `Mounts` (docker run --mount)."""
    kind = one.type or ""
    wrong = f'invalid mount config for type "{kind}"'
    if kind not in ("bind", "tmpfs", "volume", "image"):
        raise BadValue(f"{wrong}: mount type unknown" if kind else "mount type unknown")
    if not one.target:
        raise BadValue(f"{wrong}: field Target must not be empty")
    _check_target(one.target, wrong)
    if kind == "tmpfs":
        return _tmpfs_mount(one, wrong)
    _refuse_options_of_others(one, kind, wrong)
    if kind == "volume":
        return _volume_mount(one, wrong)
    if not one.source:
        raise BadValue(f"{wrong}: field Source must not be empty")
    if kind == "image":
        subpath = _subpath((one.image_options or fields.ImageOptions()).subpath, "image", wrong)
        if set(subpath) & _OF_OVERLAY:
            raise BadValue(f"{wrong}: the subpath {subpath!r} cannot be told to an overlay")
        return MountPoint(posixpath.normpath(one.target), "image", one.source, ("ro",), subpath=subpath)
    if not one.source.startswith("/"):
        raise BadValue(f"{wrong}: invalid mount path: '{one.source}' mount path must be absolute")
    asked = one.bind_options or fields.BindOptions()
    propagation = asked.propagation or "rprivate"
    if propagation not in _PROPAGATION:
        raise BadValue(f"{wrong}: invalid propagation mode: {propagation}")
    options = ["bind" if asked.non_recursive else "rbind", *(["ro"] if one.read_only else []), propagation]
    return MountPoint(
        posixpath.normpath(one.target),
        "bind",
        posixpath.normpath(one.source),
        tuple(options),
        recursive_readonly=_recursively_readonly(one, asked, wrong),
        create_source=bool(asked.create_mountpoint),
    )


def _refuse_options_of_others(one: fields.Mount, kind: str, wrong: str) -> None:
    """Options belong to the type that they are named after."""
    given = {
        "bind": ("BindOptions", one.bind_options),
        "tmpfs": ("TmpfsOptions", one.tmpfs_options),
        "volume": ("VolumeOptions", one.volume_options),
        "image": ("ImageOptions", one.image_options),
    }
    for name, (field, options) in given.items():
        if name != kind and options is not None:
            raise BadValue(f"{wrong}: field {field} must not be specified")


def _subpath(asked: str | None, kind: str, wrong: str) -> str:
    """A path within a volume or an image; empty: all of it."""
    found = posixpath.normpath(asked) if asked else ""
    if found.startswith(("/", "../")) or found in (".", "..") or "\0" in found:
        raise BadValue(f"{wrong}: subpath must be a relative path within the {kind}")
    return found


def _volume_mount(one: fields.Mount, wrong: str) -> MountPoint:
    asked = one.volume_options or fields.VolumeOptions()
    driver = asked.driver_config or fields.DriverConfig()
    if one.source:
        check_name(one.source)
    subpath = _subpath(asked.subpath, "volume", wrong)
    if subpath and not one.source:
        raise BadValue(f"{wrong}: must not set Subpath when using anonymous volumes")
    readonly = bool(one.read_only)
    return MountPoint(
        posixpath.normpath(one.target or ""),
        "volume",
        one.source or "",
        ("rbind", *(("ro",) if readonly else ()), "rprivate"),
        readonly,
        subpath=subpath,
        nocopy=bool(asked.no_copy),
        driver=driver.name or "",
        driver_options=driver.options or {},
        labels=asked.labels or {},
    )


def _recursively_readonly(one: fields.Mount, asked: fields.BindOptions, wrong: str) -> bool:
    if asked.read_only_force_recursive and asked.read_only_non_recursive:
        raise BadValue(f"{wrong}: ReadOnlyForceRecursive and ReadOnlyNonRecursive exclude each other")
    for name, given in (
        ("ReadOnlyForceRecursive", asked.read_only_force_recursive),
        ("ReadOnlyNonRecursive", asked.read_only_non_recursive),
    ):
        if given and not one.read_only:
            raise BadValue(f"{wrong}: mount source must be read-only with {name}")
    return bool(one.read_only) and not asked.read_only_non_recursive


def _tmpfs_mount(one: fields.Mount, wrong: str) -> MountPoint:
    _refuse_options_of_others(one, "tmpfs", wrong)
    if one.source:
        raise BadValue(f"{wrong}: field Source must not be specified")
    asked = one.tmpfs_options or fields.TmpfsOptions()
    words = ["=".join(option) for option in asked.options or ()]
    if one.read_only:
        words.append("ro")
    if asked.size_bytes:
        words.append(f"size={asked.size_bytes}")
    if asked.mode:
        words.append(f"mode={asked.mode:o}")
    return _tmpfs(one.target or "", words)


def _tmpfs(target: str, words: Iterable[str]) -> MountPoint:
    _check_target(target, f"invalid tmpfs mount '{target}'")
    given = [word for word in words if word]
    unknown = [word for word in given if not _known(word)]
    if unknown:
        raise BadValue(f"Invalid tmpfs option {unknown}")
    usual = [word for word in _TMPFS if word not in given and word.removeprefix("no") not in given]
    return MountPoint(posixpath.normpath(target), "tmpfs", "tmpfs", (*usual, *given))


def _known(word: str) -> bool:
    name, equals, value = word.partition("=")
    return name in _TMPFS_VALUES and bool(value) if equals else word in _TMPFS_FLAGS


def _check_target(target: str, wrong: str) -> None:
    if not target.startswith("/"):
        raise BadValue(f"{wrong}: invalid mount path: '{target}' mount path must be absolute")
    if posixpath.normpath(target) in ("/", "//"):
        raise BadValue(f"{wrong}: invalid specification: destination can't be '/'")
