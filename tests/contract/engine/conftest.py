"""A root file system of busybox, and a place of its own for each test."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import place as places
from support.engine_ground import Story, ground
from support.place import Place

BUSYBOX = Path("/bin/busybox")
APPLETS = "sh cat echo sleep id ls true false stty env head seq kill yes touch rm".split()


@pytest.fixture(scope="session")
def busybox_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("busybox")
    for name in ("bin", "proc", "sys", "dev", "tmp", "etc"):
        (root / name).mkdir()
    shutil.copy2(BUSYBOX, root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/var/www:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nwww:x:33:\naudio:x:29:www\n")
    for path in (root.parent.parent, root.parent, root):
        path.chmod(0o755)
    return root


@pytest.fixture
def place() -> Iterator[Place]:
    with places.place() as made:
        yield made


@pytest.fixture
def told(place: Place, busybox_root: Path) -> Callable[[Story], None]:
    """Runs a story over a ground of its own."""

    def tell(story: Story) -> None:
        async def all_of_it() -> None:
            async with ground(place, busybox_root) as made:
                await story(made)

        asyncio.run(all_of_it())

    return tell
