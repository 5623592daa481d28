"""redis with a volume: what it was told is there after a restart, and in the next container."""

from __future__ import annotations

import pytest

from conformance.services.conftest import Ground, Made

pytestmark = [pytest.mark.root, pytest.mark.judge]

REDIS = Made(
    "redis",
    ("redis-server",),
    (
        'ENTRYPOINT ["redis-server", "--dir", "/data", "--appendonly", "yes", "--protected-mode", "no"]',
        "USER redis", "EXPOSE 6379", "VOLUME /data", "WORKDIR /data",
        "HEALTHCHECK --interval=1s CMD redis-cli ping",
    ),
    users=(("redis", 999),),
    directories=(("data", 999, 0o750),),
)  # fmt: skip
SAFE = ("--security-opt", "no-new-privileges", "--cap-drop", "ALL", "--read-only")


def test_what_it_was_told_stays(ground: Ground) -> None:
    docker = ground.docker
    docker.docker("network", "create", "shop")
    words = ("--name", "store", "--network", "shop", *SAFE, "-v", "kept:/data", ground.image(REDIS))
    docker.run(*words)
    ground.healthy("store")
    ground.hardened("store")
    assert docker.said("exec", "store", "redis-cli", "set", "word", "kept") == "OK"
    assert docker.said("exec", "store", "stat", "-c", "%U %a", "/data") == "redis 750"
    asks = ("run", "--rm", "--network", "shop", "--entrypoint", "redis-cli", "redis", "-h", "store")
    assert docker.said(*asks, "get", "word") == "kept"

    docker.docker("restart", "store")
    ground.healthy("store")
    assert docker.said(*asks, "get", "word") == "kept"
    docker.docker("stop", "store")
    assert docker.inspect("store", "{{json .State.ExitCode}}") == 0
    assert "Redis is now ready to exit, bye bye" in docker.docker("logs", "store").stdout

    docker.docker("rm", "store")
    docker.run(*words)
    ground.healthy("store")
    assert docker.said(*asks, "get", "word") == "kept"
    docker.docker("kill", "store")
    docker.docker("start", "store")
    ground.healthy("store")
    assert docker.said(*asks, "get", "word") == "kept"
    assert float(docker.said(*asks, "--raw", "--latency", "-i", "1").split()[-2]) >= 0


def test_its_memory_has_a_limit(ground: Ground) -> None:
    """Redis sees of the machine what it was given, and the kernel ends it when it takes more."""
    docker = ground.docker
    docker.run(
        "--name",
        "small",
        "-m",
        "32m",
        "--memory-swap",
        "32m",
        ground.image(REDIS),
        "--enable-debug-command",
        "local",
        "--save",
        "",
    )
    ground.healthy("small")
    fills = "debug populate 1000000 key 1000"
    docker.docker("exec", "small", "redis-cli", *fills.split(), check=False)
    assert docker.said("wait", "small") == "137"
    assert docker.inspect("small", "{{json .State.OOMKilled}}") is True
