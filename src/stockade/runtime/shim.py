"""Starting a shim: `containerd-shim-stockade-v2 … start`, whose answer is a socket's address."""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from stockade.errors import RuntimeFailed, TimedOut, Unavailable, Unsupported
from stockade.runtime.io import PATIENCE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM = "containerd-shim-stockade-v2"
_ANSWER_LIMIT = 64 << 10


def program(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """Where one of our programs lies: beside the interpreter (a wheel puts it there), else in STOCKADE_BIN_DIR.

    Raises:
        Unsupported: it is in neither place.
    """
    # Not resolved: a virtual environment's interpreter is a link out of it.
    beside = os.path.dirname(os.path.abspath(sys.executable)) if sys.executable else ""
    for directory in (beside, environ.get("STOCKADE_BIN_DIR", "")):
        path = f"{directory}/{name}"
        if directory and os.access(path, os.X_OK):
            return path
    raise Unsupported(
        f"the program {name} is not beside {sys.executable}", hint="`make build`, or set STOCKADE_BIN_DIR"
    )


def launch(path: str, bundle: str, identity: str, namespace: str = "stockade", run_directory: str = "") -> str:
    """Start the shim at `path` for a container, in a session of its own; return the path of its ttrpc socket.

    Args:
        run_directory: below it go the sockets; empty: where the shim finds best.

    Raises:
        RuntimeFailed: it refused, for the reason it gave.
    """
    variables = {**os.environ, "STOCKADE_RUN_DIR": run_directory} if run_directory else os.environ
    status, output, complaint = run_to_end(start_words(path, bundle, identity, namespace), variables)
    return started(identity, status, output, complaint)


def start_words(path: str, bundle: str, identity: str, namespace: str = "stockade") -> list[str]:
    """The command that starts a shim, for callers that run it in their own way; `started` reads what it said."""
    return [path, "-namespace", namespace, "-id", identity, "-address", "", "-bundle", bundle, "start"]


def delete_words(path: str, bundle: str, identity: str, namespace: str = "stockade") -> list[str]:
    """The command behind `clean_up`."""
    return [path, "-namespace", namespace, "-id", identity, "-bundle", bundle, "delete"]


def started(identity: str, status: int, output: str, complaint: str) -> str:
    """The path of the ttrpc socket that a started shim told.

    Raises:
        RuntimeFailed: it did not start.
    """
    if status != 0:
        raise RuntimeFailed(f"the shim of {identity} did not start: {complaint or f'status {status}'}")
    told = output.strip()
    if not told.startswith("unix://"):
        raise RuntimeFailed(f"the shim of {identity} answered {told!r} instead of an address")
    return told.removeprefix("unix://")


def address(bundle: str) -> str:
    """The path of the ttrpc socket of the shim that serves a bundle.

    Raises:
        Unavailable: none was started for it.
    """
    return _line(f"{bundle}/address").removeprefix("unix://")


def attach_address(bundle: str) -> str:
    """The path of the shim's private socket (see attach).

    Raises:
        Unavailable: none was started for it.
    """
    return _line(f"{bundle}/attach").removeprefix("unix://")


def clean_up(path: str, bundle: str, identity: str, namespace: str = "stockade") -> None:
    """Kill and undo what a dead shim left of a container; its exit record says ShimDied if it has none yet.

    Raises:
        RuntimeFailed: something is left.
    """
    status, _, complaint = run_to_end(delete_words(path, bundle, identity, namespace))
    if status != 0:
        raise RuntimeFailed(f"{identity} could not be cleaned up: {complaint or f'status {status}'}")


def _line(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError as error:
        raise Unavailable(f"no shim serves {os.path.dirname(path)}: {error.strerror}") from error


def run_to_end(
    arguments: list[str], environ: Mapping[str, str] = os.environ, patience: float = PATIENCE
) -> tuple[int, str, str]:
    """Run a short program to its end; return its status (-n: signal n), output and complaint.

    Args:
        patience: seconds until it is killed.

    Raises:
        TimedOut: it took longer, or said too much.
    """
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    err_read, err_write = os.pipe2(os.O_CLOEXEC)
    nothing = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    try:
        actions = [
            (os.POSIX_SPAWN_DUP2, source, target) for target, source in ((0, nothing), (1, out_write), (2, err_write))
        ]
        # A process group of its own: Ctrl-C in the caller's terminal is not for it.
        pid = os.posix_spawn(
            arguments[0],
            arguments,
            environ,
            file_actions=actions,
            setpgroup=0,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGPIPE],
        )
    except OSError as error:
        os.close(out_read)
        os.close(err_read)
        raise Unavailable(f"cannot run {arguments[0]}: {error.strerror}") from error
    finally:
        for descriptor in (out_write, err_write, nothing):
            os.close(descriptor)
    try:
        output, complaint = _drain(pid, out_read, err_read, arguments[0], patience)
    finally:
        os.close(out_read)
        os.close(err_read)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status, output.decode(errors="replace"), complaint.decode(errors="replace").strip()


def _drain(pid: int, out: int, err: int, name: str, patience: float) -> tuple[bytes, bytes]:
    """Read both pipes to their end; the program is killed when it takes too long or says too much."""
    texts = {out: b"", err: b""}
    deadline = time.monotonic() + patience
    poll = select.poll()
    poll.register(out, select.POLLIN)
    poll.register(err, select.POLLIN)
    open_ones = {out, err}
    while open_ones:
        events = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not events or max(map(len, texts.values())) > _ANSWER_LIMIT:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise TimedOut(f"{name} did not answer within {patience:g} s")
        for descriptor, _ in events:
            data = os.read(descriptor, 4096)
            texts[descriptor] += data
            if not data:
                poll.unregister(descriptor)
                open_ones.discard(descriptor)
    return texts[out], texts[err]
