"""Sandboxes with the real wall: what they hold, how they end, and that nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stockade import (
    DEVNULL,
    STDOUT,
    CommandNotExecutable,
    CommandNotFound,
    HostView,
    Limits,
    OutOfMemory,
    OutputTooLarge,
    ProcessFailed,
    Reason,
    Rootfs,
    Sandbox,
    SandboxEnded,
    SandboxTimeout,
)
from stockade.errors import BadValue, NotFound, Refused, Unsupported
from support.home import Home

pytestmark = pytest.mark.root


@pytest.fixture(name="sandbox")
def _sandbox(home: Home) -> Iterator[Callable[..., Sandbox]]:
    """Makes sandboxes; all must be gone at the end."""
    made: list[Sandbox] = []

    def make(*args: object, **options: object) -> Sandbox:
        made.append(Sandbox(*args, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for box in made:
        box.close()
    assert home.left() == []


@pytest.fixture
def box(sandbox: Callable[..., Sandbox]) -> Sandbox:
    return sandbox(limits=Limits(memory=128 << 20, pids=64))


def processes(box: Sandbox) -> int:
    """How many run inside besides the first one and the shell that counts."""
    return int(box.run(["sh", "-c", "set -- /proc/[0-9]*; echo $#"]).stdout) - 2


def test_output_status_and_input(box: Sandbox) -> None:
    done = box.run(["sh", "-c", "cat; echo two >&2; exit 3"], input=b"one")
    assert (done.stdout, done.stderr, done.returncode) == (b"one", b"two\n", 3)
    assert done.exit.reason is Reason.EXITED
    with pytest.raises(ProcessFailed, match="status 3: two"):
        done.check_returncode()


def test_much_of_both_ways(box: Sandbox) -> None:
    data = os.urandom(3_000_000)
    assert box.run(["cat"], input=data).stdout == data


def test_input_that_nobody_reads(box: Sandbox) -> None:
    assert box.run(["true"], input=b"x" * 1_000_000).returncode == 0


def test_status_of_a_signal(box: Sandbox) -> None:
    done = box.run(["sh", "-c", "kill -TERM $$"])
    assert (done.returncode, done.exit.reason) == (143, Reason.SIGNALED)


def test_usage_is_the_command_s(box: Sandbox) -> None:
    script = "x = bytearray(40 << 20)\nfor i in range(1_000_000): pass"
    busy = box.run(["python3", "-c", script], check=True).exit.usage
    lazy = box.run(["true"], check=True).exit.usage
    assert busy.cpu is not None
    assert lazy.cpu is not None
    assert busy.user is not None
    assert busy.system is not None
    assert busy.memory_peak is not None
    assert lazy.memory_peak is not None
    assert busy.cpu == pytest.approx(busy.user + busy.system, abs=1e-6)
    assert busy.cpu > 0.02 > lazy.cpu
    assert busy.memory_peak > 40 << 20 > lazy.memory_peak > 0


def test_commands_that_cannot_run(box: Sandbox) -> None:
    with pytest.raises(CommandNotFound, match="nonesuch"):
        box.run(["nonesuch"])
    with pytest.raises(CommandNotExecutable):
        box.run(["/etc/passwd"])
    with pytest.raises(BadValue):
        box.run("ls -l")
    with pytest.raises(BadValue):
        box.run([])
    assert box.run(["true"]).returncode == 0


def test_environment_user_and_directory(sandbox: Callable[..., Sandbox]) -> None:
    box = sandbox(env={"A": "1"}, workdir="/usr", user=1000)
    assert box.run(["sh", "-c", "echo $A $B; pwd; id -u"], env={"B": "2"}).stdout == b"1 2\n/usr\n1000\n"
    assert box.run(["sh", "-c", "pwd; id -u"], workdir="/", user=0).stdout == b"/\n0\n"


def test_nothing_of_the_caller_is_seen(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    assert b"SECRET" not in box.run(["env"]).stdout
    assert box.run(["cat", "/etc/shadow"]).returncode != 0
    assert box.run(["ls", "-A", "/root", "/home", "/tmp"]).stdout.split() == [b"/home:", b"/root:", b"/tmp:"]
    assert (
        b"unreachable"
        in box.run(["python3", "-c", "import socket; socket.create_connection(('192.0.2.1', 80))"]).stderr
    )
    assert set(box.run(["ls", "/proc/self/fd"]).stdout.split()) == {b"0", b"1", b"2", b"3"}


def test_files_in_and_out(sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    box = sandbox(files={"/srv/deep/in.txt": b"in"})
    assert box.run(["cat", "/srv/deep/in.txt"]).stdout == b"in"
    assert box.run(["stat", "-c", "%u %g %a", "/srv/deep", "/srv/deep/in.txt"]).stdout == b"0 0 755\n0 0 644\n"
    big = tmp_path / "big"
    big.write_bytes(os.urandom(2_500_000))
    with big.open("rb") as file:
        box.put("/root/big", file, mode=0o755)
    assert box.get("/root/big") == big.read_bytes()
    assert box.run(["test", "-x", "/root/big"]).returncode == 0
    box.put("/root/big", b"small")
    assert box.get("/root/big") == b"small"
    with pytest.raises(BadValue, match="more than 4"):
        box.get("/root/big", limit=4)
    with pytest.raises(NotFound):
        box.get("/root/none")


def test_hostile_files(box: Sandbox) -> None:
    script = """
        ln -s /../../../../../../etc/shadow /root/out; ln -s /root/loop /root/loop; mkfifo /root/fifo; mkdir /root/dir
        ln -s /../../../../../../tmp /root/away; echo inside > /root/real; ln -s /root/real /root/link"""
    box.run(["sh", "-c", script], check=True)
    for path, error in (
        ("/root/out", NotFound),
        ("/root/loop", Refused),
        ("/root/fifo", Refused),
        ("/root/dir", Refused),
        ("/../../../etc/shadow", NotFound),
        ("/dev/null", Refused),
        ("/root/a\0b", BadValue),
    ):
        with pytest.raises(error):
            box.get(path)
    assert box.get("/root/link") == b"inside\n"
    for path in ("/root/fifo", "/root/dir", "/root/link", "/root/loop"):
        with pytest.raises(Refused):
            box.put(path, b"x")
    box.put("/root/away/stockade-test", b"x")
    assert not Path("/tmp/stockade-test").exists()
    assert box.get("/tmp/stockade-test") == b"x"
    assert box.get("/root/real") == b"inside\n"


def test_time_out(box: Sandbox) -> None:
    box.put("/root/kept", b"1")
    began = time.monotonic()
    with pytest.raises(SandboxTimeout, match=r"0\.3 s") as caught:
        box.run(["sh", "-c", "echo before; sleep 1000 & sleep 1000"], timeout=0.3)
    assert time.monotonic() - began < 30
    assert caught.value.completed.stdout == b"before\n"
    assert caught.value.completed.exit.reason is Reason.TIMED_OUT
    assert processes(box) == 0
    assert box.get("/root/kept") == b"1"


def test_an_endless_loop_that_ignores_signals(box: Sandbox) -> None:
    with pytest.raises(SandboxTimeout):
        box.run(["sh", "-c", "trap '' TERM INT HUP; while :; do :; done"], timeout=0.2)


def test_nothing_outlives_a_run(box: Sandbox) -> None:
    assert box.run(["sh", "-c", "sleep 1000 & setsid sleep 1000 & echo started"]).stdout == b"started\n"
    assert processes(box) == 0


def test_output_that_a_child_holds_open_ends_with_the_command(box: Sandbox) -> None:
    began = time.monotonic()
    assert box.run(["sh", "-c", "(sleep 1000) & echo x"]).stdout == b"x\n"
    assert time.monotonic() - began < 30


def test_a_memory_hog(box: Sandbox) -> None:
    with pytest.raises(ProcessFailed) as caught:
        box.run(["python3", "-c", "x = bytearray(600 << 20)"], check=True)
    assert isinstance(caught.value, OutOfMemory)
    assert caught.value.completed.exit.oom_kills >= 1
    assert box.run(["echo", "on"]).stdout == b"on\n"


def test_a_fork_bomb(box: Sandbox) -> None:
    bomb = "import os\nwhile True:\n try: os.fork()\n except OSError: pass"
    with pytest.raises(SandboxTimeout):
        box.run(["python3", "-c", bomb], timeout=1)
    assert processes(box) == 0


def test_the_time_limit_of_the_sandbox(sandbox: Callable[..., Sandbox]) -> None:
    box = sandbox(limits=Limits(time=0.5))
    began = time.monotonic()
    with pytest.raises(SandboxTimeout, match="time limit"):
        box.run(["sleep", "1000"])
    assert time.monotonic() - began < 30
    with pytest.raises(SandboxEnded, match="time limit"):
        box.run(["true"])


def test_too_much_output(sandbox: Callable[..., Sandbox]) -> None:
    box = sandbox(output_limit=1 << 20)
    with pytest.raises(OutputTooLarge) as caught:
        box.run(["yes"])
    assert len(caught.value.completed.stdout) > 1 << 20
    assert processes(box) == 0


def test_a_started_command(box: Sandbox) -> None:
    with box.start(["sh", "-c", "read x; echo got $x; exit 5"]) as process:
        assert process.poll() is None
        assert process.returncode is None
        assert box.run(["echo", "meanwhile"]).stdout == b"meanwhile\n"
        with pytest.raises(SandboxTimeout):
            process.wait(timeout=0.05)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"it\n")
        process.stdin.flush()
        assert process.stdout.read() == b"got it\n"
    assert process.poll() == 5


def test_communicate_can_be_tried_again(box: Sandbox) -> None:
    process = box.start(["sh", "-c", "cat; sleep 0.3; echo end"])
    with pytest.raises(SandboxTimeout) as caught:
        process.communicate(b"in\n", timeout=0.1)
    assert caught.value.completed.stdout == b"in\n"
    assert process.communicate(timeout=5).stdout == b"in\nend\n"


def test_signals(box: Sandbox) -> None:
    process = box.start(["sleep", "1000"])
    process.terminate()
    assert process.wait(timeout=5) == 143
    process.kill()
    deaf = box.start(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.01; done"])
    assert deaf.stdout is not None
    assert deaf.stdout.readline() == b"ready\n"
    deaf.terminate()
    with pytest.raises(SandboxTimeout):
        deaf.wait(timeout=0.1)
    deaf.kill()
    assert deaf.wait(timeout=5) == 137
    assert processes(box) == 0


def test_streams_of_the_caller(box: Sandbox, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        process = box.start(["sh", "-c", "echo one; echo two >&2; cat"], stdin=DEVNULL, stdout=file, stderr=STDOUT)
        assert process.wait(timeout=5) == 0
    for _ in range(100):
        if len((tmp_path / "out").read_bytes()) == 8:
            break
        time.sleep(0.01)
    assert (tmp_path / "out").read_bytes() == b"one\ntwo\n"


def test_commands_see_each_other_and_share_a_network(box: Sandbox) -> None:
    server = box.start(
        [
            "python3",
            "-c",
            textwrap.dedent("""\
        import socket
        s = socket.create_server(("127.0.0.1", 80)); print("up", flush=True)
        c, _ = s.accept(); c.sendall(b"hello"); c.close()"""),
        ]
    )
    assert server.stdout is not None
    assert server.stdout.readline() == b"up\n"
    client = "import socket; print(socket.create_connection(('127.0.0.1', 80)).recv(9).decode())"
    assert box.run(["python3", "-c", client]).stdout == b"hello\n"
    assert server.wait(timeout=5) == 0


def test_threads(box: Sandbox) -> None:
    found: list[bytes] = []

    def one(number: int) -> None:
        found.append(box.run(["sh", "-c", f"sleep 0.0{number}; echo {number}"]).stdout)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [f"{number}\n".encode() for number in range(8)]


def test_a_directory_of_the_caller(sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    (tmp_path / "in").write_text("mine")
    tmp_path.chmod(0o700)
    box = sandbox(HostView(directory=str(tmp_path)))
    assert box.run(["sh", "-c", "pwd; cat in; echo theirs > in; cat in"]).stdout == f"{tmp_path}\nminetheirs\n".encode()
    assert (tmp_path / "in").read_text() == "mine"


def test_a_root_file_system(sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    busy = Path("/bin/busybox")
    (root / "bin/busybox").write_bytes(busy.read_bytes())
    (root / "bin/busybox").chmod(0o755)
    archive = tmp_path / "root.tar.gz"
    subprocess.run(["tar", "-C", root, "-czf", archive, "."], check=True)
    for source in (root, archive, archive):
        box = sandbox(Rootfs(str(source)))
        assert box.run(["/bin/busybox", "ls", "/bin"]).stdout == b"busybox\n"
        box.run(["/bin/busybox", "rm", "/bin/busybox"], check=True)
        box.close()
    assert (root / "bin/busybox").exists()


def test_refusals(sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    (tmp_path / "no.tar").write_bytes(b"not an archive" * 100)
    for root, error in (
        (Rootfs("/"), Refused),
        (Rootfs("/nonesuch"), NotFound),
        (Rootfs("/dev/null"), BadValue),
        (HostView(directory="/"), Refused),
        (HostView(directory="/nonesuch"), Refused),
    ):
        with pytest.raises(error):
            sandbox(root)
    with pytest.raises(Exception, match="unpack"):
        sandbox(Rootfs(str(tmp_path / "no.tar")))
    with pytest.raises(Unsupported, match="host"):
        sandbox(network="host")


def test_a_closed_sandbox(sandbox: Callable[..., Sandbox]) -> None:
    box = sandbox()
    process = box.start(["sleep", "1000"])
    box.close()
    box.close()
    for use in (lambda: box.run(["true"]), lambda: box.get("/etc/passwd"), lambda: box.put("/x", b"")):
        with pytest.raises(SandboxEnded):
            use()
    assert process.wait(timeout=5) == 137


def test_a_killed_caller_leaves_nothing(home: Home) -> None:
    code = (
        "from stockade import Sandbox; b = Sandbox(); p = b.start(['sleep', '1000']); print(p.pid, flush=True); input()"
    )
    source = str(Path(sys.modules["stockade"].__file__ or "").parent.parent)
    environment = {**os.environ, "PYTHONPATH": source}
    caller = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert caller.stdout is not None
    pid = int(caller.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    caller.kill()
    caller.communicate()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and (Path(f"/proc/{pid}").exists() or home.left()):
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists()
    assert home.left() == []
