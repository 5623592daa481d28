"""A container's ends of networks on their way: what needs no container is done while its shim makes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from stockade.errors import Conflict
from stockade.networks.values import Held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.host.tool import Running
    from stockade.networks.networks import Networks

log = logging.getLogger(__name__)


class Coming:
    """The bridge stands, the resolver and holder of ports is told, and the program waits that will make the ends."""

    def __init__(self, networks: Networks, held: Held) -> None:
        self._networks = networks
        self._held = held
        self._begun = asyncio.create_task(self._begin(), name=f"begin ends of {held.container[:12]}")
        self._told = asyncio.create_task(self._tell(), name=f"announce {held.container[:12]}")

    async def _begin(self) -> Running:
        await self._networks.ready([one.network_id for one in self._held.endpoints])
        return self._networks.node.begin()

    async def _tell(self) -> list[dict[str, Any]]:
        """The ports that somebody else on the host has."""
        await asyncio.wait([self._begun])
        self._networks.serve.put_endpoint(self._held)
        return await self._networks.serve.tell({"endpoint": self._held.container})

    async def attach(self, netns: str) -> None:
        """Make the ends of the container, which is there now.

        Raises:
            Conflict: somebody else on the host has one of its ports.
            RuntimeFailed: the kernel refuses.
        """
        program = await asyncio.shield(self._begun)
        try:
            await self._networks.make(self._held, netns, program)
        finally:
            failed = await asyncio.shield(self._told)
        refuse_taken(self._held, failed)

    async def stop(self) -> None:
        """Let go of it, whatever became of it; who attached it was told of its failures. Idempotent."""
        await asyncio.wait([self._begun, self._told])
        failed = [one.exception() for one in (self._begun, self._told)]
        if failed[0] is None:
            await self._begun.result().stop()


def refuse_taken(held: Held, failed: Iterable[dict[str, Any]]) -> None:
    """Name the port that could not be held.

    Raises:
        Conflict: there is one.
    """
    own = {(one.protocol, one.host_port): (end, one) for end in held.endpoints for one in end.published}
    for one in failed:
        found = own.get((str(one.get("protocol")), int(one.get("host_port", 0))))
        if found is None:
            log.error("a port is not held: %s", one)
            continue
        end, port = found
        host = one.get("host_ip") or port.host_ip
        place = f"[{host}]" if ":" in host else host
        raise Conflict(
            f"driver failed programming external connectivity on endpoint {held.names[0]} ({end.endpoint_id}): "
            f"failed to bind host port for {place}:{port.host_port}:{end.ipv4 or end.ipv6}:{port.port}/"
            f"{port.protocol}: {one.get('error')}"
        )
