"""From a method and a path to what answers it: by tables, no search.

Every pattern of the API has a fixed first word and, where there is a name in the middle, fixed words at its end; names
may hold slashes (`images/registry/busybox/json`). So a path is looked up by its first word and its last ones.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import unquote

from stockade.docker_api.answers import Answer
from stockade.docker_api.query import Parameters
from stockade.docker_api.versions import Version, split_version
from stockade.errors import NotFound

if TYPE_CHECKING:
    from stockade.docker_api.server import Request

Handler = Callable[["Request"], Awaitable[Answer | None]]
"""Answers a request; None: it has answered by itself, or has given the connection away."""

BodyKind = Literal["none", "json", "stream"]


class Route(NamedTuple):
    """One method and pattern of the API."""

    method: str
    pattern: str
    """As `/containers/{name}/json`; `{name}` may hold slashes."""
    handler: Handler
    parameters: Parameters = Parameters()
    body: BodyKind = "none"
    """Whether a body is read before the handler runs, as JSON, or is the handler's to give away."""
    waits: bool = False
    """Whether it only waits and tells: it ends when its client does. All else is brought to its end."""


class Found(NamedTuple):
    """A route, and what the path said."""

    route: Route
    version: Version
    name: str


PAGE_NOT_FOUND = "page not found"


class Router:
    """The table of all routes."""

    def __init__(self, routes: list[Route]) -> None:
        self.routes = routes
        self._exact: dict[tuple[str, str], Route] = {}
        self._named: dict[tuple[str, str, str], Route] = {}
        for route in routes:
            head, brace, rest = route.pattern.partition("{")
            tail = rest.partition("}")[2]
            if not brace:
                fresh = self._exact.setdefault((route.method, route.pattern), route)
            else:
                fresh = self._named.setdefault((route.method, head, tail), route)
            if fresh is not route:
                raise ValueError(f"{route.method} {route.pattern} stands twice in the table")
        self._heads = sorted({head for _, head, _ in self._named}, key=len, reverse=True)

    def find(self, method: str, path: str) -> Found:
        """The route of a path with or without a version; "page not found" in Docker's words where there is none."""
        version, path = split_version(path)
        route = self._exact.get((method, path))
        if route is not None:
            return Found(route, version, "")
        for head in self._heads:
            if path.startswith(head):
                found = self._by_name(method, head, path[len(head) :])
                if found is not None:
                    return Found(found[0], version, unquote(found[1]).removeprefix("/"))
        raise NotFound(PAGE_NOT_FOUND)

    def _by_name(self, method: str, head: str, rest: str) -> tuple[Route, str] | None:
        """The longest tail of the path that ends a pattern: `/attach/ws` before `/ws` before none."""
        start = rest.find("/", 1)
        while start >= 0:
            route = self._named.get((method, head, rest[start:]))
            if route is not None:
                return route, rest[:start]
            start = rest.find("/", start + 1)
        route = self._named.get((method, head, ""))
        return (route, rest) if route is not None and rest else None
