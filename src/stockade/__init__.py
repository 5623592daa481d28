"""Stockade: a container engine whose wall you choose.

The names of `stockade.sdk` are found here too: `from stockade import Sandbox`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.sdk import *  # noqa: F403

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # On demand: the command line has no use for the SDK on its fastest way.
    if not name.startswith("_"):
        from importlib import import_module

        sdk = import_module("stockade.sdk")
        if name in sdk.__all__:
            return getattr(sdk, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
