"""The unmodified docker CLI does with our daemon what it does with Docker's: life, lists, images, refusals.

Streams and files of containers are in test_engine_streams.py and test_engine_files.py.
"""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support import fixtures
from support.daemon import IMAGE, Daemon
from support.patience import eventually

pytestmark = pytest.mark.root


_docker = fixtures.docker


@pytest.fixture(autouse=True)
def _nothing_left(docker: Daemon) -> Iterator[None]:
    yield
    docker.clear()


def fails(docker: Daemon, *words: str, code: int = 1) -> str:
    """What a command that fails says."""
    done = docker.docker(*words, check=False)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stderr


class Api:
    """The API without a client of Docker's."""

    def __init__(self, docker: Daemon) -> None:
        self.path = str(docker.socket)

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        sock.connect(self.path)
        return sock

    def call(self, method: str, target: str, body: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("x", timeout=30)
        connection.sock = self.connect()
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, target, data, {"Content-Type": "application/json"} if data else {})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text


@pytest.fixture(name="api")
def _api(docker: Daemon) -> Api:
    return Api(docker)


# The life of a container ------------------------------------------------------------------------------------------


def test_create_start_wait_logs_remove(docker: Daemon) -> None:
    identity = docker.said("create", "--name", "first", IMAGE, "sh", "-c", "echo hello; exit 3")
    assert re.fullmatch("[0-9a-f]{64}", identity)
    assert docker.said("ps", "-a", "--format", "{{.Names}} {{.Image}} {{.Status}}") == f"first {IMAGE} Created"
    docker.docker("start", "first")
    assert docker.said("wait", "first") == "3"
    assert docker.said("logs", "first") == "hello"
    assert docker.said("ps", "-a", "--format", "{{.Status}}").startswith("Exited (3) ")
    assert docker.said("start", "-a", "first", check=False) == "hello"
    docker.docker("rm", "first")
    assert docker.said("ps", "-aq") == ""


def test_run_gives_the_status_and_removes(docker: Daemon) -> None:
    done = docker.docker("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 42", check=False)
    assert (done.returncode, done.stdout) == (42, "out\n")
    assert "err\n" in done.stderr
    assert docker.said("ps", "-aq") == ""


def test_input_of_run(docker: Daemon) -> None:
    assert docker.said("run", "--rm", "-i", "--network", "none", IMAGE, "cat", input=b"given") == "given"


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["no-such-command"], 127, 'exec: "no-such-command": executable file not found in $PATH'),
        (["/etc/passwd"], 126, "permission denied"),
    ],
)
def test_what_cannot_be_run(docker: Daemon, command: list[str], code: int, words: str) -> None:
    assert words in fails(docker, "run", "--rm", IMAGE, *command, code=code)


def test_stop_kill_restart(docker: Daemon) -> None:
    docker.run("--name", "trap", IMAGE, "sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done")
    time.sleep(0.3)
    docker.docker("stop", "trap")
    assert docker.inspect("trap", "{{.State.ExitCode}}") == 5
    docker.docker("restart", "-t", "0", "trap")
    assert docker.inspect("trap", "{{json .State.Status}}") == "running"
    docker.docker("kill", "trap")
    assert docker.said("wait", "trap") == "137"
    assert "is not running" in fails(docker, "kill", "trap")
    docker.docker("stop", "trap")


def test_the_socket_within_a_container(docker: Daemon) -> None:
    """What testcontainers' Ryuk and many a job do; the container's root is the socket's owner by the id-mapped bind."""
    client = shutil.which("docker")
    assert client is not None
    # Debian's is linked to libraries.
    places = {os.path.realpath(client): "/bin/docker", "/lib": "/lib", "/lib64": "/lib64", "/usr/lib": "/usr/lib"}
    mounts = ["-v", f"{docker.socket}:/var/run/docker.sock"]
    mounts += [word for source, target in places.items() for word in ("-v", f"{source}:{target}:ro")]
    words = ("run", "--rm", "--network", "none", *mounts, "--name", "inner", IMAGE)
    assert docker.said(*words, "docker", "ps", "--format", "{{.Names}}") == "inner"
    denied = docker.docker("run", "-u", "33", *words[1:], "docker", "ps", check=False)
    assert denied.returncode != 0
    assert "permission denied" in denied.stderr


def test_a_log_of_the_local_driver(docker: Daemon) -> None:
    words = ("--log-driver", "local", "--log-opt", "max-size=1k", "--log-opt", "max-file=2")
    name = docker.said("run", "-d", "--network", "none", *words, IMAGE, "seq", "100")
    docker.docker("wait", name)
    lines = docker.said("logs", name).split()
    assert lines[-1] == "100"
    assert 10 < len(lines) < 100, "two files of a kilobyte"
    assert docker.said("logs", "--tail", "2", name).split() == ["99", "100"]
    assert docker.said("inspect", "-f", "{{.HostConfig.LogConfig.Type}} {{.LogPath}}", name) == "local"
    assert "local" in docker.said("info", "-f", "{{.Plugins.Log}}")


def test_pause_rename_update_top(docker: Daemon) -> None:
    docker.run("--name", "some", IMAGE, "sleep", "1000")
    docker.docker("pause", "some")
    assert "(Paused)" in docker.said("ps", "--format", "{{.Status}}")
    docker.docker("unpause", "some")
    docker.docker("rename", "some", "other")
    docker.docker("update", "--memory", "64m", "--memory-swap", "128m", "--restart", "always", "other")
    assert docker.inspect("other", "{{.HostConfig.Memory}}") == 64 << 20
    assert docker.inspect("other", "{{json .HostConfig.RestartPolicy.Name}}") == "always"
    assert "sleep 1000" in docker.said("top", "other")


def test_a_restart_policy(docker: Daemon) -> None:
    docker.run("--name", "again", "--restart", "on-failure:2", IMAGE, "false")
    look = ("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "again")
    eventually(lambda: docker.said(*look) == "2 exited", "it is tried twice", patience=30)


def test_names(docker: Daemon) -> None:
    docker.docker("create", "--name", "taken", IMAGE)
    assert 'Conflict. The container name "/taken" is already in use by container' in fails(
        docker, "create", "--name", "taken", IMAGE
    )
    assert "Invalid container name (a b)" in fails(docker, "create", "--name", "a b", IMAGE)
    assert "No such container: none-such" in fails(docker, "start", "none-such")
    identity = docker.said("ps", "-aq", "--no-trunc")
    assert docker.said("inspect", "-f", "{{.Name}}", identity[:6]) == "/taken"


def test_remove_refuses_what_runs(docker: Daemon) -> None:
    docker.run("--name", "runs", IMAGE, "sleep", "1000")
    assert "stop the container before removing or force remove" in fails(docker, "rm", "runs")
    docker.docker("rm", "-f", "runs")


def test_everything_that_a_run_can_ask(docker: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("bound\n")
    tmp_path.chmod(0o755)
    said = docker.said(
        "run", "--rm", "--network", "none", "-v", f"{tmp_path}:/bound:ro", "--tmpfs", "/scratch:size=1m", "--read-only",
        "-e", "KEY=value", "-w", "/tmp", "-h", "host-of-mine", "--init", "--memory", "64m", "--cpus", "0.5",
        "--pids-limit", "100", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "-u", "33:33",
        "--label", "a=b", "--ulimit", "nofile=100:200", "--stop-signal", "INT", "--shm-size", "1m", IMAGE,
        "sh", "-c", "cat /bound/file; hostname; pwd; echo $KEY; id -u; touch /x 2>/dev/null || echo ro",
    )  # fmt: skip
    assert said.split("\n") == ["bound", "host-of-mine", "/tmp", "value", "33", "ro"]


def test_host_network_and_no_network(docker: Daemon) -> None:
    ours = set(os.listdir("/sys/class/net"))
    assert set(docker.said("run", "--rm", "--network", "host", IMAGE, "ls", "/sys/class/net").split()) == ours
    none = ("run", "--rm", "--network", "none")
    assert docker.said(*none, IMAGE, "ls", "/sys/class/net").split() == ["lo"]
    files = ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/net/ipv4/ping_group_range")
    assert docker.said(*none, IMAGE, "cat", *files).split() == ["0", "0", "65535"], "ports and pings are everybody's"
    asked = ("--sysctl", "net.ipv4.ip_unprivileged_port_start=80")
    assert docker.said(*none, *asked, IMAGE, "cat", files[0]) == "80"


# Lists ------------------------------------------------------------------------------------------------------------


def test_ps_filters_and_formats(docker: Daemon) -> None:
    docker.run("--name", "one", "--label", "team=a", IMAGE, "sleep", "1000")
    docker.docker("create", "--name", "two", "--label", "team=b", IMAGE)

    def names(*words: str) -> list[str]:
        return docker.said("ps", "--format", "{{.Names}}", *words).split()

    assert names() == ["one"]
    assert names("-a") == ["two", "one"]
    assert names("-a", "--filter", "label=team=b") == ["two"]
    assert names("--filter", "status=created") == ["two"]
    assert names("-a", "--filter", "name=^/on") == ["one"]
    assert names("-a", "--filter", f"ancestor={IMAGE}") == ["two", "one"]
    assert names("-n", "1") == ["two"]
    assert names("-a", "--filter", "before=two") == ["one"]
    assert "invalid filter" in fails(docker, "ps", "--filter", "odd=1")
    [line] = [json.loads(line) for line in docker.said("ps", "--format", "{{json .}}").split("\n")]
    assert line["Command"] == '"sleep 1000"'
    assert "B" in docker.said("ps", "-s", "--format", "{{.Size}}")


def test_inspect_has_what_templates_ask(docker: Daemon) -> None:
    docker.run("--name", "seen", "-e", "A=1", IMAGE, "sleep", "1000")
    found: Any = docker.inspect("seen")
    assert found["State"]["Running"] is True
    assert found["State"]["Pid"] > 1
    assert found["Config"]["Env"][0] == "A=1"
    assert found["HostConfig"]["NetworkMode"] == "bridge"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", found["Created"])
    assert found["State"]["FinishedAt"] == "0001-01-01T00:00:00Z"
    assert Path(found["LogPath"]).is_file()
    assert list(found["NetworkSettings"]["Networks"]) == ["bridge"]


def test_events(docker: Daemon) -> None:
    begun = f"{time.time():.9f}"
    docker.docker("run", "--rm", "--name", "told", IMAGE, "true")
    said = docker.said(
        "events",
        "--since",
        begun,
        "--until",
        f"{time.time():.9f}",
        "--filter",
        "container=told",
        "--format",
        "{{.Action}}",
    )
    actions = said.split()
    assert [one for one in actions if one in ("create", "start", "die", "destroy")] == [
        "create", "start", "die", "destroy",
    ]  # fmt: skip


def test_events_as_they_come(docker: Daemon) -> None:
    listening = docker.begin("events", "--filter", "type=container", "--format", "{{.Action}}")
    try:
        time.sleep(0.5)
        docker.docker("create", "--name", "now", IMAGE)
        assert listening.stdout is not None
        assert listening.stdout.readline() == b"create\n"
    finally:
        listening.kill()
        listening.communicate()


# Images -----------------------------------------------------------------------------------------------------------


def test_images_tag_history_remove(docker: Daemon) -> None:
    docker.docker("tag", IMAGE, "other/name:2")
    listed = docker.said("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    assert {IMAGE, "other/name:2"} <= set(listed)
    assert docker.said("images", "-q", "other/name")[:12] == docker.said("images", "-q", IMAGE)[:12]
    assert docker.said("history", "-q", IMAGE)
    assert docker.said("rmi", "other/name:2") == "Untagged: other/name:2"
    assert "No such image: other/name:2" in fails(docker, "rmi", "other/name:2")
    docker.run("--name", "stands", IMAGE, "sleep", "1000")
    assert "conflict" in fails(docker, "rmi", IMAGE)


def test_save_load_and_import(docker: Daemon, tmp_path: Path) -> None:
    archive = tmp_path / "saved.tar"
    docker.docker("save", "-o", str(archive), IMAGE)
    with tarfile.open(archive) as tar:
        assert {"manifest.json", "oci-layout", "index.json"} <= set(tar.getnames())
    docker.docker("tag", IMAGE, "kept:1")
    assert f"Loaded image: {IMAGE}" in docker.said("load", "-i", str(archive))
    docker.docker("create", "--name", "tree", IMAGE)
    tree = subprocess.run(docker.words("export", "tree"), capture_output=True, check=True).stdout
    docker.docker("import", "-c", 'CMD ["sh","-c","echo imported"]', "-c", "ENV PATH=/bin", "-", "made:1", input=tree)
    assert docker.said("run", "--rm", "made:1") == "imported"
    docker.docker("rmi", "made:1", "kept:1")
    assert "no such file" not in fails(docker, "load", "-i", "/etc/passwd").lower()


def test_disk_usage_and_prune(docker: Daemon) -> None:
    docker.docker("run", "--name", "old", IMAGE, "sh", "-c", "dd if=/dev/zero of=/file bs=1k count=100 2>/dev/null")
    assert "Images" in docker.said("system", "df")
    assert "old" in docker.said("system", "df", "-v")
    assert "Total reclaimed space" in docker.said("container", "prune", "-f")
    assert docker.said("ps", "-aq") == ""
    docker.docker("image", "prune", "-f")
    docker.docker("system", "prune", "-f")


# What there is not ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run", "none-such:1"], 125, "cannot be reached"),
        (["pull", "busybox"], 1, "cannot be reached"),
        (["run", "--network", "web", IMAGE], 125, "network web not found"),
        (["run", "--runtime", "none-such", IMAGE], 125, "unknown or invalid runtime name: none-such"),
        (["run", "--memory", "1m", IMAGE], 125, "Minimum memory limit allowed is 6MB"),
        (["run", "--network", "none", "--link", "a:b", IMAGE], 125, "links"),
        (["run", "--storage-opt", "size=1g", IMAGE], 125, "StorageOpt is not served"),
        (["run", "-u", "nobody-such", IMAGE], 125, "unable to find user nobody-such"),
        (["network", "create", "-d", "macvlan", "web"], 1, "this driver is not served"),
        (["network", "create", "bridge"], 1, "operation is not permitted on predefined bridge network"),
        (["network", "rm", "host"], 1, "is a pre-defined network and cannot be removed"),
        (["volume", "create", "-d", "flocker", "data"], 1, 'plugin "flocker" not found'),
        (["swarm", "init"], 1, "a swarm is not served"),
        (["service", "ls"], 1, "This node is not a swarm manager"),
        (["plugin", "install", "x"], 1, "plugins are not served"),
        (["inspect", "none-such"], 1, "No such object: none-such"),
        (["logs", "none-such"], 1, "No such container: none-such"),
        (["exec", "none-such", "true"], 1, "No such container: none-such"),
        (["rmi", "none-such"], 1, "No such image: none-such"),
    ],
)
def test_refusals(docker: Daemon, words: list[str], code: int, said: str) -> None:
    assert said in fails(docker, *words, code=code)


def test_networks_and_volumes_that_there_are(docker: Daemon) -> None:
    assert sorted(docker.said("network", "ls", "--format", "{{.Name}}").split()) == ["bridge", "host", "none"]
    assert docker.said("network", "inspect", "-f", "{{.Driver}}", "none") == "null"
    assert docker.said("volume", "ls", "-q") == ""
    assert docker.said("info", "-f", "{{.ServerVersion}}")
    assert docker.said("version", "-f", "{{.Server.APIVersion}}")


# Against the API itself -------------------------------------------------------------------------------------------


def test_statuses(api: Api) -> None:
    status, made = api.call("POST", "/v1.41/containers/create?name=plain", {"Image": IMAGE, "Cmd": ["sleep", "1000"]})
    assert status == 201
    one = f"/containers/{made['Id']}"
    for method, target, expected in (
        ("POST", f"{one}/start", 204),
        ("POST", f"{one}/start", 304),
        ("POST", f"{one}/unpause", 409),
        ("POST", f"{one}/kill", 204),
        ("POST", f"{one}/wait", 200),
        ("POST", f"{one}/kill", 409),
        ("POST", f"{one}/stop", 304),
        ("POST", f"{one}/wait?condition=odd", 400),
        ("GET", "/containers/json?all=1", 200),
        ("GET", "/containers/json?strange=1", 400),
        ("GET", "/images/json?manifests=1&shared-size=1", 200),
        ("GET", f"/images/{IMAGE}/json?manifests=1", 200),
        ("GET", f"/images/{IMAGE}/json?platform={{}}x", 400),
        ("GET", "/containers/json?filters={", 400),
        ("GET", "/stockade/v1/openapi.json", 200),
        ("GET", f"/stockade/v1{one}", 200),
        ("DELETE", one, 204),
        ("DELETE", one, 404),
    ):
        status, said = api.call(method, target)
        assert status == expected, (method, target, status, said)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"Image": "box:1", "Strange": {"a": 1}}, "Strange"),
        ({"Image": "box:1", "HostConfig": {"Memory": "64m"}}, "invalid JSON"),
        ({"Image": 5}, "invalid JSON"),
        ({}, "no image is named"),
        ({"Image": "UPPER"}, "must be lowercase"),
        ({"Image": "box:1", "Stockade": {"TimeLimit": 1}}, "Stockade"),
    ],
)
def test_bad_bodies(api: Api, body: Any, words: str) -> None:
    status, said = api.call("POST", "/containers/create", body)
    assert status == 400, said
    assert words in said["message"]


def test_our_own_words_for_create(api: Api) -> None:
    status, made = api.call(
        "POST",
        "/stockade/v1/containers/create",
        {"Image": IMAGE, "Cmd": ["sleep", "1000"], "Stockade": {"TimeLimit": 1}},
    )
    assert status == 201
    assert api.call("POST", f"/containers/{made['Id']}/start")[0] == 204
    assert api.call("POST", f"/containers/{made['Id']}/wait")[1]["StatusCode"] == 137


def test_our_own_answers_are_as_the_document_says(api: Api) -> None:
    document = api.call("GET", "/stockade/v1/openapi.json")[1]
    schemas = document["components"]["schemas"]
    made = api.call("POST", "/stockade/v1/containers/create", {"Image": IMAGE, "Cmd": ["sleep", "1000"]})[1]
    one = f"/stockade/v1/containers/{made['Id']}"
    for name, answer in (
        ("Created", made),
        ("Version", api.call("GET", "/stockade/v1/version")[1]),
        ("Container", api.call("GET", one)[1]),
        ("Prepared", api.call("POST", f"{one}/prepare")[1]),
        ("Error", api.call("GET", "/stockade/v1/containers/none-such")[1]),
    ):
        properties = schemas[name]["properties"]
        assert set(schemas[name]["required"]) <= set(answer) <= set(properties), (name, answer)
        kinds: dict[str, Any] = {"string": str, "number": (int, float), "array": list}
        assert all(isinstance(value, kinds[properties[key]["type"]]) for key, value in answer.items()), answer


def test_metrics(docker: Daemon, api: Api) -> None:
    docker.run("--network", "none", IMAGE, "sleep", "1000")
    status, body = api.call("GET", "/stockade/v1/metrics")
    assert status == 200
    lines = body.decode().splitlines()
    values = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}
    assert values['stockade_containers{state="running"}'] == 1
    assert values['stockade_containers_running_by_wall{wall="native"}'] == 1
    assert values["stockade_daemon_resident_memory_bytes"] > 1 << 20
    told = values["stockade_events_total"]
    docker.clear()
    _, body = api.call("GET", "/stockade/v1/metrics")
    [later] = [line for line in body.decode().splitlines() if line.startswith("stockade_events_total")]
    assert float(later.split()[1]) > told
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families)) == len([line for line in lines if line.startswith("# HELP")])


def test_input_glued_to_the_request(api: Api) -> None:
    made = api.call(
        "POST",
        "/containers/create",
        {"Image": IMAGE, "Cmd": ["cat"], "OpenStdin": True, "StdinOnce": True, "AttachStdin": True},
    )[1]
    with api.connect() as sock:
        sock.sendall(
            f"POST /containers/{made['Id']}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: x\r\n"
            "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\nglued ".encode()
        )
        said = b""
        while b"\r\n\r\n" not in said:
            said += sock.recv(4096)
        assert said.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
        assert api.call("POST", f"/containers/{made['Id']}/start")[0] == 204
        sock.sendall(b"later")
        sock.shutdown(socket.SHUT_WR)
        while data := sock.recv(4096):
            said += data
    frames, text = said.partition(b"\r\n\r\n")[2], b""
    while frames:
        assert frames[0] == 1
        length = int.from_bytes(frames[4:8])
        text += frames[8 : 8 + length]
        frames = frames[8 + length :]
    assert text == b"glued later"


def test_two_clients_race_on_one_container(api: Api) -> None:
    made = api.call("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["sleep", "1000"]})[1]
    one = f"/containers/{made['Id']}"
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        starts = list(pool.map(lambda _: api.call("POST", f"{one}/start")[0], range(8)))
        assert set(starts) <= {204, 304}
        assert 204 in starts
        names = list(
            pool.map(lambda _: api.call("POST", "/containers/create?name=race", {"Image": IMAGE})[0], range(8))
        )
        assert sorted(names) == [201] + [409] * 7
        removed = list(pool.map(lambda _: api.call("DELETE", f"{one}?force=1")[0], range(8)))
        assert set(removed) <= {204, 404, 409}
        assert 204 in removed


def test_clients_that_leave(docker: Daemon, api: Api) -> None:
    docker.run("--name", "talks", IMAGE, "sh", "-c", "while :; do echo line; sleep 0.01; done")
    for target in ("logs?follow=1&stdout=1", "stats", "wait"):
        method = "POST" if target == "wait" else "GET"
        with api.connect() as sock:
            sock.sendall(f"{method} /containers/talks/{target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            sock.recv(100)
    with api.connect() as sock:
        sock.sendall(b"POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000)
    assert docker.inspect("talks", "{{json .State.Status}}") == "running"


def test_a_long_list_is_quick(docker: Daemon, api: Api) -> None:
    for _ in range(100):
        assert api.call("POST", "/containers/create", {"Image": IMAGE, "Labels": {"some": "label"}})[0] == 201
    api.call("GET", "/containers/json?all=1")
    begun = time.monotonic()
    for _ in range(5):
        status, found = api.call("GET", "/containers/json?all=1")
    took = (time.monotonic() - begun) / 5
    assert status == 200
    assert len(found) == 100
    assert took < 0.1, f"{took * 1000:.1f} ms"


def test_the_platform_that_an_image_has(api: Api) -> None:
    """As docker's command from 28 on asks."""
    here, other = ("amd64", "arm64") if os.uname().machine == "x86_64" else ("arm64", "amd64")
    for path in (f"/images/{IMAGE}/json", f"/images/{IMAGE}/history", f"/images/{IMAGE}/get"):
        for architecture, status in ((here, 200), (other, 404)):
            wanted = quote(json.dumps({"os": "linux", "architecture": architecture}))
            found, said = api.call("GET", f"{path}?platform={wanted}")
            assert found == status, said
            assert status == 200 or f"is here for linux/{here} only" in said["message"]
        assert api.call("GET", f"{path}?platform=linux")[0] == 400
