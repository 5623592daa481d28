"""The daemon for callers that block: the objects of `remote`, method by method."""

from __future__ import annotations

from stockade.runtime.blocking import World, run
from stockade.sdk.faces import blocking, iterating
from stockade.sdk.remote import AsyncClient, AsyncContainer, AsyncImage, Waited
from stockade.sdk.wanted import Health, Wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["Client", "Container", "Health", "Image", "Waited", "Wanted"]


class Container:
    """One container; see AsyncContainer."""

    def __init__(self, core: AsyncContainer) -> None:
        self._core = core

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return self._core.id

    @property
    def name(self) -> str:
        """Without Docker's slash."""
        return self._core.name

    @property
    def status(self) -> str:
        """As it was when it was looked at."""
        return self._core.status

    @property
    def attributes(self) -> Any:
        """Docker's inspect."""
        return self._core.attributes

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the daemon warned of when it was made."""
        return self._core.warnings

    reload = blocking(AsyncContainer.reload)
    start = blocking(AsyncContainer.start)
    stop = blocking(AsyncContainer.stop)
    restart = blocking(AsyncContainer.restart)
    kill = blocking(AsyncContainer.kill)
    pause = blocking(AsyncContainer.pause)
    unpause = blocking(AsyncContainer.unpause)
    rename = blocking(AsyncContainer.rename)
    update = blocking(AsyncContainer.update)
    wait = blocking(AsyncContainer.wait)
    remove = blocking(AsyncContainer.remove)
    prepare = blocking(AsyncContainer.prepare)
    exec = blocking(AsyncContainer.exec)
    exec_create = blocking(AsyncContainer.exec_create)
    logs = iterating(AsyncContainer.logs)
    stats = blocking(AsyncContainer.stats)
    top = blocking(AsyncContainer.top)
    changes = blocking(AsyncContainer.changes)
    stat = blocking(AsyncContainer.stat)
    export = blocking(AsyncContainer.export)
    get_archive = blocking(AsyncContainer.get_archive)
    put_archive = blocking(AsyncContainer.put_archive)

    def commit(
        self,
        reference: str = "",
        *,
        message: str = "",
        author: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
    ) -> Image:
        """Make an image of it as it is now."""
        core = self._core.commit(reference, message=message, author=author, changes=changes, pause=pause)
        return Image(run(core))


class Image:
    """One image; see AsyncImage."""

    def __init__(self, core: AsyncImage) -> None:
        self._core = core

    @property
    def id(self) -> str:
        """`sha256:…` of its configuration."""
        return self._core.id

    @property
    def tags(self) -> tuple[str, ...]:
        """Its names."""
        return self._core.tags

    @property
    def attributes(self) -> Any:
        """Docker's inspect."""
        return self._core.attributes

    tag = blocking(AsyncImage.tag)
    history = blocking(AsyncImage.history)
    remove = blocking(AsyncImage.remove)


class Client:
    """The daemon, which is started if it does not run; see AsyncClient.

    >>> client = Client()
    >>> box = client.create(Wanted("busybox", ("echo", "hello")))
    >>> box.start()
    >>> box.wait().status
    0
    """

    def __init__(self) -> None:
        self._core = AsyncClient(World())

    def create(self, wanted: Wanted) -> Container:
        """Make a container; nothing of it runs yet."""
        return Container(run(self._core.create(wanted)))

    def container(self, reference: str) -> Container:
        """A container by its name, its id or the unique beginning of that."""
        return Container(run(self._core.container(reference)))

    def image(self, reference: str) -> Image:
        """An image by name, digest or id."""
        return Image(run(self._core.image(reference)))

    def import_tree(
        self, source: str, reference: str = "", *, changes: Sequence[str] = (), message: str = "", platform: str = ""
    ) -> Image:
        """Make an image of a directory, or of an archive of one, of this machine."""
        made = self._core.import_tree(source, reference, changes=changes, message=message, platform=platform)
        return Image(run(made))

    containers = blocking(AsyncClient.containers)
    prune_containers = blocking(AsyncClient.prune_containers)
    images = blocking(AsyncClient.images)
    load = iterating(AsyncClient.load)
    save = blocking(AsyncClient.save)
    import_from = iterating(AsyncClient.import_from)
    remove_image = blocking(AsyncClient.remove_image)
    pull = iterating(AsyncClient.pull)
    push = iterating(AsyncClient.push)
    login = blocking(AsyncClient.login)
    search = blocking(AsyncClient.search)
    prune_images = blocking(AsyncClient.prune_images)
    networks = blocking(AsyncClient.networks)
    network = blocking(AsyncClient.network)
    create_network = blocking(AsyncClient.create_network)
    remove_network = blocking(AsyncClient.remove_network)
    prune_networks = blocking(AsyncClient.prune_networks)
    connect = blocking(AsyncClient.connect)
    disconnect = blocking(AsyncClient.disconnect)
    blocks = blocking(AsyncClient.blocks)
    volumes = blocking(AsyncClient.volumes)
    volume = blocking(AsyncClient.volume)
    create_volume = blocking(AsyncClient.create_volume)
    remove_volume = blocking(AsyncClient.remove_volume)
    prune_volumes = blocking(AsyncClient.prune_volumes)
    version = blocking(AsyncClient.version)
    info = blocking(AsyncClient.info)
    disk_usage = blocking(AsyncClient.disk_usage)
    events = iterating(AsyncClient.events)
    call = blocking(AsyncClient.call)
    open = blocking(AsyncClient.open)
