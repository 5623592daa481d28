"""Tests as people write them with testcontainers; pytest runs them where DOCKER_HOST is ours."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from testcontainers.core.container import DockerContainer, ExecConfig
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import (
    CompositeWaitStrategy,
    ContainerStatusWaitStrategy,
    ExecWaitStrategy,
    FileExistsWaitStrategy,
    HealthcheckWaitStrategy,
    HttpWaitStrategy,
    LogMessageWaitStrategy,
    PortWaitStrategy,
)

IMAGE = "busybox:latest"
SERVE = "mkdir -p /www; echo hello >/www/index.html; echo ready to serve; exec httpd -f -p 80 -h /www"


def server() -> DockerContainer:
    return DockerContainer(IMAGE).with_command(["sh", "-c", SERVE]).with_exposed_ports(80)


def get(container: DockerContainer, path: str = "/") -> str:
    address = f"http://{container.get_container_host_ip()}:{container.get_exposed_port(80)}{path}"
    with urllib.request.urlopen(address, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


@pytest.fixture(name="network")
def _network() -> Iterator[Network]:
    with Network() as made:
        yield made


def test_a_port_is_waited_for_by_its_log() -> None:
    with server().waiting_for(LogMessageWaitStrategy("ready to serve").with_startup_timeout(20)) as container:
        assert container.get_logs()[0] == b"ready to serve\n"
        container.reload()
        assert container.status == "running"


def test_a_port_is_waited_for_by_asking_it() -> None:
    with server().waiting_for(PortWaitStrategy(80).with_startup_timeout(20)) as container:
        assert get(container) == "hello\n"


def test_a_page_is_waited_for() -> None:
    with server().waiting_for(HttpWaitStrategy(80).for_status_code(200).with_startup_timeout(20)) as container:
        assert get(container) == "hello\n"


def test_commands_files_and_states_are_waited_for(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    writes = f"sleep 0.3; echo 1 >{seen}; exec sleep 1000"
    every = CompositeWaitStrategy(
        ExecWaitStrategy(["test", "-s", str(seen)]), FileExistsWaitStrategy(seen), ContainerStatusWaitStrategy()
    )
    container = DockerContainer(IMAGE).with_command(["sh", "-c", writes])
    with container.with_volume_mapping(tmp_path, str(tmp_path), "rw").waiting_for(every.with_startup_timeout(20)):
        assert seen.read_text() == "1\n"
        assert seen.stat().st_uid == 0, "what the container's root writes is root's"


def test_health_is_waited_for() -> None:
    check = {"test": ["CMD", "test", "-e", "/www/index.html"], "interval": 200_000_000, "retries": 50}
    container = server().with_kwargs(healthcheck=check)
    with container.waiting_for(HealthcheckWaitStrategy().with_startup_timeout(20)):
        info = container.get_container_info()
        assert info is not None
        assert info.State is not None
        assert info.State.Health is not None
        assert info.State.Health.Status == "healthy"


def test_what_ends_early_is_said() -> None:
    waits = LogMessageWaitStrategy("never said").with_startup_timeout(20)
    container = DockerContainer(IMAGE).with_command(["sh", "-c", "echo gone; exit 3"]).waiting_for(waits)
    with pytest.raises(RuntimeError, match="exit code: 3"):
        container.start()
    container.stop()


def test_two_containers_by_their_names(network: Network) -> None:
    with server().with_network(network).with_network_aliases("web", "shop") as web:
        web.waiting_for(HttpWaitStrategy(80))
        asks = "for n in web shop; do until wget -qO- http://$n; do sleep 0.1; done; done"
        client = DockerContainer(IMAGE).with_command(["sh", "-c", asks]).with_network(network)
        with client:
            assert client.wait() == 0
            assert client.get_logs()[0] == b"hello\nhello\n"
        late = DockerContainer(IMAGE).with_command("sleep 1000")
        with late:
            network.connect(late.get_container_id(), ["later"])
            assert late.exec(["wget", "-qO-", "http://web"]).output == b"hello\n"
            assert web.exec(["nslookup", "later"]).exit_code == 0


def test_commands_within() -> None:
    with DockerContainer(IMAGE).with_command("sleep 1000").with_env("WHO", "me") as container:
        assert container.exec("echo hello").output == b"hello\n"
        assert container.exec(["sh", "-c", "echo $WHO; exit 4"]) == (4, b"me\n")
        asked = ExecConfig(["sh", "-c", "echo $A; id -u; pwd"], user="65534", environment={"A": "b"}, workdir="/tmp")
        assert container.exec(asked).output == b"b\n65534\n/tmp\n"


def test_a_volume_outlives_its_container() -> None:
    name = f"kept-by-{Path(__file__).stem}"
    writer = DockerContainer(IMAGE).with_volume_mapping(name, "/data", "rw")
    with writer.with_command(["sh", "-c", "echo kept >/data/word"]) as container:
        assert container.wait() == 0
    with DockerContainer(IMAGE).with_volume_mapping(name, "/data").with_command("cat /data/word") as container:
        assert container.wait() == 0
        assert container.get_logs()[0] == b"kept\n"
    container.get_docker_client().client.volumes.get(name).remove()


def test_files_go_in_and_come_out(tmp_path: Path) -> None:
    with server().with_copy_into_container(b"from outside\n", "/www/more", 0o640) as container:
        container.copy_into_container(b"later\n", "/www/later")
        assert container.exec("cat /www/more /www/later").output == b"from outside\nlater\n"
        assert container.exec("stat -c %a /www/more").output == b"640\n"
        container.copy_from_container("/www/more", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == b"from outside\n"


def test_a_file_system_in_memory() -> None:
    with DockerContainer(IMAGE).with_tmpfs_mount("/scratch", "size=1m").with_command("sleep 1000") as container:
        assert b"tmpfs" in container.exec("df -T /scratch").output
        assert container.exec("dd if=/dev/zero of=/scratch/x bs=1M count=2").exit_code != 0
