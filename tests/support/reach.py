"""Whether a daemon's containers are reached: by their ports, by their names; and the one process that serves both."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from contract.net import dns
from support.daemon import Daemon
from support.netns import Netns


def server(name: str) -> str:
    """A program that says a name to whoever asks at port 80."""
    return f"mkdir -p /w; echo {name} > /w/index.html; exec busybox httpd -f -h /w -p 80"


def said(docker: Daemon, port: int, patience: float = 3, address: str = "127.0.0.1") -> str:
    """What answers at a port of the daemon's host; empty: nobody."""
    assert docker.ns is not None
    with contextlib.suppress(OSError), docker.ns.connect(address, port, patience) as made:
        made.sendall(b"GET / HTTP/1.0\r\n\r\n")
        found = b""
        while piece := made.recv(4096):
            found += piece
        return found.decode().split()[-1] if found else ""
    return ""


def addresses(pid: int, resolver: str, name: str, patience: float = 3) -> tuple[str, ...]:
    """A name's IPv4 addresses, as a container that a process is in hears them; nothing: nobody answers, or none."""
    with contextlib.suppress(OSError, AssertionError):
        return dns.read(dns.exchange(Netns(pid), resolver, dns.query(name), patience)).records
    return ()


def serving(docker: Daemon) -> int:
    """The process that serves names and ports for a daemon; 0: none does."""
    with socket.socket(socket.AF_UNIX) as asking, contextlib.suppress(OSError):
        asking.connect(str(docker.place.run / "net/serve.sock"))
        # struct ucred of unix(7).
        return int.from_bytes(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")
    return 0


def private(pid: int) -> int:
    """KiB that a process has written to and shares with nobody. What it maps of files is not among them: whose that is
    depends on who else runs.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))
