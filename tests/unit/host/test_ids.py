"""Ranges are free of every other owner of ids, claimed before use, and free again with their container's directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stockade.host import ids, locks
from stockade.host.paths import Paths
from stockade.model import IdMap


@pytest.fixture
def machine(tmp_path: Path) -> Paths:
    """A machine of its own: its etc, its claims."""
    for name in ("etc", "ids", "data/containers"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/subuid").write_text("alice:100000:65536\n")
    (tmp_path / "etc/subgid").write_text("alice:100000:65536\n")
    return Paths(
        True, 0, 0, str(tmp_path / "run"), str(tmp_path / "data"), "/run", str(tmp_path / "ids"), str(tmp_path / "etc")
    )


def container(machine: Paths, name: str) -> str:
    path = f"{machine.containers}/{name}"
    os.mkdir(path)
    return path


@pytest.mark.parametrize(
    ("taken", "start"),
    [
        ([], ids.LOWEST),
        ([(100000, 65536)], ids.LOWEST),
        ([(ids.LOWEST, 1)], ids.LOWEST + ids.RANGE),
        ([(ids.LOWEST + ids.BLOCK - 1, 1)], ids.LOWEST + ids.BLOCK),
        ([(ids.LOWEST + 7, 10), (ids.LOWEST + 3 * ids.RANGE, ids.RANGE)], ids.LOWEST + 4 * ids.RANGE),
        ([(ids.LOWEST, ids.PAST_HIGHEST - ids.LOWEST)], ids.LOWEST_AT_ALL),
        ([(0, 2**32)], None),
    ],
)
def test_a_block_is_chosen_beside_what_is_taken(taken: list[tuple[int, int]], start: int | None) -> None:
    assert ids.choose(taken) == start


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["alice:100000:65536\n"], (100000, 65536)),
        (["1000:100000:65536\n"], (100000, 65536)),
        (["alice:5:10\n", "alice:100000:65536\n"], (100000, 65536)),
        (["bob:100000:65536\n"], None),
        (["# alice:1:2\n", "alice:x:2\n", "alice:1\n", "alice:1:0\n", "\n"], None),
    ],
)
def test_what_a_subuid_file_grants(lines: list[str], found: tuple[int, int] | None) -> None:
    assert ids.granted(lines, {"alice", "1000"}) == found


def test_the_block_is_reserved_once(machine: Paths) -> None:
    first, second = container(machine, "a"), container(machine, "b")
    ranges = [ids.claim(machine, first), ids.claim(machine, second)]
    assert ranges[0].uid == (IdMap(0, ids.LOWEST, 65536),)
    assert ranges[1].base == ids.LOWEST + 65536
    for file in ("subuid", "subgid"):
        assert Path(machine.etc, file).read_text() == f"alice:100000:65536\nstockade:{ids.LOWEST}:{ids.BLOCK}\n"
    assert sorted(os.listdir(machine.etc)) == ["subgid", "subuid"]


def test_a_reservation_that_was_cut_before_its_record_is_found_again(machine: Paths) -> None:
    ids.claim(machine, container(machine, "a"))
    os.unlink(f"{machine.ids}/blocks.json")
    assert ids.claim(machine, container(machine, "b")).base == ids.LOWEST + 65536
    assert Path(machine.etc, "subuid").read_text().count("stockade:") == 1


def test_a_range_is_free_again_when_its_container_let_go_and_not_before(machine: Paths) -> None:
    first, second = container(machine, "a"), container(machine, "b")
    assert ids.claim(machine, first).slot == 0
    assert ids.claim(machine, second).slot == 1
    ids.release(machine, first, 0)
    third = container(machine, "c")
    assert ids.claim(machine, third).slot == 0
    assert ids.claimed(machine, third, 0) is not None
    assert ids.claimed(machine, first, 0) is None
    ids.release(machine, first, 0)
    assert ids.claimed(machine, third, 0) is not None, "somebody else's claim was released"
    ids.release(machine, third, 0)
    assert ids.claimed(machine, third, 0) is None


def test_a_claim_that_was_not_written_down_is_found(machine: Paths) -> None:
    first, second = container(machine, "a"), container(machine, "b")
    ids.claim(machine, first), ids.claim(machine, second)
    ids.release(machine, second)
    assert ids.claimed(machine, first, 0) is not None
    assert ids.claimed(machine, second, 1) is None


def test_claims_of_what_is_gone_are_dropped_before_another_block_begins(machine: Paths) -> None:
    for slot in range(ids.RANGES_PER_BLOCK):
        os.symlink(f"{machine.containers}/gone" if slot in (7, 9) else machine.containers, f"{machine.ids}/{slot}")
    assert ids.claim(machine, container(machine, "a")).slot == 7
    assert ids.claim(machine, container(machine, "b")).slot == 9
    assert ids.claim(machine, container(machine, "c")).slot == ids.RANGES_PER_BLOCK


def test_claims_of_what_is_gone_below_one_directory_are_dropped(machine: Paths) -> None:
    kept, gone = container(machine, "a"), container(machine, "b")
    ids.claim(machine, kept), ids.claim(machine, gone)
    os.symlink("/another/installation/b", f"{machine.ids}/2")
    os.rmdir(gone)
    ids.drop_gone(machine, machine.containers)
    assert sorted(name for name in os.listdir(machine.ids) if name.isdigit()) == ["0", "2"]


def test_a_second_block_when_the_first_is_full(machine: Paths) -> None:
    for slot in range(ids.RANGES_PER_BLOCK):
        os.symlink(machine.containers, f"{machine.ids}/{slot}")
    late = ids.claim(machine, container(machine, "late"))
    assert late.slot == ids.RANGES_PER_BLOCK
    assert late.base == ids.LOWEST + ids.BLOCK


def test_an_ordinary_users_ids(tmp_path: Path) -> None:
    file = tmp_path / "subuid"
    file.write_text("4242:100000:65536\n")
    both = (str(file), str(file))
    assert ids.of_user(4242, 4243, both, True).uid == (IdMap(0, 4242, 1), IdMap(1, 100000, 65535))
    assert ids.of_user(4242, 4243, both, True).gid == (IdMap(0, 4243, 1), IdMap(1, 100000, 65535))
    assert ids.of_user(4242, 4243, both, True).how == "subuid"
    assert ids.of_user(4242, 4243, both, False).how == "one id"
    assert ids.of_user(4244, 4243, both, True).uid == (IdMap(0, 4244, 1),)


def test_a_lock_of_a_dead_tool_is_taken_and_one_of_a_living_tool_is_not(machine: Paths) -> None:
    path = f"{machine.etc}/subuid"
    Path(f"{path}.lock").write_text("4194305\0")
    with locks.shadow(path):
        assert Path(f"{path}.lock").read_text() == f"{os.getpid()}\0"
    assert not os.path.exists(f"{path}.lock")
    Path(f"{path}.lock").write_text("1\0")
    with pytest.raises(Exception, match="held by another program"), locks.shadow(path, patience=0.05):
        raise AssertionError("entered")
    assert sorted(os.listdir(machine.etc)) == ["subgid", "subuid", "subuid.lock"]
