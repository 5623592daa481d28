"""Names of images, in Docker's grammar (distribution/reference: the package comment of `reference.go`).

A name is kept whole (`docker.io/library/busybox:latest`) and shown short (`busybox:latest`). Pure.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from stockade.errors import BadValue

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_LIBRARY = "library/"
_LONGEST_NAME = 255

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_IDENTIFIER = re.compile(r"[0-9a-f]{64}")
_PREFIX = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")


class Reference(NamedTuple):
    """A name with what it says of which image: a tag, a digest, both or neither."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """The repository, whole."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The repository as people write it."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        rest = self.path.removeprefix(_LIBRARY)
        return rest if "/" not in rest else self.path

    @property
    def familiar(self) -> str:
        """As people write it."""
        return self.familiar_name + self._suffix()

    def __str__(self) -> str:
        return self.name + self._suffix()

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def bare(self) -> bool:
        """Whether it is a repository alone."""
        return not (self.tag or self.digest)

    def tagged(self) -> Reference:
        """With Docker's tag where it says nothing of which image."""
        return self._replace(tag=DEFAULT_TAG) if self.bare else self


def parse(text: str) -> Reference:
    """Read a name as people write it.

    Raises:
        BadValue: with Docker's words.
    """
    if _IDENTIFIER.fullmatch(text):
        raise BadValue(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    domain, rest = _split_domain(text)
    rest, at, digest = rest.partition("@")
    path, colon, tag = rest.partition(":")
    if path.lower() != path:
        raise BadValue(f"invalid reference format: repository name ({path}) must be lowercase")
    sound = (
        _DOMAIN.fullmatch(domain)
        and _PATH.fullmatch(path)
        and (not colon or _TAG.fullmatch(tag))
        and (not at or _DIGEST.fullmatch(digest))
    )
    if not sound:
        raise BadValue("invalid reference format")
    if at and digest.startswith("sha256:") and not _SHA256.fullmatch(digest):
        raise BadValue("invalid checksum digest length" if digest.lower() == digest else "invalid reference format")
    if len(path) > _LONGEST_NAME:
        raise BadValue(f"repository name must not be more than {_LONGEST_NAME} characters")
    return Reference(domain, path, tag, digest)


def parse_tag(text: str) -> Reference:
    """Read a name to be given to an image: a digest is none.

    Raises:
        BadValue: with Docker's words.
    """
    reference = parse(text)
    if reference.digest:
        raise BadValue("refusing to create a tag with a digest reference")
    return reference.tagged()


def identifier(text: str) -> str | None:
    """The hexadecimal digits if this can be (the beginning of) an image's id."""
    found = _PREFIX.fullmatch(text)
    return found[1] if found else None


def is_digest(text: str) -> bool:
    """Whether this is a whole digest of the one algorithm that is served."""
    return _SHA256.fullmatch(text) is not None


def short(digest: str) -> str:
    """The twelve digits that people see."""
    return digest.removeprefix("sha256:")[:12]


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    is_domain = slash and (any(mark in first for mark in ".:") or first == "localhost" or first.lower() != first)
    domain, path = (first, rest) if is_domain else (DEFAULT_DOMAIN, text)
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = _LIBRARY + path
    return domain, path
