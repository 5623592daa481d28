"""What of the disk is in use, and by what: `docker system df`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from stockade.docker_api import render
from stockade.docker_api.answers import Answer, json
from stockade.docker_api.query import served
from stockade.docker_api.router import Route
from stockade.docker_api.selection import RUNNING
from stockade.docker_api.times import nanoseconds
from stockade.docker_api.versions import NO_LEGACY_SINCE, Version
from stockade.errors import BadValue

if TYPE_CHECKING:
    from stockade.docker_api.server import Request
    from stockade.docker_api.volumes import Volumes
    from stockade.engine.engine import Engine
    from stockade.engine.records import Record

_TYPES = ("image", "container", "volume", "build-cache")
_LEGACY_UNTIL = Version(1, 53)
"""Between, an answer has both forms; where everything is asked for, the newer one."""
_NAMES = {"image": "ImageUsage", "container": "ContainerUsage", "volume": "VolumeUsage",
          "build-cache": "BuildCacheUsage"}  # fmt: skip


class DiskUsage:
    """The route /system/df."""

    def __init__(self, engine: Engine, volumes: Volumes) -> None:
        self._engine = engine
        self._volumes = volumes

    def routes(self) -> list[Route]:
        """Docker's table."""
        return [Route("GET", "/system/df", self.disk_usage, served("type", "verbose"))]

    async def disk_usage(self, request: Request) -> Answer:
        """Docker's SystemDataUsage."""
        asked = request.query.texts("type")
        for text in asked:
            if text not in _TYPES:
                raise BadValue(f"unknown object type: {text}")
        version, verbose = request.version, request.query.flag("verbose")
        found = await self._all(frozenset(asked or _TYPES), health=version >= NO_LEGACY_SINCE)
        new = version >= NO_LEGACY_SINCE
        old = version < _LEGACY_UNTIL and not (new and verbose)
        return json({**(_legacy(found) if old else {}), **(summed(found, verbose) if new else {})})

    async def _all(self, types: frozenset[str], health: bool) -> dict[str, Any]:
        """The lines of each type that is asked for, and what images' layers take together."""
        found: dict[str, Any] = {}
        records = self._engine.list()
        if "image" in types:
            usage = await self._engine.images.usage()
            found["layers"] = usage.total
            found["image"] = [self._image(image, usage, records) for image in self._engine.images.list()]
        if "container" in types:
            found["container"] = [await self._container(record, health) for record in records]
        if "volume" in types:
            found["volume"] = await self._volumes.usage()
        if "build-cache" in types:
            found["build-cache"] = []
        return found

    def _image(self, image: Any, usage: Any, records: list[Record]) -> dict[str, Any]:
        size, shared = usage.images.get(image.id, (image.size, 0))
        names = self._engine.images.names(image.id)
        return {
            "Id": image.id,
            "ParentId": image.parent,
            "RepoTags": names or None,
            "RepoDigests": [],
            "Created": nanoseconds(image.config.created) // 1_000_000_000,
            "Size": size,
            "SharedSize": shared,
            "Labels": image.config.labels or None,
            "Containers": sum(record.wanted.image_id == image.id for record in records),
        }

    async def _container(self, record: Record, health: bool) -> dict[str, Any]:
        found = render.summary(record, record.wanted.image)
        found["Status"] = render.status(record.state, time.time_ns())
        if health:
            found["Health"] = render.health(record.state)
        found["SizeRw"] = await self._engine.snapshots.usage(self._engine.directory(record.wanted.id))
        return found


def _legacy(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "LayersSize": found.get("layers", 0),
        "Images": found.get("image"),
        "Containers": found.get("container"),
        "Volumes": found.get("volume"),
        "BuildCache": found.get("build-cache"),
        "BuilderSize": 0,
    }


def summed(found: dict[str, Any], verbose: bool) -> dict[str, Any]:
    """By type: how many there are and are in use, what they take, and what would be free without those that are not."""
    result = {}
    for kind in _TYPES:
        if kind not in found:
            continue
        lines = found[kind]
        unused = [line for line in lines if not _in_use(line)]
        total = found["layers"] if kind == "image" else sum(map(_size, lines))
        line: dict[str, Any] = {
            "ActiveCount": len(lines) - len(unused),
            "TotalCount": len(lines),
            "Reclaimable": sum(map(_size, unused)),
            "TotalSize": total,
        }
        if verbose and lines:
            line["Items"] = lines
        result[_NAMES[kind]] = line
    return result


def _size(line: dict[str, Any]) -> int:
    """What it takes that is its own; 0 where that is not known, as of a volume that lies elsewhere."""
    if "UsageData" in line:
        return max(0, int(line["UsageData"]["Size"]))
    return int(line["SizeRw"]) if "SizeRw" in line else int(line["Size"] - line["SharedSize"])


def _in_use(line: dict[str, Any]) -> bool:
    if "UsageData" in line:
        return bool(line["UsageData"]["RefCount"] > 0)
    return line["State"] in RUNNING if "SizeRw" in line else bool(line["Containers"] > 0)
