"""Volumes: the routes below /volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stockade.docker_api import fields
from stockade.docker_api.answers import NO_CONTENT, Answer, json
from stockade.docker_api.query import Filters, only, served, truth
from stockade.docker_api.router import Route
from stockade.docker_api.times import moment
from stockade.docker_api.versions import Version
from stockade.errors import Unsupported
from stockade.volumes import Asked

if TYPE_CHECKING:
    from stockade.docker_api.server import Request
    from stockade.engine.engine import Engine
    from stockade.volumes import Volume

NAMED_STAY_SINCE = Version(1, 42)
"""From here on a prune takes anonymous volumes only, unless it is told otherwise."""
_LIST = frozenset({"dangling", "driver", "label", "name"})
_PRUNE = frozenset({"all", "label", "label!"})


class Volumes:
    """Docker's volumes, as the engine has them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._storage = engine.storage

    def routes(self) -> list[Route]:
        """Docker's table."""
        return [
            Route("GET", "/volumes", self.listing, served("filters")),
            Route("POST", "/volumes/create", self.create, body="json"),
            Route("GET", "/volumes/{name}", self.inspect),
            Route("PUT", "/volumes/{name}", self.update, served(neutral=("version",)), body="stream"),
            Route("DELETE", "/volumes/{name}", self.remove, served("force")),
            Route("POST", "/volumes/prune", self.prune, served("filters")),
        ]

    async def listing(self, request: Request) -> Answer:
        """Docker's VolumeList."""
        filters = request.query.filters()
        only(filters, _LIST)
        found = [one for one in self._storage.volumes.list() if self._matches(one, filters)]
        return json({"Volumes": [self.shown(one) for one in found], "Warnings": None})

    async def create(self, request: Request) -> Answer:
        """Docker's VolumeCreate."""
        body = request.decode(fields.VolumeCreate)
        asked = Asked(body.name or "", body.driver or "", body.driver_opts or {}, body.labels or {})
        return json(self.shown(self._storage.create(asked)), 201)

    async def inspect(self, request: Request) -> Answer:
        """Docker's VolumeInspect."""
        return json(self.shown(self._storage.volumes.find(request.name)))

    async def update(self, request: Request) -> Answer:
        """Docker's VolumeUpdate, which is for a swarm's volumes alone."""
        raise Unsupported("volumes of a swarm are not served")

    async def remove(self, request: Request) -> Answer:
        """Docker's VolumeDelete."""
        await self._storage.remove(request.name, force=request.query.flag("force"))
        return NO_CONTENT

    async def prune(self, request: Request) -> Answer:
        """Docker's VolumePrune."""
        filters = request.query.filters()
        only(filters, _PRUNE)
        named = request.version < NAMED_STAY_SINCE or any(truth(text, "all") for text in filters.get("all", ()))
        labels = {name: values for name, values in filters.items() if name != "all"}
        gone, freed = await self._storage.prune(lambda one: self._matches(one, labels), named=named)
        return json({"VolumesDeleted": gone, "SpaceReclaimed": freed})

    async def usage(self) -> list[dict[str, Any]]:
        """The volumes' part of `system df`."""
        found = []
        for one in self._storage.volumes.list():
            size, users = await self._storage.volumes.size(one), len(self._storage.users(one))
            found.append({**self.shown(one), "UsageData": {"RefCount": users, "Size": size}})
        return found

    def shown(self, volume: Volume) -> dict[str, Any]:
        """A volume in Docker's words."""
        return {
            "CreatedAt": moment(volume.created),
            "Driver": "local",
            "Labels": volume.labels or None,
            "Mountpoint": self._storage.volumes.place(volume),
            "Name": volume.name,
            "Options": volume.options or None,
            "Scope": "local",
        }

    def _matches(self, volume: Volume, filters: Filters) -> bool:
        """Whether it passes: of one name any value, of labels each."""
        for name, values in filters.items():
            match name:
                case "dangling":
                    wanted = {truth(value, "dangling") for value in values}
                    passes = (not self._storage.users(volume)) in wanted
                case "driver":
                    passes = "local" in values
                case "label":
                    passes = all(_has(volume, value) for value in values)
                case "label!":
                    passes = not any(_has(volume, value) for value in values)
                case _:
                    passes = any(value in volume.name for value in values)
            if not passes:
                return False
        return True


def _has(volume: Volume, text: str) -> bool:
    name, equals, value = text.partition("=")
    return name in volume.labels and (not equals or volume.labels[name] == value)
