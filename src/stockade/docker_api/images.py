"""Images: list, inspect, load, save, import, tag, remove. Archives pass by descriptor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Raw

from stockade.docker_api import render
from stockade.docker_api.answers import TAR, Answer, json
from stockade.docker_api.containers import joined_reference
from stockade.docker_api.query import served
from stockade.docker_api.registries import Registries, check_platform, platform_of
from stockade.docker_api.router import PAGE_NOT_FOUND, Route
from stockade.docker_api.telling import Telling
from stockade.docker_api.times import moment, nanoseconds
from stockade.docker_api.versions import NO_LEGACY_SINCE, Version
from stockade.errors import BadValue, NotFound
from stockade.images import Happened, Image, Untagged, Use, filters, parse_address

if TYPE_CHECKING:
    from stockade.docker_api.server import Request
    from stockade.engine.engine import Engine

T = TypeVar("T")
_PLATFORM = "an image of this machine has one platform"
_NONE_UNTIL = Version(1, 43)
_VIRTUAL_UNTIL = Version(1, 44)
_COUNTED_SINCE = Version(1, 51)
_LEGACY_UNTIL = Version(1, 50)
_IDENTITY_SINCE = Version(1, 53)
_ATTESTED_SINCE = Version(1, 55)
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LEGACY_CONFIG = {
    "Hostname": "",
    "Domainname": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Image": "",
}


class Images:
    """The routes below /images."""

    def __init__(self, engine: Engine, registries: Registries) -> None:
        self._engine = engine
        self._registries = registries
        self._images = engine.images
        self._images.listeners.append(self._happened)

    def _happened(self, what: Happened) -> None:
        """What becomes of images is told as Docker tells it."""
        self._engine.events.publish("image", what.action, what.image, {"name": what.name, **what.labels})

    def routes(self) -> list[Route]:
        """Docker's table."""
        listed = served("all", "filters", "shared-size", "filter", "manifests", "identity", neutral=("digests",))
        return [
            Route("GET", "/images/json", self.listing, listed),
            Route("GET", "/images/get", self.save, served("names", "platform")),
            Route("GET", "/images/{name}/get", self.save, served("platform")),
            Route("GET", "/images/{name}/json", self.inspect, served("manifests", "platform")),
            Route("GET", "/images/{name}/history", self.history, served("platform")),
            Route("GET", "/images/{name}/attestations", self.attestations, served("platform", "type", "statement")),
            Route("POST", "/images/load", self.load, served("quiet", "platform"), body="stream"),
            Route("POST", "/images/create", self.create, served(*_CREATE), body="stream"),
            Route("POST", "/images/{name}/tag", self.tag, served("repo", "tag")),
            Route("POST", "/images/prune", self.prune, served("filters")),
            Route(
                "DELETE", "/images/{name}", self.remove, served("force", "noprune", refused={"platforms": _PLATFORM})
            ),
        ]

    # What is there -----------------------------------------------------------------------------------------------

    async def listing(self, request: Request) -> Answer:
        """Docker's ImageList."""
        query = request.query
        asked = dict(query.filters())
        if query.text("filter"):
            asked["reference"] = (*asked.get("reference", ()), query.text("filter"))
        found = self._images.list(filters_=asked, all=query.flag("all"))
        shared = (await self._images.usage()).images if query.flag("shared-size") else {}
        counts: dict[str, int] = {}
        for record in self._engine.list():
            counts[record.wanted.image_id] = counts.get(record.wanted.image_id, 0) + 1
        identity = query.flag("identity")
        if identity and not query.flag("manifests"):
            raise BadValue("identity is of manifests: it needs manifests=1")
        lines = []
        for image in found:
            line = self._summary(image, request.version)
            for kind in ("RepoTags", "RepoDigests"):
                line[kind] = filters.named(asked, line[kind])
            line["SharedSize"] = shared.get(image.id, (0, -1))[1]
            line["Containers"] = counts.get(image.id, 0) if request.version >= _COUNTED_SINCE else -1
            if query.flag("manifests"):
                line["Manifests"] = [manifest(image, self._uses(image.id), identity)]
            lines.append(line)
        return json(lines)

    def _summary(self, image: Image, version: Version) -> dict[str, Any]:
        tags, digests = self._images.names(image.id), self._images.digests(image.id)
        if version < _NONE_UNTIL and not tags and not digests:
            tags, digests = ["<none>:<none>"], ["<none>@<none>"]
        found = {
            "Id": image.id,
            "ParentId": image.parent,
            "RepoTags": tags,
            "RepoDigests": digests,
            "Created": nanoseconds(image.config.created) // 1_000_000_000,
            "Size": image.size,
            "Labels": image.config.labels or None,
        }
        if version < _VIRTUAL_UNTIL:
            found["VirtualSize"] = image.size
        return found

    async def inspect(self, request: Request) -> Answer:
        """Docker's ImageInspect."""
        image = self._of_platform(request, request.name)
        of = image.config
        created = nanoseconds(of.created)
        found: dict[str, Any] = {
            "Id": image.id,
            "RepoTags": self._images.names(image.id),
            "RepoDigests": self._images.digests(image.id),
            **({"Created": moment(created) if created else of.created} if created or of.created else {}),
            "Config": image_config(image, request.version),
            "Architecture": of.architecture,
            "Os": of.os,
            "Size": image.size,
            "GraphDriver": {"Data": None, "Name": render.DRIVER},
            "RootFS": {"Type": "layers", "Layers": of.diff_ids},
            "Metadata": {"LastTagTime": moment(self._images.last_tagged(image.id))},
        }
        old = request.version < NO_LEGACY_SINCE
        more = {"Parent": image.parent, "Comment": of.comment, "DockerVersion": of.docker_version, "Author": of.author}
        found |= {name: value for name, value in more.items() if value or old}
        if of.variant:
            found["Variant"] = of.variant
        if request.version >= _IDENTITY_SINCE:
            found |= identity_of(image)
        if request.query.flag("manifests"):
            if request.query.text("platform"):
                raise BadValue("conflicting options: manifests and platform")
            found["Manifests"] = [manifest(image, self._uses(image.id))]
        if request.version < _VIRTUAL_UNTIL:
            found["VirtualSize"] = image.size
        return json(found)

    def _of_platform(self, request: Request, name: str) -> Image:
        """An image, if it is for the platform that the request names."""
        image: Image = self._images.find(name)
        check_platform(request.query.text("platform"), image.config, name)
        return image

    async def history(self, request: Request) -> Answer:
        """Docker's ImageHistory."""
        lines = [
            {
                "Id": one.id,
                "Created": nanoseconds(one.created) // 1_000_000_000,
                "CreatedBy": one.created_by,
                "Tags": one.tags or None,
                "Size": one.size,
                "Comment": one.comment,
            }
            for one in self._images.history(self._of_platform(request, request.name).id)
        ]
        return json(lines)

    async def attestations(self, request: Request) -> Answer:
        """Docker's ImageAttestations."""
        query = request.query
        if request.version < _ATTESTED_SINCE:
            raise NotFound(PAGE_NOT_FOUND)
        if len(query.texts("platform")) > 1:
            raise BadValue("parameter platform: one is taken")
        image = self._of_platform(request, request.name)
        types = query.texts("type")
        lines = []
        for one in self._images.attestations(image):
            if types and one.predicate not in types:
                continue
            line: dict[str, Any] = {"Descriptor": one.descriptor, "PredicateType": one.predicate}
            if query.flag("statement"):
                line["Statement"] = Raw(self._images.statement(one))
            lines.append(line)
        return json(lines)

    # What comes and goes -----------------------------------------------------------------------------------------

    async def load(self, request: Request) -> None:
        """Docker's ImageLoad."""
        wanted = [platform_of(text) for text in request.query.texts("platform")]
        if len(wanted) > 1:
            raise BadValue(f"parameter platform, {len(wanted)} times: {_PLATFORM}")
        telling = Telling(request, quiet=request.query.flag("quiet", default=True))
        body = await request.body()
        try:
            work = self._images.load(body, telling.progress, wanted[0] if wanted else None)
            loaded = await telling.follow(work)
        finally:
            os.close(body.descriptor)
        for one in loaded:
            for sentence in one.sentences:
                await telling.say({"stream": f"{sentence}\n"})

    async def save(self, request: Request) -> None:
        """Docker's ImageGet and ImageGetAll."""
        names = (request.name,) if request.name else request.query.texts("names")
        if not names:
            raise BadValue("no image is named")
        for chosen in self._images.can_save(names):
            for platform in request.query.texts("platform"):
                check_platform(platform, chosen.image.config, chosen.image.id[7:19])
        out = await request.give(TAR)
        try:
            await self._images.save(names, out)
        finally:
            os.close(out)

    async def create(self, request: Request) -> None:
        """Docker's ImageCreate: a pull, or an import."""
        query = request.query
        source = query.text("fromSrc")
        if query.text("fromImage"):
            await self._registries.pull(request)
            return
        if not source:
            raise BadValue("neither fromImage nor fromSrc says what is to be had")
        reference = joined_reference(query.text("repo"), query.text("tag"))
        changes, message, platform = query.texts("changes"), query.text("message"), query.text("platform")
        if source != "-":
            address = parse_address(source)
            await request.only_waits()
            telling = Telling(request, quiet=False)
            work = self._images.import_(
                address,
                reference,
                changes,
                message or f"Imported from {address.url}",
                platform=platform,
                tell=telling.progress,
            )
            image = await telling.follow(work)
        else:
            telling = Telling(request, quiet=True)
            body = await request.body()
            try:
                work = self._images.import_(body, reference, changes, message or "Imported from -", platform=platform)
                image = await telling.follow(work)
            finally:
                os.close(body.descriptor)
        await telling.say({"status": image.id})

    async def tag(self, request: Request) -> Answer:
        """Docker's ImageTag."""
        target = joined_reference(request.query.text("repo"), request.query.text("tag"))
        self._images.tag(request.name, target)
        return Answer(201)

    async def remove(self, request: Request) -> Answer:
        """Docker's ImageDelete."""
        if not request.name.strip():
            raise BadValue("image name cannot be blank")
        query = request.query
        gone = await self._images.remove(
            request.name, force=query.flag("force"), prune=not query.flag("noprune"), used_by=self._uses
        )
        return json(self._told(gone))

    async def prune(self, request: Request) -> Answer:
        """Docker's ImagePrune."""
        done = await self._images.prune(dict(request.query.filters()), self._uses)
        self._engine.events.publish("image", "prune", "", {"reclaimed": str(done.reclaimed)})
        return json({"ImagesDeleted": self._told(done.removed) or None, "SpaceReclaimed": done.reclaimed})

    def _uses(self, image: str) -> list[Use]:
        """The containers that stand on an image."""
        return [
            Use(one.wanted.id, bool(one.state.pid)) for one in self._engine.list(None) if one.wanted.image_id == image
        ]

    def _told(self, gone: Any) -> list[dict[str, str]]:
        """What was removed, as Docker says it."""
        found = []
        for one in gone:
            if isinstance(one, Untagged):
                found.append({"Untagged": one.name})
            else:
                found.append({"Deleted": one.id})
        return found


def identity_of(image: Image) -> dict[str, Any]:
    """Where an image comes from. Signatures are not verified and builds not served, so it says nothing of them."""
    pulled = image.kept.pulled
    return {"Identity": {"Pull": [{"Repository": name} for name in pulled]}} if pulled else {}


def manifest(image: Image, uses: Sequence[Use], identity: bool = False) -> dict[str, Any]:
    """The one manifest of an image, as `docker images --tree` reads it."""
    of, kept = image.config, image.kept
    content = kept.config_size + kept.manifest_size + sum(layer.size for layer in image.layers)
    platform = {"architecture": of.architecture, "os": of.os, **({"variant": of.variant} if of.variant else {})}
    return {
        "ID": image.manifest,
        "Descriptor": {
            "mediaType": kept.manifest_type or _MANIFEST,
            "digest": image.manifest,
            "size": kept.manifest_size,
        },
        "Available": True,
        "Kind": "image",
        "Size": {"Content": content, "Total": content + image.size},
        "ImageData": {
            "Platform": platform,
            "Containers": [use.container for use in uses],
            "Size": {"Unpacked": image.size},
            **(identity_of(image) if identity else {}),
        },
    }


def image_config(image: Image, version: Version) -> dict[str, Any]:
    """What an image says of its containers, as Docker's inspect has it."""
    of = image.config
    found: dict[str, Any] = dict(_LEGACY_CONFIG) if version < _LEGACY_UNTIL else {}
    usual: dict[str, Any] = {
        "User": of.user,
        "Env": of.env or None,
        "Cmd": of.cmd or None,
        "Volumes": {path: {} for path in of.volumes} or None,
        "WorkingDir": of.workdir,
        "Entrypoint": of.entrypoint or None,
        "OnBuild": of.onbuild or None,
        "Labels": of.labels or None,
    }
    found |= {name: value for name, value in usual.items() if value or version < NO_LEGACY_SINCE}
    more = {
        "ExposedPorts": {port: {} for port in of.exposed_ports},
        "StopSignal": of.stop_signal,
        "Shell": of.shell,
        "ArgsEscaped": of.args_escaped,
    }
    found |= {name: value for name, value in more.items() if value}
    if of.health is not None:
        check = of.health
        found["Healthcheck"] = {
            "Test": check.test,
            "Interval": round(check.interval * 1e9),
            "Timeout": round(check.timeout * 1e9),
            "StartPeriod": round(check.start_period * 1e9),
            "Retries": check.retries,
        }
    return found


_CREATE = ("fromImage", "fromSrc", "repo", "tag", "message", "changes", "platform")
