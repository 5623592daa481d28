"""Rules of the host's that keep packets from our networks, and the command that opens each. Pure.

We add no rule ahead of them and override none: a drop holds, and is named. Read from nft's JSON, which shows what
iptables-nft, firewalld and ufw wrote too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from stockade.networks.firewall import TABLE

Objects = Iterable[Mapping[str, Any]]
_CLOSING = ("drop", "reject")


class Block(NamedTuple):
    """A chain of somebody else's that drops what nothing in it accepts."""

    hook: str
    """`forward`: published ports and the way out; `input`: the resolver of networks with names."""
    chain: str
    """`ip filter FORWARD`."""
    why: str
    command: str
    """What opens it for one bridge."""

    @property
    def sentence(self) -> str:
        """What it comes to."""
        what = "published ports are not reached from outside" if self.hook == "forward" else "names do not resolve"
        return f"the host's chain {self.chain} drops what goes to the network ({self.why}): {what}"


def find(objects: Objects, bridge: str) -> list[Block]:
    """What closes the way to and from a bridge."""
    objects = list(objects)
    rules: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for one in objects:
        rule = one.get("rule")
        if rule is not None:
            rules.setdefault(_place(rule), []).append(rule)
    found = []
    for one in objects:
        chain = one.get("chain")
        if chain is None or chain.get("hook") not in ("forward", "input") or chain.get("table") == TABLE:
            continue
        if chain.get("family") not in ("ip", "ip6", "inet"):
            continue
        own = rules.get((chain["family"], chain["table"], chain["name"]), [])
        why = _closes(chain, own)
        if why and not _opened(own, rules, bridge, chain["hook"]):
            found.append(_block(chain, why, bridge, set(rules) | {_place(each["chain"], "name") for each in objects
                                                                  if "chain" in each}))  # fmt: skip
    return found


def _place(of: Mapping[str, Any], name: str = "chain") -> tuple[str, str, str]:
    return of["family"], of["table"], of[name]


def _closes(chain: Mapping[str, Any], rules: list[Mapping[str, Any]]) -> str:
    """Why what nothing accepts goes no further; empty: it does."""
    for rule in rules:
        words = [next(iter(part)) for part in rule.get("expr", ()) if next(iter(part)) != "counter"]
        if len(words) == 1 and words[0] in _CLOSING:
            return f"a rule without a condition says {words[0]}"
    return "its policy is drop" if chain.get("policy") == "drop" else ""


def _opened(
    rules: list[Mapping[str, Any]],
    every: Mapping[tuple[str, str, str], list[Mapping[str, Any]]],
    bridge: str,
    hook: str,
    depth: int = 4,
) -> bool:
    """Whether a rule of the chain, or of one that it jumps to, accepts what goes to the bridge or comes by a port."""
    for rule in rules:
        names, dnat, verdicts, jumps = _read(rule, hook)
        if "accept" in verdicts and (bridge in names or (dnat and hook == "forward")):
            return True
        for target in jumps if depth else ():
            inner = every.get((rule["family"], rule["table"], target), [])
            if _opened(inner, every, bridge, hook, depth - 1):
                return True
    return False


def _read(rule: Mapping[str, Any], hook: str) -> tuple[set[str], bool, set[str], list[str]]:
    """Interfaces that a rule is for, whether for what came by a port, its verdicts, and where it jumps."""
    names: set[str] = set()
    verdicts: set[str] = set()
    jumps: list[str] = []
    dnat = False
    wanted = "oifname" if hook == "forward" else "iifname"
    for part in rule.get("expr", ()):
        for word, value in part.items():
            if word == "match":
                left, right = value.get("left", {}), value.get("right")
                if isinstance(left, Mapping) and left.get("meta", {}).get("key") == wanted:
                    names |= _texts(right)
                status = isinstance(left, Mapping) and left.get("ct", {}).get("key") == "status"
                dnat = dnat or (status and "dnat" in _texts(right))
            elif word in ("jump", "goto"):
                jumps.append(value["target"])
            else:
                verdicts.add(word)
    return names, dnat, verdicts, jumps


def _texts(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value}
    if isinstance(value, Mapping):
        return _texts(value.get("set", ()))
    return {one for one in value if isinstance(one, str)} if isinstance(value, list) else set()


def _block(chain: Mapping[str, Any], why: str, bridge: str, known: Iterable[tuple[str, str, str]]) -> Block:
    family, table, name, hook = chain["family"], chain["table"], chain["name"], chain["hook"]
    return Block(hook, f"{family} {table} {name}", why, _command(family, table, name, hook, bridge, set(known)))


def _command(family: str, table: str, name: str, hook: str, bridge: str, known: set[tuple[str, str, str]]) -> str:
    if table == "firewalld":
        return f"firewall-cmd --permanent --zone=trusted --add-interface={bridge} && firewall-cmd --reload"
    if table == "filter" and family in ("ip", "ip6"):
        if any(one[2].startswith("ufw") for one in known):
            return (
                f"ufw route allow out on {bridge}" if hook == "forward" else f"ufw allow in on {bridge} to any port 53"
            )
        program = "iptables" if family == "ip" else "ip6tables"
        if hook == "input":
            return f"{program} -I INPUT -i {bridge} -p udp --dport 53 -j ACCEPT"
        target = "DOCKER-USER" if (family, table, "DOCKER-USER") in known else "FORWARD"
        ways = (f"{program} -I {target} {option} {bridge} -j ACCEPT" for option in ("-o", "-i"))
        return " && ".join(ways)
    if hook == "input":
        return f'nft insert rule {family} {table} {name} iifname "{bridge}" udp dport 53 accept'
    return " && ".join(
        f'nft insert rule {family} {table} {name} {word} "{bridge}" accept' for word in ("oifname", "iifname")
    )
