"""Networks: from a request to the engine's verb, and its answer back."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stockade.docker_api import ends, fields
from stockade.docker_api.answers import Answer, json
from stockade.docker_api.query import Filters, only, served, truth
from stockade.docker_api.router import Route
from stockade.docker_api.selection import until
from stockade.docker_api.times import NEVER, moment
from stockade.docker_api.versions import Version
from stockade.errors import BadValue, NotFound, Refused
from stockade.networks import pools
from stockade.networks.options import Asked, Subnet
from stockade.networks.values import DEFAULT, Network, Pool

if TYPE_CHECKING:
    from stockade.docker_api.server import Request
    from stockade.engine.engine import Engine

WITHOUT = ("host", "none")
"""Always there, and nothing of ours."""
_FILTERS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
_PRUNE = frozenset({"label", "label!", "until"})
_STATUS_SINCE = Version(1, 52)


class Networks:
    """The routes below /networks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> list[Route]:
        """Docker's table."""
        one = "/networks/{name}"
        return [
            Route("GET", "/networks", self.listing, served("filters")),
            Route("GET", "/networks/", self.listing, served("filters")),
            Route("POST", "/networks/create", self.create, body="json"),
            Route("POST", "/networks/prune", self.prune, served("filters")),
            Route("GET", one, self.inspect, served("scope", neutral=("verbose",))),
            Route("DELETE", one, self.remove),
            Route("POST", f"{one}/connect", self.connect, body="json"),
            Route("POST", f"{one}/disconnect", self.disconnect, body="json"),
        ]

    async def listing(self, request: Request) -> Answer:
        """Docker's NetworkList."""
        filters = request.query.filters()
        only(filters, _FILTERS)
        await self._engine.networks.default()
        own = [self._render(one, inside=False) for one in self._engine.networks.all()]
        found = [*own, *(self._without(name) for name in WITHOUT)]
        lines = [one for one in found if self._matches(one, filters)]
        if request.version >= _STATUS_SINCE:
            for one in lines:
                one.pop("Containers")
        return json(lines)

    async def inspect(self, request: Request) -> Answer:
        """Docker's NetworkInspect."""
        name = request.name
        if request.query.text("scope") not in ("", "local"):
            raise NotFound(f"network {name} not found")
        if name == DEFAULT:
            return json(self._inspected(await self._engine.networks.default(), request.version))
        found = self._engine.networks.get(name)
        if found is not None:
            return json(self._inspected(found, request.version))
        for other in WITHOUT:
            if name == other or (len(name) >= 3 and network_id(other).startswith(name)):
                return json(self._without(other))
        raise NotFound(f"network {name} not found")

    async def create(self, request: Request) -> Answer:
        """Docker's NetworkCreate."""
        asked = _asked(request.decode(fields.NetworkCreate))
        made = await self._engine.networks.create(asked)
        self._tell("create", made)
        return json({"Id": made.id, "Warning": ""}, 201)

    async def remove(self, request: Request) -> Answer:
        """Docker's NetworkDelete."""
        if request.name in WITHOUT:
            raise Refused(f"{request.name} is a pre-defined network and cannot be removed")
        try:
            self._tell("destroy", await self._engine.networks.remove(request.name))
        except Refused as error:
            found = self._engine.networks.get(request.name)
            inside = self._inside(found.id) if found is not None else {}
            if not inside:
                raise
            ends = ", ".join(
                f'name:"{one["Name"]}" id:"{one["EndpointID"][:12]}"'
                for one in sorted(inside.values(), key=lambda one: one["Name"])
            )
            raise Refused(f"{error.message} ({ends})", hint=error.hint) from error
        return Answer(204)

    async def prune(self, request: Request) -> Answer:
        """Docker's NetworkPrune."""
        filters = request.query.filters()
        only(filters, _PRUNE)
        before = until(filters["until"], time.time_ns()) if filters.get("until") else None
        removed = []
        for one in self._engine.networks.all():
            old = before is None or one.created < before
            if one.name == DEFAULT or not old or not _labelled(one.labels, filters):
                continue
            if self._engine.networks.ledger.in_use(one.id):
                continue
            self._tell("destroy", await self._engine.networks.remove(one.id))
            removed.append(one.name)
        return json({"NetworksDeleted": removed or None})

    async def connect(self, request: Request) -> Answer:
        """Docker's NetworkConnect."""
        body = request.decode(fields.NetworkConnect)
        self._engine.find(body.container or "")
        network = await self._network(request.name)
        settings = body.endpoint_config or fields.EndpointSettings()
        await self._engine.connect(body.container or "", ends.endpoint(network.name, settings))
        return Answer(200)

    async def disconnect(self, request: Request) -> Answer:
        """Docker's NetworkDisconnect; with `force` what is not there is gone already."""
        body = request.decode(fields.NetworkDisconnect)
        if not body.force:
            self._engine.find(body.container or "")
        network = await self._network(request.name)
        try:
            await self._engine.disconnect(body.container or "", network.name)
        except (NotFound, Refused):
            if not body.force:
                raise
        return Answer(200)

    async def _network(self, reference: str) -> Network:
        if reference == "host":
            raise BadValue("cannot connect container to host network - container must be created in host network mode")
        if reference == "none":
            raise Refused("container cannot be connected to multiple networks with one of the networks in private "
                          "(none) mode")  # fmt: skip
        networks = self._engine.networks
        return await networks.default() if reference == DEFAULT else networks.find(reference)

    def _tell(self, action: str, network: Network) -> None:
        self._engine.events.publish("network", action, network.id, {"name": network.name, "type": "bridge"})

    def _matches(self, found: Mapping[str, Any], filters: Filters) -> bool:
        builtin = found["Name"] in (DEFAULT, *WITHOUT)
        for value in filters.get("type", ()):
            if value not in ("builtin", "custom"):
                raise BadValue("invalid value for filter 'type': must be 'builtin' or 'custom'")
        facts = {"scope": "local", "driver": found["Driver"], "type": "builtin" if builtin else "custom"}
        for key, values in filters.items():
            if key in facts and facts[key] not in values:
                return False
            if key == "name" and not any(value in found["Name"] for value in values):
                return False
            if key == "id" and not any(found["Id"].startswith(value) for value in values):
                return False
            if key == "dangling":
                used = builtin or self._engine.networks.ledger.in_use(found["Id"])
                if used == truth(values[0], "dangling"):
                    return False
        return _labelled(found["Labels"], filters)

    def _inspected(self, network: Network, version: Version) -> dict[str, Any]:
        found = self._render(network)
        if version >= _STATUS_SINCE:
            ledger = self._engine.networks.ledger
            subnets = {}
            for pool in network.pools:
                used, free = pools.usage(pool, ledger.addresses(network.id, 6 if ":" in pool.subnet else 4))
                subnets[pool.subnet] = {"IPsInUse": used, "DynamicIPsAvailable": free}
            found["Status"] = {"IPAM": {"Subnets": subnets}}
        return found

    def _render(self, network: Network, inside: bool = True) -> dict[str, Any]:
        return {
            "Name": network.name,
            "Id": network.id,
            "Created": moment(network.created),
            "Scope": "local",
            "Driver": "bridge",
            "EnableIPv4": network.pool4 is not None,
            "EnableIPv6": network.pool6 is not None,
            "IPAM": {
                "Driver": "default",
                "Options": network.ipam_options or None,
                "Config": [_pool(one) for one in network.pools],
            },
            "Internal": network.internal,
            "Attachable": network.attachable,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Containers": self._inside(network.id) if inside else {},
            "Options": network.options,
            "Labels": network.labels,
        }

    def _inside(self, identity: str) -> dict[str, Any]:
        found = {}
        for record in self._engine.list():
            for end in record.state.endpoints:
                if end.network_id == identity:
                    found[record.wanted.id] = {
                        "Name": record.wanted.name,
                        "EndpointID": end.endpoint_id,
                        "MacAddress": end.mac,
                        "IPv4Address": f"{end.ipv4}/{end.prefix4}" if end.ipv4 else "",
                        "IPv6Address": f"{end.ipv6}/{end.prefix6}" if end.ipv6 else "",
                    }
        return found

    def _without(self, name: str) -> dict[str, Any]:
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
    """64 digits that are always the same, of a network that is always there."""
    return hashlib.sha256(f"stockade network {name}".encode()).hexdigest()


def _labelled(known: Mapping[str, str], filters: Filters) -> bool:
    def has(text: str) -> bool:
        name, equals, value = text.partition("=")
        return name in known and (not equals or known[name] == value)

    return all(has(text) for text in filters.get("label", ())) and not any(
        has(text) for text in filters.get("label!", ())
    )


def _pool(pool: Pool) -> dict[str, Any]:
    found: dict[str, Any] = {"Subnet": pool.subnet}
    if pool.ip_range:
        found["IPRange"] = pool.ip_range
    found["Gateway"] = pool.gateway
    if pool.auxiliary:
        found["AuxiliaryAddresses"] = pool.auxiliary
    return found


def _asked(body: fields.NetworkCreate) -> Asked:
    if body.scope not in (None, "", "local"):
        raise BadValue(f"Scope {body.scope}: there is no swarm")
    name = body.name or ""
    if not name.strip():
        raise BadValue("invalid name: name is empty")
    ipam = body.ipam or fields.Ipam()
    options = body.options or {}
    return Asked(
        name=name,
        driver=body.driver or "bridge",
        internal=bool(body.internal),
        attachable=bool(body.attachable),
        ipv4=_truth(body.enable_ipv4, options.get("com.docker.network.enable_ipv4"), True),
        ipv6=_truth(body.enable_ipv6, options.get("com.docker.network.enable_ipv6"), False),
        ipam_driver=ipam.driver or "default",
        ipam_options=ipam.options or {},
        subnets=tuple(
            Subnet(one.subnet or "", one.gateway or "", one.ip_range or "", one.auxiliary_addresses or {})
            for one in ipam.config or ()
        ),
        options=options,
        labels=body.labels or {},
    )


def _truth(given: bool | None, option: str | None, default: bool) -> bool:
    if given is not None:
        return given
    return default if option is None else option.lower() in ("true", "1", "t")
