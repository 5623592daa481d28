"""What happens within containers: logs, commands, attached streams, files."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import time
from pathlib import PurePath
from typing import Any

from conformance.differential.sides import Side

SPEAK = "echo one; sleep 0.1; echo two >&2; sleep 0.1; echo three; printf four"


def logs(side: Side) -> None:
    side.ended("c1", "sh", "-c", SPEAK)
    for label, query in {
        "both": {"stdout": "1", "stderr": "1"},
        "out": {"stdout": "1"},
        "err": {"stderr": "1"},
        "neither": {},
        "tail": {"stdout": "1", "stderr": "1", "tail": "1"},
        "tail 0": {"stdout": "1", "tail": "0"},
        "tail all": {"stdout": "1", "tail": "all"},
        "tail x": {"stdout": "1", "tail": "x"},
        "tail below 0": {"stdout": "1", "tail": "-2"},
        "timestamps": {"stdout": "1", "timestamps": "1"},
        "details": {"stdout": "1", "details": "1"},
        "since late": {"stdout": "1", "since": str(int(time.time()) + 100)},
        "since early": {"stdout": "1", "since": "1"},
        "until early": {"stdout": "1", "until": "1"},
        "since x": {"stdout": "1", "since": "x"},
        "until x": {"stdout": "1", "until": "x"},
        "since fraction": {"stdout": "1", "since": "1.5"},
        "since date": {"stdout": "1", "since": "2020-01-01T00:00:00Z"},
        "follow ended": {"stdout": "1", "follow": "1"},
        "follow x": {"stdout": "1", "follow": "maybe"},
        "until before since": {"stdout": "1", "since": "100", "until": "10"},
    }.items():
        side.logs(label, "/containers/c1/logs", query)
    side.logs("old", "!/v1.41/containers/c1/logs", {"stdout": "1"})
    side.create("t1", "sh", "-c", "echo one; tty; stty size", Tty=True)
    side.must("POST", "/containers/t1/start")
    side.must("POST", "/containers/t1/wait")
    side.logs("terminal", "/containers/t1/logs", {"stdout": "1"}, framed=False)
    side.create("n1", "echo", "x", host={"LogConfig": {"Type": "none"}})
    side.logs("none, not started", "/containers/n1/logs", {"stdout": "1"})
    side.must("POST", "/containers/n1/start")
    side.must("POST", "/containers/n1/wait")
    side.logs("none", "/containers/n1/logs", {"stdout": "1"})
    side.ended("l1", "echo", "x", host={"LogConfig": {"Type": "local"}})
    side.logs("local", "/containers/l1/logs", {"stdout": "1"})
    side.create("e1", "true")
    side.logs("not started", "/containers/e1/logs", {"stdout": "1"})
    more = {"Type": "json-file", "Config": {"labels": "a", "env": "E"}}
    side.post(
        "with details",
        "/containers/create",
        {
            "Image": "box:1",
            "Cmd": ["echo", "x"],
            "Env": ["E=f"],
            "Labels": {"a": "b"},
            "HostConfig": {"LogConfig": more},
        },
        name="d1",
    )
    side.request("POST", "/containers/d1/start")
    side.request("POST", "/containers/d1/wait")
    side.logs("details", "/containers/d1/logs", {"stdout": "1", "details": "1"})


def commands(side: Side) -> None:
    """exec."""
    side.run("c1", "sleep", "100")
    for label, body in {
        "plain": {"Cmd": ["sh", "-c", "echo out; echo err >&2; exit 3"], "AttachStdout": True, "AttachStderr": True},
        "out only": {"Cmd": ["sh", "-c", "echo out; echo err >&2"], "AttachStdout": True},
        "input": {"Cmd": ["cat"], "AttachStdin": True, "AttachStdout": True},
        "absent": {"Cmd": ["nope"], "AttachStdout": True, "AttachStderr": True},
        "absent path": {"Cmd": ["/nope"], "AttachStdout": True, "AttachStderr": True},
        "directory": {"Cmd": ["/etc"], "AttachStdout": True, "AttachStderr": True},
        "not executable": {"Cmd": ["/etc/passwd"], "AttachStdout": True, "AttachStderr": True},
        "killed": {"Cmd": ["sh", "-c", "kill -9 $$"], "AttachStdout": True},
        "user": {"Cmd": ["id"], "User": "www", "AttachStdout": True},
        "user absent": {"Cmd": ["id"], "User": "nope", "AttachStdout": True},
        "group absent": {"Cmd": ["id"], "User": "www:nope", "AttachStdout": True},
        "environment": {"Cmd": ["sh", "-c", "echo $A"], "Env": ["A=b"], "AttachStdout": True},
        "working directory": {"Cmd": ["pwd"], "WorkingDir": "/tmp", "AttachStdout": True},
        "working directory absent": {"Cmd": ["pwd"], "WorkingDir": "/nope", "AttachStdout": True},
        "privileged": {"Cmd": ["true"], "Privileged": True, "AttachStdout": True},
    }.items():
        made = side.post(f"create: {label}", "/containers/c1/exec", body)
        if "Id" in made:
            side.hijack(f"start: {label}", f"/exec/{made['Id']}/start", {}, send=b"said\n")
            side.get(f"inspect: {label}", f"/exec/{made['Id']}/json")
    odd: dict[str, dict[str, Any] | None] = {
        "no command": {"Cmd": []},
        "empty command": {"Cmd": [""]},
        "no body": None,
        "keys": {"Cmd": ["true"], "DetachKeys": "nope"},
        "relative directory": {"Cmd": ["true"], "WorkingDir": "x"},
        "size": {"Cmd": ["true"], "ConsoleSize": [10, 20]},
        "environment nonsense": {"Cmd": ["true"], "Env": ["=x"]},
    }
    for label, asked in odd.items():
        made = side.post(f"create: {label}", "/containers/c1/exec", asked)
        if isinstance(made, dict) and "Id" in made:
            side.post(f"start: {label}", f"/exec/{made['Id']}/start", {"Detach": True})
    made = side.must("POST", "/containers/c1/exec", {"Cmd": ["sleep", "50"], "Tty": True})
    side.get("inspect before", f"/exec/{made['Id']}/json")
    side.post("resize before", f"/exec/{made['Id']}/resize", h="10", w="20")
    side.post("start detached", f"/exec/{made['Id']}/start", {"Detach": True, "Tty": True})
    side.get("inspect running", f"/exec/{made['Id']}/json")
    side.post("start again", f"/exec/{made['Id']}/start", {"Detach": True})
    side.post("resize", f"/exec/{made['Id']}/resize", h="10", w="20")
    side.post("resize nonsense", f"/exec/{made['Id']}/resize", h="x", w="20")
    side.get("container", "/containers/c1/json")
    made = side.must(
        "POST", "/containers/c1/exec", {"Cmd": ["sh", "-c", "tty; stty size"], "Tty": True, "AttachStdout": True}
    )
    side.hijack("terminal", f"/exec/{made['Id']}/start", {"Tty": True, "ConsoleSize": [11, 22]}, framed=False)
    side.post("start ended", f"/exec/{made['Id']}/start", {"Detach": True})
    made = side.must("POST", "/containers/c1/exec", {"Cmd": ["true"]})
    side.post("attach to nothing", f"/exec/{made['Id']}/start", {})
    side.must("POST", "/containers/c1/stop?t=0")
    side.post("create stopped", "/containers/c1/exec", {"Cmd": ["true"]})
    side.get("inspect after the container", f"/exec/{made['Id']}/json")
    side.post("start after the container", f"/exec/{made['Id']}/start", {"Detach": True})


def attached(side: Side) -> None:
    side.create("c1", "cat", OpenStdin=True, StdinOnce=True, AttachStdin=True, AttachStdout=True)
    side.must("POST", "/containers/c1/start")
    side.hijack("in and out", "/containers/c1/attach?stream=1&stdin=1&stdout=1&stderr=1", send=b"said\n")
    side.must("POST", "/containers/c1/wait")
    side.hijack("logs of ended", "/containers/c1/attach?logs=1&stdout=1&stderr=1")
    side.hijack("stream of ended", "/containers/c1/attach?stream=1&stdout=1&stderr=1")
    side.hijack("nothing", "/containers/c1/attach")
    side.hijack("keys", "/containers/c1/attach?stream=1&stdout=1&detachKeys=nope")
    side.hijack("logs nonsense", "/containers/c1/attach?logs=maybe&stdout=1")
    side.run("p1", "sleep", "100")
    side.must("POST", "/containers/p1/pause")
    side.hijack("paused", "/containers/p1/attach?stream=1&stdout=1")
    side.must("POST", "/containers/p1/unpause")
    side.create(
        "t1",
        "sh",
        "-c",
        "read x; stty size; echo got $x",
        Tty=True,
        OpenStdin=True,
        ConsoleSize=None,
        host={"ConsoleSize": [12, 34]},
    )
    side.must("POST", "/containers/t1/start")
    side.hijack("terminal", "/containers/t1/attach?stream=1&stdin=1&stdout=1", send=b"said\n", framed=False)
    side.must("POST", "/containers/t1/wait")
    side.get("inspect", "/containers/t1/json")


def _stat(side: Side, label: str, target: str, method: str = "HEAD") -> bytes:
    status, headers, data = side.request(method, target)
    found = headers.get("x-docker-container-path-stat")
    value = json.loads(base64.b64decode(found)) if found else None
    names = []
    if method == "GET" and status == 200:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            names = [
                [
                    one.name,
                    one.type.decode(),
                    oct(one.mode),
                    one.uid,
                    one.gid,
                    one.linkname,
                    one.size if one.isreg() else 0,
                ]
                for one in tar
            ]
        data = b""
    side.write(
        label,
        {
            "status": status,
            "type": headers.get("content-type", ""),
            "stat": value,
            "tar": names,
            "body": data.decode(errors="replace").strip(),
        },
    )
    return data


def _tar(**entries: bytes | str | None) -> bytes:
    """Files of bytes, links of text, directories of None."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name, data in entries.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.mtime = 0o755 if data is None else 0o644, 1000000000
            if isinstance(data, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, data
            elif data is None:
                entry.type = tarfile.DIRTYPE
            else:
                entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data) if isinstance(data, bytes) else None)
    return whole.getvalue()


SETUP = (
    "mkdir -p /d/e /ro; echo hello >/d/f; chmod 640 /d/f; chown 33:7 /d/f; ln -s f /d/link;"
    "ln -s /nope /d/broken; ln -s e /d/toe; mkfifo /d/p; ln -s /etc /d/etc; sleep 100"
)


def files(side: Side) -> None:
    """The archive API, of a container that runs and of one that does not."""
    side.run("c1", "sh", "-c", SETUP, host={"Tmpfs": {"/t": ""}, "Binds": ["vol:/v:ro"]})
    side.until("c1", lambda found: side.request("HEAD", "/containers/c1/archive?path=/d/etc")[0] == 200)
    for when in ("running", "stopped"):
        for path in (
            "/d/f",
            "/d",
            "/d/",
            "/d/.",
            "/d/link",
            "/d/broken",
            "/d/toe",
            "/d/toe/",
            "/d/etc/passwd",
            "/d/nope",
            "/d/f/",
            "/d/f/x",
            "relative",
            "",
            "/",
            "/t",
            "/v",
            "/proc/self",
            "/dev/null",
            "/../etc/passwd",
            "/d/p",
        ):
            _stat(side, f"stat {path}, {when}", f"/containers/c1/archive?path={path}")
        for path in ("/d/f", "/d", "/d/.", "/d/link", "/d/nope", "/d/e/", "/d/toe/"):
            _stat(side, f"get {path}, {when}", f"/containers/c1/archive?path={path}", "GET")
        for label, (query, body) in {
            "file": ("path=/d", _tar(x=b"x")),
            "directory": ("path=/d", _tar(y=None)),
            "into a file": ("path=/d/f", _tar(x=b"x")),
            "into nowhere": ("path=/nope", _tar(x=b"x")),
            "no path": ("", _tar(x=b"x")),
            "not a tar": ("path=/d", b"nonsense"),
            "empty": ("path=/d", b""),
            "directory over file": ("path=/d&noOverwriteDirNonDir=1", _tar(f=None)),
            "file over directory": ("path=/d&noOverwriteDirNonDir=1", _tar(e=b"x")),
            "read-only": ("path=/v", _tar(x=b"x")),
            "through a link": ("path=/d/toe", _tar(z=b"z")),
            "owner": ("path=/d&copyUIDGID=1", _tar(o=b"x")),
            "upwards": ("path=/d", _tar(**{"../up": b"x"})),
        }.items():
            side.ask(f"put {label}, {when}", "PUT", f"/containers/c1/archive?{query}", body)
        _stat(side, f"then, {when}", "/containers/c1/archive?path=/d", "GET")
        side.get(f"changes, {when}", "/containers/c1/changes")
        side.request("POST", "/containers/c1/stop?t=0")
    side.run("r1", "sleep", "100", host={"ReadonlyRootfs": True, "Tmpfs": {"/t": ""}, "Binds": ["other:/v"]})
    side.ask("put read-only root", "PUT", "/containers/r1/archive?path=/", _tar(x=b"x"))
    side.ask("put read-only root tmpfs", "PUT", "/containers/r1/archive?path=/t", _tar(x=b"x"))
    side.ask("put read-only root volume", "PUT", "/containers/r1/archive?path=/v", _tar(x=b"x"))
    for name in ("x", "t/x", "v/x"):
        _stat(side, f"read-only {name}", f"/containers/r1/archive?path=/{name}")


def commits(side: Side) -> None:
    side.ended("c1", "sh", "-c", "echo x >/x; rm /bin/yes; mkdir -p /d/e; chmod 700 /tmp", Env=["A=b"])
    side.get("changes", "/containers/c1/changes")
    side.post("commit", "/commit", None, container="c1", repo="made", tag="1", comment="why", author="me")
    side.get("inspect", "/images/made:1/json")
    side.get("history", "/images/made:1/history")
    changes = (
        'ENV C=d\nCMD ["sh"]\nEXPOSE 80\nLABEL a=b\nUSER www\nWORKDIR /tmp\nVOLUME /v\nENTRYPOINT ["sh"]\nONBUILD RUN x'
    )
    side.post("commit changes", "/commit", None, container="c1", repo="made", tag="2", changes=changes)
    side.get("inspect changes", "/images/made:2/json")
    side.post("commit nonsense", "/commit", None, container="c1", changes="RUN x")
    side.post("commit bad name", "/commit", None, container="c1", repo="NOPE/:x")
    side.post(
        "commit configuration",
        "/commit",
        {"Cmd": ["x"], "Env": ["Z=1"], "Labels": {"q": "r"}},
        container="c1",
        repo="made",
        tag="3",
    )
    side.get("inspect configuration", "/images/made:3/json")
    _, headers, data = side.request("GET", "/containers/c1/export")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = sorted({str(PurePath(one.name)) for one in tar if not one.name.startswith("bin/")})
    side.write("export", {"type": headers.get("content-type"), "names": names})


def command_line(side: Side) -> None:
    """What the docker command says and ends with."""
    side.docker("run", "run", "--rm", "box:1", "echo", "hello")
    side.docker("run ends with 7", "run", "--rm", "box:1", "sh", "-c", "exit 7")
    side.docker("run killed", "run", "--rm", "box:1", "sh", "-c", "kill -9 $$")
    side.docker("run nothing", "run", "--rm", "box:1", "nope")
    side.docker("run a directory", "run", "--rm", "box:1", "/etc")
    side.docker("run no option", "run", "--memory", "1k", "box:1")
    side.docker("run input", "run", "--rm", "-i", "box:1", "cat", input=b"said\n")
    side.docker("run no network", "run", "--rm", "--network", "nope", "box:1", "true")
    side.docker("run a name", "run", "-d", "--name", "web", "-p", "127.0.0.1:18081:80", "box:1", "sleep", "100")
    side.docker("run a taken name", "run", "--name", "web", "box:1")
    side.docker("run a taken port", "run", "--rm", "-p", "127.0.0.1:18081:80", "box:1", "true")
    side.docker("exec", "exec", "web", "sh", "-c", "echo out; echo err >&2; exit 5")
    side.docker("exec nothing", "exec", "web", "nope")
    side.docker("exec a directory", "exec", "web", "/etc")
    side.docker("exec killed", "exec", "web", "sh", "-c", "kill -9 $$")
    side.docker("exec input", "exec", "-i", "web", "cat", input=b"said\n")
    side.docker("ps", "ps", "--format", "{{.Names}} {{.Image}} {{.Command}} {{.Status}} {{.Ports}} {{.Networks}}")
    side.docker("port", "port", "web")
    side.docker("cp out", "cp", "web:/etc/passwd", "-")
    side.docker("cp nothing", "cp", "web:/nope", "-")
    side.docker("rm running", "rm", "web")
    side.docker("stop", "stop", "-t", "0", "web", "nope")
    side.docker("start", "start", "web")
    side.docker("kill", "kill", "-s", "KILL", "web")
    side.docker("wait", "wait", "web")
    side.docker("logs", "logs", "web")
    side.docker("rm", "rm", "web", "nope")
    side.docker("inspect nothing", "inspect", "nope")
    side.docker("volume", "volume", "create", "vol")
    side.docker("volume ls", "volume", "ls", "-q")
    side.docker("volume rm", "volume", "rm", "vol", "nope")
    side.docker("network", "network", "rm", "nope")
    side.docker("rmi", "rmi", "nope")
    side.docker("prune", "system", "prune", "-f")


STORIES = (command_line, logs, commands, attached, files, commits)
