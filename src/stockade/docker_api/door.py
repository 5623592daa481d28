"""The whole door: the tables of every group, and the server that they are behind."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from stockade.docker_api.containers import Containers
from stockade.docker_api.execs import Execs
from stockade.docker_api.images import Images
from stockade.docker_api.networks import Networks
from stockade.docker_api.own import Own
from stockade.docker_api.refusals import Absent, refused_routes
from stockade.docker_api.registries import Registries
from stockade.docker_api.router import Route, Router
from stockade.docker_api.server import Server
from stockade.docker_api.system import System
from stockade.docker_api.usage import DiskUsage
from stockade.docker_api.volumes import Volumes

if TYPE_CHECKING:
    from stockade.engine.engine import Engine


def routes(engine: Engine, version: str) -> list[Route]:
    """Everything that is answered."""
    registries = Registries(engine)
    containers, volumes = Containers(engine), Volumes(engine)
    return [
        *containers.routes(),
        *Execs(engine).routes(),
        *Images(engine, registries).routes(),
        *registries.routes(),
        *System(engine, version).routes(),
        *DiskUsage(engine, volumes).routes(),
        *Networks(engine).routes(),
        *Absent().routes(),
        *volumes.routes(),
        *refused_routes(),
        *Own(engine, version, containers).routes(),
    ]


class Door:
    """Serves an engine on listening sockets. Made and used within a running loop."""

    def __init__(self, engine: Engine, version: str) -> None:
        self.server = Server(Router(routes(engine, version)), f"Stockade/{version} (linux)")

    def listen(self, listener: socket.socket) -> None:
        """Serve a bound socket, which is the door's from here on."""
        self.server.listen(listener)

    @property
    def idle_since(self) -> float | None:
        """When the last answer ended, by the monotonic clock; None while one is being given."""
        return self.server.idle_since

    async def close(self) -> None:
        """Listen no more; what only waits ends now, the rest may finish."""
        await self.server.close()
