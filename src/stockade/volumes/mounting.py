"""What a volume's options ask for, mounted by mount(8): it knows the helpers of network file systems."""

from __future__ import annotations

import shutil

from stockade.errors import Conflict, RuntimeFailed, Unsupported
from stockade.host import spawn

from .values import Device

_PATIENCE = 30.0


async def mount(name: str, device: Device, place: str) -> None:
    """Mount a device at a volume's place.

    Raises:
        RuntimeFailed: it could not be mounted; the message is mount's own.
    """
    words = ["--types", device.kind, *(["--options", device.options] if device.options else [])]
    answer = await spawn.run([_program("mount"), *words, "--", device.source, place], timeout=_PATIENCE)
    if answer.status != 0:
        raise RuntimeFailed(f"failed to mount volume {name}: {_said(answer.complaint)}")


async def unmount(name: str, place: str) -> None:
    """Take a volume's mount away.

    Raises:
        Conflict: somebody uses it.
    """
    answer = await spawn.run([_program("umount"), "--", place], timeout=_PATIENCE)
    if answer.status != 0:
        raise Conflict(f"failed to unmount volume {name}: {_said(answer.complaint)}")


def _program(name: str) -> str:
    found = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin")
    if found is None:
        raise Unsupported(f"this machine has no {name}(8)", hint="apt install mount")
    return found


def _said(complaint: bytes) -> str:
    return complaint.decode(errors="replace").strip()
