"""Images by the docker CLI: what it says of ours, word by word, and what Docker's own engine makes of our archives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.peers.cell import cell
from support import images
from support.daemon import Daemon, daemon
from support.patience import eventually
from support.place import Place
from support.programs import tool

pytestmark = pytest.mark.root
SECOND = images.TestImage(
    (*images.busybox().layers, images.layer({"second": b"2" * 5000})),
    {"Cmd": ["cat", "/second"], "Labels": {"kind": "second"}, "ExposedPorts": {"80/tcp": {}}},
)


@pytest.fixture
def served(place: Place) -> Iterator[Daemon]:
    with daemon(place) as made:
        yield made


def said(served: Daemon, *words: str, input: bytes | None = None) -> str:
    return served.docker(*words, input=input).stdout.strip()


def refusal(served: Daemon, *words: str) -> str:
    done = served.docker(*words, check=False)
    assert done.returncode != 0
    return done.stderr.strip()


def test_load_look_tag_and_remove(served: Daemon) -> None:
    assert said(served, "load", input=images.busybox().docker_archive("busybox:latest")) == (
        "Loaded image: busybox:latest"
    )
    assert "Loaded image: second:1" in said(served, "load", input=SECOND.oci_archive("second:1"))
    assert said(served, "run", "--rm", "--network", "none", "busybox", "echo", "hi") == "hi"
    assert said(served, "run", "--rm", "--network", "none", "second:1") == "2" * 5000
    rows = said(served, "images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").splitlines()
    assert sorted(rows) == sorted([f"busybox:latest {images.busybox().id[7:19]}", f"second:1 {SECOND.id[7:19]}"])
    assert said(served, "images", "-q", "--no-trunc", "--filter", "label=kind=second") == SECOND.id
    [found] = json.loads(said(served, "image", "inspect", "second:1"))
    assert found["Id"] == SECOND.id
    assert found["RepoTags"] == ["second:1"]
    assert found["Config"]["Cmd"] == ["cat", "/second"]
    assert found["RootFS"]["Layers"] == [f"sha256:{images.sha256(one)}" for one in SECOND.layers]
    history = said(served, "history", "--format", "{{.CreatedBy}} {{.Size}}", "second:1").splitlines()
    assert history[:2] == ["CMD 0B", "layer 1 5kB"]
    said(served, "tag", "second:1", "x/y:z")
    assert refusal(served, "rmi", SECOND.id[7:19]).endswith(
        f"conflict: unable to delete {SECOND.id[7:19]} (must be forced) - image is referenced in multiple repositories"
    )
    assert said(served, "rmi", "x/y:z") == "Untagged: x/y:z"
    gone = said(served, "rmi", "second:1").splitlines()
    assert gone[:2] == ["Untagged: second:1", f"Deleted: {SECOND.id}"]
    assert refusal(served, "rmi", "second:1").endswith("No such image: second:1")
    bad = refusal(served, "tag", "busybox", "Bad")  # the client's own words, which say which name from docker 23 on
    assert "invalid reference format: repository name" in bad
    assert bad.endswith("must be lowercase")


def test_a_running_container_keeps_its_image(served: Daemon) -> None:
    said(served, "load", input=SECOND.docker_archive("second:1"))
    name = said(served, "run", "-d", "--network", "none", "second:1", "sleep", "60")
    short, image = name[:12], SECOND.id[7:19]
    assert refusal(served, "rmi", "second:1").endswith(
        f'conflict: unable to remove repository reference "second:1" (must force) - container {short} is using its'
        f" referenced image {image}"
    )
    assert refusal(served, "rmi", "-f", image).endswith(
        f"conflict: unable to delete {image} (cannot be forced) - image is being used by running container {short}"
    )
    assert "second" not in said(served, "image", "prune", "-af")
    served.restart()
    assert said(served, "exec", name, "cat", "/second") == "2" * 5000
    said(served, "rm", "-f", name)
    assert "untagged: second:1" in said(served, "image", "prune", "-af")
    assert said(served, "images", "-qa") == ""


def test_save_import_and_commit(served: Daemon, tmp_path: Path) -> None:
    said(served, "load", input=SECOND.docker_archive("second:1"))
    archive = tmp_path / "saved.tar"
    said(served, "save", "-o", str(archive), "second:1")
    said(served, "rmi", "second:1")
    assert said(served, "load", "-i", str(archive)) == "Loaded image: second:1"
    (tmp_path / "root.tar").write_bytes(images.busybox().layers[0])
    imported = said(served, "import", "-c", 'CMD ["echo", "imported"]', "-m", "why", str(tmp_path / "root.tar"), "i:1")
    assert imported.startswith("sha256:")
    assert said(served, "run", "--rm", "--network", "none", "i:1") == "imported"
    name = said(served, "run", "-d", "--network", "none", "i:1", "sh", "-c", "echo 1 > /one; rm /etc/group; sleep 60")
    eventually(lambda: "/one" in said(served, "diff", name), "the container has written")
    assert said(served, "diff", name).splitlines() == ["C /etc", "D /etc/group", "A /one"]
    made = said(served, "commit", "-c", "CMD cat /one", name, "made:1")
    said(served, "rm", "-f", name)
    assert said(served, "run", "--rm", "--network", "none", "made:1") == "1"
    assert said(served, "run", "--rm", "--network", "none", "made:1", "ls", "/etc/passwd") == "/etc/passwd"
    assert served.docker("run", "--rm", "--network", "none", "made:1", "ls", "/etc/group", check=False).returncode == 1
    assert json.loads(said(served, "image", "inspect", "made:1"))[0]["Id"] == made
    layers = json.loads(said(served, "image", "inspect", "made:1"))[0]["RootFS"]["Layers"]
    assert len(layers) == 2


def test_hostile_archives_are_refused_and_the_daemon_goes_on(served: Daemon) -> None:
    for data in (b"x" * 5000, images.pack({"../../x": b""}), images.pack({"manifest.json": b"[{}]"})):
        done = served.docker("load", input=data, check=False)
        assert done.returncode != 0, done.stdout
    assert said(served, "images", "-qa") == ""


def test_dockers_own_engine_reads_what_we_save(served: Daemon, tmp_path: Path) -> None:
    tool("dockerd")
    said(served, "load", input=SECOND.docker_archive("second:1", "second:2"))
    said(served, "load", input=SECOND.oci_archive("zipped:1"))
    archive = tmp_path / "saved.tar"
    said(served, "save", "-o", str(archive), "second", "zipped:1")
    with cell() as inside:
        socket = inside.top / "docker.sock"
        words: list[str | Path] = ["--data-root", inside.top / "data", "--exec-root", inside.top / "exec"]
        words += ["--pidfile", inside.top / "pid", "--host", f"unix://{socket}", "--iptables=false"]
        words += ["--ip6tables=false", "--bridge=none", "--storage-driver=vfs"]
        inside.daemon("dockerd", *words)
        docker = ["docker", "--host", f"unix://{socket}"]
        eventually(lambda: inside(*docker, "version").code == 0, "dockerd answers", 40)
        out = inside.ok(*docker, "load", "-i", archive)
        assert {"Loaded image: second:1", "Loaded image: second:2", "Loaded image: zipped:1"} <= set(out.splitlines())
        assert inside.ok(*docker, "image", "inspect", "--format", "{{.Id}}", "second:2").strip() == SECOND.id
        back = tmp_path / "back.tar"
        inside.ok(*docker, "save", "-o", back, "second:1")
        said(served, "rmi", "-f", SECOND.id)
        assert said(served, "load", "-i", str(back)) == "Loaded image: second:1"
        assert said(served, "image", "inspect", "--format", "{{.Id}}", "second:1") == SECOND.id
