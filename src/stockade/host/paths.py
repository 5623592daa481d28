"""Where things lie: one code, two modes, nothing shared between them.

Root keeps what must not outlive a boot in /run/stockade and the rest in /var/lib/stockade; an ordinary user keeps
them in $XDG_RUNTIME_DIR/stockade and $XDG_DATA_HOME/stockade (~/.local/share/stockade). STOCKADE_RUN_DIR and
STOCKADE_DATA_DIR override. Both directories are 0700: layers keep ids as they are, so whoever could reach one could
run a set-user-id file out of it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import NamedTuple

from stockade.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Bytes that separate words in overlay's options and in mountinfo: a data directory that has one could not be named
# there.
_FORBIDDEN = frozenset(":,\\\n\"' \t")


class Paths(NamedTuple):
    """The directories of one installation, as one caller sees them."""

    root: bool
    """Whether the caller is the host's root; else everything belongs to one ordinary user."""
    uid: int
    gid: int
    run: str
    data: str
    runtime_base: str
    """What $XDG_RUNTIME_DIR is for the programs that are started: the shim puts its sockets below it in user mode."""
    ids: str = "/var/lib/stockade/ids"
    """Where root's ranges of ids are claimed: one place a machine, whatever the data directory, for so are the ids."""
    etc: str = "/etc"
    """Where subuid and subgid lie."""

    @property
    def containers(self) -> str:
        """One directory a container, named by its id."""
        return f"{self.data}/containers"

    @property
    def view(self) -> str:
        """The cached tree beneath `do`'s root file system."""
        return f"{self.data}/view"

    @property
    def mode(self) -> str:
        """The word that `inspect` and --verbose show."""
        return "root" if self.root else "user"


def find(environ: Mapping[str, str]) -> Paths:
    """Decide the directories for this caller; make nothing."""
    uid, gid = os.geteuid(), os.getegid()
    root = uid == 0
    base = "/run" if root else _runtime_base(environ, uid)
    run = environ.get("STOCKADE_RUN_DIR") or f"{base}/stockade"
    data = environ.get("STOCKADE_DATA_DIR") or ("/var/lib/stockade" if root else f"{_data_home(environ)}/stockade")
    for name, path in (("STOCKADE_RUN_DIR", run), ("STOCKADE_DATA_DIR", data)):
        if not path.startswith("/"):
            raise Refused(f"{name} must be an absolute path, not {path!r}")
    bad = _FORBIDDEN.intersection(data)
    if bad:
        raise Refused(
            f"the data directory {data!r} has a character that mount options cannot carry: {sorted(bad)!r}",
            hint="set STOCKADE_DATA_DIR to a plain path",
        )
    return Paths(root, uid, gid, os.path.normpath(run), os.path.normpath(data), base)


def make(paths: Paths) -> None:
    """Make the directories that are missing; refuse one that somebody else could change."""
    if not paths.root and paths.runtime_base.startswith("/tmp/"):
        _own_directory(paths.runtime_base, paths.uid)
    for path in (paths.run, paths.data):
        _own_directory(path, paths.uid)
    if paths.root:
        _own_directory(paths.ids, 0)
    with contextlib.suppress(FileExistsError):
        os.mkdir(paths.containers, 0o700)


def _own_directory(path: str, uid: int) -> None:
    try:
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            os.makedirs(path, 0o700, exist_ok=True)
            found = os.lstat(path)
    except OSError as error:
        raise Refused(f"cannot make {path}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid:
        raise Refused(f"{path} is not a directory of user {uid}")
    if found.st_mode & 0o022:
        raise Refused(f"{path} is writable by others", hint=f"chmod 700 {path}")


def _runtime_base(environ: Mapping[str, str], uid: int) -> str:
    """$XDG_RUNTIME_DIR; where no login manager made one (su, cron), the place it would be, or a private one in /tmp."""
    named = environ.get("XDG_RUNTIME_DIR")
    if named:
        return named
    usual = f"/run/user/{uid}"
    try:
        if os.lstat(usual).st_uid == uid:
            return usual
    except OSError:
        pass
    return f"/tmp/stockade-{uid}"


def _data_home(environ: Mapping[str, str]) -> str:
    named = environ.get("XDG_DATA_HOME", "")
    if named.startswith("/"):
        return named
    home = environ.get("HOME", "")
    if not home.startswith("/"):
        import pwd

        home = pwd.getpwuid(os.geteuid()).pw_dir
    return f"{home}/.local/share"
