"""OpenJDK: compiled and run within, its heap and processors those of the container; signals, and jcmd from beside."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conformance.services.conftest import Ground, Made
from support.patience import eventually

pytestmark = [pytest.mark.root, pytest.mark.judge]

HELLO = """
public class Hello {
  public static void main(String[] words) throws Exception {
    System.out.println("Hello from " + Runtime.getRuntime().availableProcessors());
    if (words.length == 0) return;
    Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("ending")));
    Thread.sleep(Long.MAX_VALUE);
  }
}
"""
JAVA = Made(
    "java",
    ("openjdk-17-jdk-headless",),
    ("USER app", "WORKDIR /app", 'CMD ["java", "-version"]'),
    users=(("app", 1000),),
    directories=(("app", 1000, 0o755),),
)
SAFE = ("--security-opt", "no-new-privileges", "--cap-drop", "ALL")
MIB = 1 << 20
JCMD = "exec /usr/lib/jvm/java-17-openjdk-*/bin/jcmd 1"


def flag(text: str, name: str) -> int:
    found = re.search(rf"\b{name}\s*=\s*(\d+)", text)
    assert found is not None, text
    return int(found[1])


@pytest.mark.parametrize(("limit", "percent"), [(512, 25), (512, 75), (1024, 25)])
def test_the_heap_is_of_the_containers_memory(ground: Ground, limit: int, percent: int) -> None:
    words = ("run", "--rm", *SAFE, "-m", f"{limit}m", ground.image(JAVA), "java")
    said = ground.docker.said(*words, f"-XX:MaxRAMPercentage={percent}", "-XX:+PrintFlagsFinal", "-version")
    assert abs(flag(said, "MaxHeapSize") - limit * MIB * percent // 100) <= 4 * MIB


def test_hello_signals_and_jcmd(ground: Ground, tmp_path: Path) -> None:
    docker = ground.docker
    (tmp_path / "Hello.java").write_text(HELLO)
    tmp_path.chmod(0o755)
    image = ground.image(JAVA)
    mount = ("-v", f"{tmp_path}:/source:ro")
    docker.docker("run", "--name", "built", *SAFE, *mount, image, "javac", "-d", "/app", "/source/Hello.java")
    docker.docker("commit", "-c", 'ENTRYPOINT ["java", "Hello"]', "-c", "CMD []", "built", "hello")
    assert docker.said("run", "--rm", *SAFE, "--cpus", "1", "-m", "256m", "hello") == "Hello from 1"
    docker.run("--name", "stays", *SAFE, "--cpus", "2", "-m", "256m", "hello", "stay")
    eventually(lambda: "Hello from" in docker.said("logs", "stays"), "Java says hello", 60)
    ground.hardened("stays")
    assert "sun.rt._sync" in docker.said("exec", "stays", "sh", "-c", f"{JCMD} PerfCounter.print")
    info = docker.said("exec", "stays", "sh", "-c", f"{JCMD} VM.info")
    assert "container (cgroup) information" in info
    assert re.search(r"memory_limit_in_bytes: (268435456|262144 k)", info)
    docker.docker("kill", "-s", "QUIT", "stays")
    eventually(lambda: "Full thread dump" in docker.docker("logs", "stays").stdout, "SIGQUIT gives threads", 60)
    docker.docker("stop", "stays")
    assert docker.inspect("stays", "{{json .State.ExitCode}}") == 143
    assert docker.said("logs", "stays").endswith("ending")


def test_more_than_it_may_have(ground: Ground) -> None:
    """The JVM ends by its own words before the kernel does it."""
    grows = "java.util.List<byte[]> l = new java.util.ArrayList<>(); while (true) l.add(new byte[1 << 20]);"
    words = ("run", "--rm", "-i", *SAFE, "-m", "256m", "--memory-swap", "256m", ground.image(JAVA))
    source = f"class Grow {{ public static void main(String[] a) {{ {grows} }} }}"
    run = "cat >/tmp/Grow.java && exec java /tmp/Grow.java"
    done = ground.docker.docker(*words, "sh", "-c", run, input=source.encode(), check=False)
    assert done.returncode == 1
    assert "java.lang.OutOfMemoryError: Java heap space" in done.stderr
