"""What a program without an image sees: an allow-list of the host. It may change all of it; the host stays as it is.

    /            overlay: upper of this container | the cached tree (skeleton and /etc), owned by the container's root
    /usr, /opt…  overlay: upper | the skeleton's directories, owned by the container's root: it can make, replace and
                                  remove files | the host's own, ids as they are: only "other" bits grant reading
    DIR          overlay: upper | the caller's directory, the caller mapped to the container's root

The host's directory is not id-mapped: that would make the container's root the owner of the host root's files and let
it read those of mode 0600. The cached tree is made by `stockade-layer view`. This module only decides the mounts and
makes the upper directories; the shim mounts, in the container's own mount namespace.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from stockade.model import IdMap, Mount, RootfsMount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.host.ids import Ids

# What of the host is shown besides /etc. The cached tree has links of this name as links: these need no mount of
# their own.
SHOWN = ("usr", "opt", "bin", "sbin", "lib", "lib32", "lib64", "libx32")


class Given(NamedTuple):
    """The one directory of the caller's that the program is given."""

    path: str
    uid: int
    gid: int
    """Whose files in it the container's root owns."""


class Bind(NamedTuple):
    """Something of the host that is shown as it is: what is written there is written at once."""

    source: str
    destination: str
    readonly: bool
    uid: int
    gid: int
    """Whose files in it the container's root owns."""


class Layer(NamedTuple):
    """One overlay of the view: what lies beneath, and where it is mounted."""

    name: str
    """Its directory below the container's `layers`."""
    mountpoint: str
    """In the container, absolute."""
    lower: str
    """The directory of the host that it changes; empty: only the cached tree."""


def layers(tree: str, given: Given | None, host: bool = True) -> tuple[Layer, ...]:
    """The overlays, in the order in which they are mounted.

    Args:
        tree: what lies beneath the root: a version of the cached tree, or an unpacked root file system.
        host: whether the host's system directories are shown above it.
    """
    found = [Layer("root", "/", "")]
    for name in SHOWN if host else ():
        if _is_directory(f"{tree}/{name}") and _is_directory(f"/{name}"):
            found.append(Layer(name, f"/{name}", f"/{name}"))
    if given is not None:
        found.append(Layer("given", given.path, given.path))
    return tuple(found)


def mounts(
    trees: tuple[str, ...],
    directory: str,
    parts: tuple[Layer, ...],
    given: Given | None,
    ids: Ids | None,
    durable: bool = False,
) -> tuple[RootfsMount, ...]:
    """The rootfs list of CreateTask.

    Args:
        trees: the cached tree (one version of it: it must stay while the container runs), or the layers of a root file
            system, topmost first.
        directory: of the container; its `layers/<name>/upper` and `work` exist.
        ids: the ids to map files to, as root; None in user mode, where the user namespace itself makes the caller root.
        durable: whether the layers outlive the container: then syncing in it means something.
    """
    options = ["ro", "rbind"] + (_idmap(0, 0, ids.base, ids.group_base, ids.uid[0].size) if ids else [])
    found = [RootfsMount("bind", tree, "", tuple(options)) for tree in trees]
    for part in parts:
        where = f"{directory}/layers/{part.name}"
        if part.name == "given":
            if given is None:
                continue
            bind = ["bind"] + (_idmap(given.uid, given.gid, ids.base, ids.group_base, 1) if ids else [])
            found.append(RootfsMount("bind", given.path, "", tuple(bind)))
            lower = f"{{{{ mount {len(found) - 1} }}}}"
        elif part.lower:
            lower = f"{{{{ mount 0 }}}}/{part.name}:{part.lower}"
        else:
            lower = ":".join(f"{{{{ mount {number} }}}}" for number in range(len(trees)))
        overlay = [f"lowerdir={lower}", f"upperdir={where}/upper", f"workdir={where}/work"]
        overlay += [] if durable else ["volatile"]
        found.append(RootfsMount("format/overlay", "overlay", part.mountpoint.lstrip("/"), tuple(overlay)))
    return tuple(found)


def bind_mount(bind: Bind, ids: Ids | None) -> Mount:
    """The entry of config.json's `mounts` for a bind."""
    options = ("rbind", "ro" if bind.readonly else "rw", "nosuid", "nodev")
    if ids is None:
        return Mount(bind.destination, "bind", bind.source, options)
    uids, gids = (IdMap(bind.uid, ids.base, 1),), (IdMap(bind.gid, ids.group_base, 1),)
    return Mount(bind.destination, "bind", bind.source, options, uids, gids)


def make_layers(directory: str, parts: tuple[Layer, ...], tree: str, ids: Ids | None) -> None:
    """Make the upper and work directories, owned by the container's root; an upper takes the mode of what it covers."""
    os.mkdir(f"{directory}/layers", 0o755)
    for part in parts:
        where = f"{directory}/layers/{part.name}"
        covered = part.lower if part.name == "given" else f"{tree}{part.mountpoint}"
        mode = stat.S_IMODE(os.stat(covered).st_mode)
        os.mkdir(where, 0o755)
        for name in ("upper", "work"):
            path = f"{where}/{name}"
            os.mkdir(path)
            os.chmod(path, mode if name == "upper" else 0o755)
            if ids is not None:
                os.chown(path, ids.base, ids.group_base)


def renew_work(directory: str, parts: tuple[Layer, ...], ids: Ids | None) -> None:
    """Let the layers of a kept container be mounted once more.

    A volatile overlay leaves a mark in its work directory that forbids it, as a crash of the machine may have lost what
    was never synced. Those of containers that are kept were not volatile; others do not outlive their process.
    """
    mark = os.urandom(4).hex()
    for part in parts:
        where = f"{directory}/layers/{part.name}"
        os.rename(f"{where}/work", f"{directory}/.work-{part.name}-{mark}")
        os.mkdir(f"{where}/work", 0o755)
        if ids is not None:
            os.chown(f"{where}/work", ids.base, ids.group_base)


def _idmap(uid: int, gid: int, base: int, group_base: int, size: int) -> list[str]:
    """containerd's words for an id-mapped mount: the id on disk, the id it is seen as on the host, how many."""
    return [f"uidmap={uid}:{base}:{size}", f"gidmap={gid}:{group_base}:{size}"]


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False
