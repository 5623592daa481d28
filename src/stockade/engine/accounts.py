"""The accounts of a running container, read out of its root by `stockade-layer`: bounded, never followed outside."""

from __future__ import annotations

import json
import os

from stockade.engine import users
from stockade.errors import RuntimeFailed
from stockade.host import spawn
from stockade.runtime import handover, shim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.engine.frame import Frame
    from stockade.engine.records import Record

_TIMEOUT = 10.0


async def identify(frame: Frame, container: Record, spec: str) -> users.Identity:
    """Who `USER[:GROUP]` is in a running container.

    Raises:
        BadValue: no such user or group, in Docker's words.
    """
    identity = container.wanted.id
    door = handover.Door(shim.attach_address(frame.directory(identity)), identity)
    root = await handover.root(door)
    try:
        words = [shim.program("stockade-layer"), "accounts", "--root", "3"]
        answer = await spawn.run(words, {3: root}, limit=8 << 20, timeout=_TIMEOUT)
    finally:
        os.close(root)
    if answer.status != 0:
        raise RuntimeFailed(
            f"the accounts of container {identity}: {answer.complaint.decode(errors='replace').strip()}"
        )
    return users.identify(spec, users.accounts(json.loads(answer.out)), container.wanted.group_add)
