"""Progress of pulls and pushes: in place on a terminal, once a state elsewhere."""

from __future__ import annotations

import contextlib
import io
import os
from typing import Any

from stockade.cli.registries import Screen

LINES: list[dict[str, Any]] = [
    {"status": "Pulling from box", "id": "1"},
    {"status": "Downloading", "id": "aaa", "progress": "[=>  ]  1B/9B", "progressDetail": {"current": 1, "total": 9}},
    {"status": "Downloading", "id": "bbb", "progress": "[=>  ]  2B/9B"},
    {"status": "Downloading", "id": "aaa", "progress": "[==> ]  5B/9B"},
    {"status": "Pull complete\x1b[2J", "id": "aaa"},
    {"progressDetail": {}, "aux": {"Tag": "1"}},
    {"status": "Digest: sha256:0"},
]


def test_elsewhere_each_state_of_a_layer_is_told_once() -> None:
    stream = io.StringIO()
    screen = Screen(stream)
    for line in LINES:
        screen.show(line)
    assert stream.getvalue().splitlines() == [
        "1: Pulling from box",
        "aaa: Downloading",
        "bbb: Downloading",
        "aaa: Pull complete\\x1b[2J",
        "Digest: sha256:0",
    ]


def test_on_a_terminal_lines_change_in_place() -> None:
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as stream:
        screen = Screen(stream)
        for line in LINES:
            screen.show(line)
    said = b""
    with contextlib.suppress(OSError):  # EIO: nobody has the other end
        while piece := os.read(master, 4096):
            said += piece
    os.close(master)
    up, down = "\x1b[2A\r\x1b[K", "\x1b[2B\r"
    assert said.decode().replace("\r\n", "\n") == (
        "1: Pulling from box\n"
        "aaa: Downloading [=>  ]  1B/9B\n"
        "bbb: Downloading [=>  ]  2B/9B\n"
        f"{up}aaa: Downloading [==> ]  5B/9B{down}"
        f"{up}aaa: Pull complete\\x1b[2J{down}"
        "Digest: sha256:0\n"
    )
