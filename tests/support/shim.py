"""The native wall, driven through the shim as an engine would: CreateTask, attach, Start, Wait."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO

from stockade.errors import StockadeError, exit_code
from stockade.model import Capabilities, Process, RootfsMount
from stockade.runtime import shim, walls
from stockade.runtime.attach import Attachment, Streams
from stockade.runtime.blocking import World, run
from stockade.runtime.task import NO_STDIO, Task
from support import bundle
from support.place import Place
from support.wall import CAPABILITIES, PATH, Refused, Result, Work

HELD = Capabilities(bounding=CAPABILITIES)


@dataclass(slots=True)
class ShimRunning:
    task: Task
    attachment: Attachment
    scratch: Path
    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes] | None
    ended: bool = field(default=False)

    def signal(self, number: int) -> None:
        run(self.task.kill(number))

    def resize(self, rows: int, columns: int) -> None:
        run(self.task.resize(rows, columns))

    def execute(self, *argv: str) -> Result:
        name = f"x{secrets.token_hex(4)}"
        run(self.task.exec(name, Process(argv, (f"PATH={PATH}",), capabilities=HELD)))
        out, err = self.scratch / f"{name}.out", self.scratch / f"{name}.err"
        with out.open("wb") as a, err.open("wb") as b:
            streams = Streams(None, a.fileno(), b.fileno())
            attachment = Attachment(shim.attach_address(self.task.bundle), self.task.id, streams, exec_id=name)
        try:
            run(self.task.start(name))
            status = run(self.task.wait(name, timeout=60)).status
            attachment.receive()
            run(self.task.delete(name))
        finally:
            attachment.close()
        return Result(status, out.read_bytes(), err.read_bytes())

    def wait(self, timeout: float = 60) -> int:
        return run(self.task.wait(timeout=timeout)).status

    def end(self) -> None:
        if self.ended:
            return
        self.ended = True
        with contextlib.suppress(Exception):  # it may have ended by itself
            run(self.task.kill(9, everything=True))
        run(self.task.wait(timeout=20))
        self.attachment.close()
        run(self.task.delete())
        run(self.task.shutdown())
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream:
                stream.close()


@dataclass(slots=True)
class ShimWall:
    name: str
    place: Place
    program: Path
    wall: str = walls.NATIVE
    started: list[ShimRunning] = field(default_factory=list)
    numbers: count[int] = field(default_factory=count)

    def start(self, work: Work) -> ShimRunning:
        name = self.place.name(str(next(self.numbers)))
        made = bundle.write(self.place.top / name, bundle.config(work, user_namespace=True))
        address = shim.launch(str(self.program), str(made), name)
        task = Task(run(World().connect(address)), name, str(made))
        # Other people's programs look for the root with the rights of the container's, who may not pass the checkout.
        rootfs = () if self.wall == walls.NATIVE else (RootfsMount("bind", str(work.root), options=("rbind", "ro")),)
        try:
            run(task.create(rootfs, NO_STDIO._replace(terminal=work.terminal), walls.find(self.wall).options))
        except StockadeError as error:
            run(task.shutdown())
            raise Refused(exit_code(error), error.message) from error
        running = self._attach(task, work.terminal)
        self.started.append(running)
        try:
            run(task.start())
        except StockadeError as error:
            raise Refused(exit_code(error), error.message) from error
        return running

    def _attach(self, task: Task, terminal: bool) -> ShimRunning:
        """Our ends of the streams; the shim gets the others, and ours are told of the end when it closes them."""
        if terminal:
            ours, theirs = socket.socketpair()
            streams = Streams(theirs.fileno(), theirs.fileno(), None)
            attachment = Attachment(shim.attach_address(task.bundle), task.id, streams)
            theirs.close()
            both = os.fdopen(ours.detach(), "r+b", buffering=0)
            return ShimRunning(task, attachment, self.place.top, both, both, None)
        ends = [os.pipe() for _ in range(3)]
        (in_read, in_write), (out_read, out_write), (err_read, err_write) = ends
        streams = Streams(in_read, out_write, err_write)
        attachment = Attachment(shim.attach_address(task.bundle), task.id, streams)
        for descriptor in (in_read, out_write, err_write):
            os.close(descriptor)
        files = [os.fdopen(d, mode, buffering=0) for d, mode in ((in_write, "wb"), (out_read, "rb"), (err_read, "rb"))]
        return ShimRunning(task, attachment, self.place.top, files[0], files[1], files[2])

    def end(self) -> None:
        for running in self.started:
            running.end()
