"""How containers are named and found. Pure."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from typing import TypeVar

from stockade.errors import BadValue, NotFound

V = TypeVar("V")

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_WORDS = (
    "amber brave calm clear crisp daring deft eager early exact fair firm fleet fond frank fresh gentle glad grand "
    "hale handy keen kind lucid merry mild neat nimble noble plain prime proud quick quiet ready sharp sober solid "
    "sound spry stark steady sunny swift terse tidy trim vivid warm wise witty zesty"
).split()
_THINGS = (
    "abbey anchor anvil arch aspen badger barge basin beacon birch bison bridge brook cabin canal cedar cliff comet "
    "copse crane creek delta dune falcon fjord forge fox garden glacier grove harbor hare heron hill island kestrel "
    "lagoon lantern lark maple marsh meadow mill otter owl pine pond quarry raven reef ridge river robin sparrow "
    "spruce stork summit swan tower valley weir willow wolf"
).split()


def new_id() -> str:
    """64 hexadecimal digits. Never all decimal in its short form: that would read as a number elsewhere."""
    while True:
        found = secrets.token_hex(32)
        if not found[:12].isdigit():
            return found


def new_name(taken: Iterable[str]) -> str:
    """A name that nobody chose."""
    used = set(taken)
    for _ in range(20):
        found = f"{secrets.choice(_WORDS)}_{secrets.choice(_THINGS)}"
        if found not in used:
            return found
    return f"{found}_{secrets.token_hex(4)}"


def check_name(name: str) -> str:
    """The name as it is kept, or its refusal in Docker's words."""
    plain = name.removeprefix("/")
    if not _NAME.fullmatch(plain):
        raise BadValue(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return plain


def choose(reference: str, ids: Mapping[str, V], by_name: Mapping[str, V]) -> V:
    """What a reference means: an id, a name, or the beginning of one id only."""
    if not reference:
        raise BadValue('invalid name or ID supplied: ""', hint="give a name, an id or the beginning of one")
    plain = reference.removeprefix("/")
    found = ids.get(plain) or by_name.get(plain)
    if found is not None:
        return found
    near = [value for identity, value in ids.items() if identity.startswith(plain)]
    if len(near) > 1:
        raise BadValue(f"multiple IDs found with provided prefix: {reference}")
    if not near:
        raise NotFound(f"No such container: {reference}")
    return near[0]
