"""What goes to registries and comes from them: pull, push, login, search, and what a name leads to."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from stockade.docker_api.answers import Answer, json
from stockade.docker_api.fields import AuthConfig
from stockade.docker_api.query import only, served
from stockade.docker_api.router import Route
from stockade.docker_api.telling import Telling
from stockade.errors import BadValue, NotFound
from stockade.images import Progress, Sending, Wanted
from stockade.images.documents import Platform
from stockade.registry import Credentials
from stockade.registry.references import DEFAULT_DOMAIN, Reference, parse

if TYPE_CHECKING:
    from stockade.docker_api.server import Request
    from stockade.engine.engine import Engine
    from stockade.images import Pushed

_MAX_FOUND = 100
_USUAL_FOUND = 25
_INDEX = frozenset({"index.docker.io", "registry-1.docker.io"})
_HEADER = b"x-registry-auth"


class Registries:
    """The routes of registries."""

    def __init__(self, engine: Engine) -> None:
        self._images = engine.images
        self._exchange = engine.images.exchange

    def routes(self) -> list[Route]:
        """Docker's table."""
        return [
            Route("POST", "/images/{name}/push", self.push, served("tag", "platform"), body="stream"),
            Route("GET", "/images/search", self.search, served("term", "limit", "filters"), waits=True),
            Route("POST", "/auth", self.login, body="json", waits=True),
            Route("GET", "/distribution/{name}/json", self.distribution, waits=True),
        ]

    async def pull(self, request: Request) -> None:
        """Docker's ImageCreate of a name: one tag or digest of a repository, or all of its tags."""
        query, credentials = request.query, credentials_of(request)
        name = parse(query.text("fromImage"))
        tag = query.text("tag")
        if tag:
            name = parse(f"{name.name}@{tag}" if ":" in tag else f"{name.name}:{tag}")
        await request.only_waits()
        telling = Telling(request, quiet=False)
        await telling.follow(self._pull_every(name, query.text("platform"), credentials, telling))

    async def _pull_every(self, name: Reference, platform: str, who: Credentials, telling: Telling) -> None:
        wanted = [name] if not name.bare else await self._exchange.tags(name, who)
        for reference in wanted:
            done = await self._exchange.pull(Wanted(reference, platform, who), telling.progress)
            telling.progress(Progress("", f"Digest: {done.digest}"))
            news = "Downloaded newer image" if done.newer else "Image is up to date"
            telling.progress(Progress("", f"Status: {news} for {reference.familiar}"))

    async def push(self, request: Request) -> None:
        """Docker's ImagePush: one tag, or every tag of a repository that is here."""
        credentials = credentials_of(request)
        name = parse(request.name)
        tag = request.query.text("tag") or name.tag
        if name.digest:
            raise BadValue("cannot push a digest reference")
        platform = request.query.text("platform")
        await request.only_waits()
        telling = Telling(request, quiet=False)
        await telling.say({"status": f"The push refers to repository [{name.name}]"})
        repository = name._replace(tag="", digest="")
        await telling.follow(self._push_every(repository, tag, platform, credentials, telling))

    async def _push_every(self, name: Reference, tag: str, platform: str, who: Credentials, telling: Telling) -> None:
        references = [name._replace(tag=tag)] if tag else self._images.tags_of(name)
        if not references:
            raise NotFound(f"An image does not exist locally with the tag: {name.familiar_name}")
        for reference in references:
            try:
                image = self._images.find(str(reference))
            except NotFound:
                message = f"An image does not exist locally with the tag: {name.familiar_name}"
                raise NotFound(message, hint=f"docker tag IMAGE {reference.familiar}") from None
            check_platform(platform, image.config, reference.familiar)
            done = await self._exchange.push(image, reference, who, telling.progress, Sending(alone=bool(platform)))
            telling.progress(Progress("", f"{done.tag}: digest: {done.digest} size: {done.size}"))
            telling.put({"progressDetail": {}, "aux": _aux(done)})

    async def login(self, request: Request) -> Answer:
        """Docker's SystemAuth."""
        body = request.decode(AuthConfig)
        who = _credentials(body)
        token = await self._exchange.login(domain_of(body.serveraddress or ""), who)
        return json({"Status": "Login Succeeded", "IdentityToken": token})

    async def distribution(self, request: Request) -> Answer:
        """Docker's DistributionInspect."""
        reference = parse(request.name).tagged()
        found = await self._exchange.distribution(reference, credentials_of(request))
        platforms = [
            {"architecture": one.architecture, "os": one.os, **({"variant": one.variant} if one.variant else {})}
            for one in found.platforms
        ]
        descriptor = {"mediaType": found.media_type, "digest": found.digest, "size": found.size}
        return json({"Descriptor": descriptor, "Platforms": platforms})

    async def search(self, request: Request) -> Answer:
        """Docker's ImageSearch."""
        query = request.query
        limit = query.number("limit") or _USUAL_FOUND
        if not 1 <= limit <= _MAX_FOUND:
            raise BadValue(f"limit {limit} is outside the range of [1, {_MAX_FOUND}]")
        filters = query.filters()
        only(filters, frozenset({"is-automated", "is-official", "stars"}))
        stars = _stars(filters.get("stars", ()))
        found = await self._exchange.search(query.text("term"), limit, credentials_of(request))
        official = filters.get("is-official", ())
        lines = [
            {
                "name": one.name,
                "description": one.description,
                "star_count": one.stars,
                "is_official": one.official,
                "is_automated": False,
            }
            for one in found
            if one.stars >= stars and (not official or str(one.official).lower() in official)
        ]
        return json([] if "true" in filters.get("is-automated", ()) else lines)


def credentials_of(request: Request) -> Credentials:
    """Who asks, by the header X-Registry-Auth: an AuthConfig in JSON in base64 for addresses (RFC 4648, 5).

    Raises:
        BadValue: it is none.
    """
    text = request.header(_HEADER) or b""
    if not text.strip():
        return Credentials()
    try:
        padded = text.strip().translate(bytes.maketrans(b"+/", b"-_")).rstrip(b"=")
        raw = base64.urlsafe_b64decode(padded + b"=" * (-len(padded) % 4))
        return _credentials(msgspec.json.decode(raw or b"{}", type=AuthConfig | None) or AuthConfig())
    except (binascii.Error, msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
        raise BadValue("invalid X-Registry-Auth header: it is no AuthConfig in base64") from None


def _credentials(body: AuthConfig) -> Credentials:
    username, password = body.username or "", body.password or ""
    if body.auth and not username:
        try:
            username, _, password = base64.b64decode(body.auth, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise BadValue("invalid X-Registry-Auth header: its auth is no USER:PASSWORD in base64") from None
    return Credentials(username, password, body.identitytoken or "", body.registrytoken or "")


def domain_of(address: str) -> str:
    """The registry that a server address means: people write hosts, clients Docker's old addresses."""
    split = urlsplit(address if "://" in address else f"//{address}")
    found = split.netloc.rpartition("@")[2]
    return DEFAULT_DOMAIN if not found or found in _INDEX else found


def platform_of(text: str) -> Platform:
    """A platform, which Docker's clients send as JSON.

    Raises:
        BadValue: it is none.
    """
    try:
        found = msgspec.json.decode(text, type=dict[str, Any])
        return Platform(*(str(found.get(name) or "") for name in ("architecture", "os", "variant")))
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise BadValue(f"parameter platform={text}: it is no platform in JSON") from None


def check_platform(wanted: str, config: Any, name: str) -> None:
    """Hold a platform, as `platform_of` reads it, against the one that an image here has.

    Raises:
        NotFound: it is another one.
    """
    if not wanted:
        return
    asked = platform_of(wanted)
    here = {"os": config.os, "architecture": config.architecture, "variant": config.variant}
    if any(getattr(asked, key) not in ("", value) for key, value in here.items()):
        raise NotFound(f"image {name} is here for {config.os}/{config.architecture} only")


def _stars(words: tuple[str, ...]) -> int:
    try:
        return max((int(word) for word in words), default=0)
    except ValueError:
        raise BadValue(f"invalid filter 'stars={words[0]}'") from None


def _aux(done: Pushed) -> dict[str, Any]:
    return {"Tag": done.tag, "Digest": done.digest, "Size": done.size}
