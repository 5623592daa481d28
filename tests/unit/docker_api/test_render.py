"""Records as Docker's clients read them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec
import pytest

from stockade.docker_api import render, times
from stockade.docker_api.own import PREFIX, document
from stockade.docker_api.query import Parameters, Query, parse_filters
from stockade.docker_api.selection import Listed, choose, prune
from stockade.docker_api.system import event_matches, render_event
from stockade.engine.events import Event
from stockade.engine.records import Health, MountPoint, Record, State, Status, Wanted
from stockade.errors import BadValue

SECOND = 1_000_000_000


def record(number: int = 1, status: Status = Status.RUNNING, **state: object) -> Record:
    wanted = Wanted(
        id=f"{number:064x}",
        name=f"box{number}",
        created=number * SECOND,
        image="busybox",
        image_id="sha256:1",
        command=("sh", "-c", "echo hi"),
        labels={"n": str(number), "team": "a"},
        mounts=(MountPoint("/b", "bind", "/a", ("rbind", "ro", "rprivate"), create_source=True),),
    )
    return Record(wanted, State(status=status, **state))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0001-01-01T00:00:00Z"),
        (SECOND, "1970-01-01T00:00:01Z"),
        (SECOND + 1, "1970-01-01T00:00:01.000000001Z"),
        (1_700_000_000_120_000_000, "2023-11-14T22:13:20.12Z"),
    ],
)
def test_moments(nanoseconds: int, text: str) -> None:
    assert times.moment(nanoseconds) == text
    assert times.nanoseconds(text) == nanoseconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (2 * 3600, "2 hours"),
        (47 * 3600, "47 hours"),
        (3 * 86400, "3 days"),
        (20 * 86400, "2 weeks"),
        (90 * 86400, "3 months"),
        (3 * 365 * 86400, "3 years"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert times.human(seconds) == text


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (State(), "Created"),
        (State(Status.RUNNING, started=40 * SECOND), "Up About a minute"),
        (State(Status.RUNNING, started=95 * SECOND, health=Health.STARTING), "Up 5 seconds (health: starting)"),
        (State(Status.RUNNING, started=95 * SECOND, health=Health.HEALTHY), "Up 5 seconds (healthy)"),
        (State(Status.PAUSED, started=95 * SECOND), "Up 5 seconds (Paused)"),
        (State(Status.EXITED, exit_code=3, finished=98 * SECOND), "Exited (3) 2 seconds ago"),
        (State(Status.RESTARTING, exit_code=1, finished=98 * SECOND), "Restarting (1) 2 seconds ago"),
        (State(Status.DEAD), "Dead"),
    ],
)
def test_status_words(state: State, text: str) -> None:
    assert render.status(state, 100 * SECOND) == text


def test_inspect_is_whole() -> None:
    found = render.inspect(record(started=SECOND, pid=7), "/d")
    assert found["Path"] == "sh"
    assert found["Args"] == ["-c", "echo hi"]
    assert found["State"]["Running"] is True
    assert found["LogPath"] == "/d/log.json"
    assert found["Mounts"][0] == {
        "Type": "bind",
        "Source": "/a",
        "Destination": "/b",
        "Mode": "ro",
        "RW": False,
        "Propagation": "rprivate",
    }
    assert msgspec.json.encode(found)


def test_a_line_is_made_once_and_is_json() -> None:
    lines = render.Summaries()
    one = record(started=SECOND)
    first = msgspec.json.decode(lines.line(one, "busybox", 61 * SECOND))
    later = msgspec.json.decode(lines.line(one, "busybox", 200 * SECOND))
    assert first["Status"] == "Up About a minute"
    assert later["Status"] == "Up 3 minutes"
    assert first["Command"] == "sh -c 'echo hi'"
    assert list(first).index("Status") == list(first).index("State") + 1


def test_a_thousand_lines_cost_little() -> None:
    """Less than to read them: that does not depend on how slow this machine is now."""
    lines = render.Summaries()
    records = [record(number, started=SECOND) for number in range(1000)]
    took, reading = [], []
    for _ in range(5):
        begun = time.process_time()
        text = b",".join(lines.line(one, "busybox", 100 * SECOND) for one in records)
        made = time.process_time()
        json.loads(b"[%s]" % text)
        took.append(made - begun)
        reading.append(time.process_time() - made)
    assert len(text) > 300_000
    assert min(took) < min(reading)


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ('{"name": ["box2"]}', ["box2"]),
        ('{"name": {"^/box1$": true}}', ["box1"]),
        ('{"status": ["exited"]}', ["box3"]),
        ('{"label": ["n=1"]}', ["box1"]),
        ('{"label": ["team", "n=2"]}', ["box2"]),
        ('{"label!": ["n=2"]}', ["box1"]),
        (f'{{"id": ["{"0" * 63}2"]}}', ["box2"]),
        ('{"volume": ["/b"]}', ["box2", "box1"]),
        ('{"network": ["host"]}', []),
        ('{"exited": ["3"], "status": ["exited"]}', ["box3"]),
    ],
)
def test_filters(filters: str, names: list[str]) -> None:
    records = [record(3, Status.EXITED, exit_code=3, has_run=True), record(2), record(1)]
    assert [one.wanted.name for one in choose(records, Listed(parse_filters(filters)))] == names


def test_limits_and_prune() -> None:
    records = [record(3, Status.EXITED), record(2), record(1)]
    assert len(choose(records, Listed({}))) == 2
    assert len(choose(records, Listed({}, everything=True))) == 3
    assert [one.wanted.name for one in choose(records, Listed({}, limit=1))] == ["box3"]
    old = prune({"until": ("2",)}, 100 * SECOND)
    assert [one.wanted.name for one in records if old(one)] == ["box1"]


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"a": {"b": 1}}', '{"a": [1]}', "x"])
def test_filters_that_are_none(text: str) -> None:
    with pytest.raises(BadValue, match="invalid filter"):
        parse_filters(text)


def test_a_query_is_bounded() -> None:
    with pytest.raises(BadValue, match="malformed query"):
        Query("&".join(f"a{number}=1" for number in range(1000)), Parameters(all=True))


def test_events() -> None:
    event = Event("container", "exec_create: sh", "1" * 64, {"image": "busybox:1", "name": "box", "k": "v"}, 5 * SECOND)
    found = render_event(event, legacy=True)
    assert (found["status"], found["from"], found["time"]) == ("exec_create: sh", "busybox:1", 5)
    assert not {"status", "from", "id"} & set(render_event(event))
    for filters, passes in (
        ({"event": ("exec_create",)}, True),
        ({"type": ("image",)}, False),
        ({"container": ("box",)}, True),
        ({"container": ("11",)}, True),
        ({"container": ("2",)}, False),
        ({"image": ("busybox",)}, True),
        ({"label": ("k=v",)}, True),
        ({"label": ("k=w",)}, False),
        ({"network": ("none",)}, False),
    ):
        assert event_matches(event, filters) is passes, filters


def test_the_document_says_what_is_served() -> None:
    """Paths, methods and parameters of our own prefix, both ways."""
    from stockade.docker_api.own import Own

    own = Own.__new__(Own)
    text = msgspec.json.decode(document())
    said = {
        (method.upper(), path): {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
        for path, methods in text["paths"].items()
        for method, operation in methods.items()
    }
    served = {(route.method, route.pattern): set(route.parameters.served) for route in own.routes()}
    assert said == served
    assert all(pattern.startswith(PREFIX) for _, pattern in served)
    assert (Path(render.__file__).parent / "openapi.json").read_bytes() == document()
