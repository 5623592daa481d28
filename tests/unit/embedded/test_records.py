"""A container is recorded before anything of it exists; what its owner's death leaves is found and taken away."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from stockade.embedded import records
from stockade.embedded.records import Draft
from stockade.embedded.sweep import Tools, bundle_of, discard, sweep
from stockade.errors import Conflict
from stockade.host import processes
from stockade.host.paths import Paths
from stockade.host.processes import Owner


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    for name in ("etc", "ids", "data/containers"):
        (tmp_path / name).mkdir(parents=True)
    return Paths(
        True, 0, 0, str(tmp_path / "run"), str(tmp_path / "data"), "/run", str(tmp_path / "ids"), str(tmp_path / "etc")
    )


class Undertaker:
    """Notes what it was asked to end; removes for real."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.tools = Tools(lambda identity, bundle: self.ended.append(identity), self.remove, lambda directory: None)

    def remove(self, directory: str) -> None:
        shutil.rmtree(directory, ignore_errors=True)


def dead() -> Owner:
    """A process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return processes.myself()._replace(pid=process.pid)


def abandoned(paths: Paths, **fields: object) -> records.Record:
    claim = records.claim(paths, Draft("do", ("true",)))
    record = claim.record._replace(owner=dead(), **fields)  # type: ignore[arg-type]
    records.write(claim.directory, record)
    return record


def test_a_record_comes_back_as_it_was(paths: Paths) -> None:
    claim = records.claim(paths, Draft("do", ("sh", "-c", "\udcff"), cwd="/srv/x", cwd_uid=1, cwd_gid=2))
    assert records.read(claim.directory) == claim.record
    assert records.listing(paths) == [(claim.directory, claim.record)]
    assert claim.record.owner is not None
    assert claim.record.owner.alive()
    assert Path(claim.directory).stat().st_mode & 0o777 == 0o700


def test_a_name_is_taken_once_and_found(paths: Paths) -> None:
    first = records.claim(paths, Draft("run", ("true",), name="web"))
    with pytest.raises(Conflict, match="'web' is taken"):
        records.claim(paths, Draft("run", ("true",), name="web"))
    for word in ("web", first.record.id, first.record.id[:8]):
        assert records.find(paths, word) == (first.directory, first.record)
    assert records.find(paths, "") is None


def test_a_reused_pid_is_not_the_owner() -> None:
    me = processes.myself()
    assert me.alive()
    assert not me._replace(start=me.start - 1).alive()
    assert not me._replace(boot="another").alive()
    assert not dead().alive()


def test_the_living_and_the_detached_are_left_alone(paths: Paths) -> None:
    records.claim(paths, Draft("do", ("true",)))
    detached = records.claim(paths, Draft("run", ("true",)))
    records.rewrite(detached, detached.record._replace(owner=None))
    abandoned(paths)
    kept = abandoned(paths)
    records.write(f"{paths.containers}/{kept.id}", kept._replace(owner=None, kept="mine"))
    undertaker = Undertaker()
    swept = sweep(paths, undertaker.tools)
    assert len(swept) == 1
    assert len(records.listing(paths)) == 3


def test_a_dead_owners_container_is_ended_and_its_range_is_free(paths: Paths) -> None:
    record = abandoned(paths)
    Path(paths.containers, record.id, "config.json").touch()
    undertaker = Undertaker()
    assert sweep(paths, undertaker.tools) == [record.id]
    assert undertaker.ended == [record.id]
    assert os.listdir(paths.containers) == []
    assert sorted(os.listdir(paths.ids)) == ["blocks.json", "lock"]


def test_a_claim_that_was_cut_and_a_removal_that_was_cut(paths: Paths) -> None:
    os.mkdir(f"{paths.containers}/do-cut")
    os.mkdir(f"{paths.containers}/.do-half")
    undertaker = Undertaker()
    assert sorted(sweep(paths, undertaker.tools)) == [".do-half", "do-cut"]
    assert undertaker.ended == []
    assert os.listdir(paths.containers) == []


def test_what_was_kept_survives_the_death_of_who_continued_it(paths: Paths) -> None:
    record = abandoned(paths, kept="mine")
    directory = f"{paths.containers}/{record.id}"
    bundle = bundle_of(directory, record)
    Path(bundle).mkdir()
    Path(bundle, "config.json").touch()
    Path(directory, "layers").mkdir()
    undertaker = Undertaker()
    assert sweep(paths, undertaker.tools) == [record.id]
    assert undertaker.ended == [record.id]
    assert sorted(os.listdir(directory)) == ["layers", "record.json"]
    assert records.read(directory) == record._replace(owner=None)


def test_a_shim_that_still_cleans_up_is_left_to_it(paths: Paths) -> None:
    record = abandoned(paths)
    shim = subprocess.Popen(["/bin/sh", "-c", "echo; read x", record.id], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert shim.stdout is not None
        shim.stdout.read(1)
        pid_file = Path(paths.containers, record.id, "shim.pid")
        pid_file.write_text(str(shim.pid))
        undertaker = Undertaker()
        assert sweep(paths, undertaker.tools) == []
        os.utime(pid_file, (time.time() - 60, time.time() - 60))
        assert sweep(paths, undertaker.tools) == [record.id]
        assert shim.wait(5) == -9
    finally:
        shim.kill()
        shim.wait()
        assert shim.stdin is not None
        assert shim.stdout is not None
        shim.stdin.close()
        shim.stdout.close()


def test_nothing_left_costs_nothing(paths: Paths) -> None:
    undertaker = Undertaker()
    took = []
    for _ in range(100):
        started = time.perf_counter()
        sweep(paths, undertaker.tools)
        took.append(time.perf_counter() - started)
    assert min(took) < 0.001


def test_discard_frees_directory_and_range(paths: Paths) -> None:
    claim = records.claim(paths, Draft("do", ("true",)))
    discard(paths, claim.record, Undertaker().tools)
    assert os.listdir(paths.containers) == []
    assert not [name for name in os.listdir(paths.ids) if name.isdigit()]
