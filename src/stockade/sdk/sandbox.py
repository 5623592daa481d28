"""The sandbox for callers that block."""

from __future__ import annotations

import os
import signal as signals

from stockade.errors import TimedOut
from stockade.model import Limits
from stockade.runtime.blocking import World, run
from stockade.sdk.core import Core
from stockade.sdk.running import Running, Wish, words
from stockade.sdk.values import OUTPUT_LIMIT, PIPE, Completed, HostView, OfImage, Rootfs, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import IO, Self

    from stockade.model import Exit


class Sandbox:
    """A place to run code that nobody trusts: a container of its own, without network, removed with all that is in it.

    >>> with Sandbox(limits=Limits(memory=256 << 20, pids=64)) as box:
    ...     box.put("/root/main.py", b"print(6 * 7)")
    ...     box.run(["python3", "/root/main.py"], timeout=5, check=True).stdout
    b'42\\n'

    Args:
        root: what it sees: `HostView()`, this machine's programs and nobody's files, `Rootfs(path)`, or
            `OfImage(name)`.
        limits: for all its commands together; `limits.time` is how long the sandbox may live.
        network: "none": a network of its own, with loopback only.
        files: path → content, there from the beginning.
        env: variables of every command, besides PATH, HOME and LANG.
        workdir: where commands start; by default the view's directory, or the home of the sandbox's root.
        user: the user id that commands have inside; 0 is root inside and nobody outside.
        output_limit: bytes of one stream that `run` and `communicate` hold; a command that prints more is killed.
    """

    def __init__(
        self,
        root: HostView | Rootfs | OfImage = HostView(),  # noqa: B008 (immutable)
        *,
        limits: Limits = Limits(),  # noqa: B008 (immutable)
        network: str = "none",
        files: Mapping[str, bytes] | None = None,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: int = 0,
        hostname: str = "sandbox",
        output_limit: int = OUTPUT_LIMIT,
    ) -> None:
        settings = Settings(root, limits, network, files or {}, env or {}, workdir, user, hostname, output_limit)
        self._core = Core(World(), settings)
        run(self._core.open())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(
        self,
        args: Sequence[str],
        *,
        input: bytes = b"",
        timeout: float | None = None,
        check: bool = False,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: int | None = None,
    ) -> Completed:
        """Run a command to its end and take its output; nothing that it started outlives it.

        Raises:
            SandboxTimeout: it did not end within `timeout` seconds; `error.completed` has what it printed until then.
            ProcessFailed: with `check`, when its status is not 0; OutOfMemory when the memory limit ended it.
            CommandNotFound, CommandNotExecutable: there is no such program inside.
        """
        wish = Wish(words(args), env=env or {}, workdir=workdir, user=user)
        completed = run(self._core.run(wish, input, timeout))
        if check:
            completed.check_returncode()
        return completed

    def start(
        self,
        args: Sequence[str],
        *,
        stdin: int | IO[bytes] = PIPE,
        stdout: int | IO[bytes] = PIPE,
        stderr: int | IO[bytes] = PIPE,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: int | None = None,
    ) -> Process:
        """Start a command and go on. A stream is PIPE, DEVNULL, a descriptor or file of yours; stderr may be STDOUT."""
        wish = Wish(words(args), stdin, stdout, stderr, env or {}, workdir, user)
        return Process(run(self._core.start(wish)))

    def put(self, path: str, content: bytes | IO[bytes], *, mode: int = 0o644) -> None:
        """Write a file inside, and the directories that it needs; it belongs to the sandbox's root."""
        run(self._core.put(path, content, mode))

    def get(self, path: str, *, limit: int = OUTPUT_LIMIT) -> bytes:
        """Read a regular file from inside.

        Raises:
            NotFound: there is none.
            BadValue: it has more than `limit` bytes.
        """
        return run(self._core.get(path, limit))

    def close(self) -> None:
        """Kill what still runs and remove everything. Idempotent."""
        run(self._core.close())


class Process:
    """A command that was started in a sandbox; shaped like subprocess.Popen."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self.args = running.wish.args
        self.pid = running.pid
        """Its process id on the host."""
        self.stdin = _file(running, "stdin", "wb")
        self.stdout = _file(running, "stdout", "rb")
        self.stderr = _file(running, "stderr", "rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the streams; wait for the end, or after an error make it."""
        if kind is not None:
            self.kill()
        self._close_streams()
        self.wait()

    @property
    def exit(self) -> Exit | None:
        """How it ended; None while nobody has seen it end."""
        return self._running.end

    @property
    def returncode(self) -> int | None:
        """Its exit status, 128+n for signal n; None while nobody has seen it end."""
        return None if self._running.end is None else self._running.end.status

    def poll(self) -> int | None:
        """Its exit status if it has ended."""
        return self.wait() if self._running.poll() else None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has ended.

        Raises:
            SandboxTimeout: it goes on after `timeout` seconds.
        """
        try:
            return run(self._running.wait(timeout)).status
        except TimedOut as error:
            raise self._running.still_there(error) from error

    def communicate(self, input: bytes = b"", timeout: float | None = None) -> Completed:
        """Feed it, take all that it prints, wait for its end.

        Raises:
            SandboxTimeout: it goes on after `timeout` seconds; call again, or kill it.
        """
        try:
            return run(self._running.communicate(input, timeout))
        except TimedOut as error:
            raise self._running.still_there(error) from error

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing, if it has ended."""
        run(self._running.signal(number))

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self.send_signal(signals.SIGTERM)

    def kill(self) -> None:
        """End it (SIGKILL)."""
        self.send_signal(signals.SIGKILL)

    def _close_streams(self) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()


def _file(running: Running, name: str, mode: str) -> IO[bytes] | None:
    """Our end of a pipe as a file, which owns the descriptor from now on."""
    descriptor = running.pipes.get(name)
    if descriptor is None:
        return None
    os.set_blocking(descriptor, True)
    running.files[name] = file = os.fdopen(descriptor, mode)
    return file
