"""runtime-tools' validation programs: what runc passes on this machine, ours passes; exceptions have their reason here.

The full table (`python -m conformance.runtime_tools.table` writes it into docs/oci.md) runs with `make judge`; a short
sample runs with every `make test`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.runtime_tools import suite

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
    "pidfile",
    "process_user",
    "start",
    "state",
)

# Program → test → why ours differs from what runc does there.
RESOURCE = (
    "runc makes no container here at all: the machine grants no CAP_SYS_RESOURCE; ours goes without it and says so"
)
EXCEPTIONS: dict[str, dict[str, str]] = {
    "process_capabilities": {
        f"expected {kind} capability CAP_SYS_RESOURCE set": RESOURCE
        for kind in ("ambient", "bounding", "effective", "inheritable", "permitted")
    },
}


@pytest.fixture(scope="module")
def built() -> Path:
    if shutil.which("go") is None:
        pytest.skip("no Go: the validation programs cannot be built")
    return suite.build()


@pytest.fixture(scope="module")
def ours(bin_dir: Path) -> Iterator[suite.Bench]:
    with suite.bench([str(bin_dir / "stockade-oci")]) as bench:
        yield bench


@pytest.fixture(scope="module")
def runc() -> Iterator[suite.Bench]:
    found = shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        pytest.skip("runc is not installed: nothing to compare with")
    with suite.bench([found]) as bench:
        yield bench


def compare(built: Path, program: str, ours: suite.Bench, runc: suite.Bench) -> None:
    mine = ours.run(built, program)
    bad = [*mine.failed, *mine.loose]
    if not bad and mine.code == 0:
        return
    theirs = runc.run(built, program)
    allowed = {*theirs.failed, *theirs.loose, *EXCEPTIONS.get(program, {})}
    assert mine.code == 0 or theirs.code != 0, f"exit {mine.code}, runc's is 0:\n{mine.text[-3000:]}"
    assert set(bad) <= allowed, f"only ours fails {set(bad) - allowed}:\n{mine.text[-3000:]}"


@pytest.mark.parametrize("program", SAMPLE)
def test_a_sample(built: Path, ours: suite.Bench, runc: suite.Bench, program: str) -> None:
    compare(built, program, ours, runc)


@pytest.mark.judge
def test_every_program(built: Path, ours: suite.Bench, runc: suite.Bench) -> None:
    complaints = []
    for program in suite.programs(built):
        try:
            compare(built, program, ours, runc)
        except AssertionError as error:
            complaints.append(f"{program}: {error}")
    assert not complaints, "\n\n".join(complaints)
