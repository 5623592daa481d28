"""When a container is asked whether it is well, and what its answers mean."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from stockade.engine import probes
from stockade.engine.records import Health, Probe, State
from stockade.images.values import HealthCheck

SECOND = 1_000_000_000
PLAN = probes.Plan(("true",), interval=30, timeout=30, retries=3, start_period=0, start_interval=5)


@pytest.mark.parametrize(
    ("check", "shell", "command"),
    [
        (None, (), None),
        (HealthCheck(), (), None),
        (HealthCheck(("NONE",)), (), None),
        (HealthCheck(("CMD",)), (), None),
        (HealthCheck(("MAGIC", "x")), (), None),
        (HealthCheck(("CMD", "test", "-e", "/x")), (), ("test", "-e", "/x")),
        (HealthCheck(("CMD-SHELL", "exit 1")), (), ("/bin/sh", "-c", "exit 1")),
        (HealthCheck(("CMD-SHELL", "exit 1")), ("/bin/ash", "-ec"), ("/bin/ash", "-ec", "exit 1")),
    ],
)
def test_what_is_run(check: HealthCheck | None, shell: tuple[str, ...], command: tuple[str, ...] | None) -> None:
    plan = probes.plan(check, shell)
    assert (plan.command if plan else None) == command


def test_zero_is_dockers_default() -> None:
    assert probes.plan(HealthCheck(("CMD", "true"))) == probes.Plan(("true",), 30, 30, 3, 0, 5)
    given = HealthCheck(("CMD", "true"), 1, 2, 4, 8, 0.5)
    assert probes.plan(given) == probes.Plan(("true",), 1, 2, 4, 8, 0.5)


@pytest.mark.parametrize(
    ("start_period", "health", "age", "seconds"),
    [
        (0, Health.STARTING, 1, 30),
        (60, Health.STARTING, 1, 5),
        (60, Health.HEALTHY, 1, 30),
        (60, Health.STARTING, 61, 30),
        (60, Health.UNHEALTHY, 1, 30),
    ],
)
def test_when_the_next_one_is_due(start_period: float, health: Health, age: float, seconds: float) -> None:
    assert probes.delay(PLAN._replace(start_period=start_period), health, age) == seconds


STARTING, HEALTHY, UNHEALTHY = Health.STARTING, Health.HEALTHY, Health.UNHEALTHY


@pytest.mark.parametrize(
    ("plan", "before", "status", "at", "after"),
    [
        (PLAN, (STARTING, 0), 0, 1, (HEALTHY, 0)),
        (PLAN, (UNHEALTHY, 7), 0, 1, (HEALTHY, 0)),
        (PLAN, (STARTING, 0), 1, 1, (STARTING, 1)),
        (PLAN, (STARTING, 2), 1, 1, (UNHEALTHY, 3)),
        (PLAN, (HEALTHY, 0), 1, 1, (HEALTHY, 1)),
        (PLAN, (HEALTHY, 2), -1, 1, (UNHEALTHY, 3)),
        (PLAN, (UNHEALTHY, 3), 2, 1, (UNHEALTHY, 4)),
        (PLAN._replace(start_period=10), (STARTING, 0), 1, 9, (STARTING, 0)),
        (PLAN._replace(start_period=10), (STARTING, 0), 1, 10, (STARTING, 1)),
        (PLAN._replace(start_period=10), (HEALTHY, 0), 1, 5, (HEALTHY, 1)),
        (PLAN._replace(retries=1), (HEALTHY, 0), 1, 5, (UNHEALTHY, 1)),
    ],
)
def test_what_an_answer_means(
    plan: probes.Plan, before: tuple[Health, int], status: int, at: int, after: tuple[Health, int]
) -> None:
    state = State(started=100 * SECOND, health=before[0], failing=before[1])
    probe = Probe((100 + at) * SECOND, (100 + at) * SECOND, status, "")
    found = probes.judged(plan, state, probe)
    assert ((found.health, found.failing), found.probes) == (after, (probe,))


def test_five_are_remembered() -> None:
    state = State()
    for number in range(8):
        state = probes.judged(PLAN, state, Probe(number, number, 0, ""))
    assert [probe.start for probe in state.probes] == [3, 4, 5, 6, 7]


def test_beginning_and_end() -> None:
    state = replace(State(), health=Health.UNHEALTHY, failing=4, probes=(Probe(1, 1, 1, ""),))
    begun = probes.begun(state)
    assert (begun.health, begun.failing, len(begun.probes)) == (Health.STARTING, 0, 1)
    assert probes.ended(begun).health is Health.UNHEALTHY
    assert probes.ended(State()).health is Health.NONE


@pytest.mark.parametrize(
    ("raw", "text"),
    [(b"ok\n", "ok\n"), (b"\xff", "�"), (b"x" * 4096, "x" * 4096), (b"x" * 4097, "x" * 4096 + "...")],
)
def test_output_is_bounded(raw: bytes, text: str) -> None:
    assert probes.output(raw, False) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(30, "30s"), (0.5, "500ms"), (90, "1m30s"), (3600, "1h0m0s"), (1.5, "1.5s"), (0.0015, "1.5ms")],
)
def test_durations_as_go_prints_them(seconds: float, text: str) -> None:
    assert probes.render(seconds) == text
    plan = PLAN._replace(timeout=seconds)
    assert probes.late(plan, "") == f"Health check exceeded timeout ({text})"
    assert probes.late(plan, "so far") == f"Health check exceeded timeout ({text}): so far"
