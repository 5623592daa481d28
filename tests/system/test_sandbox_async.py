"""The sandbox over a loop: the same stories, and what only a loop can do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from stockade import AsyncSandbox, CommandNotFound, Limits, ProcessFailed, SandboxEnded, SandboxTimeout
from support.home import Home

pytestmark = pytest.mark.root


def finish(home: Home, story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)
    assert home.left() == []


def test_commands_run_at_once(home: Home) -> None:
    async def story() -> None:
        async with AsyncSandbox(files={"/root/x": b"x"}) as box:
            began = time.monotonic()
            ran = await asyncio.gather(*(box.run(["sh", "-c", f"sleep 2; echo {number}"]) for number in range(6)))
            assert time.monotonic() - began < 11
            assert [done.stdout for done in ran] == [f"{number}\n".encode() for number in range(6)]
            assert await box.get("/root/x") == b"x"
            await box.put("/root/y", b"y")
            assert (await box.run(["cat", "/root/y"])).stdout == b"y"
        with pytest.raises(SandboxEnded):
            await box.run(["true"])

    finish(home, story())


def test_errors(home: Home) -> None:
    async def story() -> None:
        async with AsyncSandbox(limits=Limits(pids=32)) as box:
            with pytest.raises(CommandNotFound):
                await box.run(["nonesuch"])
            with pytest.raises(ProcessFailed):
                await box.run(["false"], check=True)
            with pytest.raises(SandboxTimeout):
                await box.run(["sleep", "1000"], timeout=0.2)
            assert (await box.run(["true"])).returncode == 0

    finish(home, story())


def test_a_cancelled_run_is_killed(home: Home) -> None:
    async def story() -> None:
        async with AsyncSandbox() as box:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(box.run(["sleep", "1000"]), 0.2)
            # The first one and the shell that counts.
            assert (await box.run(["sh", "-c", "set -- /proc/[0-9]*; echo $#"])).stdout == b"2\n"

    finish(home, story())


def test_streams(home: Home) -> None:
    async def story() -> None:
        async with AsyncSandbox() as box, await box.start(["sh", "-c", "cat; echo err >&2"]) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            await process.stdin.write(b"one\ntwo\n" + b"x" * 300_000)
            process.stdin.close()
            assert await process.stdout.readline() == b"one\n"
            assert [len(line) async for line in process.stdout] == [4, 300_000]
            assert await process.stderr.read() == b"err\n"
            assert await process.wait(timeout=5) == 0
            assert await process.poll() == 0

    finish(home, story())


def test_the_loop_goes_on_meanwhile(home: Home) -> None:
    async def story() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick(), name="ticks")
        async with AsyncSandbox() as box:
            await box.run(["sleep", "0.5"])
        ticking.cancel()
        assert ticks > 25

    finish(home, story())
