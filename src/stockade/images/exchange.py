"""Images between here and registries: pulls that several may wait for, pushes, and questions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from stockade.errors import BadValue, NotFound
from stockade.registry import Credentials, Reference, Registries
from stockade.registry import references as names
from stockade.registry.repositories import Found
from stockade.store import NAMESPACE

from . import documents, pulling
from .base import Base
from .documents import Platform
from .fetching import Fetches
from .pulling import PULL, Pull, Wanted
from .pushing import WISH, Pushed, Pushes, Wish
from .shared import Shared, Tell
from .unpacking import silently
from .values import Image

Bring = Callable[[object, Pull], Awaitable[None]]


class Pulled(NamedTuple):
    """What a pull brought."""

    id: str
    reference: Reference
    digest: str
    """Of what the name led to: an index or a manifest."""
    newer: bool
    """Whether the name led elsewhere before, or nowhere."""


class Distributed(NamedTuple):
    """What a registry has under a name."""

    media_type: str
    digest: str
    size: int
    platforms: tuple[Platform, ...]


class Exchange:
    """The exchange of one installation."""

    def __init__(self, base: Base, bring: Bring) -> None:
        self._base = base
        self._bring = bring
        self._registries = Registries()
        self._fetches = Fetches(base.content, base.layers)
        self._pushes = Pushes(base, self._registries)
        self._under_way: dict[tuple[Wanted, str], Shared[Pulled]] = {}

    async def close(self) -> None:
        """End what is under way; what it began is undone."""
        for shared in list(self._under_way.values()):
            await shared.stop()
        self._registries.close()

    async def pull(self, wanted: Wanted, tell: Tell = silently, namespace: str = NAMESPACE) -> Pulled:
        """Bring an image here under its name. Who wants the same at the same time waits for the one pull.

        Raises:
            NotFound, BadValue: with Docker's words.
            RuntimeFailed: a layer cannot be had, or is not what it should be.
            Unavailable: the registry does not answer.
        """
        key = (wanted, namespace)
        if key not in self._under_way:
            name = f"pull {wanted.reference.familiar}"
            self._under_way[key] = Shared(
                name, lambda say: self._pull(wanted, say, namespace), lambda: self._under_way.pop(key)
            )
        return await self._under_way[key].wait(tell)

    async def _pull(self, wanted: Wanted, tell: Tell, namespace: str) -> Pulled:
        reference = wanted.reference
        before = self._base.catalog.names(namespace).get(str(reference))
        work = Pull(self._base, wanted, self._registries, self._fetches, namespace)
        work.tell = tell
        await self._bring(PULL, work)
        [image] = work.images
        self._base.tell("pull", reference.familiar, reference.familiar_name, image.config.labels)
        return Pulled(image.id, reference, work.digest, before is None or before.image != image.id)

    async def push(self, image: Image, reference: Reference, credentials: Credentials, tell: Tell = silently,
                   wish: Wish = WISH) -> Pushed:  # fmt: skip
        """Send an image to the registry of its name.

        Raises:
            Unauthorized, Refused: this user may not.
            RuntimeFailed, Unavailable: the registry does not take it.
        """
        done = await self._pushes.push(image, reference, credentials, tell, wish)
        self._base.tell("push", reference.familiar, reference.familiar_name, image.config.labels)
        return done

    async def tags(self, reference: Reference, credentials: Credentials) -> list[Reference]:
        """Every tag of a repository.

        Raises:
            NotFound: there is no such repository, or not for this user.
        """
        found = await self._registries.repository(reference, credentials).tags()
        checked = []
        for tag in found:
            try:
                checked.append(names.parse(f"{reference.name}:{tag}"))
            except BadValue as error:
                raise BadValue(f"{reference.familiar_name} has a tag {tag[:80]!r}: {error.message}") from error
        return checked

    async def distribution(self, reference: Reference, credentials: Credentials) -> Distributed:
        """What a registry has under a name, without bringing it here.

        Raises:
            NotFound: nothing, or nothing for this user.
        """
        repository = self._registries.repository(reference, credentials)
        top = await repository.manifest(reference.digest or reference.tag, pulling.KINDS)
        kind = pulling.kind_of(top)
        name = f"manifest {top.digest}"
        if kind in documents.INDEXES:
            entries = [one for one in documents.read_index(top.data, name) if one.platform is not None]
            found = [one.platform for one in entries if one.platform is not None and not documents.is_extra(one)]
        else:
            descriptor = documents.read_manifest(top.data, name).config
            if descriptor.media_type not in documents.CONFIGS:
                raise NotFound(f"{reference.familiar} is no image: its configuration is {descriptor.media_type[:80]!r}")
            config = documents.read_config(
                await repository.small_blob(descriptor.digest, descriptor.size), f"configuration {descriptor.digest}"
            )
            found = [Platform(config.architecture, config.os, config.variant)]
        return Distributed(kind, top.digest, len(top.data), tuple(found))

    async def login(self, domain: str, credentials: Credentials) -> str:
        """Try a user's credentials; a token to be used in place of the password, or nothing.

        Raises:
            Unauthorized: they are not believed.
        """
        return await self._registries.login(domain, credentials)

    async def search(self, term: str, count: int, credentials: Credentials) -> list[Found]:
        """Ask a registry's search; a term may begin with the registry's name.

        Raises:
            NotFound: it has none.
        """
        first, slash, rest = term.partition("/")
        elsewhere = slash and ("." in first or ":" in first or first == "localhost")
        domain, words = (first, rest) if elsewhere else (names.DEFAULT_DOMAIN, term)
        return await self._registries.search(domain, words, count, credentials)

    def forget(self, diff_ids: frozenset[str]) -> None:
        """What was remembered of layers that are no more: all but these."""
        self._pushes.forget(diff_ids)
