"""One suite for both worlds, blocking and asyncio, against the real shim: what io.py promises."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from stockade.errors import CommandNotFound, Conflict, NotFound, ProtocolBroken, StockadeError, TimedOut, Unavailable
from stockade.model import Exit, IdMap, Limits, Mount, Process, Reason
from stockade.runtime import aio, attach, blocking, shim, spec
from stockade.runtime.io import Io
from stockade.runtime.task import Task
from support.place import Place

T = TypeVar("T")
Runner = Callable[[Coroutine[Any, Any, Any]], Any]
BASE = 1_879_000_000
HOST = ("/usr", "/bin", "/lib", "/lib64")

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture(params=["blocking", "asyncio"])
def world(request: pytest.FixtureRequest) -> tuple[Io, Runner]:
    if request.param == "blocking":
        return blocking.World(), blocking.run
    return aio.World(), asyncio.run


class Made:
    """A bundle whose root is the host's programs, and the shim that serves it."""

    def __init__(self, place: Place, bin_dir: Path, *args: str, limits: Limits = Limits()) -> None:  # noqa: B008
        self.id = place.name()
        self.bundle = place.top / self.id
        root = self.bundle / "rootfs"
        root.mkdir(parents=True)
        maps = (IdMap(0, BASE, 65_536),)
        mounts = list(spec.USUAL_MOUNTS)
        for name in HOST:
            if Path(name).is_symlink():
                (root / name[1:]).symlink_to(Path(name).readlink())
            elif Path(name).is_dir():
                mounts.append(Mount(name, "bind", name, ("rbind", "ro", "nosuid")))
        for name in ("proc", "dev", "sys", "usr", "bin", "lib", "lib64"):
            if not (root / name).is_symlink():
                (root / name).mkdir()
        bundle = spec.Bundle(
            Process(args, env=("PATH=/usr/bin:/bin",)), maps, maps, mounts=tuple(mounts), limits=limits, lifeline=False
        )
        spec.write(str(self.bundle), bundle)
        self.program = str(bin_dir / shim.PROGRAM)
        self.socket = shim.launch(self.program, str(self.bundle), self.id)

    async def task(self, io: Io) -> Task:
        return Task(await io.connect(self.socket), self.id, str(self.bundle))


@pytest.fixture
def make(place: Place, bin_dir: Path) -> Iterator[Callable[..., Made]]:
    made: list[Made] = []

    def one(*args: str, limits: Limits = Limits()) -> Made:  # noqa: B008
        made.append(Made(place, bin_dir, *args, limits=limits))
        return made[-1]

    yield one
    for each in made:
        try:
            channel = blocking.Channel(each.socket)
            blocking.run(Task(channel, each.id, str(each.bundle)).kill(9, everything=True))
            channel.close()
        except StockadeError:
            pass
        shim.clean_up(each.program, str(each.bundle), each.id)
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(int((each.bundle / "shim.pid").read_text()), signal.SIGKILL)


async def ended(task: Task) -> Exit:
    end = await task.wait(timeout=10)
    await task.delete()
    await task.shutdown()
    return end


def test_a_container_lives_and_ends(world: tuple[Io, Runner], make: Callable[..., Made]) -> None:
    io, run = world
    made = make("sh", "-c", "exit 3")

    async def story() -> Exit:
        task = await made.task(io)
        pid = await task.create()
        assert (await task.state()).pid == pid
        assert await task.start() == pid
        return await ended(task)

    end = run(story())
    assert (end.status, end.reason) == (3, Reason.EXITED)
    assert end.usage.memory_peak is not None


def test_a_wait_is_outstanding_while_others_are_answered(world: tuple[Io, Runner], make: Callable[..., Made]) -> None:
    io, run = world
    made = make("sleep", "100")

    async def story() -> Exit:
        task = await made.task(io)
        await task.create()
        await task.start()
        waits = [await task.begin_wait() for _ in range(3)]
        with pytest.raises(TimedOut):
            await waits[0].result(0.05)
        assert len(await task.pids()) == 1
        await task.pause()
        await task.resume()
        assert "memory" in await task.stats()
        await task.update(Limits(pids=50))
        assert not any(wait.done for wait in waits)
        await task.kill(signal.SIGKILL)
        for wait in waits:
            assert (await wait.result(5))["exit_status"] == 137
        return await ended(task)

    assert run(story()).reason is Reason.SIGNALED


def test_a_process_is_added(world: tuple[Io, Runner], make: Callable[..., Made]) -> None:
    io, run = world
    made = make("sleep", "100")

    async def story() -> bytes:
        task = await made.task(io)
        await task.create()
        await task.start()
        await task.exec("e1", Process(("sh", "-c", "read x; echo got $x; exit 4"), env=("PATH=/usr/bin:/bin",)))
        (in_read, in_write), (out_read, out_write) = os.pipe(), os.pipe()
        streams = attach.Streams(in_read, out_write, None)
        attached = await io.work(attach.Attachment, shim.attach_address(str(made.bundle)), made.id, streams, "e1")
        os.close(in_read)
        os.close(out_write)
        await task.start("e1")
        os.write(in_write, b"it\n")
        readable, _ = await io.ready([out_read], [], 5)
        assert readable == [out_read]
        text = os.read(out_read, 100)
        assert (await task.wait("e1", timeout=5)).status == 4
        await io.ready([attached.fileno()], [], 5)
        assert attached.receive() == attach.Ended(4)
        attached.close()
        os.close(in_write)
        os.close(out_read)
        await task.delete("e1")
        await task.kill(9)
        await ended(task)
        return text

    assert run(story()) == b"got it\n"


def test_conditions(world: tuple[Io, Runner], make: Callable[..., Made]) -> None:
    io, run = world
    made = make("nonesuch")

    async def story() -> None:
        task = await made.task(io)
        with pytest.raises(NotFound):
            await task.state()
        with pytest.raises(CommandNotFound, match="nonesuch"):
            await task.create()
        other = Task(task.channel, "somebody", str(made.bundle))
        with pytest.raises(NotFound):
            await other.kill(9)
        await task.shutdown()

    run(story())


def test_a_container_is_created_once(world: tuple[Io, Runner], make: Callable[..., Made]) -> None:
    io, run = world
    made = make("sleep", "100")

    async def story() -> None:
        task = await made.task(io)
        await task.create()
        with pytest.raises(Conflict):
            await task.create()
        with pytest.raises((Conflict, NotFound)):
            await task.start("none")
        await task.delete()
        await task.shutdown()

    run(story())


def test_a_dead_shim_fails_what_is_outstanding(world: tuple[Io, Runner], make: Callable[..., Made]) -> None:
    io, run = world
    made = make("sleep", "100")

    async def story() -> Exit:
        task = await made.task(io)
        await task.create()
        await task.start()
        wait = await task.begin_wait()
        os.kill(int((made.bundle / "shim.pid").read_text()), signal.SIGKILL)
        with pytest.raises(Unavailable):
            await wait.result(5)
        with pytest.raises(Unavailable):
            await task.state()
        # The kernel closes a killed process' listener after its connections: who connects in between is never accepted.
        with pytest.raises(Unavailable):
            await (await made.task(io)).state()
        await io.work(shim.clean_up, made.program, str(made.bundle), made.id)
        return await task.end(wait)

    assert run(story()).reason is Reason.SHIM_DIED


def test_nobody_there(world: tuple[Io, Runner], tmp_path: Path) -> None:
    io, run = world
    with pytest.raises(Unavailable):
        run(io.connect(str(tmp_path / "none")))


def test_a_peer_that_speaks_otherwise(world: tuple[Io, Runner], tmp_path: Path) -> None:
    io, run = world
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()

    def babble() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n")

    thread = threading.Thread(target=babble)
    thread.start()

    async def story() -> None:
        channel = await io.connect(str(tmp_path / "s"))
        with pytest.raises(ProtocolBroken):
            await (await channel.begin("State", {"id": "a"})).result(5)
        with pytest.raises(Unavailable):
            await channel.begin("State", {"id": "a"})
        channel.close()
        channel.close()

    run(story())
    thread.join()
    listener.close()


def test_readiness_and_its_absence(world: tuple[Io, Runner]) -> None:
    io, run = world
    reader, writer = os.pipe()

    async def story() -> None:
        began = time.monotonic()
        assert await io.ready([reader], [], 0.05) == ([], [])
        assert time.monotonic() - began >= 0.049
        assert await io.ready([reader], [writer], 1) == ([], [writer])
        os.close(writer)
        assert await io.ready([reader], [], 1) == ([reader], [])

    run(story())
    os.close(reader)


def test_threads_share_a_blocking_channel(make: Callable[..., Made]) -> None:
    made = make("sleep", "100")
    channel = blocking.Channel(made.socket)
    task = Task(channel, made.id, str(made.bundle))
    blocking.run(task.create())
    blocking.run(task.start())
    ends: list[int] = []
    waiters = [
        threading.Thread(target=lambda: ends.append(blocking.run(task.wait(timeout=10)).status)) for _ in range(4)
    ]
    askers = [threading.Thread(target=lambda: [blocking.run(task.pids()) for _ in range(50)]) for _ in range(4)]
    for thread in (*waiters, *askers):
        thread.start()
    for thread in askers:
        thread.join()
    blocking.run(task.kill(9))
    for thread in waiters:
        thread.join()
    assert ends == [137] * 4
    blocking.run(ended(task))
    channel.close()
