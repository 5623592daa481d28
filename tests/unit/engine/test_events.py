"""What happened is told in order, to those who listen and those who come later."""

from __future__ import annotations

import asyncio
import time

from stockade.engine import events
from stockade.engine.events import Event, Events


async def collected(told: Events, **how: object) -> list[str]:
    return [event.action async for event in told.listen(**how)]  # type: ignore[arg-type]


def test_the_past_until_now() -> None:
    async def story() -> None:
        told = Events()
        first = told.publish("container", "create", "a")
        second = told.publish("container", "start", "a", {"name": "x"})
        assert second.time > first.time
        until = time.time_ns() + 1
        assert await collected(told, since=0, until=until) == ["create", "start"]
        assert await collected(told, since=second.time, until=until) == ["start"]
        only = await collected(told, since=0, until=until, matches=lambda event: event.action == "create")
        assert only == ["create"]

    asyncio.run(story())


def test_what_comes_while_one_listens() -> None:
    async def story() -> None:
        told = Events()
        heard: list[Event] = []

        async def listen() -> None:
            async for event in told.listen():
                heard.append(event)
                if event.action == "last":
                    return

        listener = asyncio.create_task(listen())
        await asyncio.sleep(0)
        for action in ("first", "second", "last"):
            told.publish("image", action, "i")
        await asyncio.wait_for(listener, 5)
        assert [event.action for event in heard] == ["first", "second", "last"]

    asyncio.run(story())


def test_the_last_thousand_are_kept() -> None:
    async def story() -> None:
        told = Events()
        for number in range(events.KEPT + 5):
            told.publish("container", str(number), "c")
        found = await collected(told, since=0, until=time.time_ns() + 1)
        assert (len(found), found[0]) == (events.KEPT, "5")

    asyncio.run(story())


def test_one_that_does_not_keep_up_is_let_go() -> None:
    async def story() -> None:
        told = Events()
        listener = told.listen()
        waiting = asyncio.ensure_future(anext(listener))
        await asyncio.sleep(0)
        for number in range(10_000):
            told.publish("container", str(number), "c")
        assert (await waiting).action == "0"
        assert len([event async for event in listener]) < 10_000

    asyncio.run(story())


def test_times_rise_whatever_the_clock_does() -> None:
    told = Events()
    times = [told.publish("container", "x", "c").time for _ in range(1000)]
    assert times == sorted(set(times))
