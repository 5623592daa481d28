"""The place a program finds itself in."""

from __future__ import annotations

import pytest

from conformance.workload.conftest import Run
from support.wall import PATH

pytestmark = pytest.mark.root


def test_exactly_the_variables_given(run: Run) -> None:
    given = {"PATH": PATH, "EMPTY": "", "SPACE": "a b\nc", "UMLAUT": "größe", "LONG": "x" * 100_000}
    lines = dict(entry.split("=", 1) for entry in run("env", "-0", env=given).ok().rstrip("\0").split("\0"))
    lines.pop("HOME", None)  # a wall may add the user's home, as the peers do
    assert lines == given


def test_programs_are_found_by_the_containers_path(run: Run) -> None:
    script = "#!/bin/sh\necho mine $1"
    done = run(
        "sh", "-c", f"printf '%s' '{script}' > /tmp/tool; chmod 755 /tmp/tool; tool word", env={"PATH": "/tmp:/bin"}
    )
    assert done.ok() == "mine word\n"


def test_arguments_arrive_untouched(run: Run) -> None:
    words = ["", "a b", "*", "$HOME", "é", "-n", "x" * 5000]
    assert run("python3", "-c", "import sys; print(repr(sys.argv[1:]))", *words).ok().strip() == repr(words)


def test_working_directory(run: Run) -> None:
    assert run("sh", "-c", "pwd; readlink /proc/self/cwd", cwd="/usr/lib").ok() == "/usr/lib\n/usr/lib\n"


def test_working_directory_behind_a_link(run: Run) -> None:
    assert run("readlink", "/proc/self/cwd", cwd="/lib").ok() == "/usr/lib\n"


def test_hostname(run: Run) -> None:
    assert run("uname", "-n", hostname="keep").ok() == "keep\n"


def test_only_its_own_processes(run: Run) -> None:
    assert run("sh", "-c", "echo $$ /proc/[0-9]*").ok() == "1 /proc/1\n"


LOOPBACK = """
import socket
print([name for _, name in socket.if_nameindex()])
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname(), 5)
try: socket.create_connection(("192.0.2.1", 80), 5)
except OSError as error: print(error.errno)
"""


def test_only_loopback_and_it_is_up(run: Run) -> None:
    assert run("python3", "-c", LOOPBACK).ok() == "['lo']\n101\n"


def test_devices(run: Run) -> None:
    script = "echo lost > /dev/null; head -c 4 /dev/zero | od -An -tx1; head -c 8 /dev/urandom | wc -c; " \
             "echo x > /dev/full || echo full; ls /dev"  # fmt: skip
    lines = run("sh", "-c", script).text.split()
    assert lines[:6] == ["00", "00", "00", "00", "8", "full"]
    assert {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "fd", "stdin"} <= set(lines[6:])


def test_no_other_device(run: Run) -> None:
    script = "import os\ntry: os.open('/dev/kmsg', os.O_RDONLY); print('open')\nexcept OSError as e: print(e.errno)"
    assert run("python3", "-c", script).ok() == "2\n"


def test_root_is_read_only_and_tmp_is_not(run: Run) -> None:
    assert run("sh", "-c", "touch /x || echo refused; touch /tmp/x && echo made").text == "refused\nmade\n"


@pytest.mark.parametrize("path", ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"])
def test_masked(run: Run, path: str) -> None:
    done = run("sh", "-c", f"if [ -d {path} ]; then ls -A {path}; elif [ -e {path} ]; then cat {path}; fi")
    assert done.out == b""


def test_kernel_parameters_are_read_only(run: Run) -> None:
    done = run(
        "sh", "-c", "echo 1 > /proc/sys/kernel/printk || echo refused; echo h > /proc/sysrq-trigger || echo refused"
    )
    assert done.text == "refused\nrefused\n"


def test_mounts_are_the_containers_own(run: Run) -> None:
    points = [line.split()[4] for line in run("cat", "/proc/self/mountinfo").ok().splitlines()]
    assert {"/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/tmp", "/sys", "/programs"} <= set(points)
    assert not [point for point in points if point.startswith(("/work", "/home", "/var", "/root"))]


def test_a_program_started_beside_it_shares_all_that(start_sleeping: Run) -> None:
    done = start_sleeping("sh", "-c", "readlink /proc/self/ns/net /proc/1/ns/net; cat /proc/sys/kernel/hostname; id -u")
    lines = done.ok().split()
    assert lines[0] == lines[1]
    assert lines[2:] == ["box", "0"]
