"""The program that moves bytes from and to servers: its calls, and what they end with."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from stockade.errors import RuntimeFailed
from stockade.host.tool import Given, Program
from stockade.registry import proxies


class Moved(NamedTuple):
    """How a call ended; one of these is something."""

    done: dict[str, Any] | None = None
    challenge: dict[str, Any] | None = None
    """The server wants to know who asks: `url`, `challenge`."""


class Spoiled(RuntimeFailed):
    """What came is not what its digest says."""

    def __init__(self, message: str, hint: str, source: int) -> None:
        super().__init__(message, hint=hint)
        self.source = source
        """The number of the source that is to blame first."""


class Mover:
    """`stockade-fetch`, which is told of the daemon's proxies."""

    @cached_property
    def _program(self) -> Program:
        return Program("stockade-fetch")

    async def run(self, verb: str, wanted: object, what: str, say: Callable[[dict[str, Any]], object]) -> Moved:
        """One call, `get` or `put`; `say` hears each line of it.

        Args:
            what: what it is that is moved, for whoever reads of a failure.

        Raises:
            Spoiled: a source gave something else.
            RuntimeFailed: it failed; the text is the program's.
        """
        done = challenge = None
        failed: dict[str, Any] = {}
        given = Given((), msgspec.json.encode(wanted), proxies.passed_on(os.environ))
        try:
            async with contextlib.aclosing(self._program.lines(verb, given=given)) as lines:
                async for line in lines:
                    done, failed = line.get("done", done), line.get("failed", failed)
                    challenge = line if "challenge" in line else challenge
                    say(line)
        except RuntimeFailed as error:
            if challenge is not None:
                return Moved(challenge=challenge)
            message = f"{what}: {error.message}"
            if failed.get("kind") == "digest" and isinstance(failed.get("source"), int):
                raise Spoiled(message, error.hint, failed["source"]) from error
            raise RuntimeFailed(message, hint=error.hint) from error
        return Moved(done, challenge)
