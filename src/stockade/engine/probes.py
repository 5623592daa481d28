"""When a container is asked whether it is well, and what its answers mean: Docker's rules. Pure."""

from __future__ import annotations

from typing import NamedTuple

from stockade.engine.records import Health, Probe, State
from stockade.images.values import HealthCheck

KEPT = 5
"""Probes that are remembered."""
OUTPUT_LIMIT = 4096
"""Bytes of a probe's output that are."""
_SHELL = ("/bin/sh", "-c")


class Plan(NamedTuple):
    """A health check with its defaults filled in; seconds."""

    command: tuple[str, ...]
    interval: float = 30
    timeout: float = 30
    retries: int = 3
    start_period: float = 0
    start_interval: float = 5


def plan(check: HealthCheck | None, shell: tuple[str, ...] = ()) -> Plan | None:
    """How to ask; None: nothing is asked. `shell` is the image's, for `CMD-SHELL`."""
    if check is None or len(check.test) < 2 or check.test[0] not in ("CMD", "CMD-SHELL"):
        return None
    command = check.test[1:]
    if check.test[0] == "CMD-SHELL":
        command = (*(shell or _SHELL), *command)
    usual = Plan(command)
    return Plan(
        command,
        check.interval or usual.interval,
        check.timeout or usual.timeout,
        check.retries if check.retries > 0 else usual.retries,
        check.start_period,
        check.start_interval or usual.start_interval,
    )


def delay(wanted: Plan, health: Health, age: float) -> float:
    """Seconds from now, or from the end of the last probe, to the next; `age` of the container since its start."""
    if age < wanted.start_period and health is Health.STARTING:
        return wanted.start_interval
    return wanted.interval


def begun(state: State) -> State:
    """What is known of its health at the start of a container that has a check."""
    return _replace(state, Health.STARTING, 0, state.probes)


def judged(wanted: Plan, state: State, probe: Probe) -> State:
    """What is known after one more answer.

    Within the start period a container that was never well is not blamed for a failure.
    """
    probes = (*state.probes, probe)[-KEPT:]
    if probe.status == 0:
        return _replace(state, Health.HEALTHY, 0, probes)
    excused = state.health is Health.STARTING and (probe.start - state.started) / 1e9 < wanted.start_period
    if excused:
        return _replace(state, state.health, state.failing, probes)
    failing = state.failing + 1
    return _replace(state, Health.UNHEALTHY if failing >= wanted.retries else state.health, failing, probes)


def ended(state: State) -> State:
    """A container that is asked no more counts as unhealthy, as with Docker, if it ever was asked."""
    if state.health is Health.NONE:
        return state
    return _replace(state, Health.UNHEALTHY, state.failing, state.probes)


def output(raw: bytes, cut: bool) -> str:
    """A probe's output as it is remembered."""
    return raw[:OUTPUT_LIMIT].decode(errors="replace") + ("..." if cut or len(raw) > OUTPUT_LIMIT else "")


def late(wanted: Plan, said: str) -> str:
    """What is remembered of a probe that did not end in time."""
    text = f"Health check exceeded timeout ({render(wanted.timeout)})"
    return f"{text}: {said}" if said else text


def render(seconds: float) -> str:
    """A duration as Go prints it: `30s`, `1m30s`, `500ms`."""
    if seconds < 1:
        return f"{seconds * 1000:.6f}".rstrip("0").rstrip(".") + "ms"
    whole, rest = divmod(seconds, 60)
    text = f"{rest:.9f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(int(whole), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if whole else "") + text


def _replace(state: State, health: Health, failing: int, probes: tuple[Probe, ...]) -> State:
    from msgspec.structs import replace

    return replace(state, health=health, failing=failing, probes=probes)
