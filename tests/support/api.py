"""The Docker API of a daemon under test by a plain client: one request a connection, any status is an answer."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

from support.daemon import IMAGE, Daemon


class Connection(http.client.HTTPConnection):
    """HTTP on a unix socket."""

    def __init__(self, path: str, timeout: float = 60) -> None:
        super().__init__("daemon", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(docker: Daemon, method: str, target: str, body: object = None, timeout: float = 60) -> tuple[int, Any]:
    """Status and document; 0: nobody answered, or who did died on the way."""
    connection = Connection(str(docker.socket), timeout)
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, target, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text.strip() else None
    except (OSError, http.client.HTTPException, json.JSONDecodeError):
        return 0, None
    finally:
        connection.close()


def must(docker: Daemon, method: str, target: str, body: object = None) -> Any:
    """The document of an answer that is good."""
    status, found = ask(docker, method, target, body)
    assert status in (200, 201, 204, 304), f"{method} {target}: {status} {found}"
    return found


def create(docker: Daemon, *command: str, **host: object) -> str:
    """A container of the busybox image; its id."""
    wanted = {"Image": IMAGE, "Cmd": command, "HostConfig": {"NetworkMode": "none", **host}}
    identity: str = must(docker, "POST", "/containers/create", wanted)["Id"]
    return identity


def begin(docker: Daemon, *command: str, **host: object) -> str:
    """The same, started."""
    identity = create(docker, *command, **host)
    must(docker, "POST", f"/containers/{identity}/start")
    return identity


def remove(docker: Daemon, identity: str) -> None:
    must(docker, "DELETE", f"/containers/{identity}?force=1")
