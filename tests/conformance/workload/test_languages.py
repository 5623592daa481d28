"""Whole programs of six languages, and the kernel's answers to C programs beside those of the bare machine."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from conformance.workload.conftest import PROGRAMS, Run
from support.wall import PATH, Result

pytestmark = pytest.mark.root

COMPILE = "gcc -O1 -pthread -Wno-unused-result -o /tmp/program /programs/{0}.c && exec /tmp/program"
# The same root and program without a wall: private mounts and process numbers, nothing else taken away.
BARE = """
set -e
mount --bind {root} {root}
mount -o remount,bind,ro {root}
mount -t proc proc {root}/proc
mount --rbind /dev {root}/dev
mount -t tmpfs tmpfs {root}/tmp
mount --bind {programs} {root}/programs
ip link set lo up
exec chroot {root} env -i PATH={path} sh -c {script}
"""


def bare(root: Path, script: str) -> str:
    """What a script prints on this kernel without a wall."""
    words = BARE.format(root=root, programs=PROGRAMS, path=PATH, script=shlex.quote(script))
    done = subprocess.run(
        ["unshare", "-mpfniu", "--propagation", "private", "sh", "-c", words], capture_output=True, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr).ok()


@pytest.mark.parametrize(("program", "facts"), [("files", 44), ("ipc", 35), ("sockets", 30), ("threads", 27)])
def test_the_kernel_answers_as_without_a_wall(run: Run, root: Path, program: str, facts: int) -> None:
    script = COMPILE.format(program)
    inside = run("sh", "-c", script).ok().splitlines()
    assert len(inside) >= facts
    assert inside == bare(root, script).splitlines()


def test_python(run: Run) -> None:
    done = run("python3", "/programs/work.py")
    assert (done.text.splitlines(), done.err) == (
        [
            "pool 328350",
            "threads 328350",
            "loop HELLO",
            "database 499500",
            "archive ['base']",
            "digest 901cb15bb7fb628e",
            "child 6",
            "json {'ü': [1.5, None, True]}",
            "alarm",
        ],
        b"",
    )
    assert done.status == 29


def test_perl(run: Run) -> None:
    done = run("perl", "/programs/work.pl")
    assert (done.text.splitlines(), done.err) == (
        [
            "pipe 1,4,9,16,25",
            "exit 4",
            "socket knock",
            "lock refused",
            "alarm",
            "words 3 4",
            "command backtick",
        ],
        b"",
    )
    assert done.status == 11


def test_java(run: Run, classes: Path) -> None:
    done = run("java", "-XX:TieredStopAtLevel=1", "-cp", "/classes", "Work", binds={"/classes": classes}, timeout=90)
    assert (done.text.splitlines(), done.err) == (
        [
            "processors true",
            "threads 31996000",
            "process from the child 3",
            "lock true 8",
            "socket echo hello",
            "hook",
        ],
        b"",
    )
    assert done.status == 17


def test_node(run: Run) -> None:
    done = run("node", "/programs/work.js")
    assert (done.text.splitlines(), done.err) == (
        [
            "http path /here",
            "child word",
            "killed SIGKILL",
            "worker 42",
            "file ü 100000",
            "timer true",
            "signal",
        ],
        b"",
    )
    assert done.status == 23


def test_shell(run: Run) -> None:
    script = """
        set -eu
        cd /tmp
        printf '%s\\n' pear apple fig | sort > fruit
        test "$(wc -l < fruit)" -eq 3
        cat <<END | tr a-z A-Z
        here document of $(head -1 fruit)
END
        seq 1 100 | awk '{ s += $1 } END { print s }'
        mkdir -p a/b && touch a/b/c && find a -type f
        tar cf - a | gzip | tar tzf - | tail -1
        trap 'echo trapped; exit 9' TERM
        (sleep 0.1; kill -TERM $$) &
        wait || true
        sleep 5
    """
    done = run("bash", "-c", script)
    assert (done.text.splitlines(), done.err) == (
        [
            "        HERE DOCUMENT OF APPLE",
            "5050",
            "a/b/c",
            "a/b/c",
            "trapped",
        ],
        b"",
    )
    assert done.status == 9


def test_compiling_inside(run: Run) -> None:
    source = b'#include <stdio.h>\nint main(void) { puts("compiled inside"); return 3; }\n'
    done = run("sh", "-c", "gcc -x c -o /tmp/x - && strip /tmp/x; exec /tmp/x", data=source)
    assert (done.text, done.status) == ("compiled inside\n", 3)


def test_tracing_inside(run: Run) -> None:
    done = run("strace", "-f", "-o", "/tmp/trace", "sh", "-c", "true; exit 4")
    assert done.status == 4, done.err
