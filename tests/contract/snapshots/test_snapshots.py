"""Root file systems over real layers, mounted by the real shim's own list of mounts."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from stockade.host import paths as host_paths
from stockade.host.ids import Ids
from stockade.model import Capabilities, IdMap, Process
from stockade.runtime import shim, spec
from stockade.runtime.aio import World
from stockade.runtime.task import Stdio, Task
from stockade.snapshots import Snapshots, probe
from support import images
from support.place import Place

pytestmark = pytest.mark.root
BASE = 0x3FFF_0000
"""A range that nobody is given: below those of containers."""
IDS = Ids((IdMap(0, BASE, 65536),), (IdMap(0, BASE, 65536),), "range")


class Bench:
    """Layers as directories, and bundles over them."""

    def __init__(self, place: Place, bin_dir: Path) -> None:
        self.place = place
        self.bin_dir = bin_dir
        self.snapshots = Snapshots(host_paths.find(place.environment()))
        (place.data / "layers").mkdir(mode=0o700)
        (place.data / "content/ingest").mkdir(parents=True)

    async def unpack(self, image: images.TestImage) -> tuple[str, ...]:
        found: list[str] = []
        for number, layer in enumerate(image.layers, start=1):
            path = self.place.data / f"layers/{number}"
            path.mkdir()
            tar = self.place.top / "layer.tar"
            tar.write_bytes(layer)
            await self.snapshots._program.call("unpack", "--input", str(tar), str(path))
            found.insert(0, str(path))
        return tuple(found)

    async def run(self, layers: tuple[str, ...], line: str, ids: Ids | None = IDS) -> tuple[str, str]:
        """What a shell line prints in a container over the layers; its bundle."""
        bundle = f"{self.place.data}/{self.place.name(os.urandom(3).hex())}"
        os.mkdir(bundle, 0o700)
        await self.snapshots.prepare(bundle, layers, ids)
        os.mkdir(f"{bundle}/rootfs")
        process = Process(("/bin/sh", "-c", line), env=("PATH=/bin",), capabilities=Capabilities(("CAP_CHOWN",)))
        maps = (ids.uid, ids.gid) if ids else ((), ())
        spec.write(bundle, spec.Bundle(process=process, uids=maps[0], gids=maps[1], mounts=spec.USUAL_MOUNTS))
        out = f"{bundle}/out"
        identity = os.path.basename(bundle)
        program = str(self.bin_dir / shim.PROGRAM)
        socket = await asyncio.to_thread(shim.launch, program, bundle, identity, "stockade", str(self.place.run))
        io = World()
        channel = await io.connect(socket)
        task = Task(channel, identity, bundle)
        try:
            await task.create(
                self.snapshots.mounts(bundle, layers, ids), Stdio("", f"file://{out}", f"file://{out}", False)
            )
            pending = await task.begin_wait()
            await task.start()
            await task.end(pending, timeout=30)
        finally:
            await task.delete()
            await task.shutdown()
            channel.close()
        return Path(out).read_text(), bundle


@pytest.fixture
def bench(place: Place, bin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("STOCKADE_BIN_DIR", str(bin_dir))
    return Bench(place, bin_dir)


def test_root_inside_owns_the_image_and_what_it_changes_is_a_layer(bench: Bench) -> None:
    async def story() -> None:
        layers = await bench.unpack(images.busybox())
        line = "stat -c %u /bin/busybox; echo x > /etc/new; rm /etc/group; chown 5 /etc/new; mkdir /d; echo 22 > /d/y"
        said, bundle = await bench.run(layers, line)
        assert said == "0\n"
        upper = Path(bundle, "upper")
        assert os.stat(upper / "etc/new").st_uid == BASE + 5
        assert stat.S_IMODE(os.stat(upper).st_mode) == 0o755
        hidden = ("/proc", "/sys", "/dev")
        changes = await bench.snapshots.changes(bundle, layers, IDS, hidden)
        assert changes == [("/d", 1), ("/d/y", 1), ("/etc", 0), ("/etc/group", 2), ("/etc/new", 1)]
        assert await bench.snapshots.usage(bundle) == 5
        blob = await bench.snapshots.diff(bundle, layers, IDS, hidden)
        assert Path(blob.path).stat().st_size == blob.size
        fresh = bench.place.data / "layers/9"
        fresh.mkdir()
        await bench.snapshots._program.call(
            "unpack", "--expect-diff-id", blob.diff_id, "--input", blob.path, str(fresh)
        )
        assert os.stat(fresh / "etc/new").st_uid == 5
        assert stat.S_ISCHR(os.stat(fresh / "etc/group").st_mode)

    asyncio.run(story())


def test_where_mounts_cannot_be_mapped_a_copy_is_made_once_a_range(bench: Bench) -> None:
    async def story() -> None:
        base = images.busybox()
        layers = await bench.unpack(images.TestImage((*base.layers, images.layer({"bin/ls": b"", "bin/x": b"1"}))))
        bench.snapshots._mapped[os.stat(layers[0]).st_dev] = False
        two = [bench.run(layers, "stat -c %u /bin/busybox; rm /bin/x; echo 1 > /n") for _ in range(2)]
        (said, bundle), (again, _) = await asyncio.gather(*two)
        assert said == again == "0\n"
        shifted = bench.place.data / f"shifted/{BASE}"
        assert sorted(os.listdir(shifted)) == ["1", "2"]
        assert os.stat(shifted / "1/bin/busybox").st_uid == BASE
        assert await bench.snapshots.changes(bundle, layers, IDS) == [("/bin", 0), ("/bin/x", 2), ("/n", 1)]
        await bench.snapshots.sweep(layers[:1])
        assert os.listdir(shifted) == ["2"]

    asyncio.run(story())


def test_127_layers(bench: Bench) -> None:
    async def story() -> None:
        layers = await bench.unpack(images.deep(127))
        said, _ = await bench.run(layers, "cat /top; echo; ls /layers | wc -l")
        assert said == "126\n126\n"

    asyncio.run(story())


def test_with_the_hosts_ids_nothing_is_mapped(bench: Bench) -> None:
    async def story() -> None:
        layers = await bench.unpack(images.busybox())
        bundle = str(bench.place.data / "bundle")
        os.mkdir(bundle)
        await bench.snapshots.prepare(bundle, layers, None)
        await bench.snapshots.prepare(bundle, layers, None)
        assert os.stat(f"{bundle}/upper").st_uid == 0
        assert not any("map=" in word for word in bench.snapshots.mounts(bundle, layers, None)[0].options)

    asyncio.run(story())


def test_the_probe_tells_what_the_kernel_does(bench: Bench) -> None:
    assert probe.id_mapped_mounts(str(bench.place.data))
    assert not probe.id_mapped_mounts("/proc")
    assert not probe.id_mapped_mounts("/nowhere")
