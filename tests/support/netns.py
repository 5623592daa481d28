"""A network namespace of a test's own: nothing of the machine's network is seen or touched from within.

Held by a process that ends when its input does, so that it goes with the test even when that is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket as sockets
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_HOLD = "ip link set lo up && echo held && exec cat"


@dataclass(frozen=True, slots=True)
class Netns:
    """A network namespace, its loopback up."""

    pid: int
    """Of the process that holds it."""

    @property
    def path(self) -> str:
        return f"/proc/{self.pid}/ns/net"

    def words(self, words: Sequence[str]) -> list[str]:
        """A command as it is to be said from outside."""
        return ["nsenter", f"--net={self.path}", "--", *words]

    def run(self, words: Sequence[str], check: bool = True, timeout: float = 60, **more: Any) -> str:
        """A command in it to its end; what it printed, on both streams."""
        done = subprocess.run(
            self.words(words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, **more
        )
        said: str = done.stdout
        assert not check or done.returncode == 0, f"{' '.join(words)}: {done.returncode}\n{said}"
        return said

    def popen(self, words: Sequence[str], **more: Any) -> subprocess.Popen[Any]:
        """A command in it, at work; its pid is the command's own."""
        return subprocess.Popen(self.words(words), **more)

    def socket(self, family: int = sockets.AF_INET, kind: int = sockets.SOCK_STREAM) -> sockets.socket:
        """A socket that lives in it, for this process."""
        made: list[sockets.socket] = []

        def make() -> None:
            # A thread of its own: a namespace is a thread's, and this one ends at once.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000) == 0:
                    made.append(sockets.socket(family, kind))
            finally:
                os.close(descriptor)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        assert made, f"cannot enter {self.path}"
        return made[0]

    def connect(self, address: str, port: int, timeout: float = 5) -> sockets.socket:
        """A TCP connection from within it."""
        made = self.socket(sockets.AF_INET6 if ":" in address else sockets.AF_INET)
        try:
            made.settimeout(timeout)
            made.connect((address, port))
        except BaseException:
            made.close()
            raise
        return made

    def link(self, other: Netns, own: Sequence[str], others: Sequence[str], name: str = "out0") -> None:
        """Join two of them by a cable; the addresses are with their prefix lengths."""
        self.run(["ip", "link", "add", name, "type", "veth", "peer", "name", name, "netns", str(other.pid)])
        for end, addresses in ((self, own), (other, others)):
            for address in addresses:
                end.run(["ip", "address", "add", address, "dev", name, *(["nodad"] if ":" in address else [])])
            end.run(["ip", "link", "set", name, "up"])


@contextlib.contextmanager
def netns() -> Iterator[Netns]:
    """A network namespace that is gone afterwards, with all that was made in it."""
    words = ["unshare", "--net", "--", "sh", "-c", _HOLD]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n", "no network namespace can be made"
            yield Netns(holder.pid)
        finally:
            holder.kill()
