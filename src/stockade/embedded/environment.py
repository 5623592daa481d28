"""Who the program is and what its environment says: an allow-list of the caller's, for variables carry secrets."""

from __future__ import annotations

from stockade.errors import BadValue, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What tells a program how to speak, and nothing else.
PASSED = ("LANG", "LANGUAGE", "TZ", "NO_COLOR", "SOURCE_DATE_EPOCH")
PASSED_ON_A_TERMINAL = ("TERM", "COLORTERM")


def clean(environ: Mapping[str, str], home: str, terminal: bool) -> dict[str, str]:
    """The environment that a program starts with."""
    found = {"PATH": PATH, "HOME": home}
    for name, value in environ.items():
        if name in PASSED or name.startswith("LC_") or (terminal and name in PASSED_ON_A_TERMINAL):
            found[name] = value
    return found


def given(words: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """What `--env NAME=VALUE` and `--env NAME` (the caller's own value, if it has one) say.

    Raises:
        BadValue: a word without a name.
    """
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or "\0" in word:
            raise BadValue(f"--env {word!r} has no name", hint="--env NAME=VALUE, or --env NAME")
        if equals:
            found[name] = value
        elif name in environ:
            found[name] = environ[name]
    return found


def from_file(path: str) -> dict[str, str]:
    """The variables of a file: one `NAME=VALUE` a line, literally; empty lines and those that begin with # are skipped.

    Raises:
        NotFound: it cannot be read.
        BadValue: a line is no variable.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise NotFound(f"cannot read {path}: {error.strerror}") from error
    found = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise BadValue(f"{path}, line {number}: {line!r} is not NAME=VALUE")
        found[name.strip()] = value
    return found


def account(text: str | None) -> tuple[int, int, str]:
    """User id, group id and home for `USER[:GROUP]`, by number or the host's names, which the view has too.

    Raises:
        BadValue: no such user or group.
    """
    if not text:
        return 0, 0, "/root"
    import pwd

    user, _, group = text.partition(":")
    try:
        entry = pwd.getpwuid(int(user)) if _is_number(user) else pwd.getpwnam(user)
    except KeyError:
        if not _is_number(user):
            raise BadValue(f"there is no user {user!r}", hint="a number needs no name") from None
        return int(user), _group(group) if group else 0, "/"
    home = "/root" if entry.pw_uid == 0 else "/tmp"
    return entry.pw_uid, _group(group) if group else entry.pw_gid, home


def _group(text: str) -> int:
    import grp

    if _is_number(text):
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise BadValue(f"there is no group {text!r}", hint="a number needs no name") from None


def _is_number(text: str) -> bool:
    """Whether it is an id: 0 to 65535, what a container's range has."""
    if not (text.isascii() and text.isdigit()):
        return False
    if int(text) > 65535:
        raise BadValue(f"{text} is no id of the container", hint="0 to 65535")
    return True
