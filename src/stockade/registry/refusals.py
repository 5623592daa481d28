"""A registry's refusals as conditions, in words that Docker's users know (distribution-spec, "Error Codes"). Pure."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec import Struct

from stockade.errors import NotFound, Refused, RuntimeFailed, StockadeError, Unauthorized, Unavailable

_MAX_SAID = 300
_WORDS = {
    "UNAUTHORIZED": "authentication required",
    "DENIED": "requested access to the resource is denied",
    "MANIFEST_UNKNOWN": "manifest unknown",
    "NAME_UNKNOWN": "repository name not known to registry",
    "TOOMANYREQUESTS": "too many requests",
}
_BY_STATUS = {401: "UNAUTHORIZED", 403: "DENIED", 429: "TOOMANYREQUESTS"}
LOGIN = "stockade login {registry}, or docker login {registry}"


class _One(Struct, frozen=True):
    code: str = ""
    message: str | None = None


class _Body(Struct, frozen=True):
    errors: list[_One] | None = None
    details: str | None = None
    message: str | None = None
    error_description: str | None = None


class Said(NamedTuple):
    """Why a registry did not do what it was asked."""

    status: int
    code: str
    """Of the spec, as `MANIFEST_UNKNOWN`; empty: it named none."""
    message: str

    def __str__(self) -> str:
        kind = self.code.replace("_", " ").lower()
        return ": ".join(one for one in (kind, self.message) if one) or f"it answered with status {self.status}"


def read(status: int, body: bytes, *, manifest: bool = False) -> Said:
    """What an answer that is none says.

    Args:
        manifest: whether a manifest was asked for, so that a bare 404 means that there is none.
    """
    try:
        found = msgspec.json.decode(body, type=_Body)
        one = next(iter(found.errors or ()), _One())
        text = one.message or found.details or found.message or found.error_description or ""
        code = one.code.upper()
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, UnicodeDecodeError):
        code, text = "", ""
    code = code or _BY_STATUS.get(status, "MANIFEST_UNKNOWN" if manifest and status == 404 else "")
    return Said(status, _plain(code), _plain(text) or _WORDS.get(code, ""))


def of_pull(said: Said, name: str, reference: str, registry: str) -> StockadeError:
    """Why a pull is refused.

    Args:
        name: the repository as people write it; `reference`: with what of it was asked for.
    """
    if said.code in ("DENIED", "UNAUTHORIZED") or said.status in (401, 403):
        return NotFound(
            f"pull access denied for {name}, repository does not exist or may require 'docker login': {said}",
            hint=LOGIN.format(registry=registry),
        )
    if said.code in ("MANIFEST_UNKNOWN", "NOT_FOUND"):
        return NotFound(f"manifest for {reference} not found: {said}")
    if said.code == "NAME_UNKNOWN" or said.status == 404:
        return NotFound(f"repository {name} not found: {said}")
    return _other(said, registry)


def of_push(said: Said, registry: str) -> StockadeError:
    """Why a push is refused."""
    if said.code == "UNAUTHORIZED" or said.status == 401:
        return Unauthorized(str(said), hint=LOGIN.format(registry=registry))
    if said.code == "DENIED" or said.status == 403:
        return Refused(str(said), hint=LOGIN.format(registry=registry))
    return _other(said, registry)


def _other(said: Said, registry: str) -> StockadeError:
    kind = Unavailable if said.status >= 500 or said.status == 429 else RuntimeFailed
    return kind(f"{registry}: {said}")


def _plain(text: str) -> str:
    """One line that reaches nobody's terminal as anything else."""
    return "".join(one if one.isprintable() else " " for one in text[:_MAX_SAID]).strip()
