"""Containers and their volumes: which are made with a container, mounted with a start, and go with it.

Who uses a volume is what the containers' records say; nothing else is counted, so nothing can be counted wrong.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence

import msgspec

from stockade.engine.container import Container
from stockade.engine.records import NAMESPACE, MountPoint, Record, Wanted
from stockade.errors import BadValue, Conflict, NotFound, StockadeError
from stockade.volumes import Asked, Volume, Volumes
from stockade.volumes.values import ANONYMOUS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.engine.engine import Engine

_LINK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Storage:
    """The volumes of one engine."""

    def __init__(self, engine: Engine, volumes: Volumes) -> None:
        self._engine = engine
        self.volumes = volumes

    # Verbs -------------------------------------------------------------------------------------------------------

    def create(self, asked: Asked, namespace: str = NAMESPACE) -> Volume:
        """The volume of that name, made if there is none; without a name one that nobody has, and an anonymous volume.

        Raises:
            BadValue: the name, the driver or an option makes no sense.
        """
        if not asked.name:
            asked = asked._replace(name=secrets.token_hex(32), labels={**asked.labels, ANONYMOUS: ""})
        known = self.volumes.has(asked.name, namespace)
        made = self.volumes.create(asked, namespace)
        if not known:
            self._tell("create", made)
        return made

    async def remove(self, name: str, *, force: bool = False, besides: str = "", namespace: str = NAMESPACE) -> None:
        """Remove a volume.

        Args:
            force: whether one that is not there is no failure.
            besides: a container that does not count, because it goes itself.

        Raises:
            NotFound: there is none.
            Conflict: a container uses it.
        """
        try:
            found = self.volumes.find(name, namespace)
        except NotFound:
            if force:
                return
            raise
        users = [one.wanted.id for one in self.users(found) if one.wanted.id != besides]
        if users:
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
        await self.volumes.remove(name, namespace)
        self._tell("destroy", found)

    async def prune(
        self, matches: Callable[[Volume], bool], *, named: bool = False, namespace: str = NAMESPACE
    ) -> tuple[list[str], int]:
        """Remove the volumes that no container uses and that match; the names, and the bytes that are free again.

        What a volume's options mount is not the engine's: such a volume goes only by its name, as with Docker.

        Args:
            named: whether those go too that somebody named.
        """
        gone, freed = [], 0
        for volume in self.volumes.list(namespace):
            if not (named or volume.anonymous) or volume.options or not matches(volume) or self.users(volume):
                continue
            with contextlib.suppress(StockadeError):
                size = await self.volumes.size(volume)
                await self.remove(volume.name, namespace=namespace)
                gone.append(volume.name)
                freed += max(0, size)
        self._engine.events.publish("volume", "prune", "", {"reclaimed": str(freed)}, namespace)
        return gone, freed

    def users(self, volume: Volume) -> list[Record]:
        """The containers that have it mounted when they run."""
        return [record for record in self._engine.list(volume.namespace) if volume.name in _names(record.wanted)]

    def _tell(self, action: str, volume: Volume) -> None:
        self._engine.events.publish("volume", action, volume.name, {"driver": "local"}, volume.namespace)

    # Of a container ----------------------------------------------------------------------------------------------

    def complete(self, wanted: Wanted) -> Wanted:
        """A request with the mounts of other containers that it asks for, and a name for each anonymous volume.

        Raises:
            BadValue: a container that it names is not there.
        """
        found = {point.target: point for point in wanted.mounts}
        for text in wanted.volumes_from:
            reference, _, mode = text.partition(":")
            if mode not in ("", "ro", "rw"):
                raise BadValue(f"invalid mode: {mode}", hint="--volumes-from takes CONTAINER, CONTAINER:ro or :rw")
            for point in self._mounts_of(reference, wanted.namespace):
                if point.kind in ("bind", "volume"):
                    found.setdefault(point.target, _readonly(point) if mode == "ro" else point)
        for path in wanted.volumes:
            found.setdefault(path, MountPoint(path, "volume", options=("rbind", "rprivate")))
        mounts = tuple(
            msgspec.structs.replace(one, source=secrets.token_hex(32), anonymous=True)
            if one.kind == "volume" and not one.source
            else one
            for one in found.values()
        )
        return wanted if mounts == wanted.mounts else msgspec.structs.replace(wanted, mounts=mounts)

    def _mounts_of(self, reference: str, namespace: str) -> tuple[MountPoint, ...]:
        try:
            return self._engine.find(reference, namespace).wanted.mounts
        except NotFound as error:
            # As a 404 it would read as if the image were missing.
            raise BadValue(f"volumes-from: {error.message}") from None

    def missing(self, wanted: Wanted) -> list[str]:
        """The volumes that making a container makes."""
        return [name for name in _names(wanted) if not self.volumes.has(name, wanted.namespace)]

    async def make(self, wanted: Wanted, layers: Sequence[str]) -> None:
        """Make the volumes of a container, and give empty ones what the image has at their places. Idempotent."""
        for point in _volumes(wanted):
            labels = {**point.labels, **({ANONYMOUS: ""} if point.anonymous else {})}
            asked = Asked(point.source, point.driver, point.driver_options, labels)
            volume = self.create(asked, wanted.namespace)
            if not point.nocopy and not point.subpath and not _holds_something(self.volumes.place(volume)):
                await self.volumes.fill(volume, layers, point.target)

    async def unmake(self, names: Sequence[str], wanted: Wanted) -> None:
        """Take away volumes that are there for a container which is not there any more. Idempotent."""
        for name in names:
            with contextlib.suppress(NotFound, Conflict):
                await self.remove(name, besides=wanted.id, namespace=wanted.namespace)

    async def mount(self, wanted: Wanted) -> None:
        """Mount what the options of its volumes ask for.

        Raises:
            NotFound: a volume was taken away.
            RuntimeFailed: one cannot be mounted.
        """
        for point in _volumes(wanted):
            await self.volumes.mount(self.volumes.find(point.source, wanted.namespace))

    def started(self, wanted: Wanted) -> None:
        """Tell that its volumes are mounted."""
        for point in _volumes(wanted):
            attributes = {
                "container": wanted.id,
                "destination": point.target,
                "driver": "local",
                "propagation": "",
                "read/write": str("ro" not in point.options).lower(),
            }
            self._engine.events.publish("volume", "mount", point.source, attributes, wanted.namespace)

    async def ended(self, wanted: Wanted) -> None:
        """Unmount what no other running container uses. Idempotent."""
        for point in _volumes(wanted):
            if not self.volumes.has(point.source, wanted.namespace):
                continue
            volume = self.volumes.find(point.source, wanted.namespace)
            if not any(one.state.pid and one.wanted.id != wanted.id for one in self.users(volume)):
                with contextlib.suppress(Conflict):
                    await self.volumes.unmount(volume)

    def left(self, wanted: Wanted) -> None:
        """Tell that its volumes are unmounted."""
        for point in _volumes(wanted):
            attributes = {"container": wanted.id, "driver": "local"}
            self._engine.events.publish("volume", "unmount", point.source, attributes, wanted.namespace)

    def anonymous(self, wanted: Wanted) -> list[str]:
        """The volumes that go with a container."""
        return [point.source for point in _volumes(wanted) if point.anonymous]

    def sources(self, wanted: Wanted) -> dict[str, str]:
        """What is bound at each path of a container where it has a volume; one that is gone is left out."""
        return {point.target: f"{top}/{point.subpath}" if point.subpath else top for point, top in self._tops(wanted)}

    def _tops(self, wanted: Wanted) -> Iterator[tuple[MountPoint, str]]:
        """The volumes of a container that are there, each with its directory."""
        for point in _volumes(wanted):
            with contextlib.suppress(NotFound):
                yield point, self.volumes.source(self.volumes.find(point.source, wanted.namespace))

    def opened(self, container: Container) -> dict[str, str]:
        """`sources` for a start: a path within a volume is opened now, so that nothing in the volume leads elsewhere.

        The descriptors stay open in `container.held`.

        Raises:
            BadValue: such a path is not there, or a link lies on it.
        """
        found = {}
        for point, top in self._tops(container.wanted):
            found[point.target] = top
            if point.subpath:
                descriptor = _beneath(top, point)
                container.held.append(descriptor)
                found[point.target] = f"/proc/{os.getpid()}/fd/{descriptor}"
        return found


def has_subpath(wanted: Wanted) -> bool:
    """Whether something within a volume is mounted, which has to be looked up at each start."""
    return any(point.subpath for point in _volumes(wanted))


def describe(record: Record, volumes: Volumes) -> dict[str, str]:
    """Where each volume of a container lies on this machine, by its name."""
    found = {}
    for name in _names(record.wanted):
        with contextlib.suppress(NotFound):
            found[name] = volumes.place(volumes.find(name, record.wanted.namespace))
    return found


def _volumes(wanted: Wanted) -> list[MountPoint]:
    return [point for point in wanted.mounts if point.kind == "volume"]


def _names(wanted: Wanted) -> tuple[str, ...]:
    return tuple(dict.fromkeys(point.source for point in _volumes(wanted)))


def _readonly(point: MountPoint) -> MountPoint:
    if "ro" in point.options:
        return point
    return msgspec.structs.replace(point, options=(*point.options, "ro"))


def _holds_something(place: str) -> bool:
    with os.scandir(place) as names:
        return next(names, None) is not None


def _beneath(top: str, point: MountPoint) -> int:
    """A descriptor of a path within a volume; its content is a container's, so no link is followed."""
    here = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in point.subpath.split("/"):
            there = os.open(name, _LINK, dir_fd=here)
            os.close(here)
            here = there
        if stat.S_ISLNK(os.fstat(here).st_mode):
            raise OSError(0, "it is a symbolic link")
    except OSError as error:
        os.close(here)
        raise BadValue(
            f"cannot mount subpath {point.subpath!r} of volume {point.source}: {error.strerror}",
            hint="the path must exist in the volume, and no symbolic link may lie on it",
        ) from None
    return here
