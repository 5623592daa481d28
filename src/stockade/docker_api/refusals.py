"""What of Docker's API is not served, refused by name; and the little of networks and volumes that its clients read.

A route that Docker has and this table lacks would be a `page not found`, which reads as a mistake of the client's.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from stockade.docker_api.answers import Answer, json
from stockade.docker_api.fields import NETWORKS, VOLUMES
from stockade.docker_api.query import Filters, Parameters, only, served
from stockade.docker_api.router import Handler, Route
from stockade.docker_api.times import NEVER
from stockade.errors import NotFound, Refused, Unsupported

if TYPE_CHECKING:
    from stockade.docker_api.server import Request
    from stockade.engine.engine import Engine

_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)
_PLUGINS = "plugins are not served"
_BUILD = "building images is not served yet"
REGISTRIES = "registries are not served yet: load or import the image"
NETWORK_NAMES = ("host", "none")

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
    REGISTRIES: "POST /images/{name}/push, GET /images/search, POST /auth, GET /distribution/{name}/json",
    NETWORKS: """
        POST /networks/create, POST /networks/{name}/connect, POST /networks/{name}/disconnect
    """,
    VOLUMES: "POST /volumes/create, PUT /volumes/{name}",
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


class Networks:
    """Networks and volumes as far as clients need them to show that there are none but none and host."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> list[Route]:
        """Docker's table."""
        return [
            Route("GET", "/networks", self.networks, served("filters")),
            Route("GET", "/networks/", self.networks, served("filters")),
            Route("GET", "/networks/{name}", self.network, served("scope", neutral=("verbose",))),
            Route("DELETE", "/networks/{name}", self.remove_network),
            Route("POST", "/networks/prune", self.prune_networks, served("filters")),
            Route("GET", "/volumes", self.volumes, served("filters")),
            Route("GET", "/volumes/{name}", self.volume),
            Route("DELETE", "/volumes/{name}", self.volume, served(neutral=("force",))),
            Route("POST", "/volumes/prune", self.prune_volumes, served("filters")),
            Route("POST", "/build/prune", self.prune_builds, _BUILD_PRUNE),
            Route("GET", "/plugins", self.plugins, served("filters")),
            Route("GET", "/plugins/{name}/json", self.plugin),
        ]

    async def networks(self, request: Request) -> Answer:
        """Docker's NetworkList."""
        filters = request.query.filters()
        only(filters, frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"}))
        return json([self._network(name) for name in NETWORK_NAMES if _matches(name, filters)])

    async def network(self, request: Request) -> Answer:
        """Docker's NetworkInspect."""
        if request.query.text("scope") in ("", "local"):
            for name in NETWORK_NAMES:
                identity = network_id(name)
                if request.name == name or (len(request.name) >= 3 and identity.startswith(request.name)):
                    return json(self._network(name))
        raise NotFound(f"network {request.name} not found")

    async def remove_network(self, request: Request) -> Answer:
        """Docker's NetworkDelete: the two that are there stay."""
        if request.name in NETWORK_NAMES:
            raise Refused(f"{request.name} is a pre-defined network and cannot be removed")
        raise NotFound(f"network {request.name} not found")

    async def prune_networks(self, request: Request) -> Answer:
        """Docker's NetworkPrune: the two that are there stay."""
        only(request.query.filters(), frozenset({"label", "label!", "until"}))
        return json({"NetworksDeleted": None})

    async def volumes(self, request: Request) -> Answer:
        """Docker's VolumeList."""
        only(request.query.filters(), frozenset({"dangling", "driver", "label", "name"}))
        return json({"Volumes": [], "Warnings": None})

    async def volume(self, request: Request) -> Answer:
        """Docker's VolumeInspect and VolumeDelete."""
        raise NotFound(f"get {request.name}: no such volume")

    async def prune_volumes(self, request: Request) -> Answer:
        """Docker's VolumePrune."""
        only(request.query.filters(), frozenset({"all", "label", "label!"}))
        return json({"VolumesDeleted": [], "SpaceReclaimed": 0})

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

    def _network(self, name: str) -> dict[str, Any]:
        inside = {
            one.wanted.id: {
                "Name": one.wanted.name,
                "EndpointID": "",
                "MacAddress": "",
                "IPv4Address": "",
                "IPv6Address": "",
            }
            for one in self._engine.list()
            if one.wanted.namespaces.network == name and one.state.pid
        }
        return {
            "Name": name,
            "Id": network_id(name),
            "Created": NEVER,
            "Scope": "local",
            "Driver": "host" if name == "host" else "null",
            "EnableIPv4": True,
            "EnableIPv6": False,
            "IPAM": {"Driver": "default", "Options": None, "Config": None},
            "Internal": False,
            "Attachable": False,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Containers": inside,
            "Options": {},
            "Labels": {},
        }


def network_id(name: str) -> str:
    """64 digits that are always the same."""
    return hashlib.sha256(f"stockade network {name}".encode()).hexdigest()


def _matches(name: str, filters: Filters) -> bool:
    facts = {"scope": "local", "driver": "host" if name == "host" else "null", "type": "builtin"}
    for key, values in filters.items():
        if key in facts and facts[key] not in values:
            return False
        if key == "name" and not any(value in name for value in values):
            return False
        if key == "id" and not any(network_id(name).startswith(value) for value in values):
            return False
        if key in ("label", "dangling") and values not in (("false",), ("0",)):
            return False
    return True
