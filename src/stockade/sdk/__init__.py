"""The public face: run code that nobody trusts from Python. Sync and async from one source, typed (docs/sdk.md).

Law: what is not named in `__all__` here may change. Knows embedded (and later the daemon's API), no engine. The async
half is imported only when it is asked for, as asyncio takes longer to import than a sandbox to start.
"""

from __future__ import annotations

from stockade.errors import CommandNotExecutable, CommandNotFound, StockadeError
from stockade.model import Exit, Limits, Reason, Usage
from stockade.sdk.sandbox import Process, Sandbox
from stockade.sdk.values import (
    DEVNULL,
    PIPE,
    STDOUT,
    Completed,
    HostView,
    OutOfMemory,
    OutputTooLarge,
    ProcessFailed,
    Rootfs,
    SandboxEnded,
    SandboxTimeout,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.sdk.aio import AsyncProcess, AsyncSandbox

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "AsyncProcess",
    "AsyncSandbox",
    "CommandNotExecutable",
    "CommandNotFound",
    "Completed",
    "Exit",
    "HostView",
    "Limits",
    "OutOfMemory",
    "OutputTooLarge",
    "Process",
    "ProcessFailed",
    "Reason",
    "Rootfs",
    "Sandbox",
    "SandboxEnded",
    "SandboxTimeout",
    "StockadeError",
    "Usage",
]


def __getattr__(name: str) -> object:
    if name in ("AsyncProcess", "AsyncSandbox"):
        from stockade.sdk import aio

        return getattr(aio, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
