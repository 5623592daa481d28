"""What comes after an end: decided here, from values alone."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from stockade.engine.records import RestartPolicy, State, Status, Wanted
from stockade.model import Exit, Reason

FIRST_DELAY, LONGEST_DELAY = 0.1, 60.0
"""Seconds before the first new start, and before any."""
CALM = 10.0
"""A container that ran for so many seconds is not failing in a row: its delay begins anew."""
LOST_STATUS = 255
"""Of a container whose end nobody saw."""


class Then(Enum):
    """What is to be done with a container that has ended."""

    STAY = "stay"
    RESTART = "restart"
    REMOVE = "remove"


class Next(NamedTuple):
    """The decision."""

    then: Then
    delay: float = 0
    """Seconds until the new start."""


def after_end(wanted: Wanted, state: State, ran: float, last_delay: float) -> Next:
    """What comes after a container ended by itself or was stopped.

    Args:
        state: as it is after the end.
        ran: seconds between start and end.
        last_delay: before the start that led here; 0: it was somebody's.
    """
    if not state.stopped_by_hand and wants_again(wanted.restart, state):
        return Next(Then.RESTART, delay(ran, last_delay))
    return Next(Then.REMOVE if wanted.auto_remove else Then.STAY)


def wants_again(restart: RestartPolicy, state: State) -> bool:
    """Whether the policy starts it again after this end, if nobody stopped it."""
    if restart.name == "on-failure":
        return state.exit_code != 0 and (not restart.maximum or state.restarts < restart.maximum)
    return restart.name in ("always", "unless-stopped")


def delay(ran: float, last: float) -> float:
    """Docker's back-off: doubled each time, from 0.1 s to a minute."""
    if ran >= CALM or not last:
        return FIRST_DELAY
    return min(last * 2, LONGEST_DELAY)


def after_boot(wanted: Wanted, state: State) -> Next:
    """What comes after the machine was restarted; `always` means also what somebody had stopped."""
    if wanted.restart.name == "always" and state.has_run:
        return Next(Then.RESTART)
    if state.status in (Status.EXITED, Status.RESTARTING) and not state.stopped_by_hand and state.has_run:
        was_alive = state.exit_code == LOST_STATUS or state.status is Status.RESTARTING
        if was_alive and wants_again(wanted.restart, state):
            return Next(Then.RESTART)
    return Next(Then.REMOVE if wanted.auto_remove and state.has_run else Then.STAY)


def reason(end: Exit) -> str:
    """One sentence on an end that its status does not explain."""
    if end.reason is Reason.OOM_KILLED:
        return "the memory limit was reached and the kernel killed it"
    if end.reason is Reason.TIMED_OUT:
        return "its time limit was reached"
    if end.reason is Reason.SHIM_DIED:
        return "its shim died"
    return end.message
