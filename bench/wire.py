"""The raw client of the measurements: HTTP/1.1 on a unix socket, one connection kept, the same for every engine."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

from bench.figures import Failed


class Client:
    """One connection to the Docker API at a path, made anew when the other side closes it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.socket: socket.socket | None = None

    def __call__(self, method: str, target: str, body: Any = None, expected: tuple[int, ...] = (200, 201, 204)) -> Any:
        """The answer's document, or None; a status that was not expected fails."""
        answer = self.raw(method, target, body, expected)
        return json.loads(answer) if answer.strip() else None

    def raw(self, method: str, target: str, body: Any = None, expected: tuple[int, ...] = (200, 201, 204)) -> bytes:
        """The answer's body as it came."""
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} /v1.41{target} HTTP/1.1\r\nHost: bench\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        if self.socket is None:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(120)
            self.socket.connect(self.path)
            self.file = self.socket.makefile("rb")
        self.socket.sendall(head.encode() + data)
        status = int(self.file.readline().split()[1])
        headers: dict[str, str] = {}
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip().lower()
        answer = self._body(headers)
        if headers.get("connection") == "close":
            self.close()
        if status not in expected:
            raise Failed(f"{method} {target}: {status} {answer[:300]!r}")
        return answer

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return self.file.read(int(headers.get("content-length", "0")))
        parts = []
        while size := int(self.file.readline(), 16):
            parts.append(self.file.read(size))
            self.file.readline()
        self.file.readline()
        return b"".join(parts)

    def close(self) -> None:
        if self.socket is not None:
            self.file.close()
            self.socket.close()
            self.socket = None

    # What the subjects ask for -----------------------------------------------------------------------------------

    def create(self, image: str, *command: str) -> str:
        """A container without a network; its id."""
        wanted = {"Image": image, "Cmd": command, "HostConfig": {"NetworkMode": "none"}}
        answer: str = self("POST", "/containers/create", wanted)["Id"]
        return answer

    def publish(self, image: str, *command: str) -> str:
        """A container on the default bridge, its port 80 published at one that is free; its id."""
        host = {"NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostPort": ""}]}}
        wanted = {"Image": image, "Cmd": command, "ExposedPorts": {"80/tcp": {}}, "HostConfig": host}
        answer: str = self("POST", "/containers/create", wanted)["Id"]
        return answer

    def start(self, identity: str) -> None:
        self("POST", f"/containers/{identity}/start")

    def remove(self, identity: str) -> None:
        self("DELETE", f"/containers/{identity}?force=1")

    def timed(self, method: str, target: str) -> float:
        """Milliseconds until the whole answer was read."""
        begun = time.perf_counter()
        self.raw(method, target)
        return (time.perf_counter() - begun) * 1000
