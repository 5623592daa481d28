"""`stockade-net` driven from outside: requests, the process that serves, and what stands afterwards."""

from __future__ import annotations

import json
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import programs
from support.netns import Netns

Operation = dict[str, Any]
Answer = dict[str, Any]

TABLE = """
table inet stockade {
  map ports4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
  map bound4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  map ports6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
  map bound6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }
}
"""


@dataclass(frozen=True, slots=True)
class Host:
    """The namespace that stands for the host."""

    ns: Netns

    def call(self, operations: list[Operation]) -> tuple[int, Answer, str]:
        """Exit code, answer and complaint of `apply`."""
        words = self.ns.words([str(programs.program("stockade-net")), "apply"])
        text = json.dumps({"do": operations})
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=60)
        return done.returncode, json.loads(done.stdout or "{}"), done.stderr.strip()

    def apply(self, *operations: Operation) -> None:
        assert self.call(list(operations)) == (0, {"done": len(operations)}, "")

    def table(self, text: str = TABLE) -> None:
        self.ns.run(["nft", text])

    def elements(self, name: str) -> list[str]:
        """A map's elements, as nft writes them."""
        [found] = [
            one["map"].get("elem", [])
            for one in json.loads(self.ns.run(["nft", "-j", "list", "map", "inet", "stockade", name]))["nftables"]
            if "map" in one
        ]
        return sorted(
            f"{' '.join(map(str, key['concat']))} : {' '.join(map(str, data['concat']))}" for key, data in found
        )

    def links(self) -> set[str]:
        return {one["ifname"] for one in json.loads(self.ns.run(["ip", "-j", "link"]))}


def bridge(name: str = "br-1", *addresses: str, **more: Any) -> Operation:
    return {"bridge": {"name": name, "addresses": addresses or ("172.30.0.1/16", "fd30::1/64"), **more}}


def attach(box: Netns, number: int = 2, **more: Any) -> Operation:
    wanted = {
        "netns": box.path,
        "host": f"veth{number:010x}",
        "name": "eth0",
        "master": "br-1",
        "mac": f"02:42:ac:1e:00:{number:02x}",
        "mtu": 1400,
        "addresses": [f"172.30.0.{number}/16", f"fd30::{number}/64"],
        "gateway4": "172.30.0.1",
        "gateway6": "fd30::1",
    }
    return {"attach": {**wanted, **more}}


def port(host_port: int, to: str, number: int = 80, host_ip: str = "", protocol: str = "tcp") -> dict[str, Any]:
    return {"host_ip": host_ip, "host_port": host_port, "protocol": protocol, "to": to, "port": number}


@dataclass(slots=True)
class Server:
    """`stockade-net serve` and the files that it reads."""

    ns: Netns
    directory: Path
    process: subprocess.Popen[str] | None = None
    ready: Answer = field(default_factory=dict)

    def write(self, name: str, document: Any) -> None:
        path = self.directory / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(document if isinstance(document, str) else json.dumps(document))
        fresh.rename(path)

    def start(self) -> None:
        self.directory.mkdir(exist_ok=True)
        words = [str(programs.program("stockade-net")), "serve", "--dir", str(self.directory)]
        self.process = self.ns.popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.ready = json.loads(self.process.stdout.readline())

    def tell(self, message: Any) -> Answer:
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(20)
            door.connect(str(self.directory / "serve.sock"))
            door.sendall((message if isinstance(message, str) else json.dumps(message)).encode() + b"\n")
            with door.makefile() as lines:
                answer: Answer = json.loads(lines.readline())
                return answer

    def network(self, identity: str, listen: list[str], **more: Any) -> Answer:
        record = {"id": identity, "bridge": "br-1", "listen": listen, "names": True, "internal": False}
        self.write(f"networks/{identity}", {**record, **more})
        return self.tell({"network": identity})

    def endpoint(self, identity: str, *ends: Any, **more: Any) -> Answer:
        self.write(f"endpoints/{identity}", {"container": identity, "dns": [], "ends": ends, "links": {}, **more})
        return self.tell({"endpoint": identity})

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def end(address: str, *names: str, ports: Any = (), network: str = "n1") -> dict[str, Any]:
    return {"network": network, "addresses": [address], "names": names, "ports": ports}
