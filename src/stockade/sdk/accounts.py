"""Users and groups by name, looked up in a root file system whose files nobody here trusts."""

from __future__ import annotations

import os
from typing import NamedTuple

from stockade.errors import BadValue, NotFound, StockadeError

_LIMIT = 1 << 20
_HIGHEST = 65535


class Account(NamedTuple):
    """Who a process is."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def resolve(text: str, rootfs: str) -> Account:
    """The account that `USER[:GROUP]` means in the root file system at `rootfs`; a number needs no entry there.

    Raises:
        BadValue: there is no such user or group.
    """
    user, colon, group = text.partition(":")
    users = [line for line in _lines(rootfs, "/etc/passwd") if len(line) >= 6]
    groups = [line for line in _lines(rootfs, "/etc/group") if len(line) >= 3]
    wanted = user or "0"
    entry = next((line for line in users if wanted in (line[0], line[2])), None)
    if entry is None and not _is_id(wanted):
        raise BadValue(f"the root file system has no user {user!r}", hint="a number needs no name")
    uid = _id(entry[2]) if entry else _id(wanted)
    home = entry[5] if entry and entry[5].startswith("/") else "/"
    if colon and group:
        found = next((line for line in groups if group in (line[0], line[2])), None)
        if found is None and not _is_id(group):
            raise BadValue(f"the root file system has no group {group!r}", hint="a number needs no name")
        return Account(uid, _id(found[2]) if found else _id(group), (), home)
    name = entry[0] if entry else ""
    more = tuple(_id(line[2]) for line in groups if len(line) > 3 and name and name in line[3].split(","))
    return Account(uid, _id(entry[3]) if entry else 0, more, home)


def _lines(rootfs: str, path: str) -> list[list[str]]:
    from stockade.sdk import files

    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        text = files.read(root, path, _LIMIT).decode(errors="replace")
    except NotFound:
        return []
    except StockadeError as error:
        raise BadValue(f"users cannot be looked up: {error.message}", hint="give numbers") from error
    finally:
        os.close(root)
    return [line.split(":") for line in text.splitlines()]


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _id(text: str) -> int:
    if not _is_id(text) or int(text) > _HIGHEST:
        raise BadValue(f"{text!r} is no id of a container", hint=f"0 to {_HIGHEST}")
    return int(text)
