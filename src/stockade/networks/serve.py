"""The node's resolver and holder of ports: its files, its start, what it is told. It outlives the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

from stockade.errors import RuntimeFailed, StockadeError, Unavailable
from stockade.host import delegated, locks, spawn
from stockade.networks import plan
from stockade.networks.node import PROGRAM
from stockade.networks.values import Held, Network
from stockade.runtime import shim

RESOLV = "/etc/resolv.conf"
_STARTED_WITHIN = 5.0
_ANSWERED_WITHIN = 5.0
_LINE = 1 << 20
_SETTLED = 0.1
"""Seconds from its end until that is told: who ends with it, with their unit, has ended then."""


class Serve:
    """`stockade-net serve` of one run directory."""

    def __init__(self, run: str, gone: Callable[[], Awaitable[None]]) -> None:
        """Make it.

        Args:
            gone: called when it has ended, and nobody here had it end.
        """
        self._gone = gone
        self._watch: asyncio.Task[None] | None = None
        self._closed = False
        self._directory = f"{run}/net"
        self._upstreams = ""
        self._turn = asyncio.Lock()
        self._child: spawn.Child | None = None
        """Of this daemon; one that an earlier daemon started is nobody's child."""

    @property
    def started(self) -> bool:
        """Whether there is, or was, one."""
        return os.path.exists(f"{self._directory}/serve.sock")

    # Its files ----------------------------------------------------------------------------------------------------

    def put_network(self, network: Network) -> None:
        """Have a network's file as its record is."""
        self._write(f"networks/{network.id}.json", plan.network_file(network))

    def drop_network(self, identity: str) -> None:
        """A network is gone. Idempotent."""
        self._drop(f"networks/{identity}.json")

    def put_endpoint(self, held: Held) -> None:
        """Have a container's file as its ends are."""
        self._write(f"endpoints/{held.container}.json", plan.endpoint_file(held))

    def drop_endpoint(self, container: str) -> None:
        """A container has no ends any more. Idempotent."""
        self._drop(f"endpoints/{container}.json")

    def sweep(self, containers: set[str], networks: set[str]) -> None:
        """Drop the files of what is not there any more."""
        with contextlib.suppress(FileNotFoundError):
            locks.tidy(self._directory)
        for kind, known in (("endpoints", containers), ("networks", networks)):
            with contextlib.suppress(FileNotFoundError):
                for name in os.listdir(f"{self._directory}/{kind}"):
                    if name.removesuffix(".json") not in known:
                        self._drop(f"{kind}/{name}")

    def refresh_upstreams(self) -> bool:
        """Whether the host's resolvers are others than before; their file follows."""
        text = read_resolv()
        if text == self._upstreams and os.path.exists(f"{self._directory}/upstreams.json"):
            return False
        self._upstreams = text
        self._write("upstreams.json", plan.upstreams(text))
        return True

    def _write(self, name: str, document: dict[str, Any]) -> None:
        path = f"{self._directory}/{name}"
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        locks.replace(path, json.dumps(document), synced=False)

    def _drop(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._directory}/{name}")

    # The process --------------------------------------------------------------------------------------------------

    async def tell(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        """Tell it that a file is another one; start it if it does not run. What it could not bind.

        Raises:
            Unavailable: it does not answer.
        """
        async with self._turn:
            try:
                found = await self._ask(message)
            except (OSError, EOFError, TimeoutError):
                await self._start()
                try:
                    found = await self._ask(message)
                except (OSError, EOFError, TimeoutError) as error:
                    raise Unavailable(f"{PROGRAM} serve does not answer: {error or 'too late'}") from error
        if not self._closed and (self._watch is None or self._watch.done()):
            self._watch = asyncio.create_task(self._wait_for_end(), name="wait for the resolver's end")
        return found

    async def _wait_for_end(self) -> None:
        """A connection on which nothing is said ends with whoever holds its other end."""
        gone = False
        while not gone:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_unix_connection(f"{self._directory}/serve.sock")
                try:
                    await reader.read(1)
                finally:
                    writer.close()
            await asyncio.sleep(_SETTLED)
            gone = not await self.answers()
        # Whoever starts it again watches it again.
        self._watch = None
        await self._gone()

    async def close(self) -> None:
        """Let go of it: its end is of no interest any more."""
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    async def tell_if_there(self, message: dict[str, Any]) -> None:
        """The same, where nothing is lost when it does not run: its files say the same at its next start."""
        async with self._turn:
            with contextlib.suppress(OSError, EOFError, TimeoutError, StockadeError):
                await self._ask(message)

    async def answers(self) -> bool:
        """Whether it runs."""
        try:
            _, writer = await asyncio.open_unix_connection(f"{self._directory}/serve.sock")
        except OSError:
            return False
        writer.close()
        return True

    async def _ask(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        async with asyncio.timeout(_ANSWERED_WITHIN):
            reader, writer = await asyncio.open_unix_connection(f"{self._directory}/serve.sock", limit=_LINE)
            try:
                writer.write(json.dumps(message).encode() + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
        if not line:
            raise EOFError("it hung up")
        answer = json.loads(line)
        if not answer.get("ok"):
            raise RuntimeFailed(f"{PROGRAM} serve: {answer.get('error', 'refused')}")
        failed: list[dict[str, Any]] = answer.get("failed", [])
        return failed

    async def _start(self) -> None:
        """Start it in a session of its own, with a log beside its files."""
        os.makedirs(self._directory, 0o700, exist_ok=True)
        self.refresh_upstreams()
        path = shim.program(PROGRAM)
        log = os.open(f"{self._directory}/serve.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            # Where shims are, so that it lives as long as they: a unit that is missing is started with them.
            environ = {"STOCKADE_SHIM_CGROUP": "" if delegated.missing() else delegated.shims()}
            words = [path, "serve", "--dir", self._directory]
            self._child = spawn.start(words, {1: log, 2: log}, environ, session=True)
        finally:
            os.close(log)
        deadline = asyncio.get_running_loop().time() + _STARTED_WITHIN
        while asyncio.get_running_loop().time() < deadline:
            try:
                _, writer = await asyncio.open_unix_connection(f"{self._directory}/serve.sock")
                writer.close()
                return
            except OSError:
                await asyncio.sleep(0.005)


def read_resolv() -> str:
    """The host's resolv.conf."""
    try:
        with open(RESOLV, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 16)
    except OSError:
        return ""
