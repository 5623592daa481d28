"""What comes after an end: tables."""

from __future__ import annotations

import pytest

from stockade.engine import policy
from stockade.engine.policy import Next, Then
from stockade.engine.records import RestartPolicy, State, Status, Wanted


def wanted(policy_name: str = "no", maximum: int = 0, auto_remove: bool = False) -> Wanted:
    restart = RestartPolicy(policy_name, maximum)
    return Wanted("a" * 64, "n", 1, "i", "", restart=restart, auto_remove=auto_remove)


@pytest.mark.parametrize(
    ("name", "maximum", "code", "restarts", "by_hand", "then"),
    [
        ("no", 0, 1, 0, False, Then.STAY),
        ("", 0, 1, 0, False, Then.STAY),
        ("always", 0, 0, 99, False, Then.RESTART),
        ("always", 0, 0, 0, True, Then.STAY),
        ("unless-stopped", 0, 3, 0, False, Then.RESTART),
        ("unless-stopped", 0, 3, 0, True, Then.STAY),
        ("on-failure", 0, 0, 0, False, Then.STAY),
        ("on-failure", 0, 1, 50, False, Then.RESTART),
        ("on-failure", 3, 1, 2, False, Then.RESTART),
        ("on-failure", 3, 1, 3, False, Then.STAY),
    ],
)
def test_policies(name: str, maximum: int, code: int, restarts: int, by_hand: bool, then: Then) -> None:
    state = State(Status.EXITED, exit_code=code, restarts=restarts, stopped_by_hand=by_hand, has_run=True)
    assert policy.after_end(wanted(name, maximum), state, 1, 0).then is then


def test_one_that_removes_itself() -> None:
    state = State(Status.EXITED, has_run=True)
    assert policy.after_end(wanted(auto_remove=True), state, 1, 0) == Next(Then.REMOVE)


def test_the_delay_doubles_to_a_minute() -> None:
    delays, last = [], 0.0
    for _ in range(12):
        last = policy.delay(1, last)
        delays.append(last)
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == 60
    assert policy.delay(10, 60) == 0.1


@pytest.mark.parametrize(
    ("name", "state", "then"),
    [
        ("always", State(Status.EXITED, exit_code=0, stopped_by_hand=True, has_run=True), Then.RESTART),
        ("always", State(Status.CREATED), Then.STAY),
        ("unless-stopped", State(Status.EXITED, exit_code=255, has_run=True), Then.RESTART),
        ("unless-stopped", State(Status.EXITED, exit_code=255, stopped_by_hand=True, has_run=True), Then.STAY),
        ("on-failure", State(Status.EXITED, exit_code=255, has_run=True), Then.RESTART),
        ("on-failure", State(Status.EXITED, exit_code=0, has_run=True), Then.STAY),
        ("no", State(Status.EXITED, exit_code=255, has_run=True), Then.STAY),
    ],
)
def test_after_a_boot(name: str, state: State, then: Then) -> None:
    assert policy.after_boot(wanted(name), state).then is then
