"""Volumes by the unmodified docker CLI: what is in them outlives containers and daemons, and goes only when it may."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import images, programs
from support.api import ask
from support.daemon import IMAGE, Daemon, stocked

pytestmark = pytest.mark.root

WEB = "web:1"
"""IMAGE with something at /srv/www, and with an anonymous volume at /var/data."""


@pytest.fixture(scope="module", name="docker")
def _docker() -> Iterator[Daemon]:
    with stocked() as made:
        line = "mkdir -p /srv/www/sub /var/data; echo hello > /srv/www/index; chown -R www:www /srv/www;"
        line += " chmod 750 /srv/www; ln -s index /srv/www/link; ln /srv/www/index /srv/www/twin; touch /var/data/first"
        name = made.said("create", "--network", "none", IMAGE, "sh", "-c", line).strip()
        made.docker("start", "-a", name)
        made.docker("commit", "-c", "VOLUME /var/data", name, WEB)
        made.docker("rm", name)
        yield made


@pytest.fixture(autouse=True)
def _nothing_left(docker: Daemon) -> Iterator[None]:
    yield
    docker.clear()
    for name in names(docker):
        docker.docker("volume", "rm", name)
    assert os.listdir(docker.place.data / "volumes") == [] or gone(docker)


def gone(docker: Daemon) -> bool:
    """Whether only what is on its way out is left."""
    return all(name.startswith(".gone-") for name in os.listdir(docker.place.data / "volumes"))


def names(docker: Daemon) -> list[str]:
    return docker.said("volume", "ls", "-q").split()


def said(docker: Daemon, *words: str) -> str:
    """What a container printed that is gone again."""
    return docker.said("run", "--rm", "--network", "none", *words)


def run(docker: Daemon, *words: str) -> str:
    return docker.run("--network", "none", *words)


def fails(docker: Daemon, *words: str) -> str:
    done = docker.docker(*words, check=False)
    assert done.returncode != 0, done.stdout
    return done.stderr


def ours(docker: Daemon, *words: str, code: int = 0) -> str:
    """What our own command printed; with its complaints when it is to fail."""
    done = subprocess.run(
        [programs.program("stockade"), *words],
        env={**os.environ, **docker.environment}, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout + done.stderr * bool(code)


def volume(docker: Daemon, name: str) -> dict[str, Any]:
    found = json.loads(docker.said("volume", "inspect", name))
    assert len(found) == 1
    return dict(found[0])


def test_outlives_its_containers_and_the_daemon(docker: Daemon) -> None:
    said(docker, "-v", "data:/data", IMAGE, "sh", "-c", "echo kept > /data/file; chown 33:33 /data/file")
    docker.restart()
    assert said(docker, "-v", "data:/data", IMAGE, "sh", "-c", "cat /data/file; ls -ln /data/file").startswith("kept\n")
    place = Path(volume(docker, "data")["Mountpoint"])
    assert place.is_relative_to(docker.place.data)
    assert (place / "file").stat().st_uid == 33, "owners on disk are those of the container"
    assert docker.said("volume", "rm", "data") == "data"
    assert not place.exists()
    assert "no such volume" in fails(docker, "volume", "inspect", "data").lower()


def test_is_shared_while_they_run(docker: Daemon) -> None:
    one = run(docker, "-v", "data:/data", IMAGE, "sleep", "1000")
    two = run(docker, "-v", "data:/elsewhere:ro", IMAGE, "sleep", "1000")
    docker.docker("exec", one, "sh", "-c", "echo shared > /data/file")
    assert docker.said("exec", two, "cat", "/elsewhere/file") == "shared"
    assert "Read-only file system" in fails(docker, "exec", two, "touch", "/elsewhere/no")
    words = fails(docker, "volume", "rm", "data")
    assert "volume is in use" in words
    assert one in words
    assert two in words


def test_gets_what_the_image_has_there(docker: Daemon) -> None:
    line = "cat /srv/www/link; stat -c '%u %a' /srv/www; stat -c '%u %h' /srv/www/twin; echo more > /srv/www/more"
    assert said(docker, "-v", "www:/srv/www", WEB, "sh", "-c", line) == "hello\n33 750\n33 2"
    assert said(docker, "-v", "www:/srv/www", WEB, "cat", "/srv/www/more") == "more"
    assert said(docker, "-v", "www:/bin/none", IMAGE, "ls", "/bin/none") == "index\nlink\nmore\nsub\ntwin"
    assert said(docker, "-v", "empty:/srv/www:nocopy", WEB, "ls", "/srv/www") == ""
    mount = "type=volume,src=other,dst=/srv/www,volume-nocopy"
    assert said(docker, "--mount", mount, WEB, "ls", "/srv/www") == ""


def test_anonymous_ones_go_with_their_container(docker: Daemon) -> None:
    said(docker, WEB, "ls", "/var/data")
    assert names(docker) == [], "--rm takes it along"
    kept = run(docker, WEB, "true")
    docker.docker("wait", kept)
    [name] = names(docker)
    assert re.fullmatch(r"[0-9a-f]{64}", name)
    assert volume(docker, name)["Labels"] == {"com.docker.volume.anonymous": ""}
    docker.docker("rm", kept)
    assert names(docker) == [name], "rm leaves it"
    other = run(docker, "-v", "/extra", "-v", "named:/named", WEB, "true")
    docker.docker("wait", other)
    assert len(names(docker)) == 4
    docker.docker("rm", "-v", other)
    assert sorted(names(docker)) == sorted([name, "named"]), "rm -v takes its own, and no named one"
    assert name in ours(docker, "volume", "prune", "-f")
    assert names(docker) == ["named"], "a prune takes none that was named"
    assert "named" in ours(docker, "volume", "prune", "-a", "-f")
    assert names(docker) == []


def test_named_ones_stay_on_a_prune_of_the_system(docker: Daemon) -> None:
    said(docker, "-v", "named:/data", IMAGE, "touch", "/data/file")
    docker.docker("system", "prune", "-f", "--volumes")
    version = tuple(map(int, docker.said("version", "-f", "{{.Client.APIVersion}}").split(".")))
    # Clients older than that ask for all, and always meant it.
    assert names(docker) == (["named"] if version >= (1, 42) else [])


def test_of_another_container(docker: Daemon, tmp_path: Path) -> None:
    (tmp_path / "host").write_text("host\n")
    one = run(docker, "-v", "data:/data", "-v", f"{tmp_path}:/bound", WEB, "sh", "-c", "echo a > /data/a; sleep 1000")
    line = "cat /data/a /bound/host; touch /data/b && echo rw"
    assert said(docker, "--volumes-from", one, IMAGE, "sh", "-c", line) == "a\nhost\nrw"
    done = fails(docker, "run", "--rm", "--network", "none", "--volumes-from", f"{one}:ro", IMAGE, "touch", "/data/c")
    assert "Read-only file system" in done
    assert "No such container" in fails(docker, "run", "--rm", "--volumes-from", "nobody", IMAGE, "true")
    docker.docker("rm", "-f", "-v", one)
    assert names(docker) == ["data"]


def test_a_path_within_one(docker: Daemon) -> None:
    said(
        docker,
        "-v",
        "data:/data",
        IMAGE,
        "sh",
        "-c",
        "mkdir -p /data/a/b; echo deep > /data/a/b/file; ln -s /etc /data/out",
    )
    mount = "type=volume,src=data,dst=/x,volume-subpath="
    words = ("run", "--rm", "--network", "none", "--mount")
    assert ours(docker, *words, f"{mount}a/b", IMAGE, "cat", "/x/file") == "deep\n"
    for path, word in (("missing", "No such file"), ("out", "symbolic link"), ("out/passwd", "subpath")):
        assert word in ours(docker, *words, f"{mount}{path}", IMAGE, "ls", "/x", code=125)
    box = ours(docker, "run", "-d", "--network", "none", "--mount", f"{mount}a/b", IMAGE, "sleep", "1000").strip()
    docker.docker("restart", "-t", "0", box)
    assert docker.said("exec", box, "cat", "/x/file") == "deep"


def test_of_a_device(docker: Daemon, tmp_path: Path) -> None:
    docker.docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m", "memory")
    box = run(docker, "-v", "memory:/m", IMAGE, "sh", "-c", "echo a > /m/a; sleep 1000")
    place = volume(docker, "memory")["Mountpoint"]
    assert os.path.ismount(place)
    assert said(docker, "-v", "memory:/m", IMAGE, "cat", "/m/a") == "a"
    docker.restart()
    assert os.path.ismount(place)
    docker.docker("rm", "-f", box)
    assert not os.path.ismount(place)
    (tmp_path / "file").write_text("bound\n")
    docker.docker("volume", "create", "-o", "type=none", "-o", f"device={tmp_path}", "-o", "o=bind", "bound")
    assert said(docker, "-v", "bound:/b", IMAGE, "cat", "/b/file") == "bound"
    docker.docker("volume", "rm", "bound")
    assert (tmp_path / "file").exists()
    assert "invalid option" in fails(docker, "volume", "create", "-o", "colour=red", "third")
    docker.docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=colour=red", "wrong")
    assert "failed to mount volume wrong" in fails(
        docker, "run", "--rm", "--network", "none", "-v", "wrong:/m", IMAGE, "true"
    )


def test_an_image_is_mounted(docker: Daemon) -> None:
    docker.docker("tag", WEB, "again:1")
    mount = "type=image,src=again:1,dst=/image"
    line = "cat /image/srv/www/index; stat -c %u /image/srv/www; touch /image/no 2>&1"
    done = docker.docker("run", "--rm", "--network", "none", "--mount", mount, IMAGE, "sh", "-c", line, check=False)
    assert done.stdout.startswith("hello\n33\n")
    assert "Read-only file system" in done.stdout
    box = run(docker, "--mount", mount, IMAGE, "sleep", "1000")
    assert docker.said("inspect", "-f", "{{(index .Mounts 0).Type}} {{(index .Mounts 0).RW}}", box) == "image false"
    docker.docker("rmi", "-f", "again:1", check=False)
    docker.docker("restart", "-t", "0", box)
    assert docker.said("exec", box, "cat", "/image/srv/www/index") == "hello"


def test_a_directory_of_an_image_is_mounted(docker: Daemon) -> None:
    """As an overlay of the layers shows it: a file that is gone in a later layer, a directory that was made anew."""
    layers = [
        images.layer({"srv/www/index": b"old", "srv/www/gone": b"x", "srv/new/old": b"x", "usr/share/a": b"1"}),
        images.layer(
            {"srv/www/index": b"new", "srv/www/.wh.gone": b"", "srv/new/.wh..wh..opq": b"", "srv/new/n": b"n"}
        ),
        images.layer({"usr/.wh.share": b"", "srv/www/more": b"more", "srv/link": "www"}),
    ]
    archive = docker.place.top / "layers.tar"
    archive.write_bytes(images.TestImage(tuple(layers), {}).docker_archive("layers:1"))
    docker.docker("load", "-i", str(archive))

    # Debian's docker has no word for it.
    def made(path: str, line: str) -> str:
        mount = {"Type": "image", "Source": "layers:1", "Target": "/image", "ImageOptions": {"Subpath": path}}
        body = {"Image": IMAGE, "Cmd": ["sh", "-c", line], "HostConfig": {"NetworkMode": "none", "Mounts": [mount]}}
        status, said = ask(docker, "POST", "/containers/create", body)
        return str(said["Id"] if status == 201 else said["message"])

    def seen(path: str, line: str) -> str:
        return docker.said("start", "-a", made(path, line))

    assert seen("srv/www", "ls /image; cat /image/index; touch /image/no 2>/dev/null; echo $?") == "index\nmore\nnew1"
    assert seen("srv/new/", "ls /image") == "n"
    at_the_start = {
        "usr/share": "no such directory",
        "srv/www/index": "no directory",
        "none": "no such directory",
        "srv/link": "no directory",
    }
    for path, words in at_the_start.items():
        assert words in docker.docker("start", made(path, "true"), check=False).stderr
    assert "relative path" in made("../etc", "true")
    assert "overlay" in made("a:b", "true")


def test_lists_and_shows(docker: Daemon) -> None:
    docker.docker("volume", "create", "--label", "tier=db", "--label", "old", "first")
    docker.docker("volume", "create", "second")
    box = run(docker, "-v", "first:/a:ro", IMAGE, "sleep", "1000")

    def listed(*filters: str) -> list[str]:
        return docker.said("volume", "ls", "-q", *(word for one in filters for word in ("-f", one))).split()

    assert listed() == ["first", "second"]
    assert listed("label=tier=db") == ["first"]
    assert listed("label=tier=web") == []
    assert listed("name=sec") == ["second"]
    assert listed("dangling=true") == ["second"]
    assert listed("dangling=false") == ["first"]
    found = json.loads(str(docker.said("inspect", "-f", "{{json .Mounts}}", box)))
    assert found == [
        {
            "Type": "volume",
            "Name": "first",
            "Source": volume(docker, "first")["Mountpoint"],
            "Destination": "/a",
            "Driver": "local",
            "Mode": "ro",
            "RW": False,
            "Propagation": "",
        }
    ]
    assert docker.said("ps", "-q", "--no-trunc", "-f", "volume=first").split() == [box]
    usage = docker.said("system", "df", "-v", "--format", "{{json .Volumes}}")
    assert {one["Name"]: one["Links"] for one in json.loads(usage)} == {"first": "1", "second": "0"}
    docker.docker("volume", "create", "first")
    assert volume(docker, "first")["Labels"] == {"tier": "db", "old": ""}, "making it again changes nothing"
    for name, words in (("x", "too short"), ("a/b", "invalid characters"), ("..", "invalid characters")):
        assert words in fails(docker, "volume", "create", name)
    assert "plugin" in fails(docker, "volume", "create", "-d", "flocker", "third")
    assert docker.docker("volume", "rm", "-f", "nowhere").returncode == 0


def test_cp_reaches_into_one(docker: Daemon, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("in\n")
    box = run(docker, "-v", "data:/data", IMAGE, "sleep", "1000")
    docker.docker("cp", str(tmp_path / "in"), f"{box}:/data/one")
    docker.docker("stop", "-t", "0", box)
    docker.docker("cp", str(tmp_path / "in"), f"{box}:/data/two")
    docker.docker("cp", f"{box}:/data/one", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "in\n"
    assert said(docker, "-v", "data:/d", IMAGE, "ls", "-ln", "/d").count(" 0        0 ") == 2
    docker.docker("export", "-o", str(tmp_path / "tree.tar"), box)
    with tarfile.open(tmp_path / "tree.tar") as tar:
        assert not [name for name in tar.getnames() if name.startswith("data/")], "a volume is no part of a container"


def test_what_came_to_nothing_leaves_nothing(docker: Daemon) -> None:
    fails(
        docker,
        "create",
        "--network",
        "none",
        "-v",
        "data:/data",
        "-v",
        "/anonymous",
        "--init",
        "--runtime",
        "crun",
        IMAGE,
        "true",
    )
    assert names(docker) == []
    assert docker.said("ps", "-aq") == ""


def test_events(docker: Daemon) -> None:
    said(docker, "-v", "data:/data", IMAGE, "true")
    docker.docker("volume", "rm", "data")
    lines = docker.said(
        "events",
        "--since",
        "10m",
        "--until",
        f"{time.time():.6f}",
        "-f",
        "type=volume",
        "-f",
        "volume=data",
        "--format",
        "{{.Action}}",
    )
    assert lines.split()[-4:] == ["create", "mount", "unmount", "destroy"]


def test_by_our_own_command(docker: Daemon, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    assert ours(docker, "volume", "create", "-l", "tier=db", "data") == "data\n"
    ours(docker, "run", "--rm", "--network", "none", "-v", "data:/data", IMAGE, "touch", "/data/file")
    mount = "type=volume,src=data,dst=/d,ro,volume-nocopy"
    assert ours(docker, "run", "--rm", "--network", "none", "--mount", mount, IMAGE, "ls", "/d") == "file\n"
    (tmp_path / "here/local").touch()
    assert ours(docker, "run", "--rm", "--network", "none", "-v", f"{tmp_path}/here:/h", IMAGE, "ls", "/h") == "local\n"
    assert ours(docker, "volume", "ls", "-q", "-f", "label=tier=db") == "data\n"
    assert ours(docker, "volume", "inspect", "--format", "{{.Driver}} {{.Labels.tier}}", "data") == "local db\n"
    box = ours(docker, "create", "--network", "none", "-v", "data:/data", "-v", "/anonymous", IMAGE, "true").strip()
    assert "volume is in use" in ours(docker, "volume", "rm", "data", code=125)
    assert "no terminal" in ours(docker, "volume", "prune", code=125)
    ours(docker, "rm", "-f", box)
    assert len(docker.said("volume", "ls", "-q").split()) == 2, "rm leaves the one without a name"
    ours(docker, "volume", "prune", "-f")
    assert ours(docker, "volume", "rm", "data") == "data\n"
    assert "no such volume" in ours(docker, "volume", "rm", "data", code=125)
