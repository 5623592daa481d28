"""Stockade: a container engine whose wall you choose.

The names of `stockade.sdk` are found here too: `from stockade import Sandbox`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.sdk import (
        DEVNULL,
        PIPE,
        STDOUT,
        AsyncClient,
        AsyncContainer,
        AsyncImage,
        AsyncProcess,
        AsyncSandbox,
        Client,
        CommandNotExecutable,
        CommandNotFound,
        Completed,
        Container,
        Exit,
        Health,
        HostView,
        Image,
        Limits,
        OfImage,
        OutOfMemory,
        OutputTooLarge,
        Process,
        ProcessFailed,
        Reason,
        Rootfs,
        Sandbox,
        SandboxEnded,
        SandboxTimeout,
        StockadeError,
        Usage,
        Waited,
        Wanted,
    )

__version__ = "0.1.0"
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


def __getattr__(name: str) -> object:
    # On demand: the command line has no use for the SDK on its fastest way.
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("stockade.sdk"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
