"""Exec over real shims: streams, users, failures, ends, and what a new daemon finds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade.engine.execs import Begin
from stockade.engine.records import Status
from stockade.engine.requests import AttachOptions, ExecConfig
from stockade.errors import BadValue, CommandNotFound, Conflict, NotFound
from stockade.model import Phase
from support.engine_ground import Client, Ground, Story, eventually, frames

pytestmark = pytest.mark.root


def config(*command: str, **more: object) -> ExecConfig:
    return ExecConfig(command, attach_stdout=True, attach_stderr=True, **more)  # type: ignore[arg-type]


def test_output_is_framed_and_the_end_is_known(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        box = await made.run("sleep", "100")
        client = Client()
        name = await made.execs.create(box, config("sh", "-c", "echo out; echo err >&2; exit 7"))
        assert made.execs.ids(box) == [name]
        await made.execs.start(name, Begin(), client.take)
        assert frames(await client.read()) == {1: b"out\n", 2: b"err\n"}
        # Whoever saw the end of the stream asks at once.
        found = made.execs.inspect(name)
        assert (found.running, found.exit_code) == (False, 7)
        await eventually(lambda: "exec_die" in made.actions(box))
        assert made.execs.ids(box) == []
        assert made.actions(box)[:2] == [
            "exec_create: sh -c echo out; echo err >&2; exit 7",
            "exec_start: sh -c echo out; echo err >&2; exit 7",
        ]
        client.close()

    told(story)


def test_input_reaches_it_early_bytes_first_and_ends(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        box = await made.run("sleep", "100")
        client = Client(early=b"early ")
        name = await made.execs.create(box, config("cat", attach_stdin=True))
        await made.execs.start(name, Begin(), client.take)
        client.ours.sendall(b"late")
        client.ours.shutdown(1)
        assert frames(await client.read()) == {1: b"early late"}
        assert made.execs.inspect(name).exit_code == 0
        client.close()

    told(story)


def test_a_terminal_is_raw_and_resized(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        box = await made.run("sleep", "100")
        client = Client()
        name = await made.execs.create(box, config("sh", tty=True, attach_stdin=True))
        await made.execs.start(name, Begin(tty=True, console_size=(11, 22)), client.take)
        assert client.framed is False
        client.ours.sendall(b"stty size\n")
        await client.until(b"11 22")
        await made.execs.resize(name, 33, 44)
        client.ours.sendall(b"stty size; exit 3\n")
        await client.until(b"33 44")
        await client.read()
        assert made.execs.inspect(name).exit_code == 3
        client.close()

    told(story)


def test_a_terminal_is_left_by_its_keys(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        box = await made.run("sleep", "100")
        client = Client()
        given = config("sh", tty=True, attach_stdin=True, detach_keys="ctrl-a")
        name = await made.execs.create(box, given)
        await made.execs.start(name, Begin(tty=True), client.take)
        client.ours.sendall(b"echo he''re\n")
        await client.until(b"here")
        client.ours.sendall(b"\x01")
        await client.read()
        await eventually(lambda: "exec_detach" in made.actions(box))
        assert made.execs.inspect(name).running
        await made.execs.kill(name)
        await eventually(lambda: made.execs.inspect(name).exit_code == 137)
        client.close()

    told(story)


def test_detached_runs_on(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        box = await made.run("sleep", "100")
        name = await made.execs.create(box, config("sleep", "0.2"))
        await made.execs.start(name, Begin(detach=True))
        assert made.execs.inspect(name).running
        with pytest.raises(Conflict, match="is already running"):
            await made.execs.start(name, Begin(detach=True))
        await eventually(lambda: made.execs.inspect(name).exit_code == 0)
        with pytest.raises(Conflict, match="has already run"):
            await made.execs.start(name, Begin(detach=True))

    told(story)


@pytest.mark.parametrize(
    ("command", "code", "text"),
    [
        ("nope", 127, 'exec: "nope": executable file not found in $PATH'),
        ("/nope", 127, 'exec: "/nope": stat /nope: no such file or directory'),
        ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
    ],
)
def test_what_cannot_be_run(told: Callable[[Story], None], command: str, code: int, text: str) -> None:
    async def story(made: Ground) -> None:
        box = await made.run("sleep", "100")
        client = Client()
        name = await made.execs.create(box, config(command))
        await made.execs.start(name, Begin(), client.take)
        said = frames(await client.read())[1].decode()
        assert said == f"OCI runtime exec failed: exec failed: unable to start container process: {text}\r\n"
        assert made.execs.inspect(name).exit_code == code
        detached = await made.execs.create(box, config(command))
        with pytest.raises(CommandNotFound if code == 127 else Exception, match="unable to start container process"):
            await made.execs.start(detached, Begin(detach=True))
        assert made.execs.inspect(detached).exit_code == code
        client.close()

    told(story)


def test_refusals(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        box = await made.create("sleep", "100")
        with pytest.raises(Conflict, match="is not running"):
            await made.execs.create(box, config("true"))
        await made.start(box)
        with pytest.raises(BadValue, match="No exec command specified"):
            await made.execs.create(box, ExecConfig(()))
        with pytest.raises(BadValue, match="Invalid escape keys"):
            await made.execs.create(box, config("true", detach_keys="ctrl-?"))
        with pytest.raises(NotFound, match="No such exec instance: abc"):
            made.execs.inspect("abc")
        made.change(box, status=Status.PAUSED)
        with pytest.raises(Conflict, match="is paused, unpause the container before exec"):
            await made.execs.create(box, config("true"))

    told(story)


def test_a_client_that_hangs_up_leaves_it_running(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        box = await made.run("sleep", "100")
        client = Client()
        name = await made.execs.create(box, config("sh", "-c", "sleep 0.3; exit 5"))
        await made.execs.start(name, Begin(), client.take)
        client.close()
        await eventually(lambda: made.execs.inspect(name).exit_code == 5)

    told(story)


def test_a_new_daemon_finds_what_runs_and_what_ended(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        box = await made.run("sleep", "100")
        client = Client()
        short = await made.execs.create(box, config("sh", "-c", "echo a; sleep 0.3; echo b; exit 9"))
        long = await made.execs.create(box, config("sleep", "1"))
        await made.execs.start(short, Begin(), client.take)
        await made.execs.start(long, Begin(detach=True))
        await client.until(b"a\n")
        await made.restart_daemon()
        # The connection is not the daemon's.
        assert b"b\n" in await client.read()
        await eventually(lambda: made.execs.inspect(short).exit_code == 9)
        await eventually(lambda: made.execs.inspect(long).exit_code == 0)
        client.close()

    told(story)


def test_a_new_daemon_undoes_what_was_begun_and_not_started(
    told: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(made: Ground) -> None:
        box = await made.run("sleep", "100")
        client = Client()
        begun, prepared, ended, untouched = [await made.execs.create(box, config("true")) for _ in range(4)]
        await made.execs.prepare(prepared)
        await made.execs.start(ended, Begin(detach=True))
        await eventually(lambda: made.execs.inspect(ended).exit_code == 0)
        # As if it died right before Start, and once right before an exit record was removed.
        with monkeypatch.context() as patch:
            patch.setattr(made.execs, "_run", lambda *_: asyncio.sleep(1000))
            starting = asyncio.create_task(made.execs.start(begun, Begin(), client.take))
            task = await made.task(box)
            await eventually(lambda: client.framed is not None)
            while True:
                with contextlib.suppress(NotFound):
                    if (await task.state(begun)).phase is Phase.CREATED:
                        break
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.2)
        left = Path(made.directory(box)) / f"exit-{ended}.json"
        left.write_text("{}")
        record = made.execs.inspect(begun)
        await made.restart_daemon()
        starting.cancel()
        await asyncio.wait([starting])
        assert record.running
        assert await client.read() == b""
        await eventually(lambda: made.execs.inspect(begun).exit_code == 126)
        await eventually(lambda: not left.exists())
        for name in (prepared, untouched):
            await made.execs.start(name, Begin(detach=True))
            await eventually(lambda one=name: made.execs.inspect(one).exit_code == 0)
        client.close()

    told(story)


def test_the_end_of_the_container_is_that_of_its_execs(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        box = await made.run("sleep", "100")
        name = await made.execs.create(box, config("sleep", "100"))
        await made.execs.start(name, Begin(detach=True))
        os.kill((await (await made.task(box)).connect())[1], signal.SIGKILL)
        await made.end(box)
        await eventually(lambda: made.execs.inspect(name).exit_code == 137)
        made.execs.forget(box)
        with pytest.raises(NotFound):
            made.execs.inspect(name)

    told(story)


def test_a_prepared_one_is_attached_by_its_caller_and_started(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        from stockade.runtime.attach import Attachment, Ended, Streams

        box = await made.run("sleep", "100")
        name = await made.execs.create(box, config("echo", "hi"))
        door = await made.execs.prepare(name)
        out, theirs = os.pipe()
        attachment = Attachment(door, box, Streams(None, theirs, None), name)
        os.close(theirs)
        await made.execs.start(name, Begin(detach=True))
        assert await asyncio.to_thread(attachment.receive) == Ended(0)
        assert os.read(out, 100) == b"hi\n"
        os.close(out)
        attachment.close()

    told(story)


def test_many_ended_ones_are_not_kept_for_ever(told: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stockade.engine.execs._KEPT", 3)

    async def story(made: Ground) -> None:
        box = await made.run("sleep", "100")
        names = []
        for _ in range(6):
            name = await made.execs.create(box, config("true"))
            await made.execs.start(name, Begin(detach=True))
            await eventually(lambda one=name: made.execs.inspect(one).exit_code == 0)
            names.append(name)
        await made.execs.create(box, config("true"))
        with pytest.raises(NotFound):
            made.execs.inspect(names[0])
        assert made.execs.inspect(names[-1]).exit_code == 0
        directory = made.directory(box)
        await eventually(lambda: not any(entry.startswith("exit-") for entry in os.listdir(directory)))

    told(story)


def test_a_stopped_shim_delays_its_own_container_alone(told: Callable[[Story], None]) -> None:
    async def story(made: Ground) -> None:
        stuck, well = await made.run("sleep", "100"), await made.run("sleep", "100")
        shim = (await (await made.task(stuck)).connect())[0]
        held = await made.execs.create(stuck, config("sh", "-c", "exit 3"))
        client = Client()
        os.kill(shim, signal.SIGSTOP)
        try:
            waiting = asyncio.create_task(made.execs.start(held, Begin(), client.take))
            attach = asyncio.create_task(made.streams.attach(stuck, AttachOptions(stdout=True), Client().take))
            name = await made.execs.create(well, config("sh", "-c", "exit 4"))
            await asyncio.wait_for(made.execs.start(name, Begin(detach=True)), 5)
            await eventually(lambda: made.execs.inspect(name).exit_code == 4)
            assert not waiting.done()
        finally:
            os.kill(shim, signal.SIGCONT)
        await asyncio.wait_for(asyncio.gather(waiting, attach), 10)
        await client.read()
        assert made.execs.inspect(held).exit_code == 3
        client.close()

    told(story)
