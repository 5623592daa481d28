"""Which containers a list or prune means: Docker's filters. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from stockade.docker_api.ends import port_range
from stockade.docker_api.query import Filters, only, truth
from stockade.docker_api.times import nanoseconds
from stockade.engine.records import Health, Record, Status
from stockade.errors import BadValue
from stockade.model import parse_duration

LIST = frozenset(
    "ancestor annotation before exited expose health id is-task isolation label name network publish since status "
    "volume".split()
)
PRUNE = frozenset({"label", "label!", "until"})
RUNNING = frozenset({Status.RUNNING, Status.PAUSED, Status.RESTARTING})
_PLAIN = re.compile(r"[\w/-]*")
_LONGEST_PATTERN = 256


class Listed(NamedTuple):
    """What a list of containers asks for."""

    filters: Filters
    everything: bool = False
    limit: int = 0
    """The newest so many; 0: all."""
    before: int = 0
    """Made before this moment, in nanoseconds; 0: whenever."""
    since: int = 0
    ancestors: frozenset[str] | None = None
    """Ids of the images that the filter `ancestor` means; None: any."""


def choose(records: Iterable[Record], listed: Listed) -> list[Record]:
    """Those that are meant, in the order given (the newest first)."""
    checks = list(_checks(listed))
    everything = listed.everything or listed.limit > 0 or "status" in listed.filters
    found = [
        record
        for record in records
        if (everything or record.state.status in RUNNING) and all(check(record) for check in checks)
    ]
    return found[: listed.limit] if listed.limit > 0 else found


Check = Callable[[Record], bool]


def _checks(listed: Listed) -> Iterable[Check]:
    filters = listed.filters
    if listed.before:
        yield lambda one: one.wanted.created < listed.before
    if listed.since:
        yield lambda one: one.wanted.created > listed.since
    if listed.ancestors is not None:
        known = listed.ancestors
        yield lambda one: one.wanted.image_id in known
    for name, make in _BY_NAME.items():
        if filters.get(name):
            yield make(filters[name])
    for text in filters.get("annotation", ()):
        yield lambda one, text=text: has_label(one.wanted.annotations, text)  # type: ignore[misc]
    yield from labels(filters)


def labels(filters: Filters) -> Iterable[Check]:
    """The filters `label` (all must hold) and `label!` (none may)."""
    for text in filters.get("label", ()):
        yield lambda one, text=text: has_label(one.wanted.labels, text)  # type: ignore[misc]
    for text in filters.get("label!", ()):
        yield lambda one, text=text: not has_label(one.wanted.labels, text)  # type: ignore[misc]


def has_label(known: Mapping[str, str], text: str) -> bool:
    """Whether there is the label or annotation `name`, or `name=value`."""
    name, equals, value = text.partition("=")
    return name in known and (not equals or known[name] == value)


def prune(filters: Filters, now: int) -> Check:
    """Which containers a prune means, `now` in nanoseconds."""
    only(filters, PRUNE)
    checks = list(labels(filters))
    times = filters.get("until", ())
    if times:
        before = until(times, now)
        checks.append(lambda one: one.wanted.created < before)
    return lambda one: all(check(one) for check in checks)


def until(texts: tuple[str, ...], now: int) -> int:
    """The moment of the filter `until`: seconds since the epoch, RFC 3339, or a duration before now."""
    if len(texts) > 1:
        raise BadValue("more than one until filter specified")
    text = texts[0]
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return int(float(text) * 1e9)
    found = nanoseconds(text) or nanoseconds(f"{text}Z")
    return found or now - int(parse_duration(text) * 1e9)


def _names(texts: tuple[str, ...]) -> Check:
    patterns = [_pattern(text) for text in texts]
    return lambda one: any(
        pattern.search(one.wanted.name) or pattern.search(f"/{one.wanted.name}") for pattern in patterns
    )


def _pattern(text: str) -> re.Pattern[str]:
    if len(text) > _LONGEST_PATTERN:
        raise BadValue(f"a filter of {len(text)} characters is too long")
    try:
        return re.compile(re.escape(text) if _PLAIN.fullmatch(text) else text)
    except (re.error, RecursionError) as error:
        raise BadValue(f"invalid filter 'name={text}': {error}") from None


def _ids(texts: tuple[str, ...]) -> Check:
    return lambda one: any(one.wanted.id.startswith(text) for text in texts)


def _statuses(texts: tuple[str, ...]) -> Check:
    for text in texts:
        if text not in set(Status):
            known = "created, running, paused, restarting, removing, exited, dead"
            raise BadValue(f"invalid filter 'status={text}': invalid value for state ({text}): must be one of {known}")
    return lambda one: one.state.status in texts


def _healths(texts: tuple[str, ...]) -> Check:
    for text in texts:
        if text not in set(Health):
            known = "none, starting, healthy, unhealthy"
            raise BadValue(f"invalid filter 'health={text}': invalid value for health ({text}): must be one of {known}")
    return lambda one: one.state.health in texts


def _exits(texts: tuple[str, ...]) -> Check:
    try:
        codes = {int(text) for text in texts}
    except ValueError:
        raise BadValue(f"invalid filter 'exited={texts[0]}'") from None
    return lambda one: one.state.exit_code in codes and not one.state.pid and one.state.has_run


def _networks(texts: tuple[str, ...]) -> Check:
    return lambda one: (
        one.wanted.namespaces.network in texts
        or any(end.network in texts for end in one.wanted.networks)
        or any(end.network_id.startswith(text) for end in one.state.endpoints for text in texts)
    )


def _volumes(texts: tuple[str, ...]) -> Check:
    return lambda one: any(text in (point.source, point.target) for point in one.wanted.mounts for text in texts)


def _exposed(texts: tuple[str, ...]) -> Check:
    ranges = [port_range(text) for text in texts]

    def check(one: Record) -> bool:
        exposed = [port_range(text) for text in one.wanted.exposed_ports]
        ports = [*exposed, *((port.port, port.port, port.protocol) for port in one.wanted.ports)]
        return any(
            first <= port <= last and protocol == of
            for port, _, of in ports
            for first, last, protocol in ranges
        )  # fmt: skip

    return check


def _published(texts: tuple[str, ...]) -> Check:
    ranges = [port_range(text) for text in texts]
    return lambda one: any(
        first <= port.host_port <= last and port.protocol == protocol
        for end in one.state.endpoints
        for port in end.published
        for first, last, protocol in ranges
    )


def _tasks(texts: tuple[str, ...]) -> Check:
    wanted = {truth(text, "is-task") for text in texts}
    return lambda one: False in wanted


def _isolation(texts: tuple[str, ...]) -> Check:
    return lambda one: "default" in texts


_BY_NAME: dict[str, Callable[[tuple[str, ...]], Check]] = {
    "name": _names,
    "id": _ids,
    "status": _statuses,
    "health": _healths,
    "exited": _exits,
    "network": _networks,
    "volume": _volumes,
    "expose": _exposed,
    "publish": _published,
    "is-task": _tasks,
    "isolation": _isolation,
}
