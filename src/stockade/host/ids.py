"""Which ids of the host a container's ids are.

As root every container gets a range of 65,536 ids of its own, out of blocks that are reserved once in /etc/subuid and
/etc/subgid under the owner name `stockade` (so that useradd and other engines keep away). Slot N is the N-th range of
the blocks. A slot is claimed by a link `ids/N` to the container's directory; a link to a directory that is gone
claims nothing, and is dropped when slots are short. The directory is removed after the last process and mount, so
whoever removes it has freed the range.

As an ordinary user 0 is the caller and 1… are the caller's subordinate ids, when /etc/subuid grants some and
newuidmap is installed; else there is the one id. All containers of a user share these. `Ids.how` says which of the
three it is; it stands in the container's record.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import NamedTuple

from stockade.errors import Refused
from stockade.model import IdMap

from . import locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .paths import Paths

RANGE = 65536
RANGES_PER_BLOCK = 1024
BLOCK = RANGE * RANGES_PER_BLOCK
OWNER = "stockade"
# Above what useradd hands out (SUB_UID_MAX is 600,100,000) and below 2^31, where programs with signed ids begin to
# fail.
LOWEST, PAST_HIGHEST = 0x4000_0000, 0x7FFF_0000
# If that is full: from where systemd's table of ids says that containers may begin.
LOWEST_AT_ALL = 0x0008_0000


class Ids(NamedTuple):
    """The two maps of one container's user namespace, and where they come from."""

    uid: tuple[IdMap, ...]
    gid: tuple[IdMap, ...]
    how: str
    """`range` (root), `subuid` (user with subordinate ids) or `one id`."""
    slot: int = -1
    """The number of a claimed range."""

    @property
    def base(self) -> int:
        """The host's id of the container's root."""
        return self.uid[0].host

    @property
    def group_base(self) -> int:
        """The host's id of the container's root group."""
        return self.gid[0].host


def owner(ids: Ids | None) -> tuple[int, int]:
    """The host's ids of a container's root and its group; without ids of its own they are the host's root's."""
    return (0, 0) if ids is None else (ids.base, ids.group_base)


def claim(paths: Paths, directory: str) -> Ids:
    """Claim ids for the container at `directory`, which exists: a link to it is the claim."""
    if not paths.root:
        return of_user(paths.uid, paths.gid, (f"{paths.etc}/subuid", f"{paths.etc}/subgid"), _has_newuidmap())
    with locks.held(f"{paths.ids}/lock"):
        slot = _free_slot(paths)
        ids = _range(_block(paths, slot // RANGES_PER_BLOCK), slot)
        os.symlink(directory, f"{paths.ids}/{slot}")
    return ids


def claimed(paths: Paths, directory: str, slot: int) -> Ids | None:
    """The ids that the container at `directory` has had since it was made; None if its claim is gone."""
    if not paths.root:
        return claim(paths, directory)
    with locks.held(f"{paths.ids}/lock"):
        return _range(_block(paths, slot // RANGES_PER_BLOCK), slot) if _target(paths, slot) == directory else None


def release(paths: Paths, directory: str, slot: int = -1) -> None:
    """Free the range of the container at `directory`, which is gone with its processes and mounts.

    Args:
        slot: -1 looks for it: whoever claimed it died before it was written down.
    """
    if paths.root and os.path.isdir(paths.ids):
        with locks.held(f"{paths.ids}/lock"):
            names = [str(slot)] if slot >= 0 else [name for name in os.listdir(paths.ids) if name.isdigit()]
            for name in names:
                if _target(paths, int(name)) == directory:
                    os.unlink(f"{paths.ids}/{name}")


def drop_gone(paths: Paths, base: str) -> None:
    """Drop the claims of containers whose directories, all right below `base`, are gone."""
    with locks.held(f"{paths.ids}/lock"):
        for name in os.listdir(paths.ids):
            target = _target(paths, int(name)) if name.isdigit() else None
            if target is not None and os.path.dirname(target) == base and not os.path.exists(target):
                os.unlink(f"{paths.ids}/{name}")


def give_back(paths: Paths) -> bool:
    """Free the blocks that are reserved in /etc/subuid and /etc/subgid; False: a container still has ids of them."""
    if not os.path.isdir(paths.ids):
        return True
    with locks.held(f"{paths.ids}/lock"):
        links = [f"{paths.ids}/{name}" for name in os.listdir(paths.ids) if name.isdigit()]
        if any(os.path.exists(link) for link in links):
            return False
        ours = {f"{OWNER}:{start}:{BLOCK}\n" for start in _read_blocks(paths)}
        for path in (f"{paths.etc}/subuid", f"{paths.etc}/subgid"):
            with locks.shadow(path):
                lines = _lines(path)
                left = [line for line in lines if line not in ours]
                if left != lines:
                    locks.replace(path, "".join(left))
        for path in (*links, f"{paths.ids}/blocks.json"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    return True


def _target(paths: Paths, slot: int) -> str | None:
    try:
        return os.readlink(f"{paths.ids}/{slot}")
    except FileNotFoundError:
        return None


def _free_slot(paths: Paths) -> int:
    """The lowest slot that nobody claims.

    Claims whose container's directory is gone are dropped before another block would be begun, not each time: whoever
    removes a container lets go of its claim, and a look at each of a thousand costs more than the claim.
    """
    taken = {int(name) for name in os.listdir(paths.ids) if name.isdigit()}
    slot = _lowest(taken)
    if slot % RANGES_PER_BLOCK == 0 and slot:
        for one in [one for one in taken if not os.path.exists(f"{paths.ids}/{one}")]:
            # The directory is removed last, so nothing of its container is left.
            os.unlink(f"{paths.ids}/{one}")
            taken.discard(one)
        slot = _lowest(taken)
    return slot


def _lowest(taken: set[int]) -> int:
    slot = 0
    while slot in taken:
        slot += 1
    return slot


def _range(block: int, slot: int) -> Ids:
    mapping = (IdMap(0, block + slot % RANGES_PER_BLOCK * RANGE, RANGE),)
    return Ids(mapping, mapping, "range", slot)


def of_user(uid: int, gid: int, files: tuple[str, str], newuidmap: bool) -> Ids:
    """An ordinary user's ids: the caller, then the subordinate ids that `files` grant, if newuidmap can map them."""
    one = Ids((IdMap(0, uid, 1),), (IdMap(0, gid, 1),), "one id")
    if not newuidmap:
        return one
    names = {str(uid), _user_name(uid)}
    uids, gids = (granted(_lines(file), names) for file in files)
    if uids is None or gids is None:
        return one
    return Ids(
        (IdMap(0, uid, 1), IdMap(1, uids[0], min(uids[1], RANGE - 1))),
        (IdMap(0, gid, 1), IdMap(1, gids[0], min(gids[1], RANGE - 1))),
        "subuid",
    )


def granted(lines: list[str], names: set[str]) -> tuple[int, int] | None:
    """The largest range (start, count) that the lines of a subuid file grant to one of `names`."""
    found = [(start, count) for name, start, count in entries(lines) if name in names and count > 0]
    return max(found, key=lambda one: one[1], default=None)


def entries(lines: list[str]) -> list[tuple[str, int, int]]:
    """The well-formed lines of a subuid file: (owner, start, count)."""
    found = []
    for line in lines:
        words = line.strip().split(":")
        if len(words) == 3 and words[1].isdigit() and words[2].isdigit():
            found.append((words[0], int(words[1]), int(words[2])))
    return found


def choose(taken: list[tuple[int, int]]) -> int | None:
    """The lowest start for a block beside the ranges (start, count) that are taken; None if there is no room."""
    for lowest, past in ((LOWEST, PAST_HIGHEST), (LOWEST_AT_ALL, LOWEST)):
        start = lowest
        for begin, count in sorted(taken):
            if begin < start + BLOCK and start < begin + count:
                start = -(-(begin + count) // RANGE) * RANGE
        if start + BLOCK <= past:
            return start
    return None


def _block(paths: Paths, number: int) -> int:
    """The start of the machine's block `number`, reserved now if it is new; the caller holds the lock."""
    blocks = _read_blocks(paths)
    while number >= len(blocks):
        blocks.append(_reserve(paths, blocks))
    return blocks[number]


def _read_blocks(paths: Paths) -> list[int]:
    try:
        with open(f"{paths.ids}/blocks.json", "rb") as file:
            return [int(start) for start in json.load(file)["blocks"]]
    except FileNotFoundError:
        return []


def _reserve(paths: Paths, blocks: list[int]) -> int:
    """Take the owner's next block, or reserve one more in both files; a cut in between leaves it to be found again."""
    subuid, subgid = f"{paths.etc}/subuid", f"{paths.etc}/subgid"
    with locks.shadow(subuid), locks.shadow(subgid):
        uid_lines, gid_lines = _lines(subuid), _lines(subgid)
        ours = set(entries(uid_lines)).intersection(entries(gid_lines))
        again = sorted(start for name, start, count in ours if name == OWNER and count == BLOCK and start not in blocks)
        start = again[0] if again else choose(_taken(uid_lines, gid_lines))
        if start is None:
            raise Refused(
                f"no {BLOCK} consecutive ids are free in {subuid} and {subgid}",
                hint="remove entries there that nobody uses any more",
            )
        if not again:
            line = f"{OWNER}:{start}:{BLOCK}\n"
            locks.replace(subuid, "".join(uid_lines) + line)
            locks.replace(subgid, "".join(gid_lines) + line)
        locks.replace(f"{paths.ids}/blocks.json", json.dumps({"blocks": [*blocks, start]}), synced=False)
    return start


def _taken(uid_lines: list[str], gid_lines: list[str]) -> list[tuple[int, int]]:
    """Every id that has an owner: subordinate ranges of both files, and users and groups themselves."""
    import grp
    import pwd

    ranges = [(start, count) for _, start, count in entries(uid_lines) + entries(gid_lines)]
    single = [user.pw_uid for user in pwd.getpwall()] + [group.gr_gid for group in grp.getgrall()]
    return ranges + [(one, 1) for one in single]


def _lines(file: str) -> list[str]:
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as text:
            lines = text.readlines()
    except FileNotFoundError:
        return []
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return lines


def _has_newuidmap() -> bool:
    return any(os.access(f"{folder}/newuidmap", os.X_OK) for folder in os.get_exec_path())


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
