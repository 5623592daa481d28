"""What Docker's API lacks, under one prefix; described by `openapi.json` beside this file, which is served too."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import TYPE_CHECKING

from stockade.docker_api import fields, metrics
from stockade.docker_api.answers import Answer, json
from stockade.docker_api.containers import Containers
from stockade.docker_api.query import served
from stockade.docker_api.router import Route
from stockade.docker_api.versions import NEWEST, OLDEST
from stockade.engine import logdrivers, signals
from stockade.errors import BadValue
from stockade.host.processes import Owner, boot_id
from stockade.runtime import shim, walls

if TYPE_CHECKING:
    from stockade.docker_api.server import Request
    from stockade.engine.engine import Engine

PREFIX = "/stockade/v1"


def document() -> bytes:
    """The OpenAPI document of this prefix."""
    return files(__package__).joinpath("openapi.json").read_bytes()


class Own:
    """The routes below /stockade/v1."""

    def __init__(self, engine: Engine, version: str, containers: Containers) -> None:
        self._engine = engine
        self._version = version
        self._containers = containers

    def routes(self) -> list[Route]:
        """Held against the document by a test."""
        one = f"{PREFIX}/containers/{{name}}"
        imported = served("path", "reference", "changes", "message", "platform")
        return [
            Route("GET", f"{PREFIX}/openapi.json", self.openapi),
            Route("GET", f"{PREFIX}/version", self.version),
            Route("GET", f"{PREFIX}/walls", self.walls),
            Route("GET", f"{PREFIX}/metrics", self.metrics),
            Route("POST", f"{PREFIX}/containers/create", self.create, served("name", "platform"), body="json"),
            Route("GET", one, self.container),
            Route("GET", f"{PREFIX}/networks/blocks", self.blocks),
            Route("POST", f"{one}/prepare", self.prepare),
            Route("POST", f"{PREFIX}/exec/{{name}}/prepare", self.prepare_exec),
            Route("POST", f"{PREFIX}/exec/{{name}}/kill", self.kill_exec, served("signal")),
            Route("POST", f"{PREFIX}/images/lease", self.lease, served("image", "pid", "start")),
            Route("DELETE", f"{PREFIX}/leases/{{name}}", self.release),
            Route("POST", f"{PREFIX}/images/import", self.import_image, imported),
        ]

    async def openapi(self, request: Request) -> Answer:
        """The document itself."""
        return Answer(200, await asyncio.to_thread(document))

    async def version(self, request: Request) -> Answer:
        """Which daemon answers."""
        return json({"Version": self._version, "ApiVersion": str(NEWEST), "MinAPIVersion": str(OLDEST)})

    async def walls(self, request: Request) -> Answer:
        """What a container can stand behind on this machine."""
        return json([{"Name": one.name, "Kind": one.kind, "Program": one.program} for one in walls.installed()])

    async def metrics(self, request: Request) -> Answer:
        """What Prometheus collects."""
        return Answer(200, metrics.render(self._engine, self._version).encode(), metrics.CONTENT_TYPE)

    async def create(self, request: Request) -> Answer:
        """As Docker's, with the member `Stockade`."""
        return await self._containers.make(request, request.decode(fields.Create))

    async def container(self, request: Request) -> Answer:
        """What Docker's inspect does not say."""
        record = self._engine.find(request.name)
        wanted = record.wanted
        directory = self._engine.directory(wanted.id)
        return json(
            {
                "Id": wanted.id,
                "Name": wanted.name,
                "Directory": directory,
                "LogPath": f"{directory}/{logdrivers.NAME}" if logdrivers.keeps(wanted.log) else "",
                "Status": record.state.status,
                "Reason": record.state.reason,
                "Wall": wanted.wall,
                "UserNamespace": wanted.namespaces.user,
                "Rootfs": wanted.rootfs,
                "TimeLimit": wanted.time_limit,
                "AttachSocket": shim.attach_address(directory) if record.state.pid else "",
            }
        )

    async def blocks(self, request: Request) -> Answer:
        """The host's rules that keep packets from the networks that are in use."""
        return json(
            [
                {
                    "Network": network.name,
                    "Hook": one.hook,
                    "Ways": list(one.ways),
                    "Chain": one.chain,
                    "Sentence": one.sentence,
                    "Command": one.command,
                }
                for network, one in await self._engine.networks.blocks()
            ]
        )

    async def prepare(self, request: Request) -> Answer:
        """Everything of a start but letting the program run, for a client that gives the shim its own descriptors."""
        return json({"AttachSocket": await self._engine.prepare(request.name)})

    async def prepare_exec(self, request: Request) -> Answer:
        """The same for an exec."""
        execs = self._engine.execs
        return json(
            {"AttachSocket": await execs.prepare(request.name), "Container": execs.inspect(request.name).container}
        )

    async def kill_exec(self, request: Request) -> Answer:
        """A signal for an exec's process."""
        await self._engine.execs.kill(request.name, signals.number(request.query.text("signal") or "SIGKILL"))
        return Answer(204)

    async def lease(self, request: Request) -> Answer:
        """An image's unpacked layers for a process of this machine, until it lets go of them or ends."""
        query, images = request.query, self._engine.images
        owner = Owner(query.number("pid") or 0, query.number("start") or 0, boot_id())
        if not owner.alive():
            raise BadValue(f"pid, start: there is no process {owner.pid} that began at {owner.start}")
        image = images.find(query.text("image"))
        lease = images.lend(image.id, owner)
        try:
            layers = await images.unpacked(image)
        except BaseException:
            images.release(lease)
            raise
        return json({"Id": image.id, "Lease": lease, "Layers": layers, "Config": images.commit_config(image)})

    async def release(self, request: Request) -> Answer:
        """The end of such a lease."""
        self._engine.images.release(request.name)
        return Answer(204)

    async def import_image(self, request: Request) -> Answer:
        """An image of a tree or archive of this machine."""
        query = request.query
        path = query.text("path")
        if not path.startswith("/"):
            raise BadValue(f"path: {path!r} is not the absolute path of a directory or archive")
        said = query.text("message") or f"Imported from {path}"
        image = await self._engine.images.import_(
            path, query.text("reference"), query.texts("changes"), said, platform=query.text("platform")
        )
        return json({"Id": image.id}, 201)
