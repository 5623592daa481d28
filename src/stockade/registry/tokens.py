"""Who asks: basic and bearer authorisation with one host (distribution's docs/spec/auth: token.md, oauth.md)."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import msgspec
from msgspec import Struct

from stockade.errors import ProtocolBroken, StockadeError

from . import challenges, refusals
from .challenges import Challenge
from .hosts import Host, is_loopback
from .transport import Answer, Request, Transport, Trust

_CLIENT = "stockade"
_LIMIT = 1 << 20
_LIFE = 60.0
"""Seconds that a token lives whose server does not say (token.md)."""
_MARGIN = 5.0


Headers = tuple[tuple[str, str], ...]


class Credentials(NamedTuple):
    """Who somebody is to one registry; nothing at all is a stranger."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    """For a token server, in place of a password."""
    registry_token: str = ""
    """A bearer token, as it is."""


STRANGER = Credentials()


class _Token(Struct, frozen=True):
    token: str = ""
    access_token: str = ""
    refresh_token: str = ""
    expires_in: float | None = None


class Denied(StockadeError):
    """The answer of whoever decides is no."""

    def __init__(self, said: refusals.Said) -> None:
        super().__init__(str(said))
        self.said = said


class Pass(NamedTuple):
    """What lets a request in, and until when by the monotonic clock."""

    header: str
    until: float = float("inf")


class Gate:
    """What one host wants to see, and what it was shown."""

    def __init__(self, transport: Transport, host: Host, credentials: Credentials, scopes: Iterable[str]) -> None:
        self._transport = transport
        self._host = host
        self._credentials = credentials if host.own else STRANGER
        self._scopes = scopes
        self._pass: Pass | None = None
        self._lock = asyncio.Lock()
        self.identity_token = ""
        """What a token server gave to be used in place of the password."""
        if self._credentials.registry_token:
            self._pass = Pass(f"Bearer {self._credentials.registry_token}")

    @property
    def headers(self) -> Headers:
        """What to send along, as far as is known."""
        if self._pass is not None and self._pass.until < time.monotonic():
            self._pass = None
        found = self._host.header
        return (*found, ("Authorization", self._pass.header)) if self._pass is not None else found

    async def satisfy(self, asked: Iterable[str], shown: Headers) -> bool:
        """Get what the challenges ask for; whether there is anything to show but what was shown.

        Raises:
            Denied: the token server does not believe us.
            Unavailable: it does not answer.
        """
        found = {one.scheme: one for one in challenges.parse(asked)}
        async with self._lock:
            # Whoever asked at the same time may have got it meanwhile.
            if self.headers == shown:
                if "bearer" in found and not self._credentials.registry_token:
                    self._pass = await self._bearer(found["bearer"])
                elif "basic" in found and self._credentials.username:
                    self._pass = Pass(_basic(self._credentials))
            return self.headers != shown

    async def _bearer(self, challenge: Challenge) -> Pass:
        realm = challenge.words.get("realm", "")
        split = urlsplit(realm)
        plain_is_fine = self._host.scheme == "http" or is_loopback(split.netloc)
        if not split.netloc or split.scheme not in (("https", "http") if plain_is_fine else ("https",)):
            raise ProtocolBroken(f"{self._host.authority} sends to a token server at {realm[:200]!r}")
        service = challenge.words.get("service", "")
        scopes = _scopes(tuple(self._scopes), challenge.words.get("scope", ""))
        answer = await self._transport.ask(self._request(realm, service, scopes))
        if answer.status != 200:
            raise Denied(refusals.read(answer.status, answer.body))
        token = _read(answer, split.netloc)
        self.identity_token = token.refresh_token or self.identity_token
        life = max(token.expires_in or 0, _LIFE) - _MARGIN
        return Pass(f"Bearer {token.token or token.access_token}", time.monotonic() + life)

    def _request(self, realm: str, service: str, scopes: tuple[str, ...]) -> Request:
        trust = Trust(ca=self._host.ca, insecure=self._host.insecure and _same_host(realm, self._host))
        who = self._credentials
        if who.identity_token:
            form = {"grant_type": "refresh_token", "service": service, "client_id": _CLIENT,
                    "refresh_token": who.identity_token}  # fmt: skip
            form |= {"scope": " ".join(scopes)} if scopes else {}
            kind = (("Content-Type", "application/x-www-form-urlencoded"),)
            return Request("POST", realm, kind, urlencode(form).encode(), trust, _LIMIT)
        pairs = [("service", service)] if service else []
        pairs += [("scope", scope) for scope in scopes]
        if who.username:
            pairs += [("account", who.username), ("client_id", _CLIENT), ("offline_token", "true")]
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(pairs)}" if pairs else realm
        headers = (("Authorization", _basic(who)),) if who.username else ()
        return Request("GET", url, headers, trust=trust, limit=_LIMIT)


def _scopes(own: tuple[str, ...], asked: str) -> tuple[str, ...]:
    """What we need, and what is asked for of anything else."""
    resources = {scope.rpartition(":")[0] for scope in own}
    return (*own, *(scope for scope in asked.split() if scope.rpartition(":")[0] not in resources))


def _basic(who: Credentials) -> str:
    return f"Basic {base64.b64encode(f'{who.username}:{who.password}'.encode()).decode()}"


def _same_host(url: str, host: Host) -> bool:
    return urlsplit(url).hostname == urlsplit(f"//{host.authority}").hostname


def _read(answer: Answer, server: str) -> _Token:
    try:
        token = msgspec.json.decode(answer.body, type=_Token)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, UnicodeDecodeError):
        raise ProtocolBroken(f"the token server {server} answered what is no token") from None
    value = token.token or token.access_token
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise ProtocolBroken(f"the token server {server} gave no token")
    return token
