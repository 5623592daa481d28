"""The shim's private socket: a process' streams are handed over as descriptors, so that no byte of them passes here.

One JSON object a packet (SOCK_SEQPACKET). Several clients may be attached to one process at once; closing the socket
detaches.
"""

from __future__ import annotations

import array
import binascii
import json
import os
import socket
from typing import NamedTuple

from stockade.errors import NotFound, ProtocolBroken, RuntimeFailed, Unavailable
from stockade.runtime.io import PATIENCE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PACKET = 64 << 10
ROOM = socket.CMSG_LEN(4 * array.array("i").itemsize)


class Ended(NamedTuple):
    """The process ended and all of its output was delivered."""

    status: int


class Detached(NamedTuple):
    """The detach keys were typed, or the connection was cut; the process goes on."""


class Streams(NamedTuple):
    """The descriptors that a client hands over; None: not wanted."""

    stdin: int | None = None
    stdout: int | None = None
    stderr: int | None = None


class Connection(NamedTuple):
    """One connection that a client hands over for all of its streams.

    It outlives whoever hands it over: the shim shuts it down after the last output, and its hanging up detaches.
    """

    descriptor: int
    """A stream socket; its flags are never changed."""
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    framed: bool = True
    """Output in Docker's frames: 8 bytes (1 stdout or 2 stderr, three zeros, the length), then the data."""
    early: bytes = b""
    """Input that was read from it already; 128 KiB at most."""
    stdin_once: bool = True
    """The end of the client's input is the program's when nobody else gives any; else it is the attachment's."""


def request(
    identity: str, streams: Streams | Connection, exec_id: str = "", detach_keys: str = ""
) -> tuple[dict[str, Any], list[int]]:
    """What is sent to attach, and the descriptors beside it.

    A shim of an older release refuses words that it does not know: what is so anyway is left out.
    """
    words: dict[str, Any] = {"exec_id": exec_id, "detach_keys": detach_keys}
    if isinstance(streams, Connection):
        descriptors = [streams.descriptor]
        early = binascii.b2a_base64(streams.early, newline=False).decode()
        words |= streams._asdict() | {"socket": True, "early": early}
        del words["descriptor"], words["stdin_once"]
    else:
        descriptors = [one for one in streams if one is not None]
        words |= {name: descriptor is not None for name, descriptor in streams._asdict().items()}
    attach = {"id": identity} | {name: word for name, word in words.items() if word}
    if isinstance(streams, Connection) and not streams.stdin_once:
        attach["stdin_once"] = False
    return {"attach": attach}, descriptors


class Attachment:
    """A client attached to a process' streams. The descriptors that were handed over may be closed right away."""

    def __init__(
        self, path: str, identity: str, streams: Streams | Connection, exec_id: str = "", detach_keys: str = ""
    ) -> None:
        """Attach. Closing an attachment of a `Connection` does not detach it: that hangs on the connection alone.

        Raises:
            Unavailable: no shim answers at `path`.
            NotFound: it has no such process, or none with streams.
        """
        asked, descriptors = request(identity, streams, exec_id, detach_keys)
        self._socket = _connect(path)
        try:
            _ask(self._socket, path, asked, descriptors)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """For poll(2): when it is readable, `receive` does not wait."""
        return self._socket.fileno()

    def receive(self) -> Ended | Detached | None:
        """The next thing that happens to the attachment; None: the shim closed it (or died)."""
        self._socket.settimeout(None)
        try:
            packet = self._socket.recv(PACKET)
        except OSError:
            return None
        return happened(packet)

    def close(self) -> None:
        """Detach. Idempotent."""
        self._socket.close()


def root(path: str, identity: str) -> int:
    """A descriptor of the root directory of a running container; what is below is hostile (openat2, RESOLVE_IN_ROOT).

    Raises:
        ProtocolBroken: none came.
    """
    with _connect(path) as connection:
        _, descriptors = _ask(connection, path, {"rootfs": {"id": identity}}, [])
    return only(descriptors, identity)


def _connect(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        connection.settimeout(PATIENCE)
        connection.connect(path)
    except OSError as error:
        connection.close()
        raise Unavailable(f"no shim answers at {path}: {error.strerror or error}") from error
    return connection


def _ask(
    connection: socket.socket, path: str, request: dict[str, Any], descriptors: list[int]
) -> tuple[dict[str, Any], list[int]]:
    """Send a request with descriptors; return the answer and the descriptors that came with it."""
    try:
        send(connection, request, descriptors)
        packet, extra, _, _ = connection.recvmsg(PACKET, ROOM, socket.MSG_CMSG_CLOEXEC)
    except OSError as error:
        raise Unavailable(f"the shim at {path} does not answer: {error.strerror or error}") from error
    if not packet:
        raise Unavailable(f"the shim at {path} closed its private socket")
    return answered(packet, extra)


def send(connection: socket.socket, asked: dict[str, Any], descriptors: list[int]) -> None:
    """Send a request as one packet, with descriptors."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    connection.sendmsg([json.dumps(asked).encode()], rights)


def answered(packet: bytes, extra: list[tuple[int, int, bytes]]) -> tuple[dict[str, Any], list[int]]:
    """An answer and the descriptors that came with it, which are closed when it is a refusal."""
    came = array.array("i")
    for _, _, data in extra:
        came.frombytes(data[: len(data) - len(data) % came.itemsize])
    answer = _parse(packet)
    if "error" in answer:
        for descriptor in came:
            os.close(descriptor)
        raise (NotFound if answer.get("code") == 5 else RuntimeFailed)(str(answer["error"]))
    return answer, came.tolist()


def happened(packet: bytes) -> Ended | Detached | None:
    """What a packet tells of an attachment; None: the shim closed it."""
    if not packet:
        return None
    said = _parse(packet)
    if "exited" in said:
        return Ended(int(said["exited"]))
    if "detached" in said:
        return Detached()
    raise ProtocolBroken(f"the shim's private socket said {said}")


def only(descriptors: list[int], identity: str) -> int:
    """The descriptor of a root that came; more are closed.

    Raises:
        ProtocolBroken: none came.
    """
    for extra in descriptors[1:]:
        os.close(extra)
    if not descriptors:
        raise ProtocolBroken(f"the shim of {identity} sent no descriptor of its root")
    return descriptors[0]


def _parse(packet: bytes) -> dict[str, Any]:
    try:
        said = json.loads(packet)
    except ValueError as error:
        raise ProtocolBroken(f"the shim's private socket said {packet[:100]!r}") from error
    if not isinstance(said, dict):
        raise ProtocolBroken(f"the shim's private socket said {said!r}")
    return said
