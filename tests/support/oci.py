"""The native wall, driven by the OCI command as a person or a container engine would call it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO

from support import bundle
from support.place import Place
from support.wall import Result, Work


@dataclass(slots=True)
class Command:
    """One OCI command with its own state directory; any program of that interface will do."""

    program: Path
    state: Path
    environment: dict[str, str]

    def argv(self, *words: str | Path) -> list[str]:
        return [str(self.program), "--root", str(self.state), *map(str, words)]

    def call(self, *words: str | Path, data: bytes = b"", timeout: float = 60) -> Result:
        done = subprocess.run(
            self.argv(*words), input=data, capture_output=True, env=self.environment, timeout=timeout, check=False
        )
        return Result(done.returncode, done.stdout, done.stderr)


@dataclass(slots=True)
class OciRunning:
    command: Command
    name: str
    child: subprocess.Popen[bytes]
    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes] | None
    ended: bool = field(default=False)

    def signal(self, number: int) -> None:
        self.command.call("kill", self.name, str(number)).ok()

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.stdin, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def execute(self, *argv: str) -> Result:
        return self.command.call("exec", self.name, *argv)

    def wait(self, timeout: float = 60) -> int:
        return self.child.wait(timeout)

    def end(self) -> None:
        if self.ended:
            return
        self.ended = True
        if self.child.poll() is None:
            self.command.call("delete", "--force", self.name)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(10)
            self.child.kill()
            self.child.wait()
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream:
                stream.close()


@dataclass(slots=True)
class OciWall:
    """Containers by `run` in the foreground, each from a bundle of its own."""

    name: str
    place: Place
    program: Path
    user_namespace: bool
    started: list[OciRunning] = field(default_factory=list)
    numbers: count[int] = field(default_factory=count)

    @property
    def command(self) -> Command:
        return Command(self.program, self.place.run / "oci", self.place.environment())

    def start(self, work: Work) -> OciRunning:
        name = self.place.name(str(next(self.numbers)))
        made = bundle.write(self.place.top / name, bundle.config(work, self.user_namespace))
        argv = self.command.argv("run", "--bundle", made, name)
        running = self._on_terminal(argv, name, work) if work.terminal else self._on_pipes(argv, name)
        self.started.append(running)
        return running

    def _on_pipes(self, argv: list[str], name: str) -> OciRunning:
        child = subprocess.Popen(
            argv,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.command.environment,
        )
        assert child.stdin
        assert child.stdout
        return OciRunning(self.command, name, child, child.stdin, child.stdout, child.stderr)

    def _on_terminal(self, argv: list[str], name: str, work: Work) -> OciRunning:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *work.size, 0, 0))
        # A session of its own with this terminal, so that a new size reaches it as SIGWINCH, as under a shell.
        child = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=self.command.environment,
        )
        os.close(slave)
        stream = os.fdopen(master, "r+b", buffering=0)
        return OciRunning(self.command, name, child, stream, stream, None)

    def end(self) -> None:
        for running in self.started:
            running.end()
