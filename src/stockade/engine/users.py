"""Who a process is: `USER[:GROUP]` by the accounts of the container's own files. Pure.

The files were read by `stockade-layer accounts`, bounded; what is in them is the image's word and nobody else's.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from stockade.errors import BadValue
from stockade.images.values import Account, Accounts, Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

_HIGHEST = 2**31 - 1


class Identity(NamedTuple):
    """As whom a process runs."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def accounts(answer: Mapping[str, Any]) -> Accounts:
    """The value of a line that `stockade-layer accounts` answered."""
    return msgspec.convert(answer, Accounts)


def identify(spec: str, known: Accounts, extra: Sequence[str] = ()) -> Identity:
    """Who `USER[:GROUP]` is; empty: root. `extra` are groups to be added, by name or number.

    A name is looked for before it is taken as a number. A user that only is a number has group 0. Supplementary groups
    are those that list the user, unless a group was named: as docker, podman and runc do.

    Raises:
        BadValue: no such user or group, in Docker's words.
    """
    name, _, group_name = spec.partition(":")
    user = _user(name or "0", known.users)
    if user is None:
        user = Account("", _number(name, "user", "passwd"), 0, "/")
    groups: Iterable[int]
    if group_name:
        gid, groups = _gid(group_name, known.groups), ()
    else:
        gid, groups = user.gid, (one.gid for one in known.groups if user.name and user.name in one.members)
    # The primary one too: else a file that shuts a group out would let it in (CVE-2022-36109 of moby).
    more = dict.fromkeys((gid, *groups, *(_gid(one, known.groups) for one in extra)))
    return Identity(_checked(user.uid), _checked(gid), tuple(map(_checked, more)), user.home or "/")


def _user(name: str, users: Iterable[Account]) -> Account | None:
    found = next((one for one in users if one.name == name), None)
    if found is None and name.isdecimal() and name.isascii():
        found = next((one for one in users if one.uid == int(name)), None)
    return found


def _gid(name: str, groups: Iterable[Group]) -> int:
    found = next((one for one in groups if one.name == name), None)
    return _number(name, "group", "group") if found is None else found.gid


def _number(name: str, kind: str, file: str) -> int:
    if name == "" and kind == "user":
        return 0
    if not (name.isdecimal() and name.isascii()):
        raise BadValue(f"unable to find {kind} {name}: no matching entries in {file} file")
    return _checked(int(name[:12]))


def _checked(number: int) -> int:
    if not 0 <= number <= _HIGHEST:
        raise BadValue("uids and gids must be in range 0-2147483647")
    return number
