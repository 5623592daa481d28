"""Our tables against the definition of the Engine API.

Facts only: paths, methods, parameters, fields. Nothing of it is kept in the repository.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from stockade.docker_api import (
    containers,
    execs,
    fields,
    images,
    networks,
    own,
    refusals,
    registries,
    system,
    usage,
    volumes,
)
from stockade.docker_api.router import Route
from support.definition import load, properties

# Of the Go client, the CLI or old versions, and not in the definition of this one.
MORE_ROUTES = {
    ("GET", "/networks/"), ("POST", "/build/cancel"), ("POST", "/grpc"),
    ("GET", "/containers/{}/checkpoints"), ("POST", "/containers/{}/checkpoints"),
}  # fmt: skip
MORE_PARAMETERS = {
    ("GET", "/containers/json"): {"since", "before"},
    ("GET", "/containers/{}/logs"): {"details"},
    ("GET", "/images/json"): {"filter"},
    ("POST", "/containers/{}/start"): {"checkpoint", "checkpoint-dir"},
    ("POST", "/build/prune"): {"keep-storage"},
}


@pytest.fixture(scope="module", name="definition")
def _definition() -> dict[str, Any]:
    return load()


def routes() -> list[Route]:
    """The whole table, without an engine."""
    groups: tuple[Any, ...] = (
        containers.Containers,
        execs.Execs,
        images.Images,
        registries.Registries,
        system.System,
        usage.DiskUsage,
        networks.Networks,
        volumes.Volumes,
        refusals.Absent,
        own.Own,
    )
    found = [route for group in groups for route in group.__new__(group).routes()]
    return found + refusals.refused_routes()


def key(method: str, pattern: str) -> tuple[str, str]:
    return method.upper(), re.sub(r"\{[^}]*\}", "{}", pattern)


def operations(definition: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    found = {}
    for path, methods in definition["paths"].items():
        for method, operation in methods.items():
            if method != "parameters":
                given = [*operation.get("parameters", ()), *methods.get("parameters", ())]
                found[key(method, path)] = {one["name"] for one in given if one["in"] == "query"}
    return found


def test_every_route_of_docker_is_served_or_refused(definition: dict[str, Any]) -> None:
    ours = {key(route.method, route.pattern) for route in routes() if not route.pattern.startswith(own.PREFIX)}
    theirs = set(operations(definition))
    assert theirs - ours == set()
    assert ours - theirs == MORE_ROUTES


def test_every_parameter_of_docker_is_served_or_refused(definition: dict[str, Any]) -> None:
    theirs = operations(definition)
    wrong = []
    for route in routes():
        where = key(route.method, route.pattern)
        if route.parameters.all or where not in theirs:
            continue
        known = route.parameters
        ours = known.served | set(known.refused) | known.neutral
        if ours - MORE_PARAMETERS.get(where, set()) != theirs[where] - MORE_PARAMETERS.get(where, set()):
            wrong.append((where, sorted(ours ^ theirs[where])))
    assert wrong == []


def test_every_parameter_that_is_served_is_read() -> None:
    """In its handler's module: by its name, in an expression that reads it."""
    for route in routes():
        source = inspect.getsource(inspect.getmodule(route.handler))  # type: ignore[arg-type]
        if route.pattern.startswith(own.PREFIX):
            source += inspect.getsource(containers)
        for name in route.parameters.served:
            if name == "filters":
                assert "filters()" in source
                continue
            reads = rf'\b(?:text|texts|flag|number|unsigned|time|_log_time)\((?:query, )?"{name}"'
            assert re.search(reads, source), (route.pattern, name)


@pytest.mark.parametrize(
    ("name", "kind", "not_theirs"),
    [
        ("ContainerConfig", fields.Config, {"MacAddress"}),
        ("HostConfig", fields.HostConfig, set()),
        ("Resources", fields.Resources, set()),
        ("HealthConfig", fields.Health, set()),
        ("RestartPolicy", fields.RestartPolicy, set()),
        ("DeviceMapping", fields.DeviceMapping, set()),
        ("ThrottleDevice", fields.ThrottleDevice, set()),
        ("Mount", fields.Mount, {"ClusterOptions"}),
        ("NetworkingConfig", fields.Networking, set()),
        ("EndpointSettings", fields.EndpointSettings, set()),
        ("EndpointIPAMConfig", fields.EndpointIpam, set()),
        ("IPAM", fields.Ipam, set()),
        ("IPAMConfig", fields.IpamConfig, set()),
        ("PortBinding", fields.PortBinding, set()),
        ("AuthConfig", fields.AuthConfig, {"auth", "email", "identitytoken", "registrytoken"}),
        ("VolumeCreateRequest", fields.VolumeCreate, set()),
    ],
)
def test_every_field_of_docker_stands_in_our_table(
    definition: dict[str, Any], name: str, kind: type[fields.Fields], not_theirs: set[str]
) -> None:
    theirs = set(properties(definition, definition["definitions"][name]))
    ours = set(kind.__struct_encode_fields__)
    assert theirs - ours == MISPLACED.get(name, set())
    assert ours - theirs - not_theirs == OLDER.get(name, set())


# Of HostConfig in Go's types, whatever the definition says: nobody could change it while a container lives.
MISPLACED = {"Resources": {"Init"}, "/containers/{id}/update": {"Init"}}
# Of older versions of the API, which clients may still send.
OLDER: dict[str, set[str]] = {
    "HostConfig": {"KernelMemory", "KernelMemoryTCP"},
    "Resources": {"KernelMemory", "KernelMemoryTCP"},
}


@pytest.mark.parametrize(
    ("path", "kind", "not_theirs"),
    [
        ("/containers/{id}/exec", fields.ExecCreate, {"Detach", "Container"}),
        ("/exec/{id}/start", fields.ExecStart, set()),
        ("/networks/create", fields.NetworkCreate, {"CheckDuplicate"}),
        ("/networks/{id}/connect", fields.NetworkConnect, set()),
        ("/networks/{id}/disconnect", fields.NetworkDisconnect, set()),
        ("/containers/{id}/update", fields.Update, {"KernelMemory", "KernelMemoryTCP"}),
    ],
)
def test_every_field_of_a_body_stands_in_our_table(
    definition: dict[str, Any], path: str, kind: type[fields.Fields], not_theirs: set[str]
) -> None:
    [body] = [one for one in definition["paths"][path]["post"]["parameters"] if one["in"] == "body"]
    theirs = set(properties(definition, body["schema"]))
    ours = set(kind.__struct_encode_fields__)
    assert theirs - ours == MISPLACED.get(path, set())
    assert ours - theirs == not_theirs


def test_only_swarms_plugins_and_builds_are_refused(definition: dict[str, Any]) -> None:
    """What of the definition has a route that does nothing but refuse."""
    others = {"Swarm", "Node", "Service", "Task", "Secret", "Config", "Plugin", "Session (experimental)", "Session"}
    tags = {
        key(method, path): set(operation["tags"])
        for path, methods in definition["paths"].items()
        for method, operation in methods.items()
        if method != "parameters"
    }
    refused = {key(route.method, route.pattern) for route in refusals.refused_routes()}
    beyond = {where for where in refused & set(tags) if not tags[where] & others}
    assert beyond == {("POST", "/build")}
