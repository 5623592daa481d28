"""The public face: run code that nobody trusts from Python. Sync and async from one source, typed.

Law: what is not named in `__all__` here may change. Knows embedded (and later the daemon's API), no engine.
"""

from __future__ import annotations

__all__: list[str] = []
