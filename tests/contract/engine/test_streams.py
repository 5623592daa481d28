"""Attach, logs, health checks and statistics over real shims."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade.engine.records import Health, Status
from stockade.engine.requests import AttachOptions, ExecConfig, ExecRecord, LogOptions
from stockade.errors import BadValue, Conflict, Unsupported
from stockade.images.values import HealthCheck
from support.engine_ground import Client, Ground, Story, eventually, frames
from support.place import Place

pytestmark = pytest.mark.root

BOTH = AttachOptions(stdout=True, stderr=True)
ALL = AttachOptions(stdin=True, stdout=True, stderr=True)


def test_a_client_before_the_start_misses_nothing(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        client = Client(early=b"one ")
        box = await made.create("sh", "-c", "cat; echo err >&2", open_stdin=True, stdin_once=True)
        await made.streams.attach(box, ALL, client.take)
        client.ours.sendall(b"two")
        client.ours.shutdown(1)
        await asyncio.sleep(0.1)
        assert made.streams.waiting(box) == 1
        await made.start(box)
        assert frames(await client.read()) == {1: b"one two", 2: b"err\n"}
        assert (await made.end(box)).status == 0
        client.close()

    told(story)


def test_one_that_hangs_up_before_the_start_is_forgotten(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        box = await made.create("true")
        gone, stays = Client(), Client()
        for client in (gone, stays):
            await made.streams.attach(box, BOTH, client.take)
        gone.ours.sendall(b"what it sends is no news")
        await asyncio.sleep(0.05)
        assert made.streams.waiting(box) == 2
        gone.close()
        await eventually(lambda: made.streams.waiting(box) == 1)
        made.streams.forget(box)
        assert await stays.read() == b""
        stays.close()

    told(story)


def test_one_that_comes_while_it_starts_is_served(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        box = await made.create("cat", open_stdin=True)
        await made.streams.handed(box)
        client = Client()
        await made.streams.attach(box, ALL, client.take)
        assert made.streams.waiting(box) == 1
        await (await made.task(box)).start()
        made.change(box, status=Status.RUNNING)
        made.streams.started(box)
        client.ours.sendall(b"hello\n")
        await client.until(b"hello\n")
        client.close()

    told(story)


def test_several_clients_each_get_all(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        box = await made.create("sh", "-c", "cat; seq 1000", open_stdin=True)
        clients = [Client() for _ in range(3)]
        for client in clients:
            await made.streams.attach(box, ALL, client.take)
        await made.start(box)
        late = Client()
        await made.streams.attach(box, BOTH, late.take)
        clients[0].ours.sendall(b"hello\n")
        for client in (*clients, late):
            await client.until(b"hello\n")
        await made.restart_daemon()
        clients[0].ours.sendall(b"again\n")
        for client in (*clients, late):
            await client.until(b"again\n")
        for client in (*clients, late):
            client.close()

    told(story)


def test_a_terminal_detaches_by_its_keys_and_goes_on(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        box = await made.create("sh", tty=True, open_stdin=True, stdin_once=True)
        first = Client()
        await made.streams.attach(box, AttachOptions(True, True, True, detach_keys="ctrl-a,x"), first.take)
        assert first.framed is False
        await made.start(box)
        first.ours.sendall(b"echo a\x01")
        await first.until(b"echo a")
        first.ours.sendall(b"x")
        await first.read()
        await eventually(lambda: "detach" in made.actions(box))
        second = Client()
        await made.streams.attach(box, ALL, second.take)
        await made.streams.resize(box, 12, 34)
        second.ours.sendall(b"\nstty size; exit\n")
        await second.until(b"12 34")
        await second.read()
        assert (await made.end(box)).status == 0
        first.close()
        second.close()

    told(story)


def test_refusals_come_before_the_connection_is_taken(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        box = await made.create("true")
        client = Client()
        with pytest.raises(BadValue, match="Invalid detach keys"):
            await made.streams.attach(box, AttachOptions(detach_keys="?,??"), client.take)
        with pytest.raises(Unsupported, match="configured logging driver does not support reading"):
            await made.streams.logs(box, LogOptions(), client.take_descriptor)
        with pytest.raises(BadValue, match="You must choose at least one stream"):
            await made.streams.logs(box, LogOptions(stdout=False, stderr=False), client.take_descriptor)
        made.change(box, status=Status.PAUSED)
        with pytest.raises(Conflict, match="is paused, unpause the container before attach"):
            await made.streams.attach(box, BOTH, client.take)
        made.change(box, status=Status.EXITED)
        with pytest.raises(Conflict, match="is not running"):
            await made.streams.resize(box, 1, 1)
        assert client.framed is None
        client.close()

    told(story)


def test_logs_follow_to_the_end(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        box = await made.create("sh", "-c", "echo a; echo b >&2; sleep 0.5; echo c", logged=True)
        await made.start(box)
        follower = Client()
        await made.streams.logs(box, LogOptions(follow=True), follower.take_descriptor)
        assert frames(await follower.read()) == {1: b"a\nc\n", 2: b"b\n"}
        await made.end(box)
        after = Client()
        await made.streams.logs(box, LogOptions(follow=True, stderr=False, tail=1), after.take_descriptor)
        assert frames(await after.read()) == {1: b"c\n"}
        for client in (follower, after):
            client.close()

    told(story)


def test_a_follower_outlives_the_daemon_and_not_its_client(told: Callable[[Story], None], place: Place) -> None:
    async def story(made: Ground) -> None:
        box = await made.create("sh", "-c", "echo a; sleep 1; echo b; sleep 100", logged=True)
        await made.start(box)
        client = Client()
        await made.streams.logs(box, LogOptions(follow=True), client.take_descriptor)
        await client.until(b"a\n")
        await made.restart_daemon()
        await client.until(b"b\n")
        client.close()
        await eventually(lambda: not any("stockade-logs" in line for line in place.processes().values()))

    told(story)


def test_attach_with_logs_begins_with_the_past(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        box = await made.create("sh", "-c", "echo past; read x; echo now $x", logged=True, open_stdin=True)
        await made.start(box)
        log = Path(made.directory(box)) / "log.json"
        await eventually(lambda: "past" in log.read_text())
        client = Client()
        options = AttachOptions(stdin=True, stdout=True, stderr=True, logs=True)
        await made.streams.attach(box, options, client.take)
        await eventually(lambda: "attach" in made.actions(box))
        client.ours.sendall(b"x\n")
        assert frames(await client.read()) == {1: b"past\nnow x\n"}
        client.close()

    told(story)


def check(*command: str, **more: float) -> HealthCheck:
    given = {"interval": 0.1, "timeout": 5, **more}
    return HealthCheck(("CMD-SHELL", *command), **given)  # type: ignore[arg-type]


def test_health_goes_both_ways(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        health = check("echo probed; ls /tmp/well", retries=2)
        box = await made.run("sh", "-c", "touch /tmp/well; sleep 100", health=health)
        await eventually(lambda: made.find(box).state.health is Health.HEALTHY)
        state = made.find(box).state
        assert state.probes[-1].status == 0
        assert state.probes[-1].output.startswith("probed\n")
        name = await made.execs.create(box, ExecConfig(("sh", "-c", "rm /tmp/well || busybox rm /tmp/well")))
        from stockade.engine.execs import Begin

        await made.execs.start(name, Begin(detach=True))
        await eventually(lambda: made.find(box).state.health is Health.UNHEALTHY)
        assert made.find(box).state.failing >= 2
        told_of = [action for action in made.actions(box) if action.startswith("health_status")]
        assert told_of == ["health_status: healthy", "health_status: unhealthy"]
        assert made.execs.ids(box) == []

    told(story)


def test_a_probe_that_hangs_or_babbles_is_bounded(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        slow = await made.run("sleep", "100", health=check("echo so far; sleep 100", timeout=0.3, retries=1))
        loud = await made.run("sleep", "100", health=check("yes | head -c 1000000; exit 0", retries=1))
        await eventually(lambda: len(made.find(slow).state.probes) >= 2 and len(made.find(loud).state.probes) >= 1)
        probe = made.find(slow).state.probes[-1]
        assert (probe.status, probe.output) == (-1, "Health check exceeded timeout (300ms): so far\n")
        assert made.find(slow).state.health is Health.UNHEALTHY
        probe = made.find(loud).state.probes[-1]
        assert (probe.status, len(probe.output)) == (0, 4096 + 3)

    told(story)


def test_a_missing_command_is_an_answer(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        health = HealthCheck(("CMD", "nope"), interval=0.1, retries=1)
        box = await made.run("sleep", "100", health=health)
        await eventually(lambda: made.find(box).state.health is Health.UNHEALTHY)
        probe = made.find(box).state.probes[0]
        assert probe.status == -1
        assert "executable file not found" in probe.output

    told(story)


def test_the_past_of_a_health_check_survives_the_daemon(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        box = await made.run("sleep", "100", health=check("exit 0"))
        await eventually(lambda: made.find(box).state.health is Health.HEALTHY)
        before = time.time_ns()
        await made.restart_daemon()
        assert made.find(box).state.health is Health.HEALTHY
        await eventually(lambda: made.find(box).state.probes[-1].start > before)
        await made.health.pausing(box)
        seen = made.find(box).state.probes[-1]
        await asyncio.sleep(0.4)
        assert made.find(box).state.probes[-1] == seen
        assert made.store.table("exec", ExecRecord).all() == []

    told(story)


def test_statistics_and_top(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        box = await made.run("sh", "-c", "while true; do :; done")
        first = await made.stats.one(box, one_shot=True)
        both = await made.stats.one(box)
        assert both.precpu_stats.cpu_usage.total_usage >= first.cpu_stats.cpu_usage.total_usage
        assert both.cpu_stats.cpu_usage.total_usage > both.precpu_stats.cpu_usage.total_usage
        assert both.cpu_stats.system_cpu_usage > both.precpu_stats.system_cpu_usage
        assert 0 < both.memory_stats.usage < both.memory_stats.limit
        assert both.pids_stats.current >= 1
        found = await made.stats.top(box)
        assert found.titles[:2] == ("UID", "PID")
        assert found.processes[-1][-1] == "sh -c while true; do :; done"
        wide = await made.stats.top(box, "-o pid,args")
        assert wide.titles == ("PID", "COMMAND")
        with pytest.raises(BadValue):
            await made.stats.top(box, "-o ppid=PID")
        made.change(box, status=Status.EXITED)
        assert (await made.stats.one(box)).memory_stats.usage == 0
        with pytest.raises(Conflict):
            await made.stats.top(box)

    told(story)
