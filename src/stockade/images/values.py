"""What the package speaks of. Sizes are bytes, times nanoseconds since the epoch unless a field says otherwise."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct, field


class Layer(Struct, frozen=True, omit_defaults=True):
    """One layer of an image: the blob, and the tar in it."""

    digest: str
    size: int
    media_type: str
    diff_id: str


class HealthCheck(Struct, frozen=True, omit_defaults=True):
    """How to ask a container whether it is well, in seconds; zero: the default (30 s, 30 s, 3, 0 s, 5 s)."""

    test: tuple[str, ...] = ()
    """As Docker's: `("NONE",)`, `("CMD", …)`, `("CMD-SHELL", line)`; empty: nothing is said, or the image's."""
    interval: float = 0
    timeout: float = 0
    retries: int = 0
    start_period: float = 0
    start_interval: float = 0


class History(Struct, frozen=True, omit_defaults=True):
    """One line of an image's history, the oldest first."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(Struct, frozen=True, omit_defaults=True):
    """What an image says of itself and of its containers; empty where it says nothing."""

    architecture: str = ""
    os: str = ""
    variant: str = ""
    os_version: str = ""
    created: str = ""
    """RFC 3339, as the image has it."""
    author: str = ""
    comment: str = ""
    docker_version: str = ""
    parent: str = ""
    user: str = ""
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    workdir: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    stop_timeout: int | None = None
    health: HealthCheck | None = None
    shell: tuple[str, ...] = ()
    onbuild: tuple[str, ...] = ()
    args_escaped: bool = False
    history: tuple[History, ...] = ()
    diff_ids: tuple[str, ...] = ()


class Kept(Struct, frozen=True, omit_defaults=True):
    """What the store has of an image; everything else stands in its blobs."""

    id: str
    """The digest of its configuration."""
    manifest: str
    layers: tuple[Layer, ...]
    config_size: int
    manifest_size: int
    since: int
    """When it came here."""
    manifest_type: str = ""
    """Of its manifest; empty: OCI's."""
    index: str = ""
    """The index that it was chosen from, if that is here whole or in part."""
    partial: bool = False
    """Whether of the index only this image was brought."""
    more: tuple[str, ...] = ()
    """Further blobs that came with it: the index's other platforms, attestations."""
    parent: str = ""
    """The image that it was made from, by commit."""
    size: int = 0
    """Of its files, as its layers hold them."""
    sizes: tuple[int, ...] = ()
    """The same, by layer."""
    pulled: tuple[str, ...] = ()
    """The repositories that it was pulled from, or pushed to."""

    @property
    def blobs(self) -> tuple[str, ...]:
        """Every blob that it needs, or that came with it."""
        own = (self.id, self.manifest, *(layer.digest for layer in self.layers), *self.more)
        return (*own, self.index) if self.index else own


class Name(Struct, frozen=True):
    """A name and its image."""

    image: str
    since: int
    """When it was given: Docker's LastTagTime."""


class Lease(Struct, frozen=True):
    """Somebody needs an image, whatever becomes of its names."""

    image: Kept


class Unpacked(Struct, frozen=True, omit_defaults=True):
    """A layer as a directory; its key is its chain id."""

    directory: str
    """Its name below `layers`."""
    diff_id: str
    bytes: int
    """Of its files."""


class Unsettled(Struct, frozen=True):
    """Something was written and not yet synced: after another boot it is in doubt."""

    boot: str


class Image(Struct, frozen=True):
    """An image of this machine's."""

    kept: Kept
    config: ImageConfig
    chains: tuple[str, ...]
    """The chain ids of its layers, the lowest first (image-spec, config.md "Layer ChainID")."""

    @property
    def id(self) -> str:
        """`sha256:…` of its configuration, as Docker's."""
        return self.kept.id

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The lowest first."""
        return self.kept.layers

    @property
    def size(self) -> int:
        """Of its files, as Docker counts them."""
        return self.kept.size

    @property
    def parent(self) -> str:
        """The image that it was made from, by commit or import; empty: none that is known."""
        return self.kept.parent

    @property
    def manifest(self) -> str:
        """The digest of its manifest."""
        return self.kept.manifest


class Progress(NamedTuple):
    """How far one layer is, in Docker's words."""

    id: str
    """Twelve digits of the layer's diff id; empty: of the whole."""
    status: str
    current: int = 0
    total: int = 0


class Loaded(NamedTuple):
    """What a load brought."""

    id: str
    names: tuple[str, ...]
    """As people write them."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """What Docker says of it."""
        return tuple(f"Loaded image: {name}" for name in self.names) or (f"Loaded image ID: {self.id}",)


class Use(NamedTuple):
    """A container that stands on an image."""

    container: str
    running: bool


class Untagged(NamedTuple):
    """A name that is no more, as people write it."""

    name: str
    image: str


class Deleted(NamedTuple):
    """An image or a layer that is no more, by its id."""

    id: str


class Pruned(NamedTuple):
    """What a prune took."""

    removed: tuple[Untagged | Deleted, ...]
    reclaimed: int
    """Bytes of disk."""


class Line(NamedTuple):
    """One line of `docker history`, the newest first."""

    id: str
    """`<missing>` but for the image itself and its parents that are here."""
    created: str
    created_by: str
    size: int
    comment: str
    tags: tuple[str, ...]


class Usage(NamedTuple):
    """What the disk holds for images."""

    layers: int
    """Bytes of disk of the unpacked layers."""
    blobs: int
    """Bytes of disk of content."""
    images: dict[str, tuple[int, int]]
    """By image id: bytes of its files; those of them that other images share."""

    @property
    def total(self) -> int:
        """Bytes of disk."""
        return self.layers + self.blobs


class Collected(NamedTuple):
    """What a collection took away."""

    blobs: tuple[str, ...]
    chains: tuple[str, ...]
    reclaimed: int
    """Bytes of disk; layers are on their way out."""


class Account(Struct, frozen=True, omit_defaults=True):
    """A line of the image's /etc/passwd."""

    name: str
    uid: int
    gid: int
    home: str = ""
    shell: str = ""


class Group(Struct, frozen=True, omit_defaults=True):
    """A line of the image's /etc/group."""

    name: str
    gid: int
    members: tuple[str, ...] = ()


class Accounts(Struct, frozen=True, omit_defaults=True):
    """Who is who in an image."""

    users: tuple[Account, ...] = ()
    groups: tuple[Group, ...] = ()
