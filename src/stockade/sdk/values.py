"""What goes into a sandbox and what comes out."""

from __future__ import annotations

from typing import NamedTuple

from stockade.errors import StockadeError
from stockade.model import Limits, Reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from stockade.model import Exit

PIPE, STDOUT, DEVNULL = -1, -2, -3
"""For the streams of `start`; equal to those of the module subprocess."""

OUTPUT_LIMIT = 64 << 20


class HostView(NamedTuple):
    """This machine's programs and libraries, public configuration, and nobody's files; changes are thrown away."""

    directory: str | None = None
    """A directory of the caller's that the program sees and may change in the sandbox, not outside."""


class Rootfs(NamedTuple):
    """A root file system of its own: a directory, or a tar archive (plain, gzip or zstd). It is never changed."""

    path: str


class OfImage(NamedTuple):
    """An image that the daemon has; commands start in its directory and with its environment."""

    reference: str


class Settings(NamedTuple):
    """A sandbox, as it was asked for."""

    root: HostView | Rootfs | OfImage = HostView()
    limits: Limits = Limits()
    network: str = "none"
    files: Mapping[str, bytes] = {}
    env: Mapping[str, str] = {}
    workdir: str | None = None
    user: int = 0
    hostname: str = "sandbox"
    output_limit: int = OUTPUT_LIMIT


class Completed(NamedTuple):
    """A command that has ended."""

    args: tuple[str, ...]
    returncode: int
    """Its exit status; 128+n when signal n ended it (not -n, as subprocess has it)."""
    stdout: bytes
    stderr: bytes
    exit: Exit
    """Why it ended, and what the sandbox used."""

    def check_returncode(self) -> None:
        """Raise what `check=True` would have raised."""
        if self.exit.reason is Reason.OOM_KILLED:
            raise OutOfMemory(f"{self.args[0]} was killed: the sandbox reached its memory limit", self)
        if self.returncode != 0:
            raise ProcessFailed(f"{self.args[0]} ended with status {self.returncode}{_tail(self.stderr)}", self)


class ProcessFailed(StockadeError):
    """A command did not do what was asked of it; `completed` says how it ended."""

    def __init__(self, message: str, completed: Completed, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.completed = completed


class OutOfMemory(ProcessFailed):
    """The kernel killed the command for want of memory within the limit."""


class SandboxTimeout(ProcessFailed):
    """The command, or the sandbox as a whole, did not end in time and was killed."""


class OutputTooLarge(ProcessFailed):
    """The command printed more than the caller wants to hold, and was killed."""


class SandboxEnded(StockadeError):
    """The sandbox is closed, or reached its time limit; nothing can be run in it any more."""


def _tail(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return f": {lines[-1][:200]}" if lines else ""
