"""The unit that systemd is asked for is the one that can be installed; where none is asked for, nothing changes."""

from __future__ import annotations

import os
from configparser import RawConfigParser

from stockade.host import delegated
from support.programs import TOP


def test_the_unit_that_is_asked_for_is_the_installed_one() -> None:
    found = RawConfigParser()
    found.optionxform = str  # type: ignore[assignment, method-assign]
    assert found.read(TOP / "packaging/systemd" / delegated.UNIT)
    service = dict(found["Service"])
    assert service.pop("ExecStart") == f"/bin/sh -c '{delegated._COMMAND}'"
    assert service.pop("Slice") == delegated.SLICE
    assert service.pop("Type") == "forking"
    assert sorted(f"{name}={value}" for name, value in service.items()) == sorted(delegated._PROPERTIES)


def test_where_systemd_does_not_run_the_host_nobody_is_asked() -> None:
    if os.path.isdir("/run/systemd/system") and os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        assert delegated.parent() == "/stockade.slice/stockade-containers.service"
    else:
        assert (delegated.parent(), delegated.shims(), delegated.missing()) == ("/stockade", "", False)
