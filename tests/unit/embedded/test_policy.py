"""Which directory a program may be given."""

from __future__ import annotations

from pathlib import Path

import pytest

from stockade.embedded import policy
from stockade.errors import Refused

HOMES = frozenset({"/home/alice", "/root"})


@pytest.mark.parametrize(
    "directory", ["/home/alice/project", "/srv/data", "/data/x", "/tmp/x", "/root/x", "/optical", "/usrlocal"]
)
@pytest.mark.parametrize("named", [True, False])
def test_a_place_for_work_is_given(directory: str, named: bool) -> None:
    assert policy.refusal(directory, HOMES, named) is None


@pytest.mark.parametrize(
    "directory",
    ["/", "/home", "/tmp", "/var", "/opt", "/usr", "/usr/src/x", "/etc", "/etc/x", "/proc/1", "/dev", "/run/x"],
)
@pytest.mark.parametrize("named", [True, False])
def test_the_system_is_never_given(directory: str, named: bool) -> None:
    found = policy.refusal(directory, HOMES, named)
    assert found is not None
    assert directory in found[0]
    assert "--workdir" in found[1]


@pytest.mark.parametrize("directory", ["/home/alice", "/root"])
def test_a_home_is_given_only_by_name(directory: str) -> None:
    assert policy.refusal(directory, HOMES, named=False) is not None
    assert policy.refusal(directory, HOMES, named=True) is None


def test_what_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="is not a directory"):
        policy.check(str(tmp_path / "file"), named=True)
    with pytest.raises(Refused, match="No such file"):
        policy.resolve(str(tmp_path / "none"))


def test_a_link_is_judged_by_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    assert policy.resolve(str(tmp_path / "link")) == "/etc"
