"""Whatever a client sends is answered or refused: nothing but our own conditions comes out of reading it."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stockade.docker_api import fields, limits
from stockade.docker_api.query import Parameters, Query, parse_filters
from stockade.docker_api.selection import LIST, Listed, choose, prune
from stockade.docker_api.versions import split_version
from stockade.docker_api.wanted import Asked, Image, wanted
from stockade.engine.records import Record, Wanted
from stockade.errors import StockadeError

ODD = st.sampled_from(
    [
        "",
        ":",
        "/",
        "//",
        "=",
        ",",
        "\0",
        "a:b:c:d",
        "/a:/b:ro,rw",
        "../..",
        "none",
        "container:",
        "host",
        "x" * 300,
        "é",
    ]
)
LEAF = st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False) | st.text() | ODD
VALUE = st.recursive(
    LEAF,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text() | ODD, inside, max_size=3),
    max_leaves=8,
)


def bodies(kind: type[fields.Fields]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that name the fields of a type, with values that may be of any kind."""
    return st.dictionaries(st.sampled_from(kind.__struct_encode_fields__) | st.text(), VALUE, max_size=4)


ASKED = Asked("a" * 64, "name", 1, 2, "machine", lambda reference: "f" * 64, "default")
RELAXED = settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)


@RELAXED
@given(bodies(fields.Config), bodies(fields.HostConfig), bodies(fields.Mount))
def test_create(config: dict[str, Any], host: dict[str, Any], mount: dict[str, Any]) -> None:
    for body in (config, {"Cmd": ["x"], "HostConfig": host}, {"Cmd": ["x"], "HostConfig": {"Mounts": [mount]}}):
        try:
            wanted(fields.decode(msgspec.json.encode(body), fields.Create), Image("sha256:1"), ASKED)
        except StockadeError:
            continue


@RELAXED
@given(bodies(fields.Update), bodies(fields.ExecCreate))
def test_update_and_exec(update: dict[str, Any], config: dict[str, Any]) -> None:
    for body, kind in ((update, fields.Update), (config, fields.ExecCreate)):
        try:
            found: Any = fields.decode(msgspec.json.encode(body), kind)
            if kind is fields.Update:
                limits.changed(found, 2)
                limits.restart_policy(found.restart_policy)
        except StockadeError:
            continue


@RELAXED
@given(st.binary() | st.text().map(str.encode))
def test_no_json(data: bytes) -> None:
    with contextlib.suppress(StockadeError):
        fields.decode(data, fields.Create)


@RELAXED
@given(st.dictionaries(st.sampled_from([*LIST, "until", "label!"]), st.lists(st.text() | ODD, min_size=1, max_size=3)))
def test_filters(filters: dict[str, list[str]]) -> None:
    record = Record(Wanted("1" * 64, "box", 1, "image", "sha256:1"))
    for check in (
        lambda: choose([record], Listed(parse_filters(msgspec.json.encode(filters).decode()))),
        lambda: prune(parse_filters(msgspec.json.encode(filters).decode()), 5)(record),
    ):
        try:
            check()
        except StockadeError:
            continue


@RELAXED
@given(st.text())
def test_query_and_path(text: str) -> None:
    for read in (
        lambda: Query(text, Parameters(frozenset("a"))),
        lambda: split_version(text),
        lambda: Query(f"a={text}", Parameters(frozenset("a"))).number("a"),
        lambda: Query(f"a={text}", Parameters(frozenset("a"))).time("a"),
        lambda: Query(f"a={text}", Parameters(frozenset("a"))).unsigned("a", "a"),
        lambda: Query(f"filters={text}", Parameters(all=True)).filters(),
    ):
        try:
            read()
        except StockadeError:
            continue
