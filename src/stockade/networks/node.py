"""What acts on this node: `stockade-net` for links and elements, nft for the table. Decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

from stockade.errors import Refused, RuntimeFailed, Unsupported
from stockade.host import spawn
from stockade.host.tool import Program, Running
from stockade.networks.legacy import objects
from stockade.networks.plan import Operation

PROGRAM = "stockade-net"
_CLAIM = "\0stockade-networks"


class Node:
    """The links and the one table of this node's network namespace."""

    def __init__(self) -> None:
        self._turns = Turns()
        self._claim: socket.socket | None = None
        self._ahead: list[Running] = []
        """That wait, each for whoever begins one."""
        self._leaving: set[asyncio.Task[None]] = set()
        """Of programs that have done what they were asked."""

    def claim(self) -> None:
        """Be the only daemon that keeps networks here; the kernel lets go of it however this process ends.

        Raises:
            Refused: another one does.
        """
        if self._claim is not None:
            return
        found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            # Of the abstract names: these are a network namespace's, as what they stand for is.
            found.bind(_CLAIM)
        except OSError:
            found.close()
            raise Refused(
                "another daemon keeps the networks of this machine",
                hint="--network none or host, or a network namespace of its own for the other daemon",
            ) from None
        self._claim = found

    def begin(self) -> Running:
        """The program that `apply` is given: it waits to be told, or to be stopped."""
        self.claim()
        while self._ahead:
            program = self._ahead.pop()
            if program.runs:
                return program
            self._leave(program.stop())
        return Program(PROGRAM).begin("apply")

    def begin_ahead(self, count: int) -> None:
        """Have so many programs wait for whoever begins one, if this daemon keeps networks."""
        while self._claim is not None and len(self._ahead) < count:
            self._ahead.append(Program(PROGRAM).begin("apply"))

    async def give_up(self) -> None:
        """Stop those that nobody began."""
        ahead, self._ahead = self._ahead, []
        for program in ahead:
            await program.stop()

    async def apply(self, operations: Iterable[Operation], program: Running | None = None) -> dict[str, Any]:
        """Have operations done, all or none; beside others.

        Args:
            program: one that was begun; None: one is started now.

        Raises:
            RuntimeFailed: one failed; the message names its object.
        """
        operations = list(operations)
        async with self._turns.shared():
            return await self._call(program or self.begin(), operations)

    async def alone(self, operation: Callable[[], Operation]) -> None:
        """Have an operation done beside no other.

        Args:
            operation: says it, once nobody else makes ends.

        Raises:
            RuntimeFailed: it failed.
        """
        async with self._turns.alone():
            await self._call(self.begin(), [operation()])

    async def _call(self, program: Running, operations: list[Operation]) -> dict[str, Any]:
        """One call to its answer. Nobody waits until a program is gone that has said that all is done."""
        program.tell(json.dumps({"do": operations}).encode())
        answers = program.answers()
        answer: dict[str, Any] = await anext(answers, {})
        if answer.get("done") == len(operations):
            self._leave(answers.aclose())
            return answer
        async for _ in answers:
            pass
        return answer

    def _leave(self, end: Coroutine[Any, Any, None]) -> None:
        leaving = asyncio.create_task(end, name=f"end of {PROGRAM}")
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def routes(self) -> tuple[str, ...]:
        """Every subnet that the host has an address in or a route to."""
        [found] = await Program(PROGRAM).call("routes") or [{}]
        return (*found.get("routes", ()), *found.get("addresses", ()))

    async def put_table(self, text: Callable[[], str]) -> None:
        """Put the whole table in place of the one that is there; beside nothing else, so that no element is lost.

        Args:
            text: says it, once nobody else changes elements.

        Raises:
            Unsupported: there is no nft.
            RuntimeFailed: it refuses.
        """
        self.claim()
        async with self._turns.alone():
            await nft(text())

    async def has_table(self, family: str, table: str) -> bool:
        """Whether there is a table of that name."""
        found = await spawn.run([_nft(), "list", "chain", family, table, "forward"])
        return found.status == 0

    async def close(self) -> None:
        """Let go of the claim, once nobody is at work."""
        await self.give_up()
        if self._leaving:
            await asyncio.wait(self._leaving)
        if self._claim is not None:
            self._claim.close()
            self._claim = None


class Turns:
    """Many at once, or one alone."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._shared = 0
        self._alone = False

    @contextlib.asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Beside others of this kind."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._alone)
            self._shared += 1
        try:
            yield
        finally:
            async with self._changed:
                self._shared -= 1
                self._changed.notify_all()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Beside nobody."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._alone)
            self._alone = True
            await self._changed.wait_for(lambda: not self._shared)
        try:
            yield
        finally:
            async with self._changed:
                self._alone = False
                self._changed.notify_all()


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def _nft() -> str:
    found = _which("nft")
    if found is None:
        raise Unsupported("networks need the program nft, which is not installed", hint="apt install nftables")
    return found


async def nft(text: str) -> None:
    """Have nft apply a text, in one transaction.

    Raises:
        Unsupported: there is no nft.
        RuntimeFailed: it refuses.
    """
    descriptor = os.memfd_create("rules", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
        os.lseek(descriptor, 0, os.SEEK_SET)
        answer = await spawn.run([_nft(), "-f", "-"], {0: descriptor})
    finally:
        os.close(descriptor)
    if answer.status != 0:
        said = answer.complaint.decode(errors="replace").strip().splitlines()
        raise RuntimeFailed(f"nft refuses the table of networks: {said[0] if said else f'status {answer.status}'}")


async def ruleset() -> list[dict[str, Any]]:
    """Every table, chain and rule of the node, as nft's JSON has them; empty where there is no nft."""
    try:
        answer = await spawn.run([_nft(), "-j", "list", "ruleset"], limit=32 << 20)
    except Unsupported:
        return []
    if answer.status != 0:
        return []
    found: list[dict[str, Any]] = json.loads(answer.out or b"{}").get("nftables", [])
    return found


async def legacy() -> list[dict[str, Any]]:
    """The same of the iptables from before nft, both families; empty where nobody uses it or its program is missing."""
    found: list[dict[str, Any]] = []
    for family, names, name in _LEGACY:
        # The program would have the kernel make the tables that it asks for.
        program = _which(name) if _said(names) else None
        if program is not None:
            answer = await spawn.run([program], limit=32 << 20)
            found += objects(family, answer.out.decode(errors="replace")) if answer.status == 0 else []
    return found


def _said(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


_LEGACY = (
    ("ip", "/proc/net/ip_tables_names", "iptables-legacy-save"),
    ("ip6", "/proc/net/ip6_tables_names", "ip6tables-legacy-save"),
)
