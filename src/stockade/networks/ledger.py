"""Which addresses and ports are taken. In memory: what it says is what the records of live containers say. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address

from stockade.errors import Conflict, Refused
from stockade.networks.values import Endpoint, PortBinding, Published

FIRST, LAST = 32768, 60999
"""Where free ports are taken from: the kernel's own range for them."""
Probe = Callable[[str, str, int], bool]
"""Whether nobody on the host has a port: protocol, address, number."""
_Key = tuple[str, int]
_Side = tuple[str, int]
"""A network's id, and a family."""
_FAMILIES = (4, 6)


class Ledger:
    """Everything that is held by ends."""

    def __init__(self) -> None:
        self._addresses: dict[_Side, set[str]] = {}
        self._lowest: dict[_Side, str] = {}
        """No address below it is free: that of the last search, unless a lower one was given back since."""
        self._ports: dict[_Key, dict[str, str]] = {}
        """Protocol and number → address of the host → whose it is."""
        self._next = FIRST

    def take(self, container: str, ends: Iterable[Endpoint]) -> None:
        """They are held from now on."""
        for end in ends:
            for address in filter(None, (end.ipv4, end.ipv6)):
                self._addresses.setdefault(_side(end.network_id, address), set()).add(address)
            for one in end.published:
                self._ports.setdefault((one.protocol, one.host_port), {})[one.host_ip] = container

    def give(self, container: str, ends: Iterable[Endpoint]) -> None:
        """They are free again. Idempotent."""
        for end in ends:
            for address in filter(None, (end.ipv4, end.ipv6)):
                side = _side(end.network_id, address)
                self._addresses.get(side, set()).discard(address)
                if side in self._lowest:
                    self._lowest[side] = str(min(ip_address(address), ip_address(self._lowest[side])))
            for one in end.published:
                held = self._ports.get((one.protocol, one.host_port), {})
                if held.get(one.host_ip) == container:
                    del held[one.host_ip]
                if not held:
                    self._ports.pop((one.protocol, one.host_port), None)

    def addresses(self, network: str, family: int) -> set[str]:
        """Those of a family that are taken on a network, by its id."""
        return self._addresses.get((network, family), set())

    def lowest(self, network: str, family: int) -> str:
        """No address below it is free; empty: that is not known."""
        return self._lowest.get((network, family), "")

    def searched(self, network: str, found: str) -> None:
        """A search from the lowest address upwards has found this one to be free, and none below it."""
        self._lowest[_side(network, found)] = found

    def forget(self, network: str) -> None:
        """A network is gone."""
        for family in _FAMILIES:
            self._addresses.pop((network, family), None)
            self._lowest.pop((network, family), None)

    def in_use(self, network: str) -> bool:
        """Whether any end of a network is held."""
        return any(self._addresses.get((network, family)) for family in _FAMILIES)

    def publish(self, bindings: Iterable[PortBinding], binding: str, both: bool, probe: Probe) -> tuple[Published, ...]:
        """Decide the ports of the host's for a container.

        Args:
            binding: the address of ports that name none; empty: all of them.
            both: whether the host has IPv6.

        Raises:
            Refused, Conflict: a port is another container's, or none of a range is free.
        """
        found: list[Published] = []
        own: dict[_Key, list[str]] = {}
        for one in bindings:
            given = one.host_ip or binding
            hosts = [given] if given else ["0.0.0.0", "::"] if both else ["0.0.0.0"]
            number = self._number(one, hosts, own, probe)
            found += [Published(one.port, one.protocol, host, number) for host in hosts]
            own.setdefault((one.protocol, number), []).extend(hosts)
        return tuple(found)

    def _number(self, one: PortBinding, hosts: list[str], own: dict[_Key, list[str]], probe: Probe) -> int:
        if one.host_port and one.host_port_end <= one.host_port:
            for host in hosts:
                if not self._free(host, (one.protocol, one.host_port), own):
                    place = f"[{host}]" if ":" in host else host
                    raise Refused(f"Bind for {place}:{one.host_port} failed: port is already allocated")
            return one.host_port
        for number in self._candidates(one):
            key = (one.protocol, number)
            if all(self._free(host, key, own) and probe(one.protocol, host, number) for host in hosts):
                if not one.host_port:
                    self._next = number + 1 if number < LAST else FIRST
                return number
        raise Conflict("all ports are allocated")

    def _candidates(self, one: PortBinding) -> Iterator[int]:
        if one.host_port:
            yield from range(one.host_port, one.host_port_end + 1)
            return
        start = self._next
        yield from range(start, LAST + 1)
        yield from range(FIRST, start)

    def _free(self, host: str, key: _Key, own: dict[_Key, list[str]]) -> bool:
        return not any(_clash(host, other) for other in (*self._ports.get(key, ()), *own.get(key, ())))


def _side(network: str, address: str) -> _Side:
    return network, 6 if ":" in address else 4


def _clash(one: str, other: str) -> bool:
    """Whether two addresses of the host cannot have the same port."""
    first, second = ip_address(one), ip_address(other)
    if first.version != second.version:
        return False
    return first == second or first.is_unspecified or second.is_unspecified
