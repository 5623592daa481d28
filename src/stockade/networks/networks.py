"""The networks of one installation: made, found, removed; containers' ends on them; the table that stands for them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
import socket
import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from stockade.errors import BadValue, Conflict, NotFound, Refused, RuntimeFailed, StockadeError, Unsupported
from stockade.host import delegated, locks, processes
from stockade.networks import blocking, ends, firewall, options, plan, pools
from stockade.networks.blocking import Block
from stockade.networks.coming import Coming
from stockade.networks.fading import Fading, devices
from stockade.networks.ledger import Ledger
from stockade.networks.monitor import Monitor
from stockade.networks.node import Node, legacy, nft, ruleset
from stockade.networks.options import Asked, Subnet
from stockade.networks.serve import Serve
from stockade.networks.values import BUILT_IN, DEFAULT, NAMESPACE, Endpoint, Held, Network, Pool
from stockade.store import Journal, Operation, Step, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.host.paths import Paths
    from stockade.host.tool import Running
    from stockade.store import Store

BRIDGE = "stockade0"
_PROTOCOLS = {"tcp": (socket.SOCK_STREAM, 0), "udp": (socket.SOCK_DGRAM, 0), "sctp": (socket.SOCK_STREAM, 132)}
_LOOK_EVERY = 5.0

log = logging.getLogger(__name__)


class Networks:
    """Whoever changes networks holds `_lock`; ends are decided without a pause, so nobody comes between."""

    def __init__(self, paths: Paths, store: Store) -> None:
        self._table = store.table("network", Network)
        self._journal = Journal(store)
        self._copies = f"{paths.data}/networks"
        self._known = {one.id: one for one in self._table.all()}
        if not self._known:
            self._mend()
        self.ledger = Ledger()
        self.node = Node()
        self.serve = Serve(paths.run, self._revive)
        self.fading = Fading(lambda names: self.node.apply(plan.remove_ends(names)))
        self._monitor = Monitor(self._restore_table)
        self._made: dict[str, Held] = {}
        """What stands for each container, by its id: changed before the node is, so that a table that is put meanwhile
        neither loses a port nor brings one back. A record says it earlier at a start and later at an end."""
        self._going: set[str] = set()
        """Networks that are being removed: nobody gets an end of them."""
        self._up: set[str] = set()
        """Bridges that were seen to by this process."""
        self._stands = False
        """Whether the table was put by this process."""
        self._stale = False
        """Whether a network that was made or removed is not, or still, among its rules."""
        self._restored = False
        self._lock = asyncio.Lock()
        self._raising = asyncio.Lock()
        self._chore: asyncio.Task[None] | None = None

    # Finding ----------------------------------------------------------------------------------------------------

    def all(self) -> list[Network]:
        """Every network but none and host, the oldest first."""
        return sorted(self._known.values(), key=lambda one: one.created)

    def get(self, reference: str) -> Network | None:
        """The network of that name, id, or beginning of one id only.

        Raises:
            BadValue: the beginning is that of several.
        """
        if reference in self._known:
            return self._known[reference]
        named = self.named(reference)
        if named is not None or len(reference) < 1:
            return named
        near = [one for one in self._known.values() if one.id.startswith(reference)]
        if len(near) > 1:
            raise BadValue(f"network {reference} is ambiguous ({len(near)} matches found based on ID prefix)")
        return near[0] if near else None

    def find(self, reference: str) -> Network:
        """The same.

        Raises:
            NotFound: there is none.
        """
        found = self.get(reference)
        if found is None:
            raise NotFound(f"network {reference} not found")
        return found

    def named(self, name: str) -> Network | None:
        """The network of exactly that name."""
        return next((one for one in self._known.values() if one.name == name), None)

    async def default(self) -> Network:
        """The network of containers that name none; decided when it is first asked for, made when it is first used."""
        found = self.named(DEFAULT)
        if found is not None:
            return found
        async with self._lock:
            found = self.named(DEFAULT)
            if found is not None:
                return found
            subnet = pools.default4(await self._used())
            pool = pools.pool(subnet, "", "", {})
            made = Network(secrets.token_hex(32), DEFAULT, time.time_ns(), BRIDGE, pool4=pool, options=_DEFAULT_OPTIONS)
            self._keep(made)
            # Its rules come with its first use, also where a table stands for others.
            self._stale = True
            return made

    async def _used(self) -> list[str]:
        own = [pool.subnet for one in self._known.values() for pool in one.pools]
        return [*own, *await self.node.routes()]

    def _keep(self, network: Network) -> None:
        self._table.put(network.id, network, name=network.name, namespace=NAMESPACE)
        self._known[network.id] = network
        self._copy(network)

    def _copy(self, network: Network) -> None:
        """For the day when the store is lost; nothing is decided by it before."""
        os.makedirs(self._copies, 0o700, exist_ok=True)
        locks.replace(f"{self._copies}/{network.id}.json", msgspec.json.encode(network).decode())

    def _copy_all(self) -> None:
        """What a daemon that was killed did not come to: copies that are missing, and what it left beside them."""
        with contextlib.suppress(FileNotFoundError):
            locks.tidy(self._copies)
        for one in self._known.values():
            if not os.path.exists(f"{self._copies}/{one.id}.json"):
                self._copy(one)

    def _mend(self) -> None:
        """Of a store that was lost the networks are what lies beside the data."""
        with contextlib.suppress(FileNotFoundError):
            locks.tidy(self._copies)
            for name in sorted(os.listdir(self._copies)):
                try:
                    with open(f"{self._copies}/{name}", "rb") as file:
                        self._keep(msgspec.json.decode(file.read(1 << 20), type=Network))
                except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
                    log.error("the network of %s/%s cannot be read: %s", self._copies, name, error)

    def _forget(self, identity: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._copies}/{identity}.json")
        self._table.delete(identity)
        self._known.pop(identity, None)
        self.ledger.forget(identity)
        self._up.discard(identity)

    # Making and removing ------------------------------------------------------------------------------------------

    async def create(self, asked: Asked) -> Network:
        """Make a network.

        Raises:
            BadValue, Refused, Unsupported: what was asked for means nothing, or is not served.
            Conflict: its name, bridge or subnet is taken.
        """
        options.check(asked)
        async with self._lock:
            if self.named(asked.name) is not None:
                raise Conflict(f"network with name {asked.name} already exists")
            network = await self._decide(asked)
            turn = _Turn(self, network)
            await self._journal.run(CREATE, turn, network.id, {"network": msgspec.to_builtins(network)})
        return network

    async def _decide(self, asked: Asked) -> Network:
        settings = options.settings(asked.options)
        identity = secrets.token_hex(32)
        settings.setdefault("bridge", f"br-{identity[:12]}")
        if any(one.bridge == settings["bridge"] for one in self._known.values()):
            raise Conflict(f"bridge name {settings['bridge']} already used by another network")
        if os.path.exists(f"/proc/sys/net/ipv4/conf/{settings['bridge']}"):
            raise Conflict(f"the host has an interface {settings['bridge']}: it is not ours to use")
        pool4, pool6 = self._asked_pools(asked)
        used = await self._used() if (asked.ipv4 and pool4 is None) or (asked.ipv6 and pool6 is None) else []
        if asked.ipv4 and pool4 is None:
            pool4 = pools.pool(pools.default4(used), "", "", {})
        if asked.ipv6 and pool6 is None:
            pool6 = pools.pool(pools.default6(_machine() or processes.boot_id(), used), "", "", {})
        return Network(
            identity,
            asked.name,
            time.time_ns(),
            pool4=pool4,
            pool6=pool6,
            internal=asked.internal,
            attachable=asked.attachable,
            labels=dict(asked.labels),
            options=dict(asked.options),
            **settings,
        )

    def _asked_pools(self, asked: Asked) -> tuple[Pool | None, Pool | None]:
        found: dict[int, Pool] = {}
        names = [(one.name, pool.subnet) for one in self._known.values() for pool in one.pools]
        for one in asked.subnets:
            if one == Subnet():
                continue
            if not one.subnet:
                raise BadValue("invalid network config: a gateway or range without a subnet means nothing",
                               hint="--subnet")  # fmt: skip
            pool = pools.pool(one.subnet, one.gateway, one.ip_range, dict(one.auxiliary))
            family = 6 if ":" in pool.subnet else 4
            if family in found:
                raise BadValue(f"two IPv{family} subnets of one network are not served", hint="make two networks")
            if family == 6 and not asked.ipv6:
                raise BadValue(f"the subnet {one.subnet} needs IPv6", hint="--ipv6")
            if family == 4 and not asked.ipv4:
                raise BadValue(f"the subnet {one.subnet} needs IPv4")
            pools.refuse_overlap(pool.subnet, names)
            found[family] = pool
        return found.get(4), found.get(6)

    async def remove(self, reference: str) -> Network:
        """Remove a network that no container has.

        Raises:
            NotFound: there is none.
            Refused: it is one that is always there, or in use.
        """
        if reference in BUILT_IN:
            raise Refused(f"{reference} is a pre-defined network and cannot be removed")
        async with self._lock:
            network = self.find(reference)
            if network.name == DEFAULT:
                raise Refused(f"{network.name} is a pre-defined network and cannot be removed")
            if self.ledger.in_use(network.id):
                raise Refused(f"error while removing network: network {network.name} has active endpoints",
                              hint="docker network disconnect, or stop the containers that have it")  # fmt: skip
            self._going.add(network.id)
            try:
                turn = _Turn(self, network)
                await self._journal.run(REMOVE, turn, network.id, {"network": msgspec.to_builtins(network)})
            finally:
                self._going.discard(network.id)
        return network

    # Ends ---------------------------------------------------------------------------------------------------------

    def decide(self, wish: ends.Wish) -> tuple[Endpoint, ...]:
        """The ends that a container is to have; whoever records them tells `moved` before anybody else asks."""
        known = {one.name: one for one in self._known.values() if one.id not in self._going}
        return ends.decide(wish, ends.Ground(known, self.ledger, probe, os.path.exists("/proc/net/if_inet6")))

    def found(self, held: Held) -> None:
        """An earlier daemon left a container that holds this."""
        self.moved(held.container, (), held.endpoints)
        if held.endpoints:
            self._made[held.container] = held

    def moved(self, container: str, before: Iterable[Endpoint], after: Sequence[Endpoint]) -> None:
        """What a container holds was recorded anew."""
        self.ledger.give(container, before)
        self.ledger.take(container, after)
        if not after:
            self._made.pop(container, None)

    async def ready(self, networks: Iterable[str]) -> None:
        """Have bridges, table, files and the resolver of these networks, by id; nothing is done twice."""
        networks = tuple(networks)
        if self._stands and not self._stale and self._up.issuperset(networks):
            return
        async with self._raising:
            await self._raise(networks)

    async def _raise(self, networks: tuple[str, ...]) -> None:
        missing = [self._known[one] for one in networks if one not in self._up]
        await self.node.apply([plan.bridge(one) for one in missing])
        for one in missing:
            self.serve.put_network(one)
        if not self._stands or self._stale:
            await self.put_table()
        for one in missing:
            self._complain(await self.serve.tell({"network": one.id}))
        self._up.update(one.id for one in missing)

    @staticmethod
    def _complain(failed: Iterable[dict[str, Any]]) -> None:
        for one in failed:
            log.error("the resolver cannot listen: %s", one)

    async def put_table(self) -> None:
        """Have the table as the records are, and watched over."""
        self._stale = False
        try:
            await self.node.put_table(lambda: firewall.render(self._known.values(), self._made.values()))
        except BaseException:
            self._stale = True
            raise
        self._stands = True
        self._monitor.start()
        if self._chore is None:
            self._chore = asyncio.create_task(self._look_after(), name="look after the resolver")

    async def attach(self, held: Held, netns: str) -> None:
        """Have a container's ends and ports.

        Raises:
            Conflict: somebody else on the host has one of its ports.
            RuntimeFailed: the kernel refuses.
        """
        coming = self.announce(held)
        try:
            await coming.attach(netns)
        finally:
            await coming.stop()

    def announce(self, held: Held) -> Coming:
        """Have a container's ends and ports prepared, which are recorded, while the container is made."""
        self._made[held.container] = held
        return Coming(self, held)

    async def make(self, held: Held, netns: str, program: Running | None) -> None:
        """Make the ends of a container.

        A bridge may have been taken away by somebody, or be full of ends that are over: it is tried anew once.
        """
        operations = plan.attach(held, self._known, netns)
        try:
            await self.node.apply(operations, program)
        except RuntimeFailed:
            used = [one.network_id for one in held.endpoints]
            self._up.difference_update(used)
            await self.fading.now()
            await self.ready(used)
            await self.node.apply(operations)

    async def reattach(self, before: Held, after: Held, netns: str) -> None:
        """Have a running container's ends follow its record: what is gone goes, what is new comes, routes and ports."""
        self._stand(after)
        kept = {one.endpoint_id for one in after.endpoints}
        gone = [one for one in before.endpoints if one.endpoint_id not in kept]
        stale = plan.published("unpublish", before.endpoints)
        if stale or gone:
            await self.node.apply([*stale, *plan.remove_ends(one.host_interface for one in gone)])
        if after.endpoints:
            await self.attach(after, netns)
            await self.node.apply(plan.reroute(after, netns))
        else:
            self.serve.drop_endpoint(after.container)
            await self.serve.tell_if_there({"endpoint": after.container})

    def _stand(self, held: Held) -> None:
        if held.endpoints:
            self._made[held.container] = held
        else:
            self._made.pop(held.container, None)

    async def release(self, held: Held) -> None:
        """Take away the ports of a container that is over, and cut its ends off. Idempotent.

        Its addresses may be another's at once; the devices go with its network namespace, and nobody waits for that.
        """
        if not held.endpoints:
            return
        self._made.pop(held.container, None)
        self.serve.drop_endpoint(held.container)
        telling = asyncio.ensure_future(self.serve.tell_if_there({"endpoint": held.container}))
        try:
            await self.cut(held.endpoints)
        finally:
            await telling

    async def cut(self, endpoints: Iterable[Endpoint]) -> None:
        """Take away the ports of ends whose namespace is on its way out, and cut them off. Idempotent."""
        endpoints = tuple(endpoints)
        await self.node.apply(plan.cut(endpoints))
        self.fading.add(one.host_interface for one in endpoints)

    async def names_changed(self, held: Held) -> None:
        """A container that has ends is called otherwise."""
        if held.endpoints:
            self.serve.put_endpoint(held)
            await self.serve.tell_if_there({"endpoint": held.container})

    # Life ---------------------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Finish or undo what an earlier daemon left of making and removing networks."""
        for operation in self._journal.unfinished():
            verb = VERBS.get(operation.verb)
            if verb is None:
                continue
            network = msgspec.convert(operation.data["network"], Network)
            try:
                await self._journal.recover(verb, _Turn(self, network), operation)
            except StockadeError as error:
                log.error("%s of %s was cut and cannot be taken up: %s", operation.verb, network.name, error)

    async def restore(self) -> None:
        """After the containers were found again: everything stands for what they hold."""
        self._restored = True
        self._copy_all()
        await self._sweep()
        self.serve.sweep(set(self._made), set(self._known))
        held = list(self._made.values())
        used = {end.network_id for one in held for end in one.endpoints}
        if not used:
            if self._stale:
                await self._follow()
            return
        for one in held:
            self.serve.put_endpoint(one)
        await self.ready(sorted(used))
        self._complain(await self.serve.tell({"all": True}))

    async def _follow(self) -> None:
        """The rules follow the records where there are rules; an earlier daemon may have put them."""
        if not self._restored:
            # What its containers hold is not known yet.
            self._stale = True
            return
        with contextlib.suppress(Unsupported):
            if self._stands or await self.node.has_table(firewall.FAMILY, firewall.TABLE):
                await self.put_table()

    async def _sweep(self) -> None:
        """Ends that were over when the daemon before this one died."""
        known = {end.host_interface for one in self._made.values() for end in one.endpoints}
        if not self._known or not devices() - known:
            return
        try:
            await self.node.alone(lambda: plan.sweep(self._known.values(), self._made.values()))
        except StockadeError as error:
            log.error("ends of an earlier daemon's containers cannot be removed: %s", error)

    async def _revive(self) -> None:
        """What serves names and ports has ended: it is there again at once, if anybody may ask it."""
        # A unit that somebody stops takes the containers along.
        if self._made and not delegated.missing():
            await self._tell_all()

    async def _tell_all(self) -> None:
        try:
            await self.serve.tell({"all": True})
        except (StockadeError, OSError) as error:
            log.error("the resolver is not there: %s", error)

    async def _restore_table(self) -> None:
        """Somebody took the table away, or part of it."""
        log.warning("somebody changed or flushed the table inet %s: it is put back", firewall.TABLE)
        await self.put_table()
        # Flows that began meanwhile lead nowhere, and would as long as somebody goes on sending.
        try:
            await self.node.alone(lambda: plan.datagrams(self._made.values()))
        except StockadeError as error:
            log.error("flows that began without the table cannot be forgotten: %s", error)

    async def blocks(self) -> list[tuple[Network, Block]]:
        """The host's rules that keep packets from the networks that are in use."""
        used = [one for one in self.all() if self.ledger.in_use(one.id)]
        rules = await ruleset() if used else []
        older = await legacy() if used else []
        return [
            (one, block)
            for one in used
            for block in (*blocking.find(rules, one.bridge), *blocking.find(older, one.bridge, legacy=True))
            if (one.names if block.hook == "input" else not one.internal)
            and (one.pool6 is not None or not block.chain.startswith("ip6 "))
        ]

    async def _look_after(self) -> None:
        """The resolver follows the host's own resolvers, and is there as long as anybody may ask it."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            if not self._made or delegated.missing():
                continue
            try:
                if self.serve.refresh_upstreams() or not await self.serve.answers():
                    await self.serve.tell({"upstreams": True})
            except (StockadeError, OSError) as error:
                log.error("the resolver is not there: %s", error)

    async def close(self) -> None:
        """Let go. Whatever stands for running containers goes on; where there are none, the resolver ends."""
        self._monitor.close()
        if self._chore is not None:
            self._chore.cancel()
            await asyncio.gather(self._chore, return_exceptions=True)
        await self.fading.close()
        await self.serve.close()
        if self.serve.started and not self._made:
            await self.serve.tell_if_there({"end": True})
        await self.node.close()

    async def leave(self) -> None:
        """Take every bridge and the table from the machine; networks are made again when they are next used."""
        await self.serve.close()
        await self.serve.tell_if_there({"end": True})
        if not self._known:
            return
        await self.node.apply([plan.remove_bridge(one) for one in self._known.values()])
        await nft(firewall.REMOVED)
        self._up.clear()
        self._stands = False


_DEFAULT_OPTIONS = {
    "com.docker.network.bridge.default_bridge": "true",
    "com.docker.network.bridge.enable_icc": "true",
    "com.docker.network.bridge.enable_ip_masquerade": "true",
    "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
    "com.docker.network.bridge.name": BRIDGE,
    "com.docker.network.driver.mtu": "1500",
}


def probe(protocol: str, host: str, number: int) -> bool:
    """Whether nobody on the host has a port."""
    kind, proto = _PROTOCOLS[protocol]
    six = ":" in host
    try:
        with socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind | socket.SOCK_CLOEXEC, proto) as found:
            if six:
                found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            found.bind((host, number))
    except OSError:
        return False
    return True


def _machine() -> str:
    try:
        with open("/etc/machine-id", encoding="ascii") as file:
            return re.sub(r"[^0-9a-f]", "", file.read())
    except OSError:
        return ""


# Verbs ------------------------------------------------------------------------------------------------------------


class _Turn:
    """One verb on one network."""

    operation: Operation

    def __init__(self, networks: Networks, network: Network) -> None:
        self.networks = networks
        self.network = network


async def _make_bridge(turn: _Turn) -> None:
    await turn.networks.node.apply([plan.bridge(turn.network)])


async def _remove_bridge(turn: _Turn) -> None:
    turn.networks.serve.drop_network(turn.network.id)
    await turn.networks.serve.tell_if_there({"network": turn.network.id})
    await turn.networks.node.apply([plan.remove_bridge(turn.network)])


async def _keep(turn: _Turn) -> None:
    turn.networks._keep(turn.network)


async def _drop(turn: _Turn) -> None:
    turn.networks._forget(turn.network.id)


async def _put_table(turn: _Turn) -> None:
    """The rules follow the records; at a machine where nothing stands yet they come with the first use."""
    await turn.networks.put_table()


async def _take_from_table(turn: _Turn) -> None:
    await turn.networks._follow()


async def _nothing(turn: _Turn) -> None:
    """From here on it is finished."""


CREATE = Verb(
    "network-create",
    (
        Step("bridge", _make_bridge, _remove_bridge),
        Step("record", _keep, _drop),
        Step("table", _put_table, _take_from_table),
    ),
)
REMOVE = Verb(
    "network-remove",
    (
        Step("mark", _nothing),
        Step("bridge", _remove_bridge),
        Step("record", _drop),
        Step("table", _take_from_table),
    ),
    point_of_no_return="mark",
)
VERBS = {verb.name: verb for verb in (CREATE, REMOVE)}
