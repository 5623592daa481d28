"""What the daemon takes over from whoever started it, and what not: session, cgroup, descriptors, environment.

Nothing of a caller's terminal, limits or variables may reach containers that outlive the caller.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import socket
import sys
from collections.abc import Iterator

from stockade.errors import StockadeError
from stockade.host import delegated, locks
from stockade.registry import hosts, proxies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.host.paths import Paths

_FIRST = 3
_CGROUP = "stockade-daemon"
_KEPT = (
    *("STOCKADE_RUN_DIR", "STOCKADE_DATA_DIR", "STOCKADE_BIN_DIR", "STOCKADE_CRASH", "NOTIFY_SOCKET", "TZ"),
    *(hosts.ENVIRONMENT, *proxies.NAMES),
)


def own_session() -> bool:
    """Leave the caller's session; False: a leader of a group cannot, so another process goes on in its place."""
    if os.getsid(0) == os.getpid():
        return True
    try:
        os.setsid()
    except PermissionError:
        arguments = [sys.executable, *sys.orig_argv[1:]]
        os.posix_spawn(sys.executable, arguments, os.environ, setsid=True, setsigmask=[])
        return False
    return True


@contextlib.contextmanager
def only_one(paths: Paths) -> Iterator[bool]:
    """Whether no other daemon serves these directories; the kernel lets go of the lock however this process ends."""
    with locks.tried(f"{paths.run}/daemon.lock") as lock:
        if lock is None:
            yield False
            return
        # `tidy` closes what it does not know.
        _kept.add(lock)
        try:
            yield True
        finally:
            _kept.discard(lock)


_kept: set[int] = set()


def given_sockets() -> list[socket.socket]:
    """The listening sockets that systemd passed (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    found = [socket.socket(fileno=number) for number in range(_FIRST, _FIRST + count)]
    for one in found:
        one.set_inheritable(False)
    return found


def tidy(keep: set[int]) -> None:
    """A clean environment, umask, directory and table of descriptors, with room for many."""
    os.chdir("/")
    os.umask(0o022)
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    os.environ.clear()
    os.environ.update(
        {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", **kept}
    )
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number >= _FIRST and number not in keep and number not in _kept:
            with contextlib.suppress(OSError):
                os.close(number)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    for number in (1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(null, number)
    if null >= _FIRST:
        os.close(null)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def let_go_of_caller() -> None:
    """Close the caller's output: it waits for its end to know that the socket listens."""
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)


def own_cgroup() -> None:
    """Leave the caller's cgroups, so that its limits are not ours; what cannot be left is said in the log."""
    with open("/proc/self/cgroup", encoding="ascii") as file:
        lines = file.read().splitlines()
    mounts = _cgroup_mounts()
    for line in lines:
        _, controllers, _ = line.split(":", 2)
        base = mounts.get(controllers)
        if base is None:
            continue
        try:
            _enter(_place(base, controllers), base, controllers)
        except (OSError, StockadeError) as error:
            logging.getLogger(__name__).warning("stays in the caller's cgroup of %s: %s", controllers or "v2", error)


def _place(base: str, controllers: str) -> str:
    """Beside the containers where systemd hands a cgroup over, else beside nobody.

    Raises:
        StockadeError: systemd gives none.
    """
    if controllers or not delegated.served():
        return f"{base}/{_CGROUP}"
    if delegated.missing():
        delegated.ask()
    return f"{delegated.directory()}/{_CGROUP}"


def _cgroup_mounts() -> dict[str, str]:
    """Controllers as /proc/self/cgroup names them (empty: v2) → where they are mounted."""
    found: dict[str, str] = {}
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            words, _, rest = line.partition(" - ")
            kind, _, options = rest.split(maxsplit=2)
            point = words.split()[4]
            if kind == "cgroup2":
                found.setdefault("", point)
            elif kind == "cgroup":
                names = [
                    one for one in options.strip().split(",") if one not in ("rw", "ro", "xattr", "clone_children")
                ]
                found.setdefault(",".join(names), point)
    return found


def _enter(path: str, base: str, controllers: str) -> None:
    os.makedirs(path, 0o755, exist_ok=True)
    if "cpuset" in controllers.split(","):
        for name in ("cpuset.cpus", "cpuset.mems"):
            with (
                open(f"{base}/{name}", encoding="ascii") as source,
                open(f"{path}/{name}", "w", encoding="ascii") as own,
            ):
                own.write(source.read())
    with open(f"{path}/cgroup.procs", "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
