"""What of Docker's API is not served, refused by name; and the little of the rest that its clients read.

A route that Docker has and this table lacks would be a `page not found`, which reads as a mistake of the client's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stockade.docker_api.answers import Answer, json
from stockade.docker_api.query import Parameters, only, served
from stockade.docker_api.router import Handler, Route
from stockade.errors import NotFound, Unsupported

if TYPE_CHECKING:
    from stockade.docker_api.server import Request

_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)
_PLUGINS = "plugins are not served"
_BUILD = "building images is not served yet"

# Sentence → the routes that it refuses.
REFUSED: dict[str, str] = {
    _SWARM: """
        GET /swarm, POST /swarm/leave, POST /swarm/update, GET /swarm/unlockkey, POST /swarm/unlock,
        GET /nodes, GET /nodes/{name}, DELETE /nodes/{name}, POST /nodes/{name}/update,
        GET /services, POST /services/create, GET /services/{name}, DELETE /services/{name},
        POST /services/{name}/update, GET /services/{name}/logs,
        GET /tasks, GET /tasks/{name}, GET /tasks/{name}/logs,
        GET /secrets, POST /secrets/create, GET /secrets/{name}, DELETE /secrets/{name}, POST /secrets/{name}/update,
        GET /configs, POST /configs/create, GET /configs/{name}, DELETE /configs/{name}, POST /configs/{name}/update
    """,
    "a swarm is not served": "POST /swarm/init, POST /swarm/join",
    _PLUGINS: """
        GET /plugins/privileges, POST /plugins/pull, DELETE /plugins/{name},
        POST /plugins/{name}/enable, POST /plugins/{name}/disable, POST /plugins/{name}/upgrade, POST /plugins/create,
        POST /plugins/{name}/push, POST /plugins/{name}/set
    """,
    _BUILD: "POST /build, POST /build/cancel, POST /session, POST /grpc",
    "checkpoints are not served": """
        GET /containers/{name}/checkpoints, POST /containers/{name}/checkpoints,
        DELETE /containers/{name}/checkpoints/{checkpoint}
    """,
}
_BUILD_PRUNE = served(neutral=("filters", "all", "keep-storage", "reserved-space", "max-used-space", "min-free-space"))
_ANYTHING = Parameters(all=True)


def refused_routes() -> list[Route]:
    """A route for each line of the table."""
    found = []
    for sentence, text in REFUSED.items():
        for line in text.split(","):
            method, pattern = line.split()
            if "{checkpoint}" in pattern:
                continue
            found.append(Route(method, pattern, _refuse(sentence), _ANYTHING, body="stream"))
    return found


def _refuse(sentence: str) -> Handler:
    async def handler(request: Request) -> Answer | None:
        if sentence is _SWARM:
            return json({"message": sentence, "condition": "Unsupported"}, 503)
        raise Unsupported(sentence)

    return handler


class Absent:
    """Plugins and builds as far as clients need them to show that there are none."""

    def routes(self) -> list[Route]:
        """Docker's table."""
        return [
            Route("POST", "/build/prune", self.prune_builds, _BUILD_PRUNE),
            Route("GET", "/plugins", self.plugins, served("filters")),
            Route("GET", "/plugins/{name}/json", self.plugin),
        ]

    async def prune_builds(self, request: Request) -> Answer:
        """Docker's BuildPrune, which `docker system prune` calls: nothing is kept of builds."""
        return json({"CachesDeleted": None, "SpaceReclaimed": 0})

    async def plugins(self, request: Request) -> Answer:
        """Docker's PluginList."""
        only(request.query.filters(), frozenset({"capability", "enabled"}))
        return json([])

    async def plugin(self, request: Request) -> Answer:
        """Docker's PluginInspect; `docker inspect` asks here last for a name that nothing has."""
        raise NotFound(f'plugin "{request.name}" not found')
