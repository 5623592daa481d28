"""`changes`: what an overlay changed, and only that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.layer import Layer, Overlay

pytestmark = pytest.mark.root


def seen(layer: Layer, overlay: Overlay, *more: str) -> dict[str, tuple[str, str]]:
    lines = layer.lines("changes", "--upper", overlay.upper, "--lower", overlay.lower, "--at", "/w", *more)
    assert set(lines[-1]) == {"summary"}
    return {line["path"]: (line["kind"], line["type"]) for line in lines[:-1]}


def test_every_kind_of_change_is_told_and_nothing_else(layer: Layer, overlay: Overlay) -> None:
    low = overlay.lower
    for name in ("kept", "touched", "gone", "rewritten", "d/inside", "emptied/x", "same/deep/file"):
        (low / name).parent.mkdir(parents=True, exist_ok=True)
        (low / name).write_text(name)
    (low / "link").symlink_to("kept")
    (low / "mode").mkdir()
    overlay.mount()
    work = overlay.merged
    (work / "touched").touch()
    (work / "same/deep/file").chmod(0o600)
    (work / "same/deep/file").chmod((low / "same/deep/file").stat().st_mode & 0o777)
    (work / "gone").unlink()
    (work / "rewritten").write_text("new")
    os.system(f"rm -r {work}/d {work}/emptied")
    (work / "d").mkdir()
    (work / "d/new").write_text("1")
    (work / "emptied").write_text("now a file")
    (work / "link").unlink()
    (work / "link").symlink_to("elsewhere")
    (work / "mode").chmod(0o700)
    os.mkfifo(work / "pipe")
    overlay.close()
    assert seen(layer, overlay) == {
        "/w/gone": ("deleted", "file"),
        "/w/rewritten": ("modified", "file"),
        "/w/d/inside": ("deleted", "file"),
        "/w/d/new": ("added", "file"),
        "/w/emptied": ("modified", "file"),
        "/w/link": ("modified", "symlink"),
        "/w/mode": ("modified", "dir"),
        "/w/pipe": ("added", "fifo"),
    }
    assert "/w/pipe" not in seen(layer, overlay, "--hide", "/w/pipe")


def test_output_is_bounded_and_says_so(layer: Layer, overlay: Overlay) -> None:
    for number in range(30):
        (overlay.upper / f"f{number}").write_text("x")
    arguments = ("changes", "--upper", overlay.upper, "--lower", overlay.lower, "--at", "/")
    *lines, last = layer.lines(*arguments, "--max", "10")
    assert len(lines) == 10
    assert last["summary"] == {"added": 30, "modified": 0, "deleted": 0, "bytes": 30, "printed": 10, "truncated": True}
    assert layer.answer(*arguments, "--summary")["summary"]["truncated"] is False


def test_a_name_that_is_no_text_keeps_its_bytes(layer: Layer, overlay: Overlay) -> None:
    (Path(os.fsdecode(os.fsencode(overlay.upper) + b"/bad\xff"))).write_text("")
    line = layer.lines("changes", "--upper", overlay.upper, "--lower", overlay.lower, "--at", "/")[0]
    assert line["path"] == "/bad\ufffd"
    assert bytes.fromhex(line["raw"]) == b"/bad\xff"


def test_several_lowers_show_as_one(layer: Layer, overlay: Overlay, room: Path) -> None:
    below = room / "below"
    (below / "d").mkdir(parents=True)
    (below / "d/old").write_text("1")
    (below / "hidden").write_text("1")
    (overlay.lower / "d").mkdir()
    os.mknod(overlay.lower / "hidden", 0o600 | 0o020000, os.makedev(0, 0))
    (overlay.upper / "d").mkdir()
    (overlay.upper / "d/old").write_text("2")
    (overlay.upper / "hidden").write_text("2")
    lines = layer.lines("changes", "--upper", overlay.upper, "--lower", overlay.lower, "--lower", below, "--at", "/")
    assert {line["path"]: line["kind"] for line in lines[:-1]} == {"/d/old": "modified", "/hidden": "added"}


def test_remove_takes_a_tree_deeper_than_descriptors(layer: Layer, room: Path) -> None:
    top = room / "deep"
    top.mkdir()
    (room / "outside").write_text("stays")
    here = os.open(top, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d" * 40, dir_fd=here)
        os.symlink(room / "outside", "link", dir_fd=here)
        below = os.open("d" * 40, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert layer.run("remove", top).returncode == 0
    assert not top.exists()
    assert (room / "outside").read_text() == "stays"
    assert layer.run("remove", top).returncode == 0


def test_remove_stops_at_a_mount(layer: Layer, overlay: Overlay, room: Path) -> None:
    (overlay.lower / "precious").write_text("1")
    overlay.mount()
    assert "merged" in layer.refusal("remove", room)
    assert (overlay.lower / "precious").exists() or (overlay.merged / "precious").exists()
    overlay.close()
