"""The public face: run code that nobody trusts from Python. Sync and async from one source, typed (docs/sdk.md).

Law: what is not named in `__all__` here may change. Knows embedded and the daemon's API, no engine. The async
half and the daemon's client are imported only when they are asked for: asyncio takes longer to import than a sandbox to
start.
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
    OfImage,
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
    from stockade.sdk.client import Client, Container, Health, Image, Waited, Wanted
    from stockade.sdk.remote import AsyncClient, AsyncContainer, AsyncImage

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "AsyncClient",
    "AsyncContainer",
    "AsyncImage",
    "AsyncProcess",
    "AsyncSandbox",
    "Client",
    "CommandNotExecutable",
    "CommandNotFound",
    "Completed",
    "Container",
    "Exit",
    "Health",
    "HostView",
    "Image",
    "Limits",
    "OfImage",
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
    "Waited",
    "Wanted",
]


# What is imported only when it is asked for, and where it lies.
_LATER = {
    **dict.fromkeys(("AsyncProcess", "AsyncSandbox"), "aio"),
    **dict.fromkeys(("AsyncClient", "AsyncContainer", "AsyncImage"), "remote"),
    **dict.fromkeys(("Client", "Container", "Health", "Image", "Waited", "Wanted"), "client"),
}


def __getattr__(name: str) -> object:
    place = _LATER.get(name)
    if place is not None:
        from importlib import import_module

        return getattr(import_module(f"stockade.sdk.{place}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
