"""The Task service of one container, as a client sees it (containerd's task service, v3)."""

from __future__ import annotations

import json
from typing import NamedTuple

from stockade.errors import CommandNotExecutable, CommandNotFound, ProtocolBroken, RuntimeFailed, Unavailable
from stockade.model import Phase, Process, Reason, RootfsMount
from stockade.runtime import exits, spec, wire
from stockade.runtime.io import PATIENCE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from stockade.model import Exit, Limits
    from stockade.runtime.io import Channel, Pending

SERVICE = "containerd.task.v3.Task"
_EMPTY = "google.protobuf.Empty"
# Method → the messages it takes and gives.
METHODS = {
    name: (f"containerd.task.v3.{request}Request", f"containerd.task.v3.{name}Response" if answers else _EMPTY)
    for name, request, answers in (
        ("State", "State", True),
        ("Start", "Start", True),
        ("Delete", "Delete", True),
        ("Pids", "Pids", True),
        ("Pause", "Pause", False),
        ("Resume", "Resume", False),
        ("Kill", "Kill", False),
        ("Exec", "ExecProcess", False),
        ("ResizePty", "ResizePty", False),
        ("CloseIO", "CloseIO", False),
        ("Update", "UpdateTask", False),
        ("Wait", "Wait", True),
        ("Stats", "Stats", True),
        ("Connect", "Connect", True),
        ("Shutdown", "Shutdown", False),
    )
} | {"Create": ("containerd.task.v3.CreateTaskRequest", "containerd.task.v3.CreateTaskResponse")}
# Seconds: image layers on a slow disk, hooks that take their time.
_CREATE_PATIENCE = 60.0
_PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"
_RESOURCES_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"


class Stdio(NamedTuple):
    """Where a process' streams go: nothing, a FIFO's path, or a log target's URI (api: CreateTaskRequest)."""

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False


NO_STDIO = Stdio()


class State(NamedTuple):
    """What a shim says of a process."""

    phase: Phase
    pid: int
    exit_status: int


class Task:
    """One container in its shim. `exec_id` names a process that was added to it; empty: the container's own."""

    def __init__(self, channel: Channel, identity: str, bundle: str) -> None:
        self.channel = channel
        self.id = identity
        self.bundle = bundle

    async def create(
        self,
        rootfs: Sequence[RootfsMount] = (),
        stdio: Stdio = NO_STDIO,
        options: Mapping[str, Any] | None = None,
    ) -> int:
        """Make the container from its bundle, its program held back; return its pid.

        Args:
            options: of the request (walls.Wall.options); none: the native wall.

        Raises:
            CommandNotFound, CommandNotExecutable: its program is not there, or is none.
        """
        mounts = [
            {"type": one.kind, "source": one.source, "target": one.target, "options": one.options} for one in rootfs
        ]
        fields: dict[str, Any] = {"bundle": self.bundle, "rootfs": mounts, **stdio._asdict()}
        if options is not None:
            fields["options"] = options
        try:
            answer = await self._call("Create", _CREATE_PATIENCE, **fields)
        except RuntimeFailed as error:
            raise self._explained(error) from error
        return int(answer["pid"])

    async def start(self, exec_id: str = "") -> int:
        """Let a process run; return its pid.

        Raises:
            CommandNotFound, CommandNotExecutable: its program cannot be executed.
        """
        try:
            answer = await self._call("Start", _CREATE_PATIENCE, exec_id=exec_id)
        except RuntimeFailed as error:
            raise self._explained(error, exec_id) from error
        return int(answer["pid"])

    def _explained(self, error: RuntimeFailed, exec_id: str = "") -> RuntimeFailed:
        """The condition behind a failed start, by the record that the shim wrote of it."""
        end = exits.read(self.bundle, exec_id)
        kinds = {126: CommandNotExecutable, 127: CommandNotFound}
        if end is not None and end.reason is Reason.START_FAILED and end.status in kinds:
            return kinds[end.status](error.message)
        return error

    async def exec(self, exec_id: str, process: Process | dict[str, Any], stdio: Stdio = NO_STDIO) -> None:
        """Add a process to the container, held back until `start`; a dict is a `process` object of config.json."""
        described = process if isinstance(process, dict) else spec.process_object(process)
        text = json.dumps(described).encode("utf-8", "surrogateescape")
        await self._call("Exec", exec_id=exec_id, spec={"type_url": _PROCESS_TYPE, "value": text}, **stdio._asdict())

    async def begin_wait(self, exec_id: str = "") -> Pending:
        """Ask for a process' end; the answer comes when it ends. `end` reads how."""
        return await self.channel.begin("Wait", {"id": self.id, "exec_id": exec_id})

    async def wait(self, exec_id: str = "", timeout: float | None = None) -> Exit:
        """How a process ended, once it has.

        Raises:
            TimedOut: it did not within `timeout` seconds.
        """
        return await self.end(await self.begin_wait(exec_id), exec_id, timeout)

    async def end(self, wait: Pending, exec_id: str = "", timeout: float | None = None) -> Exit:
        """How a process ended whose end `begin_wait` asked for; its record tells even if the shim died meanwhile."""
        try:
            answer = await wait.result(timeout)
        except Unavailable:
            found = exits.read(self.bundle, exec_id)
            if found is None:
                raise
            return found
        return exits.read(self.bundle, exec_id) or exits.from_status(int(answer["exit_status"]))

    async def kill(self, signal: int, exec_id: str = "", everything: bool = False) -> None:
        """Send a signal to a process, or to all of the container.

        Raises:
            NotFound: it has ended.
        """
        await self._call("Kill", exec_id=exec_id, signal=signal, all=everything)

    async def delete(self, exec_id: str = "") -> int:
        """Undo what is left of an ended process, or of the container; return its exit status."""
        answer = await self._call("Delete", _CREATE_PATIENCE, exec_id=exec_id)
        return int(answer["exit_status"])

    async def resize(self, rows: int, columns: int, exec_id: str = "") -> None:
        """Tell a process' terminal its size."""
        await self._call("ResizePty", exec_id=exec_id, width=columns, height=rows)

    async def pause(self) -> None:
        """Freeze every process."""
        await self._call("Pause")

    async def resume(self) -> None:
        """Thaw every process."""
        await self._call("Resume")

    async def update(self, limits: Limits) -> None:
        """Change the container's limits (not the one of time)."""
        await self.update_resources(spec.resources_object(limits, devices=False))

    async def update_resources(self, resources: Mapping[str, Any]) -> None:
        """Change what a `linux.resources` object names."""
        text = json.dumps(resources).encode()
        await self._call("Update", resources={"type_url": _RESOURCES_TYPE, "value": text})

    async def stats(self) -> dict[str, Any]:
        """The container's cgroup, in the fields of containerd's metrics for cgroup v1 or v2.

        Raises:
            ProtocolBroken: the answer is neither.
        """
        from stockade.runtime.metrics import MESSAGES

        answer = await self._call("Stats")
        message = (answer["stats"] or {"type_url": ""})["type_url"].rpartition("/")[2]
        if message not in MESSAGES:
            raise ProtocolBroken(f"the shim of {self.id} answered Stats with {message!r}")
        return wire.decode(message, answer["stats"]["value"], MESSAGES)

    async def state(self, exec_id: str = "") -> State:
        """Where a process is in its life."""
        answer = await self._call("State", exec_id=exec_id)
        return State(Phase(answer["status"]), int(answer["pid"]), int(answer["exit_status"]))

    async def pids(self) -> list[int]:
        """The host's pids of all processes in the container."""
        answer = await self._call("Pids")
        return [int(process["pid"]) for process in answer["processes"]]

    async def connect(self) -> tuple[int, int]:
        """The pids of the shim and of the container's first process."""
        answer = await self._call("Connect")
        return int(answer["shim_pid"]), int(answer["task_pid"])

    async def shutdown(self) -> None:
        """Have the shim exit if no container is left in it."""
        try:
            await self._call("Shutdown")
        except Unavailable:
            # It may exit before it answers.
            return

    async def _call(self, method: str, patience: float = PATIENCE, **fields: Any) -> dict[str, Any]:
        pending = await self.channel.begin(method, {"id": self.id, **fields})
        return await pending.result(patience)
