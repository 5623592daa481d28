"""Containers: from a request to the engine's verb, and its answer back."""

from __future__ import annotations

import base64
import os
import platform
import socket
import time
from typing import TYPE_CHECKING, Any

import msgspec

from stockade.docker_api import fields, limits, render, selection, websockets
from stockade.docker_api.answers import MULTIPLEXED, NO_CONTENT, RAW, TAR, Answer, encode, json
from stockade.docker_api.networks import WITHOUT, network_id
from stockade.docker_api.query import Query, only, served
from stockade.docker_api.router import Route
from stockade.docker_api.selection import Listed
from stockade.docker_api.times import moment, nanoseconds
from stockade.docker_api.versions import NO_LEGACY_SINCE, Version
from stockade.docker_api.wanted import Asked, Image, since_1_52, wanted
from stockade.engine import names
from stockade.engine.answers import Change
from stockade.engine.records import NAMESPACE, Record
from stockade.engine.requests import AttachOptions, CommitOptions, LogOptions, PutOptions
from stockade.engine.storage import describe
from stockade.errors import BadValue, Conflict, NotFound, StockadeError
from stockade.model.connection import Hijack

if TYPE_CHECKING:
    from stockade.docker_api.server import Request
    from stockade.engine.engine import Engine

MULTIPLEXED_SINCE = Version(1, 42)
_STREAMS_CHOSEN_SINCE = Version(1, 42)
"""Before, a websocket carries all three streams, whatever is asked."""
_BINARY_SINCE = Version(1, 28)
_CLEARS_SINCE = Version(1, 55)
"""From here on an empty list of an update clears the limits of devices."""
_CONDITIONS = ("not-running", "next-exit", "removed")
_LEAST_BODY = 7
_ATTACH = served("detachKeys", "logs", "stream", "stdin", "stdout", "stderr")
_CHECKPOINTS = "checkpoints are not served"


def stream_kind(version: Version, framed: bool) -> str:
    """The content type of a stream; clients before 1.42 know one only."""
    return MULTIPLEXED if framed and version >= MULTIPLEXED_SINCE else RAW


def defaults(image: Any) -> Image:
    """What an image says of its containers."""
    of = image.config
    return Image(
        image.id,
        of.entrypoint or (),
        of.cmd or (),
        of.env,
        of.workdir,
        of.user,
        of.labels,
        of.exposed_ports,
        of.volumes,
        of.stop_signal,
        of.health,
        of.shell,
    )


class Containers:
    """The routes below /containers, and /commit."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._summaries = render.Summaries()
        self._processors = os.cpu_count() or 1
        self._hostname = socket.gethostname()

    def routes(self) -> list[Route]:
        """Docker's table."""
        one = "/containers/{name}"
        stop = served("signal", "t")
        checkpoint = {"checkpoint": _CHECKPOINTS, "checkpoint-dir": _CHECKPOINTS}
        return [
            Route(
                "GET", "/containers/json", self.listing, served("all", "limit", "size", "filters", "since", "before")
            ),
            Route("POST", "/containers/create", self.create, served("name", "platform"), body="json"),
            Route("POST", "/containers/prune", self.prune, served("filters")),
            Route("GET", f"{one}/json", self.inspect, served("size")),
            Route("GET", f"{one}/top", self.top, served("ps_args")),
            Route("GET", f"{one}/logs", self.logs, served(*_LOGS)),
            Route("GET", f"{one}/changes", self.changes),
            Route("GET", f"{one}/export", self.export),
            Route("GET", f"{one}/stats", self.stats, served("stream", "one-shot"), waits=True),
            Route("POST", f"{one}/resize", self.resize, served("h", "w")),
            Route("POST", f"{one}/start", self.start, served(neutral=("detachKeys",), refused=checkpoint)),
            Route("POST", f"{one}/stop", self.stop, stop),
            Route("POST", f"{one}/restart", self.restart, stop),
            Route("POST", f"{one}/kill", self.kill, served("signal")),
            Route("POST", f"{one}/update", self.update, body="json"),
            Route("POST", f"{one}/rename", self.rename, served("name")),
            Route("POST", f"{one}/pause", self.pause),
            Route("POST", f"{one}/unpause", self.unpause),
            Route("POST", f"{one}/attach", self.attach, _ATTACH),
            Route("GET", f"{one}/attach/ws", self.attach_ws, _ATTACH),
            Route("POST", f"{one}/wait", self.wait, served("condition"), waits=True),
            Route(
                "DELETE",
                one,
                self.remove,
                served("v", "force", refused={"link": "remove a link by removing the container"}),
            ),
            Route("HEAD", f"{one}/archive", self.archive_stat, served("path")),
            Route("GET", f"{one}/archive", self.archive_get, served("path")),
            Route("PUT", f"{one}/archive", self.archive_put, served(*_PUT), body="stream"),
            Route("POST", "/commit", self.commit, served(*_COMMIT), body="json"),
        ]

    # Making and listing ------------------------------------------------------------------------------------------

    async def create(self, request: Request) -> Answer:
        """Docker's ContainerCreate."""
        body = request.decode(fields.Create)
        if body.stockade is not None:
            raise BadValue("unknown field with a value: Stockade", hint="it is taken at /stockade/v1/containers/create")
        return await self.make(request, body)

    async def make(self, request: Request, body: fields.Create) -> Answer:
        """Create a container of a body, Docker's or with our own fields."""
        if not request.content:
            raise BadValue("config cannot be empty in order to create a container")
        image = self._image(body, request.query.text("platform"))
        name = request.query.text("name")
        name = names.check_name(name) if name else self._free_name()
        asked = Asked(self._engine.next_id(), name, time.time_ns(), self._processors, self._hostname, self._identity,
                      NAMESPACE, self._network)  # fmt: skip
        plan, warnings = wanted(body, image, asked)
        if request.version >= NO_LEGACY_SINCE:
            warnings = (*warnings, *since_1_52(body))
        record = await self._engine.create(plan)
        return json({"Id": record.wanted.id, "Warnings": list(warnings)}, 201)

    def _image(self, body: fields.Create, wanted_platform: str) -> Image | None:
        if body.stockade is not None and body.stockade.rootfs:
            if body.image:
                raise BadValue("Image and Stockade.Rootfs exclude each other")
            return None
        if not body.image:
            raise BadValue("no image is named")
        found = self._engine.images.find(body.image)
        if wanted_platform:
            _check_platform(wanted_platform, found.config, body.image)
        return defaults(found)

    def _free_name(self) -> str:
        """A name that nobody has."""
        for _ in range(20):
            name = names.new_name(())
            if self._engine.is_free(name):
                return name
        return names.new_name(one.wanted.name for one in self._engine.list())

    def _identity(self, reference: str) -> str:
        return self._engine.find(reference).wanted.id

    def _network(self, reference: str) -> str:
        """The name of a network; one that is not there yet may be there when the container starts."""
        found = self._engine.networks.get(reference)
        return reference if found is None else found.name

    async def listing(self, request: Request) -> Answer:
        """Docker's ContainerList."""
        query = request.query
        listed = self._listed(query)
        everything = self._engine.list()
        self._summaries.forget({record.wanted.id for record in everything})
        found = selection.choose(everything, listed)
        if query.flag("size"):
            return json([await self._sized(record, request.version) for record in found])
        now = time.time_ns()
        shown: dict[tuple[str, str], str] = {}
        health = request.version >= NO_LEGACY_SINCE
        lines = [self._summaries.line(record, self._shown_image(record, shown), now, health) for record in found]
        return Answer(200, b"[" + b",".join(lines) + b"]\n")

    def _listed(self, query: Query) -> Listed:
        filters = query.filters()
        only(filters, selection.LIST)
        ancestors = None
        if "ancestor" in filters:
            ancestors = frozenset(identity for text in filters["ancestor"] for identity in self._ancestors(text))
        before = [query.text("before")] if query.text("before") else list(filters.get("before", ()))
        since = [query.text("since")] if query.text("since") else list(filters.get("since", ()))
        return Listed(
            filters,
            query.flag("all"),
            query.number("limit") or 0,
            min((self._engine.find(text).wanted.created for text in before), default=0),
            max((self._engine.find(text).wanted.created for text in since), default=0),
            ancestors,
        )

    def _ancestors(self, text: str) -> tuple[str, ...]:
        try:
            return (self._engine.images.find(text).id,)
        except NotFound:
            return ()

    def _shown_image(self, record: Record, shown: dict[tuple[str, str], str]) -> str:
        """The image as it was asked for, or its id where that name means another one by now."""
        asked = (record.wanted.image, record.wanted.image_id)
        found = shown.get(asked)
        if found is None:
            known = self._ancestors(asked[0]) if asked[0] else ()
            found = shown[asked] = asked[0] if not known or known == (asked[1],) else asked[1]
        return found

    async def _sized(self, record: Record, version: Version) -> dict[str, Any]:
        found = render.summary(record, self._shown_image(record, {}))
        found["Status"] = render.status(record.state, time.time_ns())
        if version >= NO_LEGACY_SINCE:
            found["Health"] = render.health(record.state)
        found.update(await self._sizes(record))
        return found

    async def _sizes(self, record: Record) -> dict[str, int]:
        """What it wrote, and all that it sees."""
        written = await self._engine.snapshots.usage(self._engine.directory(record.wanted.id))
        try:
            below = self._engine.images.find(record.wanted.image_id).size if record.wanted.image_id else 0
        except NotFound:
            below = 0
        return {"SizeRw": written, "SizeRootFs": written + below}

    async def inspect(self, request: Request) -> Answer:
        """Docker's ContainerInspect."""
        record = self._engine.find(request.name)
        identity = record.wanted.id
        volumes = describe(record, self._engine.storage.volumes)
        execs, known = self._engine.execs.ids(identity), self._engine.networks.all()
        networks = {one.name: one.id for one in known} | {name: network_id(name) for name in WITHOUT}
        found = render.inspect(record, self._engine.directory(identity), execs, volumes, networks)
        if request.version < NO_LEGACY_SINCE:
            render.add_legacy(found, record)
        if request.query.flag("size"):
            found.update(await self._sizes(record))
        return json(found)

    async def prune(self, request: Request) -> Answer:
        """Docker's ContainerPrune."""
        matches = selection.prune(request.query.filters(), time.time_ns())
        done = await self._engine.prune(matches)
        return json({"ContainersDeleted": list(done.ids) or None, "SpaceReclaimed": done.reclaimed})

    # Its life ----------------------------------------------------------------------------------------------------

    async def start(self, request: Request) -> Answer:
        """Docker's ContainerStart."""
        if len(request.content) > _LEAST_BODY:
            raise BadValue(
                "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"
            )
        await self._engine.start(request.name)
        return NO_CONTENT

    async def stop(self, request: Request) -> Answer:
        """Docker's ContainerStop."""
        await self._engine.stop(request.name, request.query.text("signal") or None, request.query.number("t"))
        return NO_CONTENT

    async def restart(self, request: Request) -> Answer:
        """Docker's ContainerRestart."""
        await self._engine.restart(request.name, request.query.text("signal") or None, request.query.number("t"))
        return NO_CONTENT

    async def kill(self, request: Request) -> Answer:
        """Docker's ContainerKill."""
        try:
            await self._engine.kill(request.name, request.query.text("signal") or "SIGKILL")
        except StockadeError as error:
            raise type(error)(f"cannot kill container: {request.name}: {error.message}", hint=error.hint) from error
        return NO_CONTENT

    async def pause(self, request: Request) -> Answer:
        """Docker's ContainerPause."""
        await self._engine.pause(request.name)
        return NO_CONTENT

    async def unpause(self, request: Request) -> Answer:
        """Docker's ContainerUnpause."""
        await self._engine.unpause(request.name)
        return NO_CONTENT

    async def rename(self, request: Request) -> Answer:
        """Docker's ContainerRename."""
        name = request.query.text("name")
        if not name:
            raise BadValue("Neither old nor new names may be empty")
        try:
            await self._engine.rename(request.name, name)
        except (BadValue, Conflict) as error:
            if name.removeprefix("/") == self._engine.find(request.name).wanted.name:
                raise
            raise type(error)(f"Error when allocating new name: {error.message}", hint=error.hint) from error
        return NO_CONTENT

    async def update(self, request: Request) -> Answer:
        """Docker's ContainerUpdate."""
        body = request.decode(fields.Update)
        resources = limits.changed(body, self._processors, clears=request.version >= _CLEARS_SINCE)
        change = Change(resources, limits.restart_policy(body.restart_policy))
        try:
            warnings = await self._engine.update(request.name, change)
        except (BadValue, Conflict) as error:
            identity = self._engine.find(request.name).wanted.id
            raise type(error)(f"Cannot update container {identity}: {error.message}", hint=error.hint) from error
        return json({"Warnings": list(warnings) or None})

    async def remove(self, request: Request) -> Answer:
        """Docker's ContainerDelete."""
        await self._engine.remove(request.name, force=request.query.flag("force"), volumes=request.query.flag("v"))
        return NO_CONTENT

    async def wait(self, request: Request) -> None:
        """Docker's ContainerWait: the head of the answer at once, so that the client knows that it is heard."""
        condition = request.query.text("condition") or _CONDITIONS[0]
        if condition not in _CONDITIONS:
            raise BadValue(f'invalid condition: "{condition}"')
        end = self._engine.waiting(request.name, condition)
        stream = await request.start()
        ended = await end
        said: dict[str, Any] = {"StatusCode": ended.status}
        if ended.error:
            said["Error"] = {"Message": ended.error}
        await stream.write(encode(said))

    # Its streams -------------------------------------------------------------------------------------------------

    async def attach(self, request: Request) -> None:
        """Docker's ContainerAttach."""

        async def take(framed: bool) -> Hijack:
            return await request.hijack(stream_kind(request.version, framed), framed=framed)

        await self._engine.streams.attach(request.name, _attachment(request.query), take)

    async def attach_ws(self, request: Request) -> Answer | None:
        """Docker's ContainerAttachWebsocket: bare bytes, standard output and error as one."""
        self._engine.find(request.name)
        accepted = websockets.opening(request)
        if isinstance(accepted, Answer):
            return accepted
        options = _attachment(request.query)
        if request.version < _STREAMS_CHOSEN_SINCE:
            options = msgspec.structs.replace(options, stdin=True, stdout=True, stderr=True)
        text = request.version < _BINARY_SINCE

        async def take(_framed: bool) -> Hijack:
            return websockets.carry(await request.switch(accepted), text=text)

        await self._engine.streams.attach(request.name, options, take)
        return None

    async def logs(self, request: Request) -> None:
        """Docker's ContainerLogs."""
        query = request.query
        stdout, stderr = query.flag("stdout"), query.flag("stderr")
        if not stdout and not stderr:
            raise BadValue("must specify at least one of 'stdout' or 'stderr'")
        tail = query.text("tail")
        options = LogOptions(
            follow=query.flag("follow"),
            stdout=stdout,
            stderr=stderr,
            since=_log_time(query, "since"),
            until=_log_time(query, "until"),
            tail=int(tail) if tail.isascii() and tail.isdigit() else -1,
            timestamps=query.flag("timestamps"),
            details=query.flag("details"),
        )

        async def take(framed: bool) -> int:
            return await request.give(stream_kind(request.version, framed))

        await self._engine.streams.logs(request.name, options, take)

    async def resize(self, request: Request) -> Answer:
        """Docker's ContainerResize."""
        height, width = request.query.unsigned("h", "resize height"), request.query.unsigned("w", "resize width")
        await self._engine.streams.resize(request.name, height, width)
        return Answer(200)

    async def stats(self, request: Request) -> Answer | None:
        """Docker's ContainerStats."""
        query = request.query
        if not query.flag("stream", default=True):
            return json(await self._engine.stats.one(request.name, one_shot=query.flag("one-shot")))
        self._engine.find(request.name)
        stream = await request.start()
        async for sample in self._engine.stats.stream(request.name):
            await stream.write(encode(sample))
        return None

    async def top(self, request: Request) -> Answer:
        """Docker's ContainerTop."""
        found = await self._engine.stats.top(request.name, request.query.text("ps_args"))
        return json({"Titles": found.titles, "Processes": found.processes})

    # Its files ---------------------------------------------------------------------------------------------------

    async def changes(self, request: Request) -> Answer:
        """Docker's ContainerChanges."""
        found = await self._engine.archive.changes(request.name)
        return json([{"Path": one.path, "Kind": one.kind} for one in found] or None)

    async def export(self, request: Request) -> None:
        """Docker's ContainerExport."""

        async def take() -> int:
            return await request.give(TAR)

        await self._engine.archive.export(request.name, take)

    async def archive_stat(self, request: Request) -> Answer:
        """Docker's ContainerArchiveInfo."""
        found = await self._engine.archive.stat(request.name, _path(request.query))
        return Answer(200, headers=(path_stat(found),))

    async def archive_get(self, request: Request) -> None:
        """Docker's ContainerArchive."""

        async def take(found: Any) -> int:
            return await request.give(TAR, (path_stat(found),))

        await self._engine.archive.get(request.name, _path(request.query), take)

    async def archive_put(self, request: Request) -> Answer:
        """Docker's PutContainerArchive."""
        query = request.query
        options = PutOptions(query.flag("noOverwriteDirNonDir"), query.flag("copyUIDGID"))
        path = _path(query)
        self._engine.find(request.name)
        await self._engine.archive.put(request.name, path, await request.body(), options)
        return Answer(200)

    async def commit(self, request: Request) -> Answer:
        """Docker's ImageCommit."""
        query = request.query
        body = request.decode(fields.Create)
        config = {
            name: value
            for name, value in msgspec.to_builtins(body).items()
            if value is not None and name not in ("HostConfig", "NetworkingConfig", "Stockade")
        }
        options = CommitOptions(
            reference=joined_reference(query.text("repo"), query.text("tag")),
            author=query.text("author"),
            message=query.text("comment"),
            changes=query.texts("changes"),
            pause=query.flag("pause", default=True),
            config=config,
        )
        made = await self._engine.archive.commit(query.text("container"), options)
        return json({"Id": made}, 201)


def _attachment(query: Query) -> AttachOptions:
    """What a client that attaches asks for."""
    return AttachOptions(
        stdin=query.flag("stdin"),
        stdout=query.flag("stdout"),
        stderr=query.flag("stderr"),
        logs=query.flag("logs"),
        stream=query.flag("stream"),
        detach_keys=query.text("detachKeys"),
    )


_LOGS = ("follow", "stdout", "stderr", "since", "until", "timestamps", "tail", "details")
_PUT = ("path", "noOverwriteDirNonDir", "copyUIDGID")
_COMMIT = ("container", "repo", "tag", "comment", "author", "pause", "changes")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def joined_reference(repository: str, tag: str) -> str:
    """`repository:tag`, or `repository@digest`."""
    if not repository or not tag:
        return repository
    return f"{repository}@{tag}" if tag.startswith("sha256:") else f"{repository}:{tag}"


def architecture() -> str:
    """This machine's, as images name it."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def path_stat(found: Any) -> tuple[str, str]:
    """The header that tells of a path in a container."""
    told = {
        "name": found.name,
        "size": found.size,
        "mode": found.mode,
        "mtime": found.mtime if isinstance(found.mtime, str) else moment(found.mtime),
        "linkTarget": found.link_target,
    }
    return "X-Docker-Container-Path-Stat", base64.b64encode(msgspec.json.encode(told)).decode()


def _path(query: Query) -> str:
    path = query.text("path")
    if not path:
        raise BadValue("bad parameter: path cannot be empty")
    return path


def _log_time(query: Query, name: str) -> str:
    text = query.text(name)
    if nanoseconds(text):
        return text
    found = query.time(name)
    return "" if found is None else text


def _check_platform(text: str, config: Any, image: str) -> None:
    """Refuse an image that is not of the platform that was asked for."""
    system, _, rest = text.partition("/")
    wanted_architecture = rest.partition("/")[0]
    if (system or "linux", wanted_architecture or config.architecture) != (config.os or "linux", config.architecture):
        raise NotFound(f"image with reference {image} was found but does not provide the specified platform ({text})")
