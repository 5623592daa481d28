"""exit.json: how a process ended; the shim writes it before it reports the end, so that it outlives the shim."""

from __future__ import annotations

import json

from stockade.errors import ProtocolBroken
from stockade.model import Exit, Reason, Steps, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def read(bundle: str, exec_id: str = "") -> Exit | None:
    """The end of the container's own process or of an added one; None: it has not ended, or nobody knows."""
    path = f"{bundle}/exit-{exec_id}.json" if exec_id else f"{bundle}/exit.json"
    try:
        with open(path, "rb") as file:
            raw = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise ProtocolBroken(f"{path} is no exit record: {error}") from error
    return parse(raw)


def parse(raw: dict[str, Any]) -> Exit:
    """The value of an exit record."""
    usage, steps = raw.get("usage") or {}, raw.get("steps") or {}
    return Exit(
        status=int(raw["exit_status"]),
        reason=_reason(raw),
        message=raw.get("message") or "",
        oom_kills=int(raw.get("oom_kills") or 0),
        pids_refused=int(raw.get("pids_refused") or 0),
        usage=Usage(
            cpu=_seconds(usage.get("cpu_ns"), 1e-9),
            user=_seconds(usage.get("user_ns"), 1e-9),
            system=_seconds(usage.get("system_ns"), 1e-9),
            memory_peak=usage.get("memory_peak"),
        ),
        steps=Steps(create=_seconds(steps.get("create_us"), 1e-6), start=_seconds(steps.get("start_us"), 1e-6)),
        started_at=raw.get("started_at") or "",
        exited_at=raw.get("exited_at") or "",
    )


def _reason(raw: dict[str, Any]) -> Reason:
    """Of a word that a shim of a newer release wrote the status tells the kind."""
    try:
        return Reason(raw["reason"])
    except ValueError:
        return from_status(int(raw["exit_status"])).reason


def from_status(status: int) -> Exit:
    """What is known of an end of which only the status is."""
    return Exit(status, Reason.SIGNALED if status > 128 else Reason.EXITED)


def _seconds(count: int | None, unit: float) -> float | None:
    return None if count is None else count * unit
