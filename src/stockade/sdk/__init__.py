"""The public face: run code that nobody trusts from Python. Sync and async from one source, typed (docs/sdk.md).

Law: what is not named in `__all__` here may change. Knows embedded and the daemon's API, no engine. What is named is
imported when it is asked for: the command takes a part of it, and asyncio takes longer to import than a sandbox takes
to start.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.errors import CommandNotExecutable, CommandNotFound, StockadeError
    from stockade.model import Exit, Limits, Reason, Usage
    from stockade.sdk.aio import AsyncProcess, AsyncSandbox
    from stockade.sdk.client import Client, Container, Health, Image, Waited, Wanted
    from stockade.sdk.remote import AsyncClient, AsyncContainer, AsyncImage
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


# Where each name lies: nothing is imported before somebody asks for it.
_PLACES = {
    **dict.fromkeys(("CommandNotExecutable", "CommandNotFound", "StockadeError"), "stockade.errors"),
    **dict.fromkeys(("Exit", "Limits", "Reason", "Usage"), "stockade.model"),
    **dict.fromkeys(("AsyncProcess", "AsyncSandbox"), "stockade.sdk.aio"),
    **dict.fromkeys(("AsyncClient", "AsyncContainer", "AsyncImage"), "stockade.sdk.remote"),
    **dict.fromkeys(("Client", "Container", "Health", "Image", "Waited", "Wanted"), "stockade.sdk.client"),
    **dict.fromkeys(("Process", "Sandbox"), "stockade.sdk.sandbox"),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(_PLACES.get(name, "stockade.sdk.values")), name)
    globals()[name] = found
    return found
