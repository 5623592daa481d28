"""The documents of an image: index, manifest, configuration, and Docker's manifest.json (image-spec; docker save).

They come from strangers: sizes and counts are bounded, types and digests checked, and a refusal names the document.
Fields that nobody here knows stay in the bytes, which are kept as they came. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

from stockade.errors import BadValue
from stockade.registry.references import is_digest

from .values import HealthCheck, History, ImageConfig, Layer

MAX_DOCUMENT = 8 << 20
"""Bytes of one document."""
MAX_LAYERS = 500
"""What overlayfs takes (OVL_MAX_STACK)."""
MAX_LIST = 10_000

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
_DOCKER = "application/vnd.docker.distribution.manifest"
MANIFESTS = frozenset({MANIFEST, f"{_DOCKER}.v2+json"})
INDEXES = frozenset({INDEX, f"{_DOCKER}.list.v2+json"})
CONFIGS = frozenset({CONFIG, "application/vnd.docker.container.image.v1+json"})
_ROOTFS = "application/vnd.docker.image.rootfs.diff.tar"
LAYERS = frozenset({LAYER, f"{LAYER}+gzip", f"{LAYER}+zstd", _ROOTFS, f"{_ROOTFS}.gzip", f"{_ROOTFS}.zstd"})
PLAIN_LAYERS = frozenset({LAYER, _ROOTFS})
"""Those that are not compressed."""
FULL_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"
REFERENCE_TYPE = "vnd.docker.reference.type"

T = TypeVar("T")


class Platform(Struct, frozen=True, omit_defaults=True):
    architecture: str = ""
    os: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(word for word in (self.os, self.architecture, self.variant) if word)


class Descriptor(Struct, frozen=True, omit_defaults=True):
    media_type: str = field(name="mediaType")
    digest: str = ""
    size: int = 0
    platform: Platform | None = None
    annotations: dict[str, str] | None = None
    artifact_type: str = field(name="artifactType", default="")

    def note(self, key: str) -> str:
        """One of its annotations."""
        return (self.annotations or {}).get(key, "")


class Index(Struct, frozen=True):
    manifests: list[Descriptor] | None = None


class Manifest(Struct, frozen=True):
    config: Descriptor
    layers: list[Descriptor] | None = None


class Archived(Struct, frozen=True, rename="pascal"):
    """One image of Docker's manifest.json."""

    config: str
    repo_tags: list[str] | None = None
    layers: list[str] | None = None


class _Health(Struct, frozen=True, rename="pascal"):
    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class _Container(Struct, frozen=True, rename="pascal"):
    user: str | None = None
    exposed_ports: dict[str, Any] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    volumes: dict[str, Any] | None = None
    working_dir: str | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    stop_timeout: int | None = None
    healthcheck: _Health | None = None
    shell: list[str] | None = None
    on_build: list[str] | None = None
    args_escaped: bool | None = None


class _History(Struct, frozen=True):
    created: str | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    empty_layer: bool | None = None


class _RootFs(Struct, frozen=True):
    type: str = "layers"
    diff_ids: list[str] | None = None


class _Config(Struct, frozen=True):
    architecture: str = ""
    os: str = ""
    variant: str | None = None
    os_version: str | None = field(name="os.version", default=None)
    created: str | None = None
    author: str | None = None
    comment: str | None = None
    docker_version: str | None = None
    parent: str | None = None
    config: _Container | None = None
    rootfs: _RootFs = _RootFs()
    history: list[_History] | None = None


def digest_of(data: bytes) -> str:
    """`sha256:…` of these bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def encode(document: object) -> bytes:
    """A document of our own, always the same bytes for the same values."""
    return msgspec.json.encode(document, order="sorted")


def read_index(data: bytes, name: str) -> tuple[Descriptor, ...]:
    """The entries of an index.

    Raises:
        BadValue: it is none; `name` says which.
    """
    return _descriptors(_decode(data, Index, name).manifests, name)


def read_manifest(data: bytes, name: str) -> Manifest:
    """A manifest.

    Raises:
        BadValue: it is none; `name` says which.
    """
    manifest = _decode(data, Manifest, name)
    _descriptors([manifest.config], name)
    _descriptors(manifest.layers, name)
    if len(manifest.layers or ()) > MAX_LAYERS:
        raise BadValue(f"{name} has more than {MAX_LAYERS} layers")
    return manifest


def is_extra(entry: Descriptor) -> bool:
    """Whether an entry of an index is no image: an attestation, or an artifact."""
    unknown = entry.platform is not None and entry.platform.os == "unknown"
    return bool(entry.note(REFERENCE_TYPE) or entry.artifact_type or unknown)


def read_archived(data: bytes) -> tuple[Archived, ...]:
    """Docker's manifest.json.

    Raises:
        BadValue: it is none.
    """
    found = _decode(data, list[Archived], "manifest.json")
    for one in found:
        if len(one.layers or ()) > MAX_LAYERS:
            raise BadValue(f"manifest.json has an image of more than {MAX_LAYERS} layers")
    return tuple(_bounded(found, "manifest.json"))


def read_config(data: bytes, name: str) -> ImageConfig:
    """An image's configuration.

    Raises:
        BadValue: it is none; `name` says which.
    """
    raw = _decode(data, _Config, name)
    diff_ids = tuple(_bounded(raw.rootfs.diff_ids or [], name))
    for diff_id in diff_ids:
        if not is_digest(diff_id):
            raise BadValue(f"{name} names a layer {diff_id[:80]!r}, which is no sha256 digest")
    inside = raw.config or _Container()
    return ImageConfig(
        architecture=raw.architecture,
        os=raw.os,
        variant=raw.variant or "",
        os_version=raw.os_version or "",
        created=raw.created or "",
        author=raw.author or "",
        comment=raw.comment or "",
        docker_version=raw.docker_version or "",
        parent=raw.parent or "",
        user=inside.user or "",
        entrypoint=_words(inside.entrypoint, name),
        cmd=_words(inside.cmd, name),
        env=_words(inside.env, name) or (),
        workdir=inside.working_dir or "",
        labels=inside.labels or {},
        exposed_ports=tuple(_bounded(sorted(inside.exposed_ports or ()), name)),
        volumes=tuple(_bounded(sorted(inside.volumes or ()), name)),
        stop_signal=inside.stop_signal or "",
        stop_timeout=inside.stop_timeout,
        health=_health(inside.healthcheck),
        shell=_words(inside.shell, name) or (),
        onbuild=_words(inside.on_build, name) or (),
        args_escaped=bool(inside.args_escaped),
        history=tuple(_history(one) for one in _bounded(raw.history or [], name)),
        diff_ids=diff_ids,
    )


def raw_object(data: bytes, name: str) -> dict[str, Any]:
    """A document with every field that it has."""
    return _decode(data, dict[str, Any], name)


def write_manifest(config: tuple[str, int], layers: Sequence[Layer]) -> bytes:
    """The manifest of an image whose blobs are these."""
    return encode({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": config[0], "size": config[1]},
        "layers": [{"mediaType": one.media_type, "digest": one.digest, "size": one.size} for one in layers],
    })  # fmt: skip


def chains_of(diff_ids: Sequence[str]) -> tuple[str, ...]:
    """The chain ids, the lowest first (image-spec, config.md "Layer ChainID")."""
    chains: list[str] = []
    for diff_id in diff_ids:
        chains.append(digest_of(f"{chains[-1]} {diff_id}".encode()) if chains else diff_id)
    return tuple(chains)


def compression_of(head: bytes) -> str:
    """The suffix of a layer's media type, told by its first bytes."""
    if head.startswith(b"\x1f\x8b"):
        return "+gzip"
    return "+zstd" if head.startswith(b"\x28\xb5\x2f\xfd") else ""


def _decode(data: bytes, kind: type[T], name: str) -> T:
    if len(data) > MAX_DOCUMENT:
        raise BadValue(f"{name} has more than {MAX_DOCUMENT} bytes")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, UnicodeDecodeError) as error:
        raise BadValue(f"{name} cannot be read: {str(error)[:200]}") from error


def _descriptors(found: list[Descriptor] | None, name: str) -> tuple[Descriptor, ...]:
    for one in _bounded(found or [], name):
        if not is_digest(one.digest):
            raise BadValue(f"{name} names {one.digest[:80]!r}, which is no sha256 digest")
        if not 0 <= one.size < 1 << 50:
            raise BadValue(f"{name} gives {one.digest} a size of {one.size}")
    return tuple(found or ())


def _bounded(found: list[T], name: str) -> list[T]:
    if len(found) > MAX_LIST:
        raise BadValue(f"{name} has a list of more than {MAX_LIST} entries")
    return found


def _words(found: list[str] | None, name: str) -> tuple[str, ...] | None:
    if found is None:
        return None
    for word in _bounded(found, name):
        if "\0" in word:
            raise BadValue(f"{name} has a word with a NUL in it")
    return tuple(found)


def _history(raw: _History) -> History:
    return History(
        raw.created or "", raw.created_by or "", raw.author or "", raw.comment or "", bool(raw.empty_layer)
    )  # fmt: skip


def _health(raw: _Health | None) -> HealthCheck | None:
    if raw is None:
        return None
    nano = 1e-9
    return HealthCheck(
        tuple(raw.test or ()),
        raw.interval * nano,
        raw.timeout * nano,
        raw.retries,
        raw.start_period * nano,
        raw.start_interval * nano,
    )
