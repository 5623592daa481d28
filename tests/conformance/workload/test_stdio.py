"""Bytes in, bytes out, and the ends of both."""

from __future__ import annotations

import hashlib
import random

import pytest

from conformance.workload.conftest import Run, Start
from support.wall import finish, read_until, write

pytestmark = pytest.mark.root

MIB = 1 << 20


def test_streams_are_apart(run: Run) -> None:
    done = run("sh", "-c", "echo out; echo err >&2; echo out again")
    assert (done.out, done.err) == (b"out\nout again\n", b"err\n")


def test_big_output(run: Run) -> None:
    done = run("sh", "-c", f"head -c {32 * MIB} /dev/zero | tr '\\0' x; echo end >&2")
    assert (len(done.out), done.out.strip(b"x"), done.err) == (32 * MIB, b"", b"end\n")


def test_big_input(run: Run) -> None:
    data = random.Random(7).randbytes(16 * MIB)
    assert run("sha256sum", data=data).ok().split()[0] == hashlib.sha256(data).hexdigest()


def test_every_byte_passes_both_ways(run: Run) -> None:
    data = bytes(range(256)) * 5000
    done = run("cat", data=data)
    assert done.out == data


def test_input_that_ends_at_once(run: Run) -> None:
    assert run("sh", "-c", "cat; echo end").ok() == "end\n"


def test_output_goes_on_after_the_input_ended(run: Run) -> None:
    done = run("sh", "-c", "cat >/dev/null; sleep 0.2; echo later; sleep 0.2; echo last", data=b"some")
    assert done.ok() == "later\nlast\n"


def test_input_nobody_reads_does_not_block_the_end(run: Run) -> None:
    assert run("sh", "-c", "exec <&-; echo done", data=b"x" * MIB, timeout=20).ok() == "done\n"


def test_a_dialogue(start: Start) -> None:
    running = start("sh", "-c", "while read line; do echo got $line; done; echo over")
    for word in ("one", "two", "three"):
        write(running, f"{word}\n")
        assert read_until(running, "\n") == f"got {word}\n"
    assert finish(running).ok() == "over\n"


def test_a_broken_pipe_inside(run: Run) -> None:
    assert run("bash", "-c", "yes | head -1; echo ${PIPESTATUS[0]}").ok() == "y\n141\n"


def test_only_three_descriptors(run: Run) -> None:
    assert run("sh", "-c", "ls /proc/self/fd").ok().split() == ["0", "1", "2", "3"]  # the fourth is ls's own


def test_descriptors_reopen(run: Run) -> None:
    assert run("sh", "-c", "echo a > /dev/stdout; echo b > /proc/self/fd/1; echo c >&2").out == b"a\nb\n"
