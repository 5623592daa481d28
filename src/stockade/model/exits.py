"""How a process ended, and what it used."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Reason(Enum):
    """Why a process is no longer there; the values are those of the shim's exit record."""

    EXITED = "Exited"
    SIGNALED = "Signaled"
    OOM_KILLED = "OOMKilled"
    TIMED_OUT = "TimedOut"
    SHIM_DIED = "ShimDied"
    START_FAILED = "StartFailed"


class Usage(NamedTuple):
    """What was used until the process ended; None where nobody tells.

    Of a container: by everything in it, as its cgroup counted. Of a process that was added to one, and of a container
    without a cgroup: by that process and the descendants that were waited for, each by its parent (getrusage(2)); what
    it left running or to others is not in it.
    """

    cpu: float | None = None
    """Seconds of processor time."""
    user: float | None = None
    system: float | None = None
    memory_peak: int | None = None
    """Bytes; of a single process the largest that any one of them had resident, shared pages included."""


class Steps(NamedTuple):
    """How long the shim took for each step, in seconds."""

    create: float | None = None
    start: float | None = None


class Exit(NamedTuple):
    """The end of a process."""

    status: int
    """0…255; 128+n when signal n ended it."""
    reason: Reason
    message: str = ""
    oom_kills: int = 0
    """Processes of the container that the memory limit killed."""
    pids_refused: int = 0
    """Forks that the pids limit refused."""
    usage: Usage = Usage()
    steps: Steps = Steps()
    started_at: str = ""
    exited_at: str = ""
    """RFC 3339 with nanoseconds."""

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with status 0."""
        return self.status == 0 and self.reason is Reason.EXITED
