"""`stockade-net serve` as the daemon uses it: one of them, what it is told, the ports that it holds and carries."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from contract.net.harness import Host, Server, attach, bridge, end, port
from support import programs
from support.netns import Netns
from support.patience import eventually

pytestmark = pytest.mark.root
TAKEN = "address already in use"


@pytest.fixture(name="box")
def _box(host: Host, boxes: Callable[[], Netns], server: Server) -> Netns:
    box = boxes()
    host.apply(bridge(), attach(box))
    return box


def say_back(stream: socket.socket) -> None:
    with stream, suppress(OSError):
        while data := stream.recv(65536):
            stream.sendall(data)


def accept(listener: socket.socket, came: list[str]) -> None:
    with suppress(OSError):
        while True:
            stream, sender = listener.accept()
            came.append(sender[0])
            threading.Thread(target=say_back, args=(stream,), daemon=True).start()


def receive(datagrams: socket.socket, came: list[str]) -> None:
    with suppress(OSError):
        while True:
            data, sender = datagrams.recvfrom(65535)
            if not data:
                return
            came.append(sender[0])
            datagrams.sendto(data, sender)


@pytest.fixture(name="echo")
def _echo(box: Netns) -> Iterator[list[str]]:
    """In the container: says back, by TCP until the other end is done, and by UDP; who came."""
    came: list[str] = []
    with ExitStack() as stack:
        ends = [
            stack.enter_context(closing(box.socket(*of)))
            for of in ((socket.AF_INET,), (socket.AF_INET6,), (socket.AF_INET, socket.SOCK_DGRAM))
        ]
        ends[1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for one, address in zip(ends, ("0.0.0.0", "::", "0.0.0.0"), strict=True):
            one.bind((address, 80))
        for one in ends[:2]:
            one.listen()
        works = (accept, accept, receive)
        threads = [
            threading.Thread(target=work, args=(one, came), daemon=True) for work, one in zip(works, ends, strict=True)
        ]
        for thread in threads:
            thread.start()
        yield came
        # Closing does not wake a thread that waits in the kernel; shutting down does.
        for one in ends:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)


def bind(ns: Netns, address: str, number: int, kind: int = socket.SOCK_STREAM) -> None:
    """As a program of the host would."""
    with ns.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as taking:
        taking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind == socket.SOCK_STREAM))
        if ":" in address:
            taking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        taking.bind((address, number))
        if kind == socket.SOCK_STREAM:
            taking.listen()


def test_there_is_one(server: Server) -> None:
    assert server.ready == {"ready": True, "already": False}
    words = [str(programs.program("stockade-net")), "serve", "--dir", str(server.directory)]
    second = subprocess.run(server.ns.words(words), capture_output=True, text=True, timeout=20)
    assert (second.returncode, second.stdout) == (0, '{"already":true,"ready":true}\n')
    door = server.directory / "serve.sock"
    assert door.stat().st_mode & 0o777 == 0o600
    assert server.process is not None
    assert server.tell({"end": True}) == {"ok": True, "failed": []}
    assert server.process.wait(20) == 0
    server.start()
    assert server.ready["already"] is False
    assert server.tell({"all": True}) == {"ok": True, "failed": []}


def test_a_successor_of_one_that_was_killed_knows_all(server: Server) -> None:
    ports = [port(1234, "172.30.0.2", protocol=protocol) for protocol in ("tcp", "udp")]
    assert server.endpoint("web", end("172.30.0.2", ports=ports)) == {"ok": True, "failed": []}
    server.stop()
    bind(server.ns, "0.0.0.0", 1234)
    server.start()
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with pytest.raises(OSError, match="in use"):
            bind(server.ns, "0.0.0.0", 1234, kind)


def test_it_reads_nothing_but_its_records(server: Server) -> None:
    """Where the kernel has Landlock, as that of the tests does: not even what root owns."""
    elsewhere = server.directory.parent / "elsewhere.json"
    elsewhere.write_text('{"id": "n2", "bridge": "br-2", "listen": [], "names": true, "internal": false}')
    (server.directory / "networks").mkdir(exist_ok=True)
    (server.directory / "networks/n2.json").symlink_to(elsewhere)
    answer = server.tell({"network": "n2"})
    assert answer["ok"] is False
    assert "Permission denied" in answer["error"]
    (server.directory / "networks/n2.json").unlink()
    assert server.network("n2", [])["ok"] is True


def test_it_keeps_one_right_and_no_session(server: Server) -> None:
    assert server.process is not None
    pid = server.process.pid
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    sets = {name: int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb")}
    assert sets == {"CapPrm": 1 << 10, "CapEff": 1 << 10, "CapBnd": 1 << 10, "CapInh": 0, "CapAmb": 0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    assert int(stat[3]) == pid
    assert Path(f"/proc/{pid}/cwd").resolve() == Path("/")
    assert {str(Path(f"/proc/{pid}/fd/{number}").resolve()) for number in (0, 1)} == {"/dev/null"}


@pytest.mark.parametrize(
    "line", ["", "x" * 3000, "{}", '{"frob":true}', '{"endpoint":"../x"}', '{"endpoint":5}', "[" * 2000, "\0"]
)
def test_what_is_no_command_is_refused(server: Server, line: str) -> None:
    answer = server.tell(line)
    assert answer["ok"] is False
    assert answer["error"]
    assert server.tell({"all": True}) == {"ok": True, "failed": []}


def test_ports_are_held_and_let_go(server: Server) -> None:
    ports = [
        port(1000, "172.30.0.2"),
        port(1000, "172.30.0.2", protocol="udp"),
        port(1001, "172.30.0.2", host_ip="127.0.0.1"),
        port(1000, "172.30.0.2", host_ip="::"),
        port(1002, "172.30.0.2", protocol="sctp"),
    ]
    assert server.endpoint("web", end("172.30.0.2", ports=ports)) == {"ok": True, "failed": []}
    held = [
        ("127.0.0.1", 1000, socket.SOCK_STREAM),
        ("0.0.0.0", 1000, socket.SOCK_DGRAM),
        ("::", 1000, socket.SOCK_STREAM),
    ]
    held.append(("0.0.0.0", 1001, socket.SOCK_STREAM))
    for one in held:
        with pytest.raises(OSError, match="in use"):
            bind(server.ns, *one)
    # Another container's is somebody else's.
    again = server.endpoint("two", end("172.30.0.3", ports=[port(1000, "172.30.0.3"), port(1003, "172.30.0.3")]))
    assert again["failed"] == [{"host_ip": "0.0.0.0", "host_port": 1000, "protocol": "tcp", "error": TAKEN}]
    # What is still wanted is not let go of in between.
    assert server.endpoint("web", end("172.30.0.2", ports=ports[:1])) == {"ok": True, "failed": []}
    with pytest.raises(OSError, match="in use"):
        bind(server.ns, *held[0])
    for one in held[1:]:
        bind(server.ns, *one)
    (server.directory / "endpoints/web.json").unlink()
    assert server.tell({"endpoint": "web"}) == {"ok": True, "failed": []}
    bind(server.ns, *held[0])


def test_a_port_that_the_host_has_is_said(server: Server) -> None:
    with server.ns.socket() as taken, server.ns.socket(kind=socket.SOCK_DGRAM) as taken_too:
        taken.bind(("127.0.0.1", 1234))
        taken.listen()
        taken_too.bind(("127.0.0.1", 1234))
        ports = [port(1234, "172.30.0.2"), port(1234, "172.30.0.2", protocol="udp"), port(1235, "172.30.0.2")]
        failed = server.endpoint("web", end("172.30.0.2", ports=ports))["failed"]
        assert sorted((one["protocol"], one["error"]) for one in failed) == [("tcp", TAKEN), ("udp", TAKEN)]
    nowhere = server.endpoint("web", end("172.30.0.2", ports=[port(1, "172.30.0.2", host_ip="10.99.0.1")]))
    assert nowhere["failed"][0]["error"] == "cannot assign requested address"


def test_a_thousand_ports(server: Server) -> None:
    ports = [port(number, "172.30.0.2", host_ip=ip) for number in range(2000, 3000) for ip in ("0.0.0.0", "::")]
    assert server.endpoint("web", end("172.30.0.2", ports=ports)) == {"ok": True, "failed": []}
    with pytest.raises(OSError, match="in use"):
        bind(server.ns, "0.0.0.0", 2999)
    (server.directory / "endpoints/web.json").unlink()
    assert server.tell({"all": True})["ok"]
    bind(server.ns, "0.0.0.0", 2999)


@pytest.mark.parametrize("to", ["172.30.0.2", "fd30::2"])
def test_loopback_of_ipv6_is_carried(server: Server, echo: list[str], to: str) -> None:
    server.endpoint("web", end("172.30.0.2", ports=[port(8080, to, host_ip="::")]))
    sent = b"x" * 3_000_000
    with server.ns.connect("::1", 8080) as stream:

        def send() -> None:
            stream.sendall(sent)
            stream.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        got = bytearray()
        while data := stream.recv(65536):
            got += data
        sender.join()
    assert bytes(got) == sent
    # The container sees the host's address on its network.
    assert echo == ["172.30.0.1" if "." in to else "fd30::1"]


def test_datagrams_of_ipv6s_loopback_are_carried(server: Server, echo: list[str]) -> None:
    server.endpoint("web", end("172.30.0.2", ports=[port(8080, "172.30.0.2", host_ip="::1", protocol="udp")]))
    with ExitStack() as stack:
        senders = [stack.enter_context(closing(server.ns.socket(socket.AF_INET6, socket.SOCK_DGRAM))) for _ in range(3)]
        for number, one in enumerate(senders):
            one.settimeout(10)
            one.connect(("::1", 8080))
            one.send(b"%d" % number)
        assert [one.recv(100) for one in senders] == [b"0", b"1", b"2"]
    assert echo == ["172.30.0.1"] * 3


def test_what_came_past_the_rules_is_turned_away(server: Server, echo: list[str]) -> None:
    ports = [port(8080, "172.30.0.2"), port(8080, "fd30::2", host_ip="::")]
    server.endpoint("web", end("172.30.0.2", ports=ports))
    for address in ("127.0.0.1", "172.30.0.1", "fd30::1"):
        with suppress(ConnectionResetError), server.ns.connect(address, 8080) as stream:
            assert stream.recv(1) == b""
    assert echo == []


def test_a_container_that_does_not_listen_resets(server: Server, box: Netns) -> None:
    server.endpoint("web", end("172.30.0.2", ports=[port(8080, "172.30.0.2", 81, host_ip="::1")]))
    with pytest.raises(ConnectionResetError), server.ns.connect("::1", 8080) as stream:
        stream.recv(1)


def test_many_connections_at_once_and_a_port_that_goes(server: Server, echo: list[str]) -> None:
    server.endpoint("web", end("172.30.0.2", ports=[port(8080, "172.30.0.2", host_ip="::1")]))
    with ExitStack() as stack:
        streams = [stack.enter_context(server.ns.connect("::1", 8080)) for _ in range(100)]
        for number, one in enumerate(streams):
            one.sendall(b"%3d" % number)
        assert [one.recv(3) for one in streams] == [b"%3d" % number for number in range(100)]
        (server.directory / "endpoints/web.json").unlink()
        server.tell({"endpoint": "web"})
        for one in streams:
            with suppress(ConnectionResetError):
                assert one.recv(1) == b""
    assert server.process is not None
    fds = Path(f"/proc/{server.process.pid}/fd")
    eventually(lambda: len(list(fds.iterdir())) < 12)


def test_an_idle_one_does_nothing(server: Server) -> None:
    assert server.process is not None
    process = Path(f"/proc/{server.process.pid}")
    # It says that it is ready just before it waits for the first time.
    eventually(lambda: process.joinpath("stat").read_text().rsplit(")", 1)[1].split()[0] == "S")
    stat = process / "schedstat"
    before = stat.read_text()
    threading.Event().wait(1.5)
    assert stat.read_text() == before
