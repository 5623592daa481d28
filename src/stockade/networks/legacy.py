"""Rules of the iptables from before nft, which nft does not show: what `iptables-legacy-save` prints, as nft's objects.

Pure. The format is iptables-save(8)'s: `*TABLE`, `:CHAIN POLICY [counters]` and `-A CHAIN` lines. What a condition
asks that has no counterpart here stays as one that cannot be told.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

_UNTOLD: dict[str, Any] = {"xt": None}
_POLICIES = ("ACCEPT", "DROP")
_VERDICTS = ("ACCEPT", "DROP", "REJECT", "RETURN")
_PASSING = ("LOG", "NFLOG", "ULOG", "TRACE")
"""Targets after which the next rule is asked."""
_INTERFACES = {"-i": "iifname", "-o": "oifname"}
_PORTS = ("--dport", "--dports")


def objects(family: str, text: str) -> list[dict[str, Any]]:
    """Chains and rules as nft's JSON would have them.

    Args:
        family: `ip` or `ip6`.
        text: what the program printed.
    """
    found: list[dict[str, Any]] = []
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            name, policy, *_ = (*line[1:].split(), "", "")
            chain = {"family": family, "table": table, "name": name}
            base = {"hook": name.lower(), "policy": policy.lower()} if policy in _POLICIES else {}
            found.append({"chain": {**chain, **base}})
        elif line.startswith("-A "):
            _, name, *words = shlex.split(line)
            found.append({"rule": {"family": family, "table": table, "chain": name, "expr": list(_expressions(words))}})
    return found


def _expressions(words: list[str]) -> Iterator[dict[str, Any]]:
    """A rule's conditions and its verdict."""
    queue = list(reversed(words))
    protocol, op = "", "=="
    while queue:
        word = queue.pop()
        if word == "!":
            op = "!="
            continue
        if word in ("-j", "-g"):
            yield _verdict(word, _pop(queue))
            return  # what follows is the target's own
        if word == "-m":
            _pop(queue)
            continue
        value = "" if queue and (queue[-1].startswith("-") or queue[-1] == "!") else _pop(queue)
        if word == "-p":
            protocol = value
        if word != "--comment":
            yield _condition(word, value, op, protocol)
        op = "=="


def _pop(queue: list[str]) -> str:
    return queue.pop() if queue else ""


def _condition(word: str, value: str, op: str, protocol: str) -> dict[str, Any]:
    left: dict[str, Any]
    right: Any = value.split(",")
    if word in _INTERFACES:
        left, right = {"meta": {"key": _INTERFACES[word]}}, f"{value[:-1]}*" if value.endswith("+") else value
    elif word == "-p":
        left, right = {"meta": {"key": "l4proto"}}, value
    elif word in ("--ctstate", "--state"):
        # Of a first packet nothing else that stands beside DNAT can be so.
        dnat = "DNAT" in right and "NEW" not in right
        left = {"ct": {"key": "status" if dnat else "state"}}
        right = ["dnat"] if dnat else [one.lower() for one in right]
    elif word == "--ctstatus" and "DNAT" in right:
        left, right = {"ct": {"key": "status"}}, ["dnat"]
    elif word in _PORTS and protocol:
        left, right = {"payload": {"protocol": protocol, "field": "dport"}}, {"set": [_port(one) for one in right]}
    else:
        return _UNTOLD
    return {"match": {"op": op, "left": left, "right": right}}


def _port(text: str) -> Any:
    low, colon, high = text.partition(":")
    if not low.isdigit() or (colon and not high.isdigit()):
        return text
    return {"range": [int(low), int(high)]} if colon else int(low)


def _verdict(word: str, target: str) -> dict[str, Any]:
    if target in _VERDICTS:
        return {target.lower(): None}
    if target in _PASSING:
        return {"log": None}
    return {"goto" if word == "-g" else "jump": {"target": target}}
