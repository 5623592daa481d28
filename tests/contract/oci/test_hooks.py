"""Hooks: in order, with the state on their standard input, and what a failing one does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contract.oci.harness import Runtime
from support.patience import eventually

pytestmark = pytest.mark.root

STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def hook(log: Path, stage: str, command: str = "true") -> dict[str, Any]:
    script = f"(echo {stage}; cat; echo) >> {log}; {command}"
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}


def with_hooks(log: Path, failing: str = "") -> Any:
    def change(config: dict[str, Any]) -> None:
        # startContainer runs inside the container, where the log is not.
        stages = [stage for stage in STAGES if stage != "startContainer"]
        config["hooks"] = {stage: [hook(log, stage, "exit 3" if stage == failing else "true")] for stage in stages}
        config["hooks"]["startContainer"] = [
            hook(Path("/tmp/inside"), "startContainer", "exit 3" if failing == "startContainer" else "true")
        ]
        config["annotations"] = {"who": "me"}

    return change


def stages(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if line in STAGES] if log.exists() else []


def test_every_stage_in_order(like_crun: Runtime) -> None:
    """runc 1.1 runs poststart hooks at create; crun's start may return before the container's own hook has run."""
    log = like_crun.place.top / "hooks"
    id = like_crun.create("sleep", "1000", change=with_hooks(log))
    assert stages(log) == ["prestart", "createRuntime", "createContainer"]
    like_crun.ok("start", id)
    assert stages(log)[3:] == ["poststart"]
    inside = like_crun.place.top / "bundle/rootfs/tmp/inside"
    if like_crun.name != "ours":
        eventually(lambda: stages(inside) != [], "the container's own hook")
    assert stages(inside) == ["startContainer"]
    like_crun.ok("delete", "--force", id)
    assert stages(log)[4:] == ["poststop"]
    states = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert {state["id"] for state in states} == {id}
    assert all(state["annotations"]["who"] == "me" for state in states)
    assert states[0]["pid"] > 0
    if like_crun.name == "ours":
        assert [state["status"] for state in states] == ["creating", "creating", "creating", "running", "stopped"]


@pytest.mark.parametrize("stage", ["prestart", "createRuntime", "createContainer"])
def test_a_failure_before_the_start_undoes_everything(like_runc: Runtime, stage: str) -> None:
    log, id = like_runc.place.top / "hooks", like_runc.place.name()
    bundle = like_runc.bundle("sleep", "1000", change=with_hooks(log, stage))
    assert like_runc("create", "--bundle", bundle, id).code == 1
    assert like_runc("state", id).code == 1
    assert not like_runc.place.cgroups()


def test_a_failing_poststart_hook_stops_the_container(ours: Runtime) -> None:
    """runtime.md, "Lifecycle" 10; runc 1.1 does so at create."""
    log, id = ours.place.top / "hooks", ours.place.name()
    ours.ok("create", "--bundle", ours.bundle("sleep", "1000", change=with_hooks(log, "poststart")), id)
    assert ours("start", id).code == 1
    ours.wait(id, "stopped")


def test_a_failing_poststop_hook_is_only_told(like_runc: Runtime) -> None:
    log = like_runc.place.top / "hooks"
    id = like_runc.create("sleep", "1000", change=with_hooks(log, "poststop"))
    done = like_runc("delete", "--force", id)
    assert (done.code, "level=" in done.err) == (0, True), done


def test_a_hook_may_ask_for_the_state(ours: Runtime) -> None:
    answer = ours.place.top / "answer"

    def ask(config: dict[str, Any]) -> None:
        command = " ".join(ours.command("state", ours.place.name()))
        config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"{command} > {answer}"]}]}

    ours.create("sleep", "1000", change=ask)
    assert json.loads(answer.read_text())["status"] == "creating"


def test_a_hook_that_takes_too_long(like_runc: Runtime) -> None:
    def slow(config: dict[str, Any]) -> None:
        config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]}

    assert like_runc("create", "--bundle", like_runc.bundle("true", change=slow), like_runc.place.name()).code == 1
