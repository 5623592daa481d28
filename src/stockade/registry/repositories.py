"""The face of the package: one repository of one registry, as one user sees it (distribution-spec 1.1).

Each question goes to the hosts of the registry in their order; what a mirror does not have, the next is asked for, and
what the registry itself says last is what the caller is told.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import AsyncGenerator, Iterable
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from msgspec import Struct

from stockade.errors import BadValue, NotFound, ProtocolBroken, StockadeError, TimedOut, Unauthorized, Unavailable

from . import hosts, refusals
from .hosts import Host
from .references import DEFAULT_DOMAIN, Reference, is_digest
from .refusals import Said
from .tokens import STRANGER, Credentials, Denied, Gate, Headers
from .transport import MAX_ANSWER, Answer, Distrusted, NotTls, Request, Transport, Trust, joined

MAX_MANIFEST = 4 << 20
"""Bytes that registries must take (distribution-spec, "Pushing Manifests")."""
_MAX_TAGS = 10_000
_MAX_PAGES = 100
_SEARCH_HOST = "index.docker.io"


class Document(NamedTuple):
    """A manifest or an index as it came."""

    data: bytes
    media_type: str
    digest: str


class Source(Struct, frozen=True, omit_defaults=True):
    """Where a program may fetch a blob, or send one, and what it must show there."""

    url: str
    headers: dict[str, str] = {}
    ca: list[str] = []
    client_cert: str = ""
    client_key: str = ""
    insecure: bool = False


class Found(NamedTuple):
    """A repository that a search found."""

    name: str
    description: str
    stars: int
    official: bool


class _Tags(Struct, frozen=True):
    tags: list[str] | None = None


class _Hit(Struct, frozen=True):
    name: str
    description: str | None = None
    star_count: int = 0
    is_official: bool = False


class _Hits(Struct, frozen=True):
    results: list[_Hit] | None = None


Answers = AsyncGenerator[tuple[Host, Answer | StockadeError], None]
"""What hosts say, one after the other."""


class Registries:
    """All registries, as one daemon speaks with them."""

    def __init__(self, tops: Iterable[str] | None = None) -> None:
        self._tops = tuple(tops) if tops is not None else hosts.directories(os.environ)
        self._transport = Transport()

    def repository(
        self, reference: Reference, credentials: Credentials = STRANGER, *, push: bool = False
    ) -> Repository:
        """One repository.

        Raises:
            BadValue: the file that says which hosts serve it cannot be read.
        """
        return Repository(self._transport, reference, hosts.find(reference.domain, self._tops), credentials, push)

    async def login(self, domain: str, credentials: Credentials) -> str:
        """Try a user's credentials; a token to be used in place of the password, or nothing.

        Raises:
            Unauthorized: the registry does not believe them.
            Unavailable: it does not answer.
        """
        nameless = Repository(self._transport, Reference(domain, ""), self._own(domain), credentials, False)
        answer, host = await nameless.ask("resolve", "GET", "/")
        if answer.status == 404:
            raise NotFound(f"{domain} is no registry: it does not know /v2/")
        return nameless.gate(host).identity_token

    async def search(self, domain: str, term: str, count: int, credentials: Credentials = STRANGER) -> list[Found]:
        """Ask a registry's search, which only Docker's and a few others have (Docker's registry API v1).

        Raises:
            NotFound: it has none.
        """
        [hub] = hosts.defaults(DEFAULT_DOMAIN)
        found = [
            one._replace(path="/v1", authority=_SEARCH_HOST if one.authority == hub.authority else one.authority)
            for one in self._own(domain)
        ]
        nameless = Repository(self._transport, Reference(domain, ""), found, credentials, False)
        answer, _ = await nameless.ask("resolve", "GET", f"/search?{urlencode({'q': term, 'n': count})}")
        if answer.status == 404:
            raise NotFound(f"{domain} has no search")
        hits = _decode(answer, _Hits, domain).results or []
        return [Found(one.name, one.description or "", one.star_count, one.is_official) for one in hits[:count]]

    def _own(self, domain: str) -> tuple[Host, ...]:
        """Where the registry itself is asked, also where all names are had from others."""
        own = tuple(one for one in hosts.find(domain, self._tops) if one.own)
        return own or hosts.defaults(domain)

    def close(self) -> None:
        """End the connections that are kept."""
        self._transport.close()


class Repository:
    """One repository, as one user sees it."""

    def __init__(
        self, transport: Transport, reference: Reference, found: Iterable[Host], credentials: Credentials, push: bool
    ) -> None:
        self.reference = reference
        self._hosts = tuple(found)
        self._transport = transport
        self._push = push
        self._scopes: dict[str, None] = {}
        if reference.path:
            self._scopes[f"repository:{reference.path}:{'pull,push' if push else 'pull'}"] = None
        self._credentials = credentials
        self._gates: dict[Host, Gate] = {}
        self._lost: set[Host] = set()
        """Hosts that did not answer as they should."""

    def gate(self, host: Host) -> Gate:
        """What stands between us and a host."""
        if host not in self._gates:
            # A mirror may have other names for things: it says itself what it wants.
            scopes = self._scopes if host.own else {}
            self._gates[host] = Gate(self._transport, host, self._credentials, scopes)
        return self._gates[host]

    # Documents -----------------------------------------------------------------------------------------------------

    async def manifest(self, wanted: str, kinds: Iterable[str], size: int = MAX_MANIFEST) -> Document:
        """A manifest or index by tag or digest, its bytes checked where they can be.

        Args:
            kinds: the media types that are understood.

        Raises:
            NotFound: there is none, or not for this user; in Docker's words.
        """
        path = f"/{self.reference.path}/manifests/{wanted}"
        more = (("Accept", ", ".join(kinds)),)
        promised = wanted if ":" in wanted else None
        answer, _ = await self.ask(_capability(wanted), "GET", path, more, limit=size, promised=promised)
        kind = answer.header("content-type").partition(";")[0].strip()
        return Document(answer.body, kind, _digest(answer.body))

    async def digest(self, wanted: str, kinds: Iterable[str]) -> str:
        """What a tag or digest leads to, asked for by one HEAD; empty: the registry does not say.

        Raises:
            Unavailable: it does not answer.
        """
        path = f"/{self.reference.path}/manifests/{wanted}"
        try:
            answer, _ = await self.ask(_capability(wanted), "HEAD", path, (("Accept", ", ".join(kinds)),))
        except (Unavailable, TimedOut):
            raise
        except StockadeError:
            return ""  # why not is said by the answer to a GET
        found = answer.header("docker-content-digest")
        return found if is_digest(found) and wanted in (found, self.reference.tag) else ""

    async def small_blob(self, digest: str, size: int) -> bytes:
        """A configuration: a blob that is a document.

        Raises:
            ProtocolBroken: it is not what it is named by.
        """
        if size > MAX_ANSWER:
            raise BadValue(f"the configuration {digest} would have {size} bytes")
        path = f"/{self.reference.path}/blobs/{digest}"
        answer, _ = await self.ask("pull", "GET", path, limit=size, promised=digest)
        return answer.body

    async def tags(self) -> list[str]:
        """Every tag.

        Raises:
            NotFound: there is no such repository.
        """
        found: list[str] = []
        path = f"/{self.reference.path}/tags/list?n=1000"
        for _ in range(_MAX_PAGES):
            answer, host = await self.ask("resolve", "GET", path)
            found += _decode(answer, _Tags, host.authority).tags or []
            following = _next_page(answer, host)
            if not following or len(found) >= _MAX_TAGS:
                break
            path = following
        return found[:_MAX_TAGS]

    # Blobs, which programs move --------------------------------------------------------------------------------------

    def sources(self, digest: str) -> list[Source]:
        """Where a blob may be fetched, the first to be tried first."""
        path = f"/{self.reference.path}/blobs/{digest}"
        return [self._source(host, path) for host in self._serving("pull")]

    async def admit(self, url: str, challenges: Iterable[str], shown: Iterable[Source]) -> bool:
        """A program was asked who it is: get what its next try shall show; False: this mirror is to be passed by.

        Args:
            shown: what it was given.

        Raises:
            NotFound, Unauthorized: the registry itself does not let this user in.
        """
        host = next((one for one in self._hosts if url.startswith(f"{one.base}/")), None)
        if host is None:
            raise ProtocolBroken(f"{urlsplit(url).netloc}, where the registry sent us, wants to know who we are")
        said = refusals.read(401, b"")
        try:
            if await self.gate(host).satisfy(challenges, _shown(url, shown)):
                return True
        except Denied as denied:
            said = denied.said
        except (Unavailable, TimedOut):
            if host.own:
                raise
        if host.own:
            raise self._refusal(said, "")
        self._lost.add(host)
        return False

    async def greet(self) -> None:
        """Find out which host takes what is pushed, and whether it lets this user.

        Raises:
            Unauthorized, Refused: it does not. Unavailable: none answers.
        """
        await self.ask("push", "GET", "/", missing=True)

    async def has(self, digest: str) -> bool:
        """Whether the registry has a blob here already."""
        answer, _ = await self.ask("push", "HEAD", f"/{self.reference.path}/blobs/{digest}", missing=True)
        return answer.status == 200

    async def mount(self, digest: str, source: str) -> bool:
        """Take a blob over from another repository of the same registry, if it lets us."""
        self._scopes[f"repository:{source}:pull"] = None
        query = urlencode({"mount": digest, "from": source})
        path = f"/{self.reference.path}/blobs/uploads/?{query}"
        answer, host = await self.ask("push", "POST", path, good=(201, 202), missing=True)
        if answer.status == 202 and (place := answer.header("location")):
            await self._forget_upload(host, joined(answer.url, place))
        return answer.status == 201

    async def upload(self) -> Source:
        """Where a program may send a blob.

        Raises:
            Unavailable: no host takes any.
        """
        for host in self._serving("push"):
            return self._source(host, f"/{self.reference.path}/blobs/uploads/")
        raise Unavailable(f"no host of {self.reference.domain} takes what is pushed")

    async def put_small_blob(self, data: bytes) -> str:
        """Send a configuration, if it is not there yet; its digest."""
        digest = _digest(data)
        if await self.has(digest):
            return digest
        path = f"/{self.reference.path}/blobs/uploads/"
        answer, host = await self.ask("push", "POST", path, good=(202,))
        place = joined(answer.url, answer.header("location"))
        if not place.startswith(f"{host.scheme}://{host.authority}/"):
            raise ProtocolBroken(f"{host.authority} would have a blob sent to {urlsplit(place).netloc}")
        url = f"{place}{'&' if '?' in place else '?'}{urlencode({'digest': digest})}"
        headers = (("Content-Type", "application/octet-stream"),)
        answer = await self._over(host, Request("PUT", url, headers, data))
        if answer.status != 201:
            raise self._refusal(refusals.read(answer.status, answer.body), "")
        return digest

    async def put_manifest(self, wanted: str, data: bytes, kind: str) -> str:
        """Give a manifest a tag; its digest.

        Raises:
            Unauthorized, Refused: this user may not.
        """
        path = f"/{self.reference.path}/manifests/{wanted}"
        headers = (("Content-Type", kind),)
        await self.ask("push", "PUT", path, headers, body=data, good=(201,))
        return _digest(data)

    async def _forget_upload(self, host: Host, place: str) -> None:
        if place.startswith(f"{host.scheme}://{host.authority}/"):
            await self._over(host, Request("DELETE", place))

    # Asking ----------------------------------------------------------------------------------------------------------

    async def ask(
        self,
        capability: str,
        method: str,
        path: str,
        headers: tuple[tuple[str, str], ...] = (),
        *,
        body: bytes = b"",
        good: tuple[int, ...] = (200,),
        missing: bool = False,
        limit: int = MAX_ANSWER,
        promised: str | None = "",
    ) -> tuple[Answer, Host]:
        """The first host's answer that is good, and whose it is.

        Args:
            missing: whether a 404 is an answer too.
            promised: the digest of the body that is asked for; None: the one that the answer itself names.

        Raises:
            StockadeError: none gave one; what the registry itself said, as a condition.
        """
        failure: StockadeError | None = None
        answers = self._answers(capability, Request(method, path, headers, body, limit=limit))
        async with contextlib.aclosing(answers):
            async for host, answer in answers:
                if isinstance(answer, StockadeError):
                    failure = failure if isinstance(answer, NotTls) and failure else answer
                elif answer.status in good or (missing and answer.status == 404):
                    failure = _spoiled(answer, host, promised)
                    if failure is None:
                        return answer, host
                else:
                    said = refusals.read(answer.status, answer.body, manifest="/manifests/" in path)
                    failure = self._refusal(said, path)
        raise failure or Unavailable(f"no host of {self.reference.domain} may be asked to {capability}")

    async def _answers(self, capability: str, asked: Request) -> Answers:
        """What each host says, one after the other; a host that does not answer is not asked again."""
        candidates = self._serving(capability)
        for number, host in enumerate(candidates, start=1):
            # A busy mirror is passed by; the registry itself is worth waiting for.
            patient = all(one.authority == host.authority for one in candidates[number:])
            try:
                answer = await self._over(host, asked._replace(url=_address(host, asked.url)), patient=patient)
                if answer.status != 400:
                    self._settle(host)
                yield host, answer
            except Denied as denied:
                yield host, self._refusal(denied.said, asked.url)
            except (Unavailable, TimedOut) as error:
                if isinstance(error, Distrusted) and host.own:
                    raise
                if host is not candidates[-1]:
                    self._lost.add(host)
                yield host, error

    def _settle(self, host: Host) -> None:
        """A host answers: that it is not to be spoken to in another way is known from here on."""
        self._lost |= {one for one in self._hosts if one.authority == host.authority and one.scheme != host.scheme}

    async def _over(self, host: Host, request: Request, *, patient: bool = True) -> Answer:
        """One host's answer; when it asks who we are, it is told once."""
        trust = Trust(host.ca, host.client, host.insecure, host.dial_timeout)
        gate = self.gate(host)
        shown = gate.headers
        whole = request._replace(headers=(*request.headers, *shown), trust=trust)
        answer = await self._transport.ask(whole, patient=patient)
        if answer.status == 401 and await gate.satisfy(answer.all("www-authenticate"), shown):
            whole = whole._replace(headers=(*request.headers, *gate.headers))
            answer = await self._transport.ask(whole, patient=patient)
        return answer

    def _serving(self, capability: str) -> list[Host]:
        found = [host for host in self._hosts if capability in host.capabilities]
        return [host for host in found if host not in self._lost] or found

    def _source(self, host: Host, path: str) -> Source:
        pair = host.client[0] if host.client else ("", "")
        url = _address(host, path)
        return Source(url, dict(self.gate(host).headers), list(host.ca), pair[0], pair[1], host.insecure)

    def _refusal(self, said: Said, path: str) -> StockadeError:
        registry, reference = self.reference.domain, self.reference
        if not reference.path:
            if said.status in (401, 403):
                return Unauthorized(f"login to {registry} was not accepted: {said}")
            return Unavailable(f"{registry}: {said}") if said.status != 404 else NotFound(f"{registry}: {said}")
        if self._push:
            return refusals.of_push(said, registry)
        wanted = path.rpartition("/manifests/")[2] if "/manifests/" in path else ""
        whole = f"{reference.familiar_name}{'@' if ':' in wanted else ':'}{wanted}" if wanted else reference.familiar
        return refusals.of_pull(said, reference.familiar_name, whole, registry)


def _capability(wanted: str) -> str:
    """What a host must be good for to be asked for a manifest."""
    return "pull" if ":" in wanted else "resolve"


def _spoiled(answer: Answer, host: Host, promised: str | None) -> ProtocolBroken | None:
    """What is wrong with a body that a digest is known of."""
    named = answer.header("docker-content-digest") if promised is None else promised
    found = _digest(answer.body) if is_digest(named) else named
    return ProtocolBroken(f"{host.authority} sent other bytes than {named}: {found}") if found != named else None


def _address(host: Host, path: str) -> str:
    url = f"{host.base}{path}"
    if not host.namespace:
        return url
    return f"{url}{'&' if '?' in url else '?'}ns={quote(host.namespace, safe='')}"


def _shown(url: str, given: Iterable[Source]) -> Headers:
    """What a program had to show at an address."""
    return next((tuple(one.headers.items()) for one in given if url.startswith(one.url)), ())


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _decode(answer: Answer, kind: Any, name: str) -> Any:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, UnicodeDecodeError) as error:
        raise ProtocolBroken(f"{name} answered what cannot be read: {str(error)[:200]}") from None


def _next_page(answer: Answer, host: Host) -> str:
    """The path of the next page (RFC 8288), if it is the same host's."""
    text = answer.header("link")
    address, _, relation = text.partition(">")
    if not address.startswith("<") or "next" not in relation:
        return ""
    url = joined(answer.url, address[1:])
    return url.removeprefix(host.base) if url.startswith(f"{host.base}/") else ""
