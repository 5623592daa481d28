"""Names, asked from containers: who knows whom, what goes on to other servers, what hostile packets do not break."""

from __future__ import annotations

import itertools
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from contract.net import dns
from contract.net.harness import Host, Server, attach, bridge, end
from support.netns import Netns
from support.patience import eventually

pytestmark = pytest.mark.root
HERE, HERE6 = "172.30.0.1", "fd30::1"
REFUSED, FAILED, ABSENT = 5, 2, 3


@pytest.fixture(name="pair")
def _pair(host: Host, boxes: Callable[[], Netns], server: Server) -> tuple[Netns, Netns]:
    """Two containers on one network: web and db."""
    web, db = boxes(), boxes()
    host.apply(bridge(), attach(web, 2), attach(db, 3))
    assert server.network("n1", [HERE, HERE6], name="back") == {"ok": True, "failed": []}
    web_end = {**end("172.30.0.2", "Web", "all"), "addresses": ["172.30.0.2", "fd30::2"]}
    assert server.endpoint("web", web_end) == {"ok": True, "failed": []}
    assert server.endpoint("db", end("172.30.0.3", "db", "all"))["ok"]
    return web, db


@pytest.fixture(name="other")
def _other(host: Host) -> Iterator[Callable[..., list[bytes]]]:
    """Servers of names at addresses of the host's loopback."""
    with ExitStack() as stack:
        yield lambda address, *answers: stack.enter_context(dns.upstream(host.ns, address, *answers))


def test_containers_find_each_other(pair: tuple[Netns, Netns], server: Server) -> None:
    web, db = pair
    assert dns.ask(web, HERE, "db").records == ("172.30.0.3",)
    assert dns.ask(db, HERE, "WEB.back").records == ("172.30.0.2",)
    assert dns.ask(db, HERE, "web", dns.AAAA).records == ("fd30::2",)
    assert dns.ask(web, HERE6, "db").code == 0
    assert dns.ask_by_tcp(web, HERE, "db").records == ("172.30.0.3",)
    assert dns.ask(web, HERE, "3.0.30.172.in-addr.arpa", dns.PTR).records == ("db.back",)
    both = {dns.ask(web, HERE, "all").records for _ in range(4)}
    assert both == {("172.30.0.2", "172.30.0.3"), ("172.30.0.3", "172.30.0.2")}
    empty = dns.ask(web, HERE, "db", dns.AAAA)
    assert (empty.code, empty.records) == (0, ())
    (server.directory / "endpoints/db.json").unlink()
    assert server.tell({"endpoint": "db"})["ok"]
    assert dns.ask(web, HERE, "db").code == FAILED


def test_the_host_and_strangers_are_refused(pair: tuple[Netns, Netns], host: Host, boxes: Callable[[], Netns]) -> None:
    assert dns.ask(host.ns, HERE, "db").code == REFUSED
    stranger = boxes()
    host.apply(attach(stranger, 9))
    assert dns.ask(stranger, HERE, "db").code == REFUSED


def test_what_is_not_ours_goes_on(pair: tuple[Netns, Netns], server: Server, other: Callable[..., list[bytes]]) -> None:
    web, _ = pair
    asked = other("127.0.0.53", dns.says(0, ("9.9.9.9",)))
    server.write("upstreams", {"servers": ["127.0.0.53"], "search": ["example.org"]})
    assert server.tell({"upstreams": True})["ok"]
    data = dns.query("Example.org", edns=4096)
    found = dns.read(dns.exchange(web, HERE, data))
    assert (found.identity, found.records) == (0x4242, ("9.9.9.9",))
    # As it came, but for its number.
    assert asked[-1][2:] == data[2:]
    assert dns.ask_by_tcp(web, HERE, "example.org").records == ("9.9.9.9",)
    assert dns.ask(web, HERE, "single").records == ("9.9.9.9",)
    assert len({one[:2] for one in asked}) > 1
    # Ours never leaves, whatever is asked of it.
    before = len(asked)
    assert dns.ask(web, HERE, "db", dns.MX).code == 0
    assert len(asked) == before


def test_another_server_is_asked_when_one_fails(
    pair: tuple[Netns, Netns], server: Server, other: Callable[..., list[bytes]]
) -> None:
    web, _ = pair
    silent = other("127.0.0.2", lambda data: b"")
    broken = other("127.0.0.3", dns.says(FAILED))
    other("127.0.0.4", dns.says(ABSENT))
    server.endpoint("web", end("172.30.0.2", "web"), dns=["127.0.0.9", "127.0.0.3", "127.0.0.4"])
    assert dns.ask(web, HERE, "example.org").code == ABSENT
    assert broken
    server.endpoint("web", end("172.30.0.2", "web"), dns=["127.0.0.2", "127.0.0.4"])
    assert dns.ask(web, HERE, "example.org").code == ABSENT
    assert silent
    server.endpoint("web", end("172.30.0.2", "web"), dns=["127.0.0.9"])
    assert dns.ask(web, HERE, "example.org").code == FAILED


def test_what_is_cut_off_is_asked_again_by_tcp(
    pair: tuple[Netns, Netns], server: Server, other: Callable[..., list[bytes]]
) -> None:
    web, _ = pair
    other("127.0.0.2", dns.says(flags=0x200), dns.says(0, ("9.9.9.9",) * 100))
    server.endpoint("web", end("172.30.0.2", "web"), dns=["127.0.0.2"])
    assert dns.ask(web, HERE, "example.org").truncated
    assert len(dns.ask_by_tcp(web, HERE, "example.org").records) == 100


def test_an_answer_to_something_else_is_not_believed(
    pair: tuple[Netns, Netns], server: Server, other: Callable[..., list[bytes]]
) -> None:
    web, _ = pair
    wrong: list[Callable[[bytes], bytes]] = [
        lambda data: bytes((data[0] ^ 1, data[1])) + dns.says(0, ("6.6.6.6",))(data)[2:],
        lambda data: dns.says(0, ("6.6.6.6",))(data[:2] + dns.query("other.org")[2:]),
        lambda data: data,
        lambda data: data[:7],
    ]
    turns = itertools.cycle(wrong)

    def answer(data: bytes) -> bytes:
        return next(turns)(data)

    asked = other("127.0.0.2", answer)
    server.endpoint("web", end("172.30.0.2", "web"), dns=["127.0.0.2"])
    for _ in wrong:
        with dns_socket(web) as asking:
            count = len(asked)
            asking.send(dns.query("example.org"))
            eventually(lambda count=count: len(asked) > count)  # type: ignore[misc]
            asking.settimeout(0.3)
            with pytest.raises(TimeoutError):
                asking.recv(512)


def dns_socket(ns: Netns) -> socket.socket:
    asking = ns.socket(kind=socket.SOCK_DGRAM)
    asking.settimeout(15)
    asking.connect((HERE, 53))
    return asking


def test_from_inside_nothing_goes_out(
    pair: tuple[Netns, Netns], server: Server, other: Callable[..., list[bytes]]
) -> None:
    web, _ = pair
    asked = other("127.0.0.2", dns.says())
    server.network("n1", [HERE], name="back", internal=True)
    server.endpoint("web", end("172.30.0.2", "web"), dns=["127.0.0.2"])
    assert dns.ask(web, HERE, "db").records == ("172.30.0.3",)
    assert dns.ask(web, HERE, "example.org").code == FAILED
    assert asked == []


def test_hostile_packets_break_nothing(pair: tuple[Netns, Netns], server: Server) -> None:
    web, _ = pair
    chance = random.Random(5)
    good = dns.query("db", edns=1232)
    with dns_socket(web) as asking:
        for _ in range(3000):
            data = bytearray(chance.randbytes(chance.randrange(80)) if chance.random() < 0.3 else good)
            for _ in range(chance.randrange(4)):
                if data:
                    data[chance.randrange(len(data))] = chance.randrange(256)
            asking.send(bytes(data[: chance.randrange(len(data) + 1)]) if chance.random() < 0.3 else bytes(data))
    for torn in (b"\0", b"\xff\xff", b"\0\x05abc", b"\0\0" * 100, b"\xff\xfe" + b"x" * 5000):
        # It may be turned away while it still speaks.
        with web.connect(HERE, 53) as stream, suppress(OSError):
            stream.sendall(torn)
            stream.shutdown(socket.SHUT_WR)
            stream.settimeout(5)
            while stream.recv(65535):
                pass
    assert server.process is not None
    assert server.process.poll() is None
    assert dns.ask(web, HERE, "db").records == ("172.30.0.3",)


def test_one_that_floods_does_not_silence_the_others(
    pair: tuple[Netns, Netns], server: Server, other: Callable[..., list[bytes]]
) -> None:
    web, db = pair
    other("127.0.0.2", lambda data: b"")
    other("127.0.0.3", dns.says(0, ("9.9.9.9",)))
    server.endpoint("web", end("172.30.0.2", "web"), dns=["127.0.0.2"])
    server.endpoint("db", end("172.30.0.3", "db"), dns=["127.0.0.3"])
    idle = [web.connect(HERE, 53) for _ in range(60)]
    with dns_socket(web) as asking:
        for number in range(2000):
            asking.send(dns.query(f"x{number}.org", identity=number))
    try:
        assert dns.ask(db, HERE, "example.org").records == ("9.9.9.9",)
        assert dns.ask_by_tcp(db, HERE, "web").records == ("172.30.0.2",)
    finally:
        for one in idle:
            one.close()


def test_a_taken_port_of_names_is_said_and_taken_later(host: Host, server: Server) -> None:
    host.apply(bridge())
    with host.ns.socket(kind=socket.SOCK_DGRAM) as taken:
        taken.bind((HERE, 53))
        answer = server.network("n1", [HERE])
        failure = {"host_ip": HERE, "host_port": 53, "protocol": "udp", "error": "address already in use"}
        assert answer == {"ok": True, "failed": [failure]}
    assert server.tell({"network": "n1"}) == {"ok": True, "failed": []}


def test_a_record_that_is_none_is_said_and_the_old_one_stays(pair: tuple[Netns, Netns], server: Server) -> None:
    web, _ = pair
    path = Path("endpoints/db")
    server.write(str(path), "{")
    answer = server.tell({"endpoint": "db"})
    assert answer["ok"] is False
    assert "db.json" in answer["error"]
    assert dns.ask(web, HERE, "db").records == ("172.30.0.3",)
