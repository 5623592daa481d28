"""Calls of programs from a loop: answers, failures, descriptors, and that nobody is left behind."""

# ruff: noqa: ASYNC110 - a story has its loop to itself

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from stockade.errors import RuntimeFailed, Unavailable
from stockade.host.tool import MAX_SENTENCE, NOTHING, Given, Program


class Shell(Program):
    """A shell in the program's place: `call(line)`."""

    def __init__(self, path: str = "/bin/sh") -> None:
        self.path = path

    async def say(self, line: str, given: Given = NOTHING) -> list[dict[str, object]]:
        return await self.call("-c", line, given=given)


def children() -> set[str]:
    """This process's, reaped ones not."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def held() -> set[str]:
    """This process's descriptors, by number and what is behind them, and its children."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
    return {one for one in found if "/proc/" not in one} | children()


def run(story: Callable[[], Awaitable[None]]) -> None:
    # What other tests left to the collector may go meanwhile; nothing may come.
    before = held()

    async def whole() -> None:
        await story()

    asyncio.run(whole())
    assert held() - before == set()


def test_lines_and_input() -> None:
    async def story() -> None:
        assert await Shell().say('echo {\\"a\\":1}; echo {}') == [{"a": 1}, {}]
        text = b"".join(b'{"n":%d}\n' % number for number in range(50_000))
        assert len(await Shell().say("cat", Given(text=text))) == 50_000
        assert await Shell().say("true", Given(text=text)) == []

    run(story)


def test_descriptors_keep_their_numbers_and_others_are_not_seen() -> None:
    async def story() -> None:
        read, write = os.pipe()
        os.write(write, b'{"came":"through"}\n')
        os.close(write)
        assert await Shell().say(f"cat /proc/self/fd/{read}", Given((read,))) == [{"came": "through"}]
        seen = await Shell().say("""for fd in /proc/self/fd/*; do echo "\\"${fd##*/}\\""; done""")
        assert not {str(read)} & {str(one) for one in seen}
        os.close(read)

    run(story)


def test_a_failure_is_the_programs_own_sentence() -> None:
    async def story() -> None:
        with pytest.raises(RuntimeFailed) as failure:
            await Shell().say('printf "sh: it broke\\n\\nhint: mend it\\n" >&2; exit 3')
        assert (failure.value.message, failure.value.hint) == ("it broke", "mend it")
        with pytest.raises(RuntimeFailed, match="sh -c failed with status 4"):
            await Shell().say("exit 4")
        with pytest.raises(RuntimeFailed, match="sh -c was killed by signal 9"):
            await Shell().say("kill -9 $$")
        with pytest.raises(RuntimeFailed) as failure:
            await Shell().say("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1")
        assert len(failure.value.message) <= MAX_SENTENCE
        with pytest.raises(Unavailable, match="cannot start /nowhere: No such file"):
            await Shell("/nowhere").say("")

    run(story)


def test_a_sentence_does_not_steer_a_terminal() -> None:
    async def story() -> None:
        with pytest.raises(RuntimeFailed) as failed:
            await Shell().say("printf 'it said \\033[2Jhello\\a' >&2; exit 1")
        assert failed.value.message == "it said \ufffd[2Jhello\ufffd"

    run(story)


def test_what_is_no_answer_is_refused() -> None:
    async def story() -> None:
        with pytest.raises(RuntimeFailed, match="sh -c answered b'no json"):
            await Shell().say("echo no json; sleep 100")
        with pytest.raises(RuntimeFailed, match="a line of more than"):
            await Shell().say("head -c 3000000 /dev/zero; sleep 100")

    run(story)


def test_whoever_stops_waiting_has_it_killed(tmp_path: Path) -> None:
    async def story() -> None:
        task = asyncio.create_task(Shell().say(f"echo $$ > {tmp_path}/pid; sleep 100"))
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
        async with aclosing(Shell().lines("-c", "while :; do echo {}; done")) as lines:
            async for _ in lines:
                break
        for delay in (0.0, 0.001, 0.003):
            hasty = asyncio.create_task(Shell().say("sleep 100"))
            await asyncio.sleep(delay)
            hasty.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hasty

    run(story)
