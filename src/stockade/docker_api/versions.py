"""Versions of the API: which are served, and how a request names its own."""

from __future__ import annotations

import re
from typing import NamedTuple

from stockade.errors import BadValue


class Version(NamedTuple):
    """Major and minor; compared as numbers."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


OLDEST = Version(1, 24)
_AS_OLDEST = Version(1, 22)
"""From here on clients are answered as the oldest: skopeo's and buildah's library names this one (containers/image,
docker_client), and what it asks has not changed since."""
NEWEST = Version(1, 56)
"""That of docker 29.9, whose definition the tests hold the tables against."""

NO_LEGACY_SINCE = Version(1, 52)
"""From here on answers are without what was told twice since Docker 1.9: of events, networks' ends, empty fields."""

_PREFIX = re.compile(r"/v([0-9]{1,4})\.([0-9]{1,4})(?=/)")


def split_version(path: str) -> tuple[Version, str]:
    """The version that a path names (none: the newest) and the rest of the path; refused in Docker's words."""
    found = _PREFIX.match(path)
    if found is None:
        return NEWEST, path
    version = Version(int(found[1]), int(found[2]))
    if version < _AS_OLDEST:
        raise BadValue(
            f"client version {version} is too old. Minimum supported API version is {OLDEST}, "
            "please upgrade your client to a newer version"
        )
    if version > NEWEST:
        raise BadValue(f"client version {version} is too new. Maximum supported API version is {NEWEST}")
    return max(version, OLDEST), path[found.end() :]
