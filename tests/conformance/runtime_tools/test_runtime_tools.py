"""runtime-tools' validation programs: what runc passes on this machine, ours passes; exceptions have their reason here.

All of them run with `make judge`, which writes the table of docs/oci.md; a short sample runs with every `make test`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conformance.runtime_tools import suite, table
from support import programs

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

SAMPLE = (
    "create",
    "default",
    "delete",
    "hooks_stdin",
    "hostname",
    "kill",
    "linux_ns_itype",
    "linux_ns_path",
    "linux_seccomp",
    "linux_uid_mappings",
    "mounts",
    "process_user",
    "start",
    "state",
)

# Program → test → why ours differs from what runc does there.
RESOURCE = (
    "runc makes no container here at all: the machine grants no CAP_SYS_RESOURCE; ours goes without it and says so"
)
EXCEPTIONS: dict[str, dict[str, str]] = {
    "pidfile": {
        "create with '--pid-file' option works": "it kills a container whose program is `true`: a race in any runtime, "
        "which has ended more often before where the start is shorter"
    },
    "process_capabilities": {
        f"expected {kind} capability CAP_SYS_RESOURCE set": RESOURCE
        for kind in ("ambient", "bounding", "effective", "inheritable", "permitted")
    },
}


@pytest.fixture(scope="module")
def built() -> Path:
    return suite.build()


@pytest.fixture(scope="module")
def ours(bin_dir: Path) -> Iterator[suite.Bench]:
    with suite.bench([str(bin_dir / "stockade-oci")]) as bench:
        yield bench


@pytest.fixture(scope="module")
def runc() -> Iterator[suite.Bench]:
    with suite.bench([str(programs.tool("runc"))]) as bench:
        yield bench


def fine(report: suite.Report) -> bool:
    return report.code == 0 and not report.failed and not report.loose


def check(program: str, mine: suite.Report, runc: suite.Report) -> None:
    """Where ours complains runc does too."""
    bad = [*mine.failed, *mine.loose]
    allowed = {*runc.failed, *runc.loose, *EXCEPTIONS.get(program, {})}
    assert mine.code == 0 or runc.code != 0, f"exit {mine.code}, runc's is 0:\n{mine.text[-3000:]}"
    assert set(bad) <= allowed, f"only ours fails {set(bad) - allowed}:\n{mine.text[-3000:]}"


def complaint(program: str, mine: suite.Report, runc: suite.Report) -> str:
    try:
        if not fine(mine):
            check(program, mine, runc)
    except AssertionError as error:
        return f"{program}: {error}"
    return ""


@pytest.mark.parametrize("program", SAMPLE)
def test_a_sample(built: Path, ours: suite.Bench, runc: suite.Bench, program: str) -> None:
    mine = ours.run(built, program)
    if not fine(mine):
        check(program, mine, runc.run(built, program))


@pytest.mark.judge
def test_every_program(
    built: Path, ours: suite.Bench, runc: suite.Bench, record_property: Callable[[str, object], None]
) -> None:
    reports = {program: (ours.run(built, program), runc.run(built, program)) for program in suite.programs(built)}
    if "STOCKADE_TABLE" in os.environ:
        table.write(reports)
    complaints = []
    for program, (mine, theirs) in reports.items():
        said = complaint(program, mine, theirs)
        # Some let a hook and the program race for the first line: a failure counts when it comes three times.
        if said and all(complaint(program, ours.run(built, program), theirs) for _ in range(2)):
            complaints.append(said)
    for place, name in enumerate(("ours", "runc")):
        both = [pair[place] for pair in reports.values()]
        failed = sum(len(report.failed) + len(report.loose) for report in both)
        record_property(name, f"{len(both)} programs, {sum(r.passed for r in both)} ok, {failed} not ok")
    assert not complaints, "\n\n".join(complaints)
