"""What a container stands on: its layers, the files in its directory, its config.json. Performs; `bundle` decides."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Mapping
from typing import Any

from stockade.engine import bundle, files, logdrivers, resources
from stockade.engine.bundle import Given, Joined
from stockade.engine.container import Container
from stockade.engine.records import MountPoint, Wanted
from stockade.errors import BadValue, Conflict, RuntimeFailed
from stockade.host import delegated, ids, spawn
from stockade.host.ids import Ids
from stockade.images.values import Accounts
from stockade.model import RootfsMount
from stockade.runtime import shim
from stockade.runtime.task import Stdio, Task
from stockade.snapshots import Snapshots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.engine.engine import Engine


async def lay(engine: Engine, container: Container) -> None:
    """Make the writable layer, with the image's layers unpacked beneath it."""
    found, ids = await layers(engine, container.wanted), host_ids(engine, container)
    await engine.snapshots.prepare(container.directory, found, ids)
    _write(f"{container.directory}/upper/{files.MARK}", b"", 0o755, ids)
    with contextlib.suppress(FileExistsError):
        os.mkdir(f"{container.directory}/rootfs", 0o755)


def lay_ahead(directory: str, ids: Ids) -> None:
    """Make what every container has in its directory."""
    Snapshots.make(directory, ids)
    _write(f"{directory}/upper/{files.MARK}", b"", 0o755, ids)
    os.mkdir(f"{directory}/rootfs", 0o755)
    for name in files.NAMES:
        _write(f"{directory}/{name}", b"", 0o644, ids)


async def mounts(engine: Engine, container: Container) -> tuple[RootfsMount, ...]:
    """The root file system in CreateTask's words."""
    wanted, ids = container.wanted, host_ids(engine, container)
    found = engine.snapshots.mounts(container.directory, await layers(engine, wanted), ids)
    for point in wanted.mounts:
        if point.kind == "image":
            image = engine.images.leased(image_holder(wanted, point), wanted.namespace)
            found += engine.snapshots.image(await engine.images.unpacked(image), ids, point.target, point.subpath)
    return found


def leases(wanted: Wanted) -> list[tuple[str, str]]:
    """The images that a container stands on or has mounted, and under which name each is kept for it."""
    own = [(wanted.image_id, wanted.id)] if wanted.image_id else []
    return own + [(one.source, image_holder(wanted, one)) for one in wanted.mounts if one.kind == "image"]


def image_holder(wanted: Wanted, point: MountPoint) -> str:
    """Under which an image is kept that a container has mounted."""
    return f"{wanted.id}:{point.target}"


async def layers(engine: Engine, wanted: Wanted) -> tuple[str, ...]:
    """The layers beneath it, the topmost first."""
    if wanted.rootfs:
        return (wanted.rootfs,)
    return await engine.images.unpacked(engine.images.leased(wanted.id, wanted.namespace))


def own_ids(engine: Engine, container: Container) -> Ids | None:
    """The range that it has claimed; None: it has none of its own."""
    slot = container.state.slot
    if slot < 0:
        return None
    # A claim stays as long as the directory does: it is read once.
    found = container.ids or ids.claimed(engine.paths, container.directory, slot)
    if found is None:
        raise Conflict(f"the ids of container {container.id} are no longer claimed", hint="stockade system repair")
    container.ids = found
    return found


def host_ids(engine: Engine, container: Container) -> Ids | None:
    """The ids that its files have on the host: its own range, or another container's that it joins; None: as inside."""
    found = own_ids(engine, container)
    if found is not None:
        return found
    for word in bundle.joins(container.wanted):
        other = own_ids(engine, engine.containers.find(word, container.wanted.namespace))
        if other is not None:
            return other
    return None


async def render(engine: Engine, container: Container, *, starting: bool = False) -> None:
    """Write config.json and the files that are bound in.

    Args:
        starting: whether it is for the start that follows: what lies within a volume is looked up, and held.

    Raises:
        BadValue, NotFound, Unsupported: what was asked for cannot be had.
    """
    wanted, directory = container.wanted, container.directory
    _make_sources(wanted)
    name = _hostname(engine, wanted)
    storage = engine.storage
    volumes = storage.opened(container) if starting else storage.sources(wanted)
    accounts = await _accounts(engine, wanted)
    joined = _joined(engine, wanted)
    given = Given(directory, name, own_ids(engine, container), accounts, joined, volumes, delegated.parent())
    text = bundle.render(wanted, given)
    owner = host_ids(engine, container)
    # Where there are networks each start writes them, once the addresses are known; but they must be there to be bound.
    if not wanted.networks or not os.path.exists(f"{directory}/{files.NAMES[-1]}"):
        for file, content in _names(engine, wanted, name, files.NOWHERE).items():
            _write(f"{directory}/{file}", content.encode(), 0o644, owner)
    _make_devices(wanted, directory, owner)
    _write(f"{directory}/config.json", text, 0o600, None)


def _hostname(engine: Engine, wanted: Wanted) -> str:
    """What it calls itself: who joins another's network has that one's name, as Docker has it."""
    network = wanted.namespaces.network
    if network.startswith("container:"):
        wanted = engine.containers.find(network.partition(":")[2], wanted.namespace).wanted
    return files.hostname(wanted, socket.gethostname())


def _names(engine: Engine, wanted: Wanted, name: str, place: files.Placed) -> dict[str, str]:
    """Its hosts, hostname and resolv.conf; who joins another's network has that one's."""
    network = wanted.namespaces.network
    if network.startswith("container:"):
        other = engine.containers.find(network.partition(":")[2], wanted.namespace)
        return {file: _read(f"{other.directory}/{file}") for file in files.NAMES}
    return files.texts(wanted, name, files.Hosts(_read("/etc/hosts"), _read("/etc/resolv.conf")), place)


def write_names(engine: Engine, container: Container, place: files.Placed) -> None:
    """Write the files again that tell of networks, for a container that has addresses."""
    name = _hostname(engine, container.wanted)
    owner = host_ids(engine, container)
    for file, content in _names(engine, container.wanted, name, place).items():
        _write(f"{container.directory}/{file}", content.encode(), 0o644, owner)


def _make_devices(wanted: Wanted, directory: str, owner: Ids | None) -> None:
    """Nodes whose owners are the host's, as seen within the container's user namespace."""
    if owner is None or not wanted.resources.devices:
        return
    os.makedirs(f"{directory}/{bundle.DEVICES}", 0o700, exist_ok=True)
    for number, node in enumerate(resources.nodes(wanted.resources.devices)):
        path = f"{directory}/{bundle.DEVICES}/{number}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        kind = stat.S_IFCHR if node["type"] == "c" else stat.S_IFBLK
        os.mknod(path, kind | 0o600, os.makedev(node["major"], node["minor"]))
        os.chown(path, owner.base + node["uid"] % ids.RANGE, owner.group_base + node["gid"] % ids.RANGE)
        os.chmod(path, node["fileMode"])


async def _accounts(engine: Engine, wanted: Wanted) -> Accounts:
    """Who is known in the image; asked only when a name has to be looked up, or a home directory."""
    if wanted.rootfs:
        return Accounts()
    return await engine.images.accounts(engine.images.leased(wanted.id, wanted.namespace))


def _joined(engine: Engine, wanted: Wanted) -> dict[str, Joined]:
    found = {}
    for word in bundle.joins(wanted):
        other = engine.containers.find(word, wanted.namespace)
        if not other.alive:
            raise Conflict(f"cannot join network of a non running container: {other.id}")
        own = own_ids(engine, other)
        found[word] = Joined(other.state.pid, own.uid if own else (), own.gid if own else ())
    return found


def _make_sources(wanted: Wanted) -> None:
    """Make the sources of binds that may be made, and miss the others aloud."""
    for point in wanted.mounts:
        if point.kind != "bind" or os.path.lexists(point.source):
            continue
        if not point.create_source:
            raise BadValue(f'invalid mount config for type "bind": bind source path does not exist: {point.source}')
        os.makedirs(point.source, 0o755, exist_ok=True)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""


def _write(path: str, content: bytes, mode: int, owner: Ids | None) -> None:
    """Replace a file; one that a running container has bound in keeps its inode.

    It is cut afterwards and not before: a file that was empty in between is written out by ext4 when it is closed.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.truncate()
        os.fchmod(descriptor, mode)
        os.fchown(descriptor, *ids.owner(owner))


def stdio(container: Container) -> Stdio:
    """Where its streams go: to its log, if it has one; clients are attached beside."""
    wanted = container.wanted
    log = logdrivers.target_of(wanted, container.directory)
    return Stdio("", log, "" if wanted.tty else log, wanted.tty)


async def update(task: Task, wanted: Wanted, before: Mapping[str, Any]) -> None:
    """Have a running container's limits follow its record.

    Args:
        before: fields of records.Resources that were other ones, by name.
    """
    await task.update_resources(resources.render(wanted.resources, devices=False, before=before))


async def remove_tree(directory: str) -> None:
    """Remove a container's directory, whatever is in it. Idempotent."""
    if not os.path.lexists(directory):
        return
    answer = await spawn.run([shim.program("stockade-layer"), "remove", directory], timeout=600.0)
    if answer.status != 0:
        raise RuntimeFailed(f"cannot remove {directory}: {answer.complaint.decode(errors='replace').strip()}")
