"""Rules of the host's that keep packets from our networks, and the command that opens each. Pure.

We add no rule ahead of them and override none: a drop holds, and is named. Read from nft's JSON, which shows what
iptables-nft, firewalld and ufw wrote too; what the older iptables keeps comes in the same form (`legacy`).

A first packet is led through each chain: a rule is obeyed where its conditions are known to hold, passed over where
they are known not to or cannot be told from here (addresses, ports, other people's matches). An accept that is about
the bridge counts as meant for it, whatever else it asks; where a chain may have been left before, it closes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from stockade.networks.firewall import TABLE

Objects = Iterable[Mapping[str, Any]]
Place = tuple[str, str, str]
"""Family, table and name of a chain."""
_CLOSING = ("drop", "reject")
_DEPTH = 16
"""Jumps within jumps, as many as the kernel has."""
_HOOKS = ("forward", "input")


class Way(NamedTuple):
    """A first packet: what is known of it."""

    name: str
    iif: str
    """The interface that it comes by; empty: some other than the bridge."""
    oif: str
    dnat: bool = False
    protocol: str = ""
    port: int = 0


class Block(NamedTuple):
    """A chain of somebody else's that drops what goes to or comes from a bridge."""

    hook: str
    ways: tuple[str, ...]
    """`in`: to published ports; `out`: from containers to the outside; `names`: to the resolver of the network."""
    chain: str
    """`ip filter FORWARD`."""
    why: str
    command: str
    """What opens it for one bridge."""

    @property
    def sentence(self) -> str:
        """What it comes to."""
        comes = {
            "in": "published ports are not reached from outside",
            "out": "containers do not reach the outside",
            "names": "names do not resolve",
        }
        where = "comes from" if self.ways == ("out",) else "goes to"
        effect = " and ".join(comes[way] for way in self.ways)
        return f"the host's chain {self.chain} drops what {where} the network ({self.why}): {effect}"


def find(objects: Objects, bridge: str, legacy: bool = False) -> list[Block]:
    """What closes the way to and from a bridge.

    Args:
        objects: chains and rules, as nft's JSON has them.
        bridge: its name.
        legacy: they are of the iptables from before nft, whose chains nft neither shows nor changes.
    """
    objects = list(objects)
    rules: dict[Place, list[Mapping[str, Any]]] = {}
    for one in objects:
        rule = one.get("rule")
        if rule is not None:
            rules.setdefault(_place(rule), []).append(rule)
    known = {*rules, *(_place(one["chain"], "name") for one in objects if "chain" in one)}
    chains = (one["chain"] for one in objects if "chain" in one)
    command = _legacy_command if legacy else _command
    blocks = []
    for chain in chains:
        reasons = _closed(chain, rules, bridge)
        if reasons:
            place, ways = _place(chain, "name"), tuple(reasons)
            name = " ".join(place) + (" of iptables-legacy" if legacy else "")
            why = " and ".join(dict.fromkeys(reasons.values()))
            blocks.append(Block(chain["hook"], ways, name, why, command(place, ways, bridge, known)))
    return blocks


def _place(of: Mapping[str, Any], name: str = "chain") -> Place:
    return of["family"], of["table"], of[name]


def _closed(chain: Mapping[str, Any], rules: Mapping[Place, list[Mapping[str, Any]]], bridge: str) -> dict[str, str]:
    """The ways that a base chain closes, and why."""
    hook, place = chain.get("hook"), _place(chain, "name")
    if hook not in _HOOKS or place[1] == TABLE or place[0] not in ("ip", "ip6", "inet"):
        return {}
    ways = (
        (Way("in", "", bridge, dnat=True), Way("out", bridge, ""))
        if hook == "forward"
        else (Way("names", bridge, "", protocol="udp", port=53),)
    )
    reasons = {}
    for way in ways:
        verdict, why = _walk(place, rules, way)
        if verdict == "next" and chain.get("policy") == "drop":
            verdict, why = "drop", "its policy is drop"
        if verdict in _CLOSING:
            reasons[way.name] = why
    return reasons


def _walk(place: Place, rules: Mapping[Place, list[Mapping[str, Any]]], way: Way, depth: int = 0) -> tuple[str, str]:
    """What becomes of the packet in a chain: `accept`, `drop`, `reject` or `next`, and why."""
    left = False
    for rule in rules.get(place, ()):
        for verdict, target in _verdicts(rule, way):
            left = left or verdict == "perhaps"
            if verdict == "return" or (left and verdict in _CLOSING):
                return "next", ""
            if verdict == "accept":
                return "accept", ""
            if verdict in _CLOSING:
                of = "a rule without a condition" if not depth else f"its chain {place[2]}"
                return verdict, f"{of} says {verdict}"
            if verdict in ("jump", "goto") and depth < _DEPTH:
                inner = _walk((place[0], place[1], target), rules, way, depth + 1)
                if inner[0] != "next" or verdict == "goto":
                    return inner
    return "next", ""


def _verdicts(rule: Mapping[str, Any], way: Way) -> Iterator[tuple[str, str]]:
    """The verdict of a rule whose conditions hold, and where it leads."""
    sure, ours = True, False
    for part in rule.get("expr", ()):
        for word, value in part.items():
            if word == "match":
                holds = _holds(value, way)
                if holds is False:
                    return
                sure = sure and holds is True
                ours = ours or (holds is True and _about(value) in ("iifname", "oifname", "status"))
            elif word == "vmap":
                yield from _chosen(value, way) if sure else ()
            elif word in ("jump", "goto"):
                yield from [(word, str(value["target"]))] if sure else ()
            elif word in ("accept", "drop", "reject", "return"):
                if sure or (ours and word == "accept"):
                    yield word, ""
                elif word == "return":
                    yield "perhaps", ""
            elif word not in ("counter", "log", "comment"):
                sure = False  # a limit, or a match of iptables' own


def _holds(match: Mapping[str, Any], way: Way) -> bool | None:
    """Whether a condition holds; None: that cannot be told."""
    left = match.get("left")
    found = _fact(left, match.get("right"), way) if isinstance(left, Mapping) else None
    return found if found is None or match.get("op") != "!=" else not found


def _about(match: Mapping[str, Any]) -> str:
    """What a condition names; one that names what it is not is about nothing."""
    left = match.get("left") if match.get("op") != "!=" else None
    return str((left.get("meta") or left.get("ct") or {}).get("key", "")) if isinstance(left, Mapping) else ""


def _fact(left: Mapping[str, Any], right: Any, way: Way) -> bool | None:
    """Whether what is asked of is among what it is compared with; None: that cannot be told."""
    words = _texts(right)
    match (left.get("meta") or left.get("ct") or left.get("payload") or {}).get("key"):
        case "iifname" | "iif":
            return _interface(words, way.iif, way.oif)
        case "oifname" | "oif":
            return _interface(words, way.oif, way.iif)
        case "state":
            return "new" in words
        case "status":
            return way.dnat if words == {"dnat"} else None
        case "l4proto" if way.protocol:
            return way.protocol in words
    payload = left.get("payload", {})
    if way.port and payload.get("field") == "dport":
        return payload.get("protocol") in (way.protocol, "th") and _has(right, way.port)
    return None


def _interface(words: set[str], name: str, other: str) -> bool | None:
    """Whether an interface is meant; of one that is only known not to be the other, what can be told."""
    if name:
        return any(name == word or (word.endswith("*") and name.startswith(word[:-1])) for word in words)
    if "*" in words:
        return True
    return False if words <= {other, "lo"} else None


def _has(value: Any, number: int) -> bool:
    if isinstance(value, Mapping):
        if "range" in value:
            low, high = value["range"]
            return isinstance(low, int) and isinstance(high, int) and low <= number <= high
        return _has(value.get("set"), number)
    return any(_has(one, number) for one in value) if isinstance(value, list) else bool(value == number)


def _chosen(value: Mapping[str, Any], way: Way) -> Iterator[tuple[str, str]]:
    """What a map of verdicts by interface says."""
    data, key = value.get("data"), value.get("key")
    pairs = data.get("set", ()) if isinstance(data, Mapping) else ()
    for word, verdict in pairs:
        if isinstance(key, Mapping) and _fact(key, word, way):
            name, where = next(iter(verdict.items()))
            yield name, str(where["target"]) if isinstance(where, Mapping) else ""
            return


def _texts(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value}
    if isinstance(value, Mapping):
        return _texts(value.get("set", ()))
    return {one for one in value if isinstance(one, str)} if isinstance(value, list) else set()


def _command(place: Place, ways: tuple[str, ...], bridge: str, known: set[Place]) -> str:
    family, table, name = place
    if table == "firewalld":
        return f"firewall-cmd --permanent --zone=trusted --add-interface={bridge} && firewall-cmd --reload"
    if table == "filter" and family in ("ip", "ip6"):
        return _iptables(place, ways, bridge, known)
    rules = {
        "in": f'oifname "{bridge}" accept',
        "out": f'iifname "{bridge}" accept',
        "names": f'iifname "{bridge}" udp dport 53 accept',
    }
    return " && ".join(f"nft insert rule {family} {table} {name} {rules[way]}" for way in ways)


def _legacy_command(place: Place, ways: tuple[str, ...], bridge: str, known: set[Place]) -> str:
    return _iptables(place, ways, bridge, known, kind="-legacy")


def _iptables(place: Place, ways: tuple[str, ...], bridge: str, known: set[Place], kind: str = "") -> str:
    """What opens a chain of iptables'.

    Args:
        kind: what the program's name ends with.
    """
    family, table, name = place
    if table == "filter" and any(one[1] == table and one[2].startswith("ufw") for one in known):
        ufw = {
            "in": f"ufw route allow out on {bridge}",
            "out": f"ufw route allow in on {bridge}",
            "names": f"ufw allow in on {bridge} to any port 53",
        }
        return " && ".join(ufw[way] for way in ways)
    target = "DOCKER-USER" if (family, table, "DOCKER-USER") in known else name
    rules = {
        "in": f"{target} -o {bridge} -j ACCEPT",
        "out": f"{target} -i {bridge} -j ACCEPT",
        "names": f"{name} -i {bridge} -p udp --dport 53 -j ACCEPT",
    }
    program = f"{'iptables' if family == 'ip' else 'ip6tables'}{kind}"
    where = "" if table == "filter" else f" -t {table}"
    return " && ".join(f"{program}{where} -I {rules[way]}" for way in ways)
