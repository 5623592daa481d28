"""Further processes in a container: docker exec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stockade.docker_api import fields
from stockade.docker_api.answers import Answer, json
from stockade.docker_api.containers import stream_kind
from stockade.docker_api.query import served
from stockade.docker_api.router import Route
from stockade.engine.execs import Begin
from stockade.engine.requests import ExecConfig, ExecRecord
from stockade.errors import BadValue
from stockade.model.connection import Hijack

if TYPE_CHECKING:
    from stockade.docker_api.server import Request
    from stockade.engine.engine import Engine


class Execs:
    """The routes of exec."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> list[Route]:
        """Docker's table."""
        return [
            Route("POST", "/containers/{name}/exec", self.create, body="json"),
            Route("POST", "/exec/{name}/start", self.start, body="json"),
            Route("POST", "/exec/{name}/resize", self.resize, served("h", "w")),
            Route("GET", "/exec/{name}/json", self.inspect),
        ]

    async def create(self, request: Request) -> Answer:
        """Docker's ContainerExec."""
        body = request.decode(fields.ExecCreate)
        config = ExecConfig(
            command=tuple(body.cmd or ()),
            user=body.user or "",
            env=tuple(body.env or ()),
            workdir=body.working_dir or "",
            tty=bool(body.tty),
            attach_stdin=bool(body.attach_stdin),
            attach_stdout=bool(body.attach_stdout),
            attach_stderr=bool(body.attach_stderr),
            privileged=bool(body.privileged),
            detach_keys=body.detach_keys or "",
            console_size=console_size(body.console_size),
        )
        return json({"Id": await self._engine.execs.create(request.name, config)}, 201)

    async def start(self, request: Request) -> Answer | None:
        """Docker's ExecStart."""
        body = request.decode(fields.ExecStart)
        begin = Begin(bool(body.detach), bool(body.tty), console_size(body.console_size) if body.tty else (0, 0))

        async def take(framed: bool) -> Hijack:
            return await request.hijack(stream_kind(request.version, framed), framed=framed)

        await self._engine.execs.start(request.name, begin, None if begin.detach else take)
        return Answer(200) if begin.detach else None

    async def resize(self, request: Request) -> Answer:
        """Docker's ExecResize."""
        height, width = request.query.unsigned("h", "resize height"), request.query.unsigned("w", "resize width")
        await self._engine.execs.resize(request.name, height, width)
        return Answer(200)

    async def inspect(self, request: Request) -> Answer:
        """Docker's ExecInspect."""
        return json(render(self._engine.execs.inspect(request.name)))


def console_size(sides: list[int] | None) -> tuple[int, int]:
    """Rows and columns; 0 and 0 where nothing was said."""
    if not sides:
        return (0, 0)
    if len(sides) != 2 or not all(0 <= side < 1 << 16 for side in sides):
        raise BadValue(f"ConsoleSize: {sides} is not a height and a width")
    return (sides[0], sides[1])


def render(record: ExecRecord) -> dict[str, Any]:
    """Docker's answer to ExecInspect."""
    config = record.config
    process: dict[str, Any] = {
        "tty": config.tty,
        "entrypoint": config.command[0],
        "arguments": config.command[1:],
        "privileged": config.privileged,
    }
    if config.user:
        process["user"] = config.user
    return {
        "ID": record.id,
        "Running": record.running,
        "ExitCode": record.exit_code,
        "ProcessConfig": process,
        "OpenStdin": config.attach_stdin,
        "OpenStderr": config.attach_stderr,
        "OpenStdout": config.attach_stdout,
        "CanRemove": False,
        "ContainerID": record.container,
        "DetachKeys": config.detach_keys,
        "Pid": record.pid,
    }
