"""A container's ends of networks within its life: what a start takes, an end gives back, connect and disconnect change.

Addresses and ports are recorded before anything is made of them. A container without networks costs nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from stockade.engine import files, ground
from stockade.engine.container import Container
from stockade.engine.records import Record, Wanted
from stockade.errors import BadValue, Conflict, NotFound, Refused
from stockade.host import processes
from stockade.networks import plan
from stockade.networks.ends import Wish
from stockade.networks.values import DEFAULT, Endpoint, EndpointWanted, Held, PortBinding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.engine.engine import Engine
    from stockade.engine.verbs import Turn


class Ends(NamedTuple):
    """What a container wants of networks, and what it holds of them."""

    wanted: tuple[EndpointWanted, ...]
    held: tuple[Endpoint, ...]

    @classmethod
    def of(cls, container: Container) -> Ends:
        """Those of a container."""
        return cls(container.wanted.networks, container.state.endpoints)


def held(container: Container, ends: Ends | None = None) -> Held:
    """What a container holds, with the names that it is known by."""
    wanted = container.wanted
    ends = ends or Ends.of(container)
    names = (wanted.name, wanted.id[:12], *((wanted.hostname,) if wanted.hostname else ()))
    return Held(wanted.id, tuple(dict.fromkeys(names)), ends.held, ends.wanted, wanted.dns)


def bindings(wanted: Wanted) -> tuple[PortBinding, ...]:
    """The ports that are to be published; with `-P` each exposed one that is not among them."""
    if not wanted.publish_all:
        return wanted.ports
    named = {(one.port, one.protocol) for one in wanted.ports}
    return (*wanted.ports, *(PortBinding(*one) for one in exposed(wanted) if one not in named))


def exposed(wanted: Wanted) -> Iterator[tuple[int, str]]:
    """Each exposed port and its protocol."""
    for text in wanted.exposed_ports:
        numbers, _, protocol = text.partition("/")
        first, _, last = numbers.partition("-")
        if first.isdigit():
            for number in range(int(first), int(last or first) + 1):
                yield number, (protocol or "tcp").lower()


def refuse(engine: Engine, wanted: Wanted) -> None:
    """Refuse ends that could not be made as things are; a network may still be made before the container starts.

    Raises:
        BadValue: it is linked to nobody, or its network has no such address.
    """
    for end in wanted.networks:
        network = engine.networks.get(end.network)
        pools = () if network is None else network.pools
        for address in (end.ipv4, end.ipv6) if pools else ():
            if address and not any(ip_address(address) in ip_network(pool.subnet) for pool in pools):
                raise BadValue(f"invalid config for network {end.network}: invalid endpoint settings:\n"
                               f"no configured subnet contains IP address {address}")  # fmt: skip
        for link in end.links if end.network == DEFAULT else ():
            name = link.partition(":")[0]
            try:
                engine.find(name, wanted.namespace)
            except NotFound as error:
                raise BadValue(f"could not get container for {name}: {error.message}") from None


# Start and end ----------------------------------------------------------------------------------------------------


async def take(turn: Turn) -> None:
    """Decide addresses and ports, record them, write the files that tell of them, and have them prepared."""
    container = turn.container
    if not container.wanted.networks:
        return
    networks = turn.engine.networks
    if any(one.network == DEFAULT for one in container.wanted.networks):
        await networks.default()
    wanted = container.wanted.networks
    keep(turn.engine, container, Ends(wanted, networks.decide(_wish(container, wanted))))
    await write(turn.engine, container)
    turn.coming = networks.announce(held(container))


def _wish(container: Container, wanted: Sequence[EndpointWanted]) -> Wish:
    off = container.wanted.sysctls.get("net.ipv6.conf.all.disable_ipv6", "0") != "0"
    return Wish(container.id, wanted, bindings(container.wanted), container.state.endpoints, ipv6=not off)


async def give(turn: Turn) -> None:
    """What was made of it is taken back, and what it held is free."""
    try:
        if turn.coming is not None:
            await turn.coming.stop()
        await detach(turn)
    finally:
        _forget(turn.engine, turn.container)


async def attach(turn: Turn) -> None:
    """Make what is recorded."""
    if turn.coming is not None:
        await turn.coming.attach(f"/proc/{int(turn.notes['pid'])}/ns/net")
        _rewrite_linking(turn.engine, turn.container)


async def detach(turn: Turn) -> None:
    """Take back what was made of it."""
    if turn.container.state.endpoints:
        await turn.engine.networks.release(held(turn.container))


async def leave(turn: Turn) -> None:
    """Of a container that has ended: both."""
    ends = turn.container.state.endpoints
    if ends:
        await detach(turn)
        _forget(turn.engine, turn.container)
        turn.left = ends


def keep(engine: Engine, container: Container, ends: Ends) -> None:
    """Record what it wants and holds."""
    before = container.state.endpoints
    record = container.record
    container.keep(Record(replace(record.wanted, networks=ends.wanted), replace(record.state, endpoints=ends.held)))
    engine.networks.moved(container.id, before, ends.held)


def _forget(engine: Engine, container: Container) -> None:
    before = container.state.endpoints
    if before:
        container.change(endpoints=())
        engine.networks.moved(container.id, before, ())


# Connect and disconnect -------------------------------------------------------------------------------------------


def connected(engine: Engine, container: Container, end: EndpointWanted) -> Ends:
    """The ends of a container with one more.

    Raises:
        Refused: it has that one already, or can have none.
    """
    _refuse_shared(container)
    if any(one.network == end.network for one in container.wanted.networks):
        raise Refused(f"endpoint with name {container.wanted.name} already exists in network {end.network}")
    wanted = (*container.wanted.networks, end)
    if not container.alive:
        return Ends(wanted, container.state.endpoints)
    return Ends(wanted, engine.networks.decide(_wish(container, wanted)))


def disconnected(engine: Engine, container: Container, network: str) -> Ends:
    """The ends of a container without one.

    Raises:
        Conflict: it has no such one.
    """
    wanted = tuple(one for one in container.wanted.networks if one.network != network)
    if len(wanted) == len(container.wanted.networks):
        raise Refused(f"container {container.id} is not connected to network {network}")
    if not container.alive:
        return Ends(wanted, container.state.endpoints)
    left = tuple(one for one in container.state.endpoints if one.network != network)
    # Ports stay what they are and go over to the end that leads out now.
    decided = engine.networks.decide(_wish(container, wanted))
    assert {one.network for one in decided} == {one.network for one in left}
    return Ends(wanted, decided)


def _refuse_shared(container: Container) -> None:
    mode = container.wanted.namespaces.network
    if mode == "none" and not container.wanted.networks:
        raise Refused("container cannot be connected to multiple networks with one of the networks in private (none) "
                      "mode")  # fmt: skip
    if mode == "host" or mode.startswith("container:"):
        raise Refused("container sharing network namespace with another container or host cannot be connected to any "
                      "other network")  # fmt: skip


def notes(before: Ends, after: Ends) -> dict[str, Any]:
    """What an operation keeps of a change."""
    return {"before": msgspec.to_builtins(before), "after": msgspec.to_builtins(after)}


async def record_after(turn: Turn) -> None:
    """The change is recorded."""
    keep(turn.engine, turn.container, msgspec.convert(turn.notes["after"], Ends))


async def record_before(turn: Turn) -> None:
    """It is taken back."""
    keep(turn.engine, turn.container, msgspec.convert(turn.notes["before"], Ends))


async def change(turn: Turn) -> None:
    """It is made of a running container."""
    await _change(turn, "before", "after")


async def change_back(turn: Turn) -> None:
    """It is unmade."""
    await _change(turn, "after", "before")


async def _change(turn: Turn, old: str, new: str) -> None:
    container = turn.container
    before, after = (msgspec.convert(turn.notes[word], Ends) for word in (old, new))
    if not container.alive:
        if not after.wanted:
            # No start of its own writes them any more.
            await write(turn.engine, container, after)
        return
    if not _present(container):
        # It has ended, and nobody has recorded that yet: its end knows one side of the change only.
        await turn.engine.networks.cut(dict.fromkeys((*before.held, *after.held)))
        return
    netns = f"/proc/{container.state.pid}/ns/net"
    await turn.engine.networks.reattach(held(container, before), held(container, after), netns)
    await write(turn.engine, container, after)


def _present(container: Container) -> bool:
    state = container.state
    return state.pid > 0 and processes.start_time(state.pid) == state.pid_start


# Files ------------------------------------------------------------------------------------------------------------


async def write(engine: Engine, container: Container, ends: Ends | None = None) -> None:
    """Write its hosts and resolv.conf anew."""
    ground.write_names(engine, container, placed(engine, container, ends or Ends.of(container)))


def placed(engine: Engine, container: Container, ends: Ends) -> files.Placed:
    """Where a container is among networks."""
    first4, first6 = plan.gateways(ends.held, ends.wanted)
    first = first4 or first6
    ordered = sorted(ends.held, key=lambda one: one is not first)
    resolvers = []
    for end in ordered:
        network = engine.networks.get(end.network_id)
        if network is not None and network.names:
            resolvers.append(network.pools[0].gateway)
    return files.Placed(
        addresses=tuple(one for end in ends.held for one in (end.ipv4, end.ipv6) if one),
        gateway=(first4.gateway4 if first4 else first6.gateway6 if first6 else ""),
        resolvers=tuple(resolvers[:3]),
        fallback=first.gateway4 or first.gateway6 if first else "",
        linked=tuple(_linked(engine, container, ends)),
    )


def _linked(engine: Engine, container: Container, ends: Ends) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Addresses and names of the containers that it is linked to on the default network."""
    for end in ends.wanted:
        if end.network != DEFAULT:
            continue
        for link in end.links:
            name, _, alias = link.partition(":")
            try:
                other = engine.containers.find(name, container.wanted.namespace)
            except NotFound:
                continue
            for one in other.state.endpoints:
                if one.network == DEFAULT:
                    names = dict.fromkeys((alias or name, other.wanted.hostname, other.wanted.name))
                    yield one.ipv4 or one.ipv6, tuple(filter(None, names))


def _rewrite_linking(engine: Engine, container: Container) -> None:
    """Those that are linked to it learn its address."""
    own = {container.id, container.wanted.name}
    for other in engine.containers.linking(container.wanted.namespace):
        links = (link for end in other.wanted.networks for link in end.links)
        if other.state.endpoints and any(link.partition(":")[0] in own for link in links):
            ground.write_names(engine, other, placed(engine, other, Ends.of(other)))


def refuse_dead_links(engine: Engine, container: Container) -> None:
    """Links of the default network name containers that run.

    Raises:
        Conflict: one does not.
    """
    for end in container.wanted.networks:
        for link in end.links if end.network == DEFAULT else ():
            other = engine.containers.find(link.partition(":")[0], container.wanted.namespace)
            if not other.alive:
                raise Conflict(f"Cannot link to a non running container: /{other.wanted.name} AS "
                               f"/{container.wanted.name}/{link.partition(':')[2]}")  # fmt: skip
