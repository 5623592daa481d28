"""Firewalls and a dockerd on the same machine, the real ones: nftables' service, firewalld, ufw, Docker.

Each is at work in the network namespace of our daemon and in a mount namespace of its own: what it writes to /etc and
/run is gone with it. What we owe: our rules are back within two seconds of whatever a neighbour does, we override none
of its rules, and where one of them closes the way we name it with the command that opens it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import place as places
from support.api import must
from support.daemon import IMAGE, Daemon, daemon
from support.netns import Netns, netns
from support.patience import eventually
from support.programs import tool

pytestmark = [pytest.mark.root, pytest.mark.judge, pytest.mark.timeout(180)]

OPEN = dict.fromkeys(("arrives", "local", "leaves", "names"), True)
BACK = 2.0
"""Seconds in which our rules are there again."""
SERVE = "mkdir -p /w && echo hello >/w/index.html && exec busybox httpd -f -h /w -p 80"
APART = """
mount --make-rprivate / && mount -t tmpfs tmpfs "$1" && mkdir "$1/etc" "$1/work" "$1/lib" "$1/libwork" &&
mount -t overlay -o "lowerdir=/etc,upperdir=$1/etc,workdir=$1/work" overlay /etc &&
mount -t overlay -o "lowerdir=/var/lib,upperdir=$1/lib,workdir=$1/libwork" overlay /var/lib &&
mount -t tmpfs tmpfs /run && mkdir -p /run/dbus /run/lock && mount -t proc proc /proc && echo apart && exec cat
"""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The machine as a program beside us sees it: our network, its own /etc, /var/lib, /run and processes."""

    pid: int
    top: Path

    def words(self, *words: str | Path) -> list[str]:
        enter = ("nsenter", "--target", str(self.pid), "--mount", "--net", "--pid", "--wdns=/", "--")
        return [*enter, *map(str, words)]

    def run(self, *words: str | Path, check: bool = True) -> str:
        done = subprocess.run(
            self.words(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=60,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}"
        return done.stdout

    @contextlib.contextmanager
    def serving(self, *words: str | Path) -> Iterator[None]:
        """A daemon of its own, ended afterwards."""
        log = self.top.with_name(f"{self.top.name}-{Path(words[0]).name}.log")
        with log.open("wb") as said, subprocess.Popen(
            self.words(*words), stdin=subprocess.DEVNULL, stdout=said, stderr=said
        ) as process:  # fmt: skip
            try:
                yield
            except BaseException:
                print(log.read_text())
                raise
            finally:
                os.kill(_child(process.pid), signal.SIGTERM)
                process.wait(30)


@dataclass(frozen=True, slots=True)
class Ground:
    docker: Daemon
    outside: Netns
    """Another machine, 10.99.0.2, that serves pages; ours is 10.99.0.1."""
    beside: Neighbour

    @property
    def ns(self) -> Netns:
        assert self.docker.ns is not None
        return self.docker.ns

    def arrives(self) -> bool:
        """Whether the other machine gets our page."""
        return page(self.outside, "10.99.0.1", 8080)

    def local(self) -> bool:
        return page(self.ns, "127.0.0.1", 8080)

    def leaves(self) -> bool:
        """Whether a container gets the other machine's page."""
        return self._within("wget", "-qO-", "http://10.99.0.2/")

    def names(self) -> bool:
        return self._within("nslookup", "web")

    def _within(self, *words: str) -> bool:
        done = self.docker.docker("exec", "web", "busybox", "timeout", "3", "busybox", *words, check=False)
        return done.returncode == 0

    def ways(self) -> dict[str, bool]:
        return {way.__name__: way() for way in (self.arrives, self.local, self.leaves, self.names)}

    def open(self) -> bool:
        return all(self.ways().values())

    def blocks(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = must(self.docker, "GET", "/stockade/v1/networks/blocks")
        return found

    def obey(self) -> None:
        """Do what is proposed, as long as something is."""
        for _ in range(8):
            blocks = self.blocks()
            if not blocks:
                return
            self.beside.run("sh", "-c", blocks[0]["Command"])
        raise AssertionError(f"still blocked: {blocks}")

    def ours(self, *words: str) -> subprocess.CompletedProcess[str]:
        place = self.docker.place
        command = [str(Path(sys.executable).with_name("stockade")), *words]
        environment = {**place.environment(), "HOME": str(place.top)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def page(ns: Netns, address: str, port: int) -> bool:
    try:
        with ns.connect(address, port, 1) as made:
            made.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b" 200 " in made.recv(4096)
    except OSError:
        return False


@contextlib.contextmanager
def neighbour(ns: Netns, top: Path) -> Iterator[Neighbour]:
    top.mkdir()
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-c", APART, "sh", str(top)]
    with ns.popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "apart\n"
            yield Neighbour(_child(holder.pid), top)
        finally:
            holder.kill()


def _child(pid: int) -> int:
    """The one within the pid namespace: nsenter and unshare wait outside."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@pytest.fixture(name="ground")
def _ground() -> Iterator[Ground]:
    with places.place() as place, daemon(place) as docker, netns() as outside:
        docker.load()
        assert docker.ns is not None
        docker.ns.link(outside, ["10.99.0.1/24"], ["10.99.0.2/24"])
        site = place.top / "site"
        site.mkdir()
        (site / "index.html").write_text("outside\n")
        with neighbour(docker.ns, place.top / "beside") as beside:
            server = outside.popen([str(tool("busybox")), "httpd", "-f", "-p", "80", "-h", str(site)])
            try:
                yield Ground(docker, outside, beside)
            finally:
                server.kill()
                server.wait()


def web(ground: Ground) -> None:
    """Our part: a container on a network with names, with a published port."""
    ground.docker.docker("network", "create", "n")
    ground.docker.run("--name", "web", "--network", "n", "-p", "8080:80", IMAGE, "sh", "-c", SERVE)
    eventually(ground.local, "the server serves", 10)


def named(ground: Ground, chain: str) -> list[dict[str, Any]]:
    """The blocks, which both commands of ours say too."""
    blocks = ground.blocks()
    assert chain in {one["Chain"] for one in blocks}
    checked = ground.ours("system", "check").stdout
    for one in blocks:
        assert one["Sentence"] in checked
        assert one["Command"] in checked
    asked = ground.ours("port", "web")
    assert "0.0.0.0:8080" in asked.stdout
    for one in blocks:
        assert (one["Sentence"] in asked.stderr) is ("in" in one["Ways"])
    return blocks


def test_nftables_service(ground: Ground) -> None:
    """What `systemctl restart nftables` does: stop flushes, start loads /etc/nftables.conf, which flushes too."""
    web(ground)
    assert ground.ways() == OPEN
    ground.beside.run("nft", "flush", "ruleset")
    ground.beside.run("nft", "-f", "/etc/nftables.conf")
    eventually(lambda: ground.arrives() and ground.local(), "our rules are back", BACK)
    assert ground.ways() == OPEN
    assert ground.blocks() == []

    text = ground.beside.run("cat", "/etc/nftables.conf")
    hook = "type filter hook forward priority filter;"
    closed = text.replace(hook, f"{hook} policy drop;")
    assert closed != text
    ground.beside.run("sh", "-c", f"cat >/etc/nftables.conf <<'END'\n{closed}\nEND")
    ground.beside.run("nft", "-f", "/etc/nftables.conf")
    eventually(ground.local, "our rules are back", BACK)
    assert not ground.arrives(), "a drop of the host's holds"
    named(ground, "inet filter forward")
    ground.obey()
    assert ground.ways() == OPEN


def test_firewalld(ground: Ground) -> None:
    beside = ground.beside
    web(ground)
    with (
        beside.serving("dbus-daemon", "--system", "--nopidfile", "--nofork"),
        beside.serving("firewalld", "--nofork", "--nopid", "--log-target=console"),
    ):
        eventually(lambda: beside.run("firewall-cmd", "--state", check=False) == "running\n", "there is firewalld", 30)
        assert ground.local()
        assert not ground.names()
        assert not ground.leaves()
        named(ground, "inet firewalld filter_INPUT")
        named(ground, "inet firewalld filter_FORWARD")
        ground.obey()
        eventually(ground.open, "open, as what was proposed was done", BACK)
        beside.run("firewall-cmd", "--reload")
        eventually(ground.arrives, "our rules are back", BACK)
        assert ground.ways() == OPEN
        assert ground.blocks() == []
        beside.run("firewall-cmd", "--complete-reload")
        eventually(ground.arrives, "our rules are back", BACK)
        assert ground.ways() == OPEN


def test_ufw(ground: Ground) -> None:
    beside = ground.beside
    web(ground)
    beside.run("ufw", "--force", "enable")
    assert ground.local()
    assert not ground.arrives(), "ufw denies what is routed"
    named(ground, "ip filter FORWARD")
    ground.obey()
    assert ground.ways() == OPEN
    assert "Firewall reloaded" in beside.run("ufw", "reload")
    eventually(ground.arrives, "our rules are back", BACK)
    assert ground.ways() == OPEN
    assert ground.blocks() == []
    beside.run("ufw", "disable")
    eventually(ground.arrives, "our rules are back", BACK)


def test_dockerd_beside_us(ground: Ground) -> None:
    """It closes FORWARD when it was the one to switch forwarding on."""
    beside = ground.beside
    beside.run("sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward")
    top = beside.top / "docker"
    where = f"unix://{top}/socket"
    words = ("dockerd", "--data-root", top / "data", "--exec-root", top / "exec", "--pidfile", top / "pid",
             "--host", where, "--storage-driver", "vfs")  # fmt: skip

    def answers() -> bool:
        done = subprocess.run(
            beside.words("docker", "-H", where, "network", "ls", "-q"),
            capture_output=True, timeout=30, env={**os.environ, "DOCKER_CONFIG": "/run"},
        )  # fmt: skip
        return done.returncode == 0

    beside.run("mkdir", top)
    for _ in range(2):  # the second time it finds what it left, and us
        with beside.serving(*words):
            eventually(answers, "dockerd answers", 40)
            assert "-P FORWARD DROP" in beside.run("iptables", "-S", "FORWARD")
            if not ground.docker.said("ps", "-q"):
                web(ground)
                assert not ground.arrives(), "a drop of the host's holds"
                [block, *_] = named(ground, "ip filter FORWARD")
                assert "DOCKER-USER" in block["Command"]
                ground.obey()
            assert ground.ways() == OPEN, beside.run("nft", "list", "ruleset")
            networks = json.loads(beside.run("docker", "-H", where, "network", "inspect", "bridge"))
            theirs = networks[0]["IPAM"]["Config"][0]["Subnet"]
            own: Any = ground.docker.inspect("n", "{{json .IPAM.Config}}")
            assert own[0]["Subnet"] != theirs


def test_iptables_from_before_nft(ground: Ground) -> None:
    """What nft does not show: chains that the kernel keeps for iptables-legacy."""
    beside = ground.beside
    web(ground)
    beside.run("iptables-legacy", "-P", "FORWARD", "DROP")
    beside.run("iptables-legacy", "-A", "INPUT", "-p", "udp", "-j", "REJECT")
    assert ground.local()
    assert not ground.arrives(), "a drop of the host's holds"
    named(ground, "ip filter FORWARD of iptables-legacy")
    named(ground, "ip filter INPUT of iptables-legacy")
    ground.obey()
    assert ground.ways() == OPEN
    assert ground.blocks() == []
    beside.run("iptables-legacy", "-t", "mangle", "-I", "FORWARD", "-i", "stockade-none", "-j", "DROP")
    assert ground.blocks() == []
    beside.run("iptables-legacy", "-t", "mangle", "-A", "FORWARD", "-j", "DROP")
    named(ground, "ip mangle FORWARD of iptables-legacy")
    ground.obey()
    assert ground.ways() == OPEN
