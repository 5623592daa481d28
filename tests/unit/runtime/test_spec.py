"""config.json as it is written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stockade.model import Capabilities, IdMap, Limits, Mount, Process
from stockade.runtime import spec

RANGE = (IdMap(0, 100_000, 65_536),)


def rendered(**fields: Any) -> dict[str, Any]:
    bundle = spec.Bundle(Process(args=("true",)), RANGE, RANGE)._replace(**fields)
    found: dict[str, Any] = json.loads(spec.render(bundle))
    return found


def test_the_defaults_are_those_of_untrusted_code() -> None:
    found = rendered()
    assert found["process"]["noNewPrivileges"] is True
    assert found["process"]["capabilities"]["bounding"] == []
    kinds = {one["type"] for one in found["linux"]["namespaces"]}
    assert kinds == {"user", "mount", "pid", "network", "ipc", "uts", "cgroup"}
    assert found["linux"]["seccomp"]["defaultAction"].startswith("SCMP_ACT_ERRNO")
    assert found["linux"]["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert "/proc/kcore" in found["linux"]["maskedPaths"]
    assert "/proc/sys" in found["linux"]["readonlyPaths"]
    assert found["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 100_000, "size": 65_536}]
    assert found["annotations"] == {}


def test_the_filter_can_be_another_or_none() -> None:
    assert rendered(seccomp='{"defaultAction":"SCMP_ACT_ALLOW"}')["linux"]["seccomp"] == {
        "defaultAction": "SCMP_ACT_ALLOW"
    }
    assert "seccomp" not in rendered(seccomp="")["linux"]


def test_limits() -> None:
    limits = Limits(memory=1 << 20, cpus=1.5, cpu_shares=512, cpuset="0", pids=7, time=1.5)
    found = rendered(limits=limits, lifeline=True)
    resources = found["linux"]["resources"]
    assert resources["memory"]["limit"] == 1 << 20
    assert resources["memory"].get("swap", 1 << 20) == 1 << 20
    assert resources["cpu"] == {"quota": 150_000, "period": 100_000, "shares": 512, "cpus": "0"}
    assert resources["pids"] == {"limit": 7}
    assert found["annotations"] == {spec.TIME_LIMIT: "1500000us", spec.LIFELINE: "connection"}


def test_no_limit_is_no_entry() -> None:
    assert set(rendered()["linux"]["resources"]) == {"devices"}
    assert spec.resources_object(Limits(), devices=False) == {}


def test_root_has_its_capabilities_and_others_start_without() -> None:
    granted = Capabilities(("CAP_CHOWN",))
    root = spec.process_object(Process(("a",), capabilities=granted))["capabilities"]
    other = spec.process_object(Process(("a",), uid=1, capabilities=granted))["capabilities"]
    assert root["effective"] == ("CAP_CHOWN",)
    assert other["effective"] == ()
    assert other["bounding"] == ("CAP_CHOWN",)


def test_terminals_have_no_group_where_there_is_only_one_id() -> None:
    def options(gids: tuple[IdMap, ...]) -> list[str]:
        (pts,) = (one for one in rendered(gids=gids)["mounts"] if one["type"] == "devpts")
        return list(pts["options"])

    assert "gid=5" in options(RANGE)
    assert "gid=5" not in options((IdMap(0, 1000, 1),))


def test_a_mount_carries_its_maps() -> None:
    (mount,) = rendered(mounts=(Mount("/d", "bind", "/s", ("rbind",), RANGE, RANGE),))["mounts"]
    assert mount["uidMappings"] == mount["gidMappings"] == [{"containerID": 0, "hostID": 100_000, "size": 65_536}]


def test_bytes_that_are_no_text_survive(tmp_path: Any) -> None:
    bundle = spec.Bundle(Process(args=("a\udcff",)), RANGE, RANGE)
    spec.write(str(tmp_path), bundle)
    text = (tmp_path / "config.json").read_bytes()
    assert json.loads(text.decode("utf-8", "surrogateescape"))["process"]["args"] == ["a\udcff"]


def test_every_usual_capability_is_one() -> None:
    assert set(spec.SHORT_CAPABILITIES) < set(spec.USUAL_CAPABILITIES) < set(spec.ALL_CAPABILITIES)
    assert len(spec.ALL_CAPABILITIES) == 41


@pytest.mark.parametrize("limits", [Limits(memory=5, memory_swap=9)])
def test_swap_that_was_asked_for_is_asked_for(limits: Limits) -> None:
    assert spec.resources_object(limits)["memory"] == {"limit": 5, "swap": 9}
