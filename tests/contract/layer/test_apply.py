"""`apply`: what goes back into a host directory, what does not, and what a SIGKILL at any moment leaves."""

from __future__ import annotations

import os
import random
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.layer import Layer, Overlay

pytestmark = pytest.mark.root


def now() -> str:
    """The clock that the kernel stamps files with (CLOCK_REALTIME_COARSE)."""
    time.sleep(0.012)
    return f"{time.clock_gettime(5):.9f}"


def plan(layer: Layer, overlay: Overlay, since: str, *more: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    *lines, last = layer.lines(
        "apply", "plan", "--upper", overlay.upper, "--dir", overlay.lower, "--since", since, *more
    )
    return {line["path"]: line for line in lines}, last


def arguments(overlay: Overlay, since: str, journal: Path) -> list[str | Path]:
    return ["apply", "run", "--upper", overlay.upper, "--dir", overlay.lower, "--since", since, "--journal", journal]


def tree(top: Path) -> dict[str, tuple[int, int, int, bytes | str]]:
    """All that stands beneath a directory: mode, owner, content."""
    found: dict[str, tuple[int, int, int, bytes | str]] = {}
    for base, directories, files in os.walk(top):
        for name in directories + files:
            path = Path(base) / name
            about = path.lstat()
            content: bytes | str = ""
            if path.is_symlink():
                content = os.readlink(path)
            elif path.is_file():
                content = path.read_bytes()
            found[str(path.relative_to(top))] = (about.st_mode, about.st_uid, about.st_gid, content)
    return found


def test_changes_arrive_with_the_callers_owner(layer: Layer, overlay: Overlay, room: Path) -> None:
    for name in ("edited", "deleted", "dir/gone/deep", "becomes_dir", "kept"):
        (overlay.lower / name).parent.mkdir(parents=True, exist_ok=True)
        (overlay.lower / name).write_text("old")
    os.chown(overlay.lower, 1234, 1235)
    since = now()
    overlay.mount()
    work = overlay.merged
    (work / "edited").write_text("new")
    (work / "deleted").unlink()
    os.system(f"rm -r {work}/dir/gone; rm {work}/becomes_dir")
    (work / "becomes_dir/sub").mkdir(parents=True)
    (work / "becomes_dir/sub/f").write_text("x" * 100_000)
    (work / "tool").write_text("#!/bin/sh\n")
    (work / "tool").chmod(0o755)
    (work / "dir").chmod(0o750)
    (work / "link").symlink_to("dir/x")
    with (work / "holes").open("wb") as file:
        file.truncate(1 << 30)
        file.seek(1 << 20)
        file.write(b"data")
    expected = {
        path: (mode, 1234, 1235, content) for path, (mode, _, _, content) in tree(work).items() if path != "kept"
    }
    overlay.close()
    lines, last = plan(layer, overlay, since)
    assert (last["add"], last["replace"], last["delete"], last["mode"], last["refused"]) == (6, 1, 2, 1, 0) or last
    assert {path for path, line in lines.items() if line["action"] == "delete"} == {"deleted", "dir/gone"}
    answer = layer.answer(*arguments(overlay, since, room / "j"), "--plan", last["plan"])
    assert answer["refused"] == answer["left_out"] == 0
    found = tree(overlay.lower)
    assert found.pop("kept")[3] == b"old"
    # A directory that was there keeps its owner.
    found["dir"] = (found["dir"][0], 1234, 1235, "")
    assert found == expected
    assert (overlay.lower / "holes").stat().st_blocks < 1000
    assert not (room / "j").exists()


def test_what_would_do_harm_is_refused(layer: Layer, overlay: Overlay, room: Path) -> None:
    (overlay.lower / "sub").mkdir()
    since = now()
    up = overlay.upper
    (up / "setuid").write_text("")
    (up / "setuid").chmod(0o4755)
    (up / "setgid").write_text("")
    (up / "setgid").chmod(0o2755)
    os.mkfifo(up / "fifo")
    os.mknod(up / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(up / "socket"))
    (up / "capable").write_text("")
    os.setxattr(up / "capable", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    (up / "absolute").symlink_to("/etc/shadow")
    (up / "upwards").symlink_to("../x")
    (up / "sub").mkdir()
    (up / "sub/inside").symlink_to("../setuid")
    (up / "fine").write_text("1")
    lines, last = plan(layer, overlay, since)
    refused = {path for path, line in lines.items() if line["refused"]}
    assert refused == {"setuid", "setgid", "fifo", "device", "socket", "capable", "absolute", "upwards"}
    assert list(lines)[: len(refused)] == sorted(refused)
    assert last["refused"] == len(refused)
    assert "8 changes are refused" in layer.refusal(*arguments(overlay, since, room / "j"), code=3)
    assert tree(overlay.lower).keys() == {"sub"}
    layer.answer(*arguments(overlay, since, room / "j"), "--skip-refused")
    assert tree(overlay.lower).keys() == {"sub", "sub/inside", "fine"}
    lines, _ = plan(layer, overlay, since, "--allow", "outward-links")
    assert lines["absolute"]["refused"] is None


def test_what_the_host_changed_meanwhile_is_not_lost(layer: Layer, overlay: Overlay, room: Path) -> None:
    low = overlay.lower
    for name in ("edited", "removed", "dir/x", "vanished", "quiet"):
        (low / name).parent.mkdir(exist_ok=True)
        (low / name).write_text("old")
    since = now()
    overlay.mount()
    for name in ("edited", "appeared", "vanished", "quiet"):
        (overlay.merged / name).write_text("the container's")
    (overlay.merged / "removed").unlink()
    os.system(f"rm -r {overlay.merged}/dir")
    overlay.close()
    time.sleep(0.012)
    for name in ("edited", "appeared", "removed", "dir/x"):
        (low / name).write_text("the host's")
    (low / "vanished").unlink()
    lines, _ = plan(layer, overlay, since)
    assert {path for path, line in lines.items() if line["refused"]} == {
        "edited",
        "appeared",
        "removed",
        "dir",
        "vanished",
    }
    layer.answer(*arguments(overlay, since, room / "j"), "--skip-refused")
    assert (low / "edited").read_text() == (low / "dir/x").read_text() == "the host's"
    assert (low / "quiet").read_text() == "the container's"


def test_another_plan_than_the_one_shown_is_not_run(layer: Layer, overlay: Overlay, room: Path) -> None:
    since = now()
    (overlay.upper / "a").write_text("1")
    _, last = plan(layer, overlay, since)
    (overlay.upper / "a").write_text("12")
    assert "plan" in layer.refusal(*arguments(overlay, since, room / "j"), "--plan", last["plan"], code=3)
    assert tree(overlay.lower) == {}


def test_git_and_what_starts_by_itself_are_apart(layer: Layer, overlay: Overlay, room: Path) -> None:
    for name in (
        ".git/hooks/pre-commit",
        "sub/.envrc",
        ".vscode/tasks.json",
        "Makefile",
        "bare/HEAD",
        "bare/objects/x",
        "bare/refs/y",
    ):
        (overlay.upper / name).parent.mkdir(parents=True, exist_ok=True)
        (overlay.upper / name).write_text("1")
    since = now()
    lines, last = plan(layer, overlay, since)
    assert (
        lines[".git/hooks/pre-commit"]["class"]
        == lines["bare/HEAD"]["class"]
        == lines["bare/objects/x"]["class"]
        == "git"
    )
    assert lines["sub/.envrc"]["class"] == lines[".vscode/tasks.json"]["class"] == "startup"
    assert lines["Makefile"]["class"] == "normal"
    answer = layer.answer(*arguments(overlay, since, room / "j"))
    assert answer["left_out"] == last["git"] + last["startup"]
    assert tree(overlay.lower).keys() == {"sub", "bare", "Makefile"}
    layer.answer(*arguments(overlay, since, room / "j"), "--include", "git,startup")
    assert (overlay.lower / ".git/hooks/pre-commit").exists()


def test_a_mount_and_a_link_on_the_way_are_not_crossed(layer: Layer, overlay: Overlay, room: Path) -> None:
    (room / "outside").mkdir()
    (overlay.lower / "mounted").mkdir()
    subprocess.run(["mount", "--bind", room / "outside", overlay.lower / "mounted"], check=True)
    (overlay.upper / "mounted").mkdir()
    (overlay.upper / "mounted/f").write_text("1")
    (overlay.lower / "link").symlink_to(room / "outside")
    (overlay.upper / "link").mkdir()
    (overlay.upper / "link/f").write_text("1")
    since = now()
    lines, _ = plan(layer, overlay, since)
    assert lines["mounted/f"]["refused"] == "it lies in another mount"
    layer.answer(*arguments(overlay, since, room / "j"), "--skip-refused")
    subprocess.run(["umount", overlay.lower / "mounted"], check=True)
    assert list((room / "outside").iterdir()) == []
    assert (overlay.lower / "link/f").read_text() == "1"


def test_both_links_of_a_file_are_replaced(layer: Layer, overlay: Overlay, room: Path) -> None:
    (overlay.lower / "a").write_text("old")
    os.link(overlay.lower / "a", overlay.lower / "b")
    since = now()
    for name in ("a", "b"):
        (overlay.upper / name).write_text("new")
    layer.answer(*arguments(overlay, since, room / "j"))
    assert (overlay.lower / "a").read_text() == (overlay.lower / "b").read_text() == "new"


@pytest.mark.storm
@pytest.mark.timeout(0)
def test_a_kill_at_any_moment_is_finished_or_undone(
    layer: Layer, room: Path, soak_seconds: float, record_property: Callable[[str, object], None]
) -> None:
    rng = random.Random(os.getpid())
    journal = room / "journal"
    deadline = time.monotonic() + max(soak_seconds, 4)
    outcomes: dict[str, int] = {}
    longest = 0.02
    # A slow machine may need longer until both ends have been seen.
    while time.monotonic() < deadline + (30 if len(outcomes) < 2 else 0):
        overlay = Overlay(room / "lower", room / "upper", room / "merged")
        for directory in (overlay.lower, overlay.upper):
            layer.run("remove", directory)
            directory.mkdir()
        for number in range(120):
            (overlay.lower / f"f{number}").write_text("old")
            (overlay.lower / f"d{number}").mkdir()
            (overlay.lower / f"d{number}/x").write_text("old")
        since = now()
        before = tree(overlay.lower)
        for number in range(120):
            (overlay.upper / f"f{number}").write_text("new")
            (overlay.upper / f"n{number}/deep").mkdir(parents=True)
            (overlay.upper / f"n{number}/deep/x").write_text("new")
            os.mknod(overlay.upper / f"d{number}", stat.S_IFCHR, os.makedev(0, 0))
        after = {path: entry for path, entry in tree(overlay.upper).items() if not path.startswith("d")}
        running = subprocess.Popen([layer.program, *arguments(overlay, since, journal)], stdout=subprocess.DEVNULL)
        time.sleep(rng.uniform(0, longest))
        running.kill()
        # As long as it takes on this machine at this moment: about half of them come to their end.
        longest = longest * 0.9 if running.wait() == 0 else min(longest * 1.1, 2)
        # Recovery may be cut as well.
        cut = subprocess.Popen([layer.program, "apply", "recover", journal], stdout=subprocess.DEVNULL)
        time.sleep(rng.uniform(0, longest / 2))
        cut.kill()
        cut.wait()
        outcome = layer.answer("apply", "recover", journal)["outcome"]
        found = tree(overlay.lower)
        assert found in (before, after), f"a mixture after {outcome}"
        assert outcome != "undone" or found == before
        assert outcome != "finished" or found == after
        state = "after" if found == after else "before"
        outcomes[state] = outcomes.get(state, 0) + 1
        assert not journal.exists()
    assert outcomes.keys() == {"before", "after"}, outcomes
    record_property("apply", f"{sum(outcomes.values())} kills, {outcomes['after']} finished, never a mixture")


def test_a_journal_that_is_none_is_refused(layer: Layer, room: Path) -> None:
    assert layer.answer("apply", "recover", room / "absent")["outcome"] == "nothing"
    for text in (
        "{}\n",
        '"commit"\n',
        '{"begin":{"directory":"2f746d70","device":[0,0],"inode":1,"staging":"../etc"}}\n',
    ):
        (room / "j").write_text(text)
        assert "journal" in layer.refusal("apply", "recover", room / "j")
    (room / "j").write_text('{"begin":{"directory":"2f74')
    assert layer.answer("apply", "recover", room / "j")["outcome"] == "nothing"
