"""The end of the command line's process."""

from __future__ import annotations

import os
import subprocess
import sys

LEAVE = "import sys; from stockade.cli import leave; print('said'); print('beside', file=sys.stderr); leave(7)"
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def test_what_was_said_is_out() -> None:
    done = subprocess.run([sys.executable, "-c", LEAVE], capture_output=True, text=True, env=BUFFERED)
    assert (done.returncode, done.stdout, done.stderr) == (7, "said\n", "beside\n")


def test_whoever_read_it_has_left() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", LEAVE], stdout=writer, stderr=subprocess.PIPE, text=True, env=BUFFERED)
    os.close(writer)
    assert done.returncode == 141
    assert "Traceback" not in done.stderr
