"""Mount namespaces that are not the container's own: the host's, and one joined by path.

Law: the program runs in that namespace, below its own root; nothing of the container's mounts is ever seen there.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.oci.harness import Runtime

pytestmark = pytest.mark.root

Change = Callable[[dict[str, Any]], object]


def mount_namespace(path: str | None, more: Change | None = None) -> Change:
    """A configuration with that mount namespace; with the host's for None."""

    def change(document: dict[str, Any]) -> None:
        namespaces = [entry for entry in document["linux"]["namespaces"] if entry["type"] != "mount"]
        if path is not None:
            namespaces.append({"type": "mount", "path": path})
        document["linux"]["namespaces"] = namespaces
        if more:
            more(document)

    return change


@pytest.fixture
def holder(place_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a mount namespace in which `place_dir` holds a file that no other namespace sees."""
    script = 'mount -t tmpfs tmpfs "$1" && echo there > "$1/only" && echo && exec sleep 1000'
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(place_dir)],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture
def place_dir(ours: Runtime) -> Path:
    made = ours.place.top / "elsewhere"
    made.mkdir()
    return made


def link(pid: int | str) -> str:
    return os.readlink(f"/proc/{pid}/ns/mnt")


def table(pid: int | str) -> str:
    return Path(f"/proc/{pid}/mountinfo").read_text()


def test_the_host_s(ours: Runtime) -> None:
    before = table("self")
    id = ours.running(change=mount_namespace(None))
    pid = ours.state(id)["pid"]
    assert link(pid) == link("self")
    assert table("self") == before, "the container's mounts are the host's"
    script = (
        "ls /; cat /proc/1/comm; echo x > /proc/sys/kernel/hostname; cat /proc/kcore | wc -c; cd /; cd ..; ls -d bin"
    )
    done = ours("exec", id, "sh", "-c", script)
    assert done.out.split() == ["bin", "dev", "etc", "proc", "sys", "tmp", "sleep", "0", "bin"], done
    assert "Read-only file system" in done.err
    assert ours("exec", id, "ls", "-l", "/proc/self/ns/mnt").out.endswith(f"{link('self')}\n")
    ours.ok("delete", "--force", id)
    assert table("self") == before


def test_one_joined_by_path(ours: Runtime, holder: subprocess.Popen[bytes], place_dir: Path) -> None:
    root, before = os.stat(f"/proc/{holder.pid}/root/."), table(holder.pid)

    def bind(document: dict[str, Any]) -> None:
        document["mounts"].append(
            {"destination": "/tmp", "type": "bind", "source": str(place_dir), "options": ["rbind", "rprivate"]}
        )

    id = ours.running(change=mount_namespace(f"/proc/{holder.pid}/ns/mnt", bind))
    assert link(ours.state(id)["pid"]) == link(holder.pid) != link("self")
    assert ours.ok("exec", id, "cat", "/tmp/only") == "there\n", "sources are those of the joined namespace"
    assert table(holder.pid) == before
    now = os.stat(f"/proc/{holder.pid}/root/.")
    assert (now.st_dev, now.st_ino) == (root.st_dev, root.st_ino), "who lives there keeps his root"
    ours.ok("delete", "--force", id)
    assert table(holder.pid) == before


def test_a_read_only_root(ours: Runtime) -> None:
    def lock(document: dict[str, Any]) -> None:
        document["root"]["readonly"] = True

    change = mount_namespace(None, lock)
    bundle = ours.bundle("sh", "-c", "echo x > /tmp/x; echo x > /dev/shm; echo $?", change=change)
    assert "Read-only file system" in ours("run", "--bundle", bundle, ours.place.name("c")).err


def test_nothing_lies_above_its_root(ours: Runtime) -> None:
    """The classic way out of a chroot climbs by `..` from a directory above the new root: there is none."""
    pid = ours.state(ours.running(change=mount_namespace(None)))["pid"]
    root, above = os.stat(f"/proc/{pid}/root/."), os.stat(f"/proc/{pid}/root/../../..")
    assert (above.st_dev, above.st_ino) == (root.st_dev, root.st_ino)
    assert os.listdir(f"/proc/{pid}/root/..") == os.listdir(f"/proc/{pid}/root/.")


def shared_root(document: dict[str, Any]) -> None:
    document["linux"]["rootfsPropagation"] = "rshared"


def shared_bind(document: dict[str, Any]) -> None:
    document["mounts"].append({"destination": "/tmp", "type": "bind", "source": "/tmp", "options": ["rbind", "rslave"]})


def user_namespace(document: dict[str, Any]) -> None:
    document["linux"]["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        document["linux"][kind] = [{"containerID": 0, "hostID": 100000, "size": 1000}]


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (shared_root, "linux.rootfsPropagation"),
        (shared_bind, 'propagation of mounts "/tmp"'),
        (user_namespace, "linux.namespaces"),
    ],
)
def test_what_it_cannot_have_is_refused(ours: Runtime, more: Change, word: str) -> None:
    bundle = ours.bundle("true", change=mount_namespace(None, more))
    done = ours("run", "--bundle", bundle, ours.place.name("c"))
    assert done.code == 1
    assert word in done.err.replace("\\", ""), done
    assert ours.ok("list", "-q") == ""


def test_mounts_are_in_the_listed_order(ours: Runtime) -> None:
    """Binds and new file systems too, as mountinfo lists them."""

    def mix(document: dict[str, Any]) -> None:
        for number in range(4):
            made = {"destination": f"/tmp/m{number}", "type": "tmpfs", "source": "tmpfs"}
            bound = {"destination": f"/tmp/m{number}", "type": "bind", "source": "/etc", "options": ["bind", "ro"]}
            document["mounts"].append(bound if number % 2 else made)

    bundle = ours.bundle("cat", "/proc/self/mountinfo", change=mix)
    lines = ours("run", "--bundle", bundle, ours.place.name("c")).out.splitlines()
    places = [line.split()[4] for line in lines]
    assert [place for place in places if place.startswith("/tmp/m")] == [f"/tmp/m{number}" for number in range(4)]


@pytest.mark.parametrize(
    ("source", "option", "named", "kind"),
    [("ram", "idmap", "ram", "ramfs"), ("", "ridmap", "ram", "ramfs"), ("ram/tmp", "ridmap", "ram/tmp", "tmpfs")],
)
def test_a_file_system_whose_ids_cannot_be_mapped(
    ours: Runtime, place_dir: Path, source: str, option: str, named: str, kind: str
) -> None:
    """The error names the place and the type; kernels from 6.3 map a tmpfs."""

    def bind(document: dict[str, Any]) -> None:
        mapping = [{"containerID": 0, "hostID": 100000, "size": 1000}]
        document["mounts"].append(
            {
                "destination": "/tmp",
                "type": "bind",
                "source": str(place_dir / source),
                "options": ["rbind", option],
                "uidMappings": mapping,
                "gidMappings": mapping,
            }
        )

    (place_dir / "ram").mkdir()
    script = 'cd "$0" && mount -t ramfs ramfs ram && mkdir ram/tmp && mount -t tmpfs tmpfs ram/tmp && cd / && exec "$@"'
    argv = ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(place_dir), *ours.argv)
    elsewhere = replace(ours, argv=argv)
    done = elsewhere("run", "--bundle", ours.bundle("true", change=bind), ours.place.name("c"))
    if kind == "tmpfs" and done.code == 0:
        return
    assert done.code == 1
    assert f"{place_dir / named}, a file system of type {kind}; remove the mapping" in done.err, done
