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


def meta(key: str, right: Any) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"meta": {"key": key}}, "right": right}}


ACCEPT: dict[str, Any] = {"accept": None}
DNAT = {"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}}


@pytest.mark.parametrize(
    "objects",
    [
        [],
        [chain(policy="accept")],
        [chain(family="inet", table="stockade")],
        [chain(hook="postrouting")],
        [chain(family="bridge")],
        [chain(), rule(meta("oifname", BRIDGE), ACCEPT)],
        [chain(), rule(meta("oifname", {"set": ["a", BRIDGE]}), ACCEPT)],
        [chain(), rule(DNAT, ACCEPT)],
        [chain(), rule({"jump": {"target": "USER"}}), rule(meta("oifname", BRIDGE), ACCEPT, name="USER")],
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
