"""The values that every layer speaks of: ids, limits, mounts, processes, exits. No I/O; knows errors only.

They are NamedTuples: immutable and slotted as wanted, and defined in a sixth of a frozen dataclass's time, which
`stockade do` pays at every start.
"""

from stockade.model.container import (
    IDLE_PHASES,
    Capabilities,
    IdMap,
    Mount,
    Namespace,
    Phase,
    Process,
    Rlimit,
    RootfsMount,
    check_name,
)
from stockade.model.exits import Exit, Reason, Steps, Usage
from stockade.model.limits import Limits, parse_cpus, parse_duration, parse_size, render_duration, render_size

__all__ = [
    "IDLE_PHASES",
    "Capabilities",
    "Exit",
    "IdMap",
    "Limits",
    "Mount",
    "Namespace",
    "Phase",
    "Process",
    "Reason",
    "Rlimit",
    "RootfsMount",
    "Steps",
    "Usage",
    "check_name",
    "parse_cpus",
    "parse_duration",
    "parse_size",
    "render_duration",
    "render_size",
]
