"""One engine of the two and what it said: the questions of a story are put to both, and all answers written down."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.api import Connection

_FRAME = 8
_QUIET = 4.0
"""Seconds after which a stream that says nothing is given up."""


@dataclass(slots=True)
class Side:
    """`said` is the transcript: a label for each question, and the answer as a document."""

    name: str
    socket: Path
    top: Path
    version: str
    said: dict[str, Any] = field(default_factory=dict)
    story: str = ""

    # HTTP -------------------------------------------------------------------------------------------------------

    def request(
        self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:  # fmt: skip
        """Status, headers and body, not written down."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        kind = {"Content-Type": "application/x-tar" if isinstance(body, bytes) else "application/json"}
        path = target if target.startswith("!") else f"/v{self.version}{target}"
        connection = Connection(str(self.socket), timeout=60)
        try:
            connection.request(method, path.removeprefix("!"), data, {**(kind if data else {}), **(headers or {})})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            try:
                return answer.status, found, answer.read()
            except http.client.IncompleteRead as error:
                return answer.status, found, error.partial
        finally:
            connection.close()

    def ask(self, label: str, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """Write down status, kind and document of an answer; the document."""
        status, found, data = self.request(method, target, body, headers)
        document = _document(data)
        self.write(label, {"status": status, "type": found.get("content-type", ""), "body": document})
        return document

    def get(self, label: str, target: str, **query: Any) -> Any:
        return self.ask(label, "GET", target + _query(query))

    def post(self, label: str, target: str, body: Any = None, **query: Any) -> Any:
        return self.ask(label, "POST", target + _query(query), body)

    def delete(self, label: str, target: str, **query: Any) -> Any:
        return self.ask(label, "DELETE", target + _query(query))

    def write(self, label: str, value: Any) -> None:
        while label in self.said:
            label += "'"
        self.said[label] = value

    # Containers -------------------------------------------------------------------------------------------------

    def must(self, method: str, target: str, body: Any = None) -> Any:
        """What a story needs before its questions begin: not written down."""
        status, _, data = self.request(method, target, body)
        assert status < 400, f"{self.name}: {method} {target}: {status} {data!r}"
        return _document(data)

    def create(self, name: str, *command: str, host: dict[str, Any] | None = None, **more: Any) -> str:
        body = {"Image": "box:1", "Cmd": list(command), **more, "HostConfig": {"NetworkMode": "none", **(host or {})}}
        found: str = self.must("POST", f"/containers/create?name={name}", body)["Id"]
        return found

    def run(self, name: str, *command: str, host: dict[str, Any] | None = None, **more: Any) -> str:
        found = self.create(name, *command, host=host, **more)
        self.must("POST", f"/containers/{name}/start")
        return found

    def ended(self, name: str, *command: str, host: dict[str, Any] | None = None, **more: Any) -> str:
        found = self.run(name, *command, host=host, **more)
        self.must("POST", f"/containers/{name}/wait")
        return found

    def state(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.must("GET", f"/containers/{name}/json")
        return found

    def until(self, name: str, holds: Any, patience: float = 20) -> dict[str, Any]:
        """A container's inspect once something holds of it."""
        deadline = time.monotonic() + patience
        while not holds(found := self.state(name)):
            assert time.monotonic() < deadline, f"{self.name}: {name}: {found['State']}"
            time.sleep(0.05)
        return found

    # Streams ----------------------------------------------------------------------------------------------------

    def logs(self, label: str, target: str, query: dict[str, str], framed: bool = True) -> None:
        """The lines of both streams, each in its own order."""
        status, found, data = self.request("GET", target + _query(query))
        value: Any = frames(data) if framed and status == 200 else data.decode(errors="replace")
        self.write(label, {"status": status, "type": found.get("content-type", ""), "lines": value})

    def events(self, what: str, since: float, **filters: list[str]) -> list[dict[str, Any]]:
        """What has happened since then, in order."""
        query = _query({"since": f"{since:.9f}", "until": f"{time.time():.9f}", "filters": filters})
        _, _, data = self.request("GET", f"/events{query}")
        found = [json.loads(line) for line in data.splitlines() if line.strip()]
        self.write(what, [_event(one) for one in found])
        return found

    def hijack(self, label: str, target: str, body: Any = None, send: bytes = b"", framed: bool = True) -> None:
        """A connection that is taken over: what is sent, and all that comes until its end."""
        data = b"" if body is None else json.dumps(body).encode()
        head = f"POST /v{self.version}{target} HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_QUIET)
            client.connect(str(self.socket))
            client.sendall(head.encode() + data)
            file = client.makefile("rb")
            first, headers = file.readline().decode().strip(), {}
            while (line := file.readline()) not in (b"\r\n", b""):
                name, _, text = line.decode().partition(":")
                headers[name.lower()] = text.strip()
            kept = {name: headers[name] for name in ("content-type", "connection", "upgrade") if name in headers}
            if " 101 " in f"{first} ":
                rest = _talk(client, file, send, half=framed)
                value: Any = frames(rest) if framed else rest.decode(errors="replace")
            else:
                value = _document(file.read(int(headers.get("content-length", "0"))))
            self.write(label, {"first": first, **kept, "said": value})

    # The command ------------------------------------------------------------------------------------------------

    def docker(self, label: str, *words: str, input: bytes = b"") -> str:
        """Write down exit code, output and errors of the docker command; its output."""
        environment = {**os.environ, "DOCKER_CONFIG": str(self.top), "HOME": str(self.top), "DOCKER_CLI_HINTS": "false"}
        done = subprocess.run(
            ["docker", "-H", f"unix://{self.socket}", *words],
            env=environment, input=input, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        self.write(label, {"code": done.returncode, "out": out.splitlines(), "err": err.splitlines()})
        return out.strip()

    def clear(self) -> None:
        """Nothing is left of a story but the image."""
        for one in self.must("GET", "/containers/json?all=1"):
            self.request("DELETE", f"/containers/{one['Id']}?force=1&v=1")
        self.request("POST", "/networks/prune")
        for one in self.must("GET", "/volumes")["Volumes"] or []:
            self.request("DELETE", f"/volumes/{one['Name']}?force=1")
        for one in self.must("GET", "/images/json"):
            for tag in one["RepoTags"] or [one["Id"]]:
                if tag != "box:1":
                    self.request("DELETE", f"/images/{tag}?force=1")


def _event(one: dict[str, Any]) -> str:
    actor = one.get("Actor", {})
    attributes = {name: value for name, value in sorted(actor.get("Attributes", {}).items()) if name != "execDuration"}
    return f"{one['Type']} {one['Action']} {actor.get('ID')} {attributes} {sorted(one)}"


def _talk(client: socket.socket, file: Any, send: bytes, half: bool) -> bytes:
    """All that comes once something was said; what an engine that does not end it said until then, marked.

    Args:
        half: whether nothing more is to be said; on a terminal both engines may take that for the end of all.
    """
    found = b""
    try:
        client.sendall(send)
        if half:
            client.shutdown(socket.SHUT_WR)
        while data := file.read1(1 << 16):
            found += data
    except TimeoutError:
        return found + b"\x09\0\0\0\0\0\0\0goes on"
    except ConnectionError:
        return found
    return found


def frames(data: bytes) -> list[list[Any]]:
    """What the frames of a stream carry, joined by stream."""
    found: dict[int, bytes] = {}
    while len(data) >= _FRAME:
        size = int.from_bytes(data[4:_FRAME], "big")
        found[data[0]] = found.get(data[0], b"") + data[_FRAME : _FRAME + size]
        data = data[_FRAME + size :]
    if data:
        found[-1] = data
    return [[stream, text.decode(errors="replace").splitlines()] for stream, text in sorted(found.items())]


def _document(data: bytes) -> Any:
    text = data.decode(errors="replace").strip()
    try:
        return json.loads(text) if text else None
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in text.splitlines()]
    except ValueError:
        return text.splitlines()


def _query(query: dict[str, Any]) -> str:
    said = {name: value if isinstance(value, str) else json.dumps(value) for name, value in query.items()}
    return f"?{urllib.parse.urlencode(said)}" if said else ""


__all__ = ["Side", "frames"]
