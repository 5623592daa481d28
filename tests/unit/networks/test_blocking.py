"""Which of the host's chains close the way, told from nft's JSON."""

from __future__ import annotations

from typing import Any

import pytest

from stockade.networks import blocking

BRIDGE = "br-x"


def chain(name: str = "FORWARD", family: str = "ip", table: str = "filter", **more: Any) -> dict[str, Any]:
    usual = {"hook": "forward", "policy": "drop", "type": "filter", "prio": 0}
    return {"chain": {"family": family, "table": table, "name": name, **usual, **more}}


def rule(*expr: dict[str, Any], name: str = "FORWARD", family: str = "ip", table: str = "filter") -> dict[str, Any]:
    return {"rule": {"family": family, "table": table, "chain": name, "expr": list(expr)}}


def meta(key: str, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": right}}


def goto(target: str) -> dict[str, Any]:
    return {"goto": {"target": target}}


def state(*words: str) -> dict[str, Any]:
    return {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": list(words)}}


def dport(right: Any) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": right}}


def by_interface(name: str, verdict: dict[str, Any]) -> dict[str, Any]:
    return rule({"vmap": {"key": {"meta": {"key": "iifname"}}, "data": {"set": [[name, verdict]]}}})


ACCEPT: dict[str, Any] = {"accept": None}
TAKEN = {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "192.0.2.1"}}
TO = rule(meta("oifname", BRIDGE), ACCEPT)
FROM = rule(meta("iifname", BRIDGE), ACCEPT)
DNAT = {"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}}


@pytest.mark.parametrize(
    "objects",
    [
        [],
        [chain(policy="accept")],
        [chain(family="inet", table="stockade")],
        [chain(hook="postrouting")],
        [chain(family="bridge")],
        [chain(), TO, FROM],
        [chain(), rule(meta("oifname", {"set": ["a", BRIDGE]}), ACCEPT), FROM],
        [chain(), rule(meta("oifname", "br-*"), ACCEPT), FROM],
        [chain(), rule(meta("iifname", "eth0"), meta("oifname", BRIDGE), ACCEPT), FROM],
        [chain(), rule(DNAT, ACCEPT), FROM],
        [chain(), rule({"counter": {}}, ACCEPT)],
        [chain(), rule({"jump": {"target": "USER"}}), rule(meta("oifname", BRIDGE), ACCEPT, name="USER"), FROM],
        [chain(), rule(DNAT, ACCEPT), rule(meta("iifname", BRIDGE), goto("ZONE")), rule(ACCEPT, name="ZONE")],
        [chain(), rule(DNAT, ACCEPT), by_interface(BRIDGE, {"jump": {"target": "ZONE"}}), rule(ACCEPT, name="ZONE")],
        [chain(), TO, FROM, rule({"drop": None})],
        [chain(policy="accept"), rule(meta("oifname", "docker0"), {"drop": None})],
        [chain(policy="accept"), rule(meta("oifname", BRIDGE, "!="), {"return": None}), rule(TAKEN, {"drop": None})],
        [chain(policy="accept"), rule({"limit": {"rate": 5}}, {"drop": None})],
        [chain(policy="accept"), rule(state("invalid"), {"drop": None})],
        [chain(policy="accept"), rule({"xt": None}, {"return": None}), rule({"drop": None})],
        [chain(hook="input"), rule(meta("iifname", BRIDGE), dport({"set": [53, 80]}), ACCEPT)],
        [chain(hook="input"), rule(dport({"range": [1, 99]}), ACCEPT)],
    ],
)
def test_what_is_open(objects: list[dict[str, Any]]) -> None:
    assert blocking.find(objects, BRIDGE) == []


@pytest.mark.parametrize(
    ("objects", "place", "command"),
    [
        ([chain()], "ip filter FORWARD", "iptables -I FORWARD -o br-x -j ACCEPT"),
        ([chain(), rule(meta("iifname", BRIDGE), ACCEPT)], "ip filter FORWARD", "iptables -I FORWARD"),
        ([chain(), {"chain": {"family": "ip", "table": "filter", "name": "DOCKER-USER"}}], "ip filter FORWARD",
         "iptables -I DOCKER-USER -o br-x"),
        ([chain(family="ip6")], "ip6 filter FORWARD", "ip6tables -I FORWARD"),
        ([chain(), {"chain": {"family": "ip", "table": "filter", "name": "ufw-before-forward"}}],
         "ip filter FORWARD", "ufw route allow out on br-x"),
        ([chain("filter_FORWARD", "inet", "firewalld", policy="accept"),
          rule({"counter": {}}, {"reject": {}}, name="filter_FORWARD", family="inet", table="firewalld")],
         "inet firewalld filter_FORWARD", "firewall-cmd --permanent"),
        ([chain("pass", "inet", "own")], "inet own pass", 'nft insert rule inet own pass oifname "br-x" accept'),
        ([chain("in", "inet", "own", hook="input")], "inet own in", 'iifname "br-x" udp dport 53 accept'),
        ([chain("INPUT", hook="input")], "ip filter INPUT", "iptables -I INPUT -i br-x -p udp --dport 53"),
        ([chain(), rule({"jump": {"target": "FORWARD"}})], "ip filter FORWARD", "iptables"),
    ],
)  # fmt: skip
def test_what_closes_the_way(objects: list[dict[str, Any]], place: str, command: str) -> None:
    [found] = blocking.find(objects, BRIDGE)
    assert found.chain == place
    assert command in found.command
    assert place in found.sentence


@pytest.mark.parametrize(
    ("objects", "ways", "words"),
    [
        ([chain()], ("in", "out"), "not reached from outside and containers do not reach the outside"),
        ([chain(), FROM], ("in",), "drops what goes to the network (its policy is drop): published ports"),
        ([chain(), rule(DNAT, ACCEPT)], ("out",), "drops what comes from the network (its policy is drop): containers"),
        ([chain(), rule(state("established", "related"), ACCEPT)], ("in", "out"), "its policy"),
        ([chain(), rule(meta("iifname", "docker0"), meta("oifname", "docker0", "!="), ACCEPT)], ("in", "out"), ""),
        ([chain(policy="accept"), rule({"jump": {"target": "ZONE"}}), rule({"reject": {}}, name="ZONE")],
         ("in", "out"), "its chain ZONE says reject"),
        ([chain(policy="accept"), rule(DNAT, ACCEPT), rule({"reject": {}})], ("out",), "without a condition"),
        ([chain(), rule(goto("EMPTY")), TO, FROM], ("in", "out"), "its policy"),
        ([chain(hook="input"), rule(dport(54), ACCEPT)], ("names",), "names do not resolve"),
    ],
)  # fmt: skip
def test_which_ways_are_closed(objects: list[dict[str, Any]], ways: tuple[str, ...], words: str) -> None:
    [found] = blocking.find(objects, BRIDGE)
    assert found.ways == ways
    assert words in found.sentence
