"""HTTP for small answers: one request at a time over asyncio streams, ssl and h11, bounded in size and time.

A redirect is followed for GET and HEAD; what was said to the first host alone (authorisation, headers of hosts.toml,
client certificates) is not said to another, and nothing leads from TLS to plain text. Connections that may serve again
are kept for some seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import os
import socket
import ssl
import time
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import h11

from stockade.errors import BadValue, ProtocolBroken, TimedOut, Unavailable

from . import proxies
from .hosts import is_loopback
from .proxies import Proxies, Proxy

MAX_ANSWER = 8 << 20
"""Bytes of an answer, unless its request says less."""
WHOLE = 60.0
"""Seconds of one exchange."""
DIAL = 10.0
PATIENCE = 60.0
"""Seconds that a registry may ask us to wait (429, 503), in all."""
_MAX_HEAD = 64 << 10
_PIECE = 64 << 10
_HOPS = 5
_TRIES = 4
_KEEP = 8.0
_KEPT = 16
_BUSY = frozenset({429, 502, 503, 504})
_ELSEWHERE = frozenset({301, 302, 303, 307, 308})
_SAFE = frozenset({"GET", "HEAD"})
_OPEN_HEADERS = frozenset({"accept", "user-agent"})
AGENT = "stockade/0.1"


class NotTls(Unavailable):
    """Whoever listens there does not speak TLS."""


class Distrusted(Unavailable):
    """The other side's certificate does not prove who it is."""


class Trust(NamedTuple):
    """How the other side proves who it is, and we do."""

    ca: tuple[str, ...] = ()
    client: tuple[tuple[str, str], ...] = ()
    insecure: bool = False
    dial_timeout: float = 0


NOBODY = Trust()


class Request(NamedTuple):
    """What is asked."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    trust: Trust = NOBODY
    limit: int = MAX_ANSWER


class Answer(NamedTuple):
    """What is answered."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Names in lower case."""
    body: bytes
    url: str
    """Where it came from, after redirects."""

    def header(self, name: str) -> str:
        """The first header of a name; empty: there is none."""
        return next((value for key, value in self.headers if key == name), "")

    def all(self, name: str) -> list[str]:
        """Every header of a name."""
        return [value for key, value in self.headers if key == name]


class _Origin(NamedTuple):
    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Transport:
    """The connections of one daemon to registries."""

    def __init__(self, through: Proxies | None = None) -> None:
        self._proxies = proxies.of(os.environ) if through is None else through
        self._idle: dict[tuple[_Origin, Trust], list[_Link]] = {}
        self._contexts: dict[Trust, tuple[_Stamp, ssl.SSLContext]] = {}

    async def ask(self, request: Request, *, patient: bool = True) -> Answer:
        """One request to its answer, whatever its status; redirects are followed.

        Args:
            patient: whether to ask again when the other side is busy, as it wishes and for so long as PATIENCE.

        Raises:
            Unavailable: nobody answers, or not as HTTP; TimedOut: not in time.
        """
        left = PATIENCE
        for attempt in range(_TRIES):
            answer = await self._follow(request)
            pause = _pause(answer, attempt)
            # docker-registry says 500, too, while somebody pushes what is asked for: that is asked once more.
            stumbled = answer.status == 500 and request.method in _SAFE and attempt == 0
            busy = answer.status in _BUSY or stumbled
            if not patient or not busy or attempt == _TRIES - 1 or pause > left:
                break
            left -= pause
            await asyncio.sleep(pause)
        return answer

    def close(self) -> None:
        """End the connections that are kept."""
        for links in self._idle.values():
            for link in links:
                link.close()
        self._idle.clear()

    # Redirects -----------------------------------------------------------------------------------------------------

    async def _follow(self, request: Request) -> Answer:
        for _ in range(_HOPS + 1):
            answer = await self._once(request)
            place = answer.header("location")
            if answer.status not in _ELSEWHERE or not place or request.method not in _SAFE:
                return answer
            request = _elsewhere(request, place)
        raise ProtocolBroken(f"{_origin(request.url)} redirects more than {_HOPS} times")

    async def _once(self, request: Request) -> Answer:
        origin = _origin(request.url)
        try:
            async with asyncio.timeout(WHOLE):
                for link in self._kept(origin, request.trust):
                    with contextlib.suppress(_Stale):
                        return await self._over(link, origin, request)
                return await self._over(await self._dial(origin, request.trust), origin, request)
        except TimeoutError:
            raise TimedOut(f"{origin} did not answer within {WHOLE:g} s") from None
        except _Stale as error:
            raise Unavailable(f"{origin} hung up without an answer") from error

    async def _over(self, link: _Link, origin: _Origin, request: Request) -> Answer:
        try:
            answer = await link.exchange(request, origin)
        except (h11.RemoteProtocolError, h11.LocalProtocolError) as error:
            link.close()
            raise ProtocolBroken(f"{origin} does not speak HTTP: {error}") from error
        except BaseException:
            link.close()
            raise
        self._keep(link, origin, request.trust)
        return answer

    # Connections ---------------------------------------------------------------------------------------------------

    def _kept(self, origin: _Origin, trust: Trust) -> list[_Link]:
        """A connection that may serve again, taken out."""
        links = self._idle.get((origin, trust), [])
        while links:
            link = links.pop()
            if link.usable:
                return [link]
            link.close()
        return []

    def _keep(self, link: _Link, origin: _Origin, trust: Trust) -> None:
        if not link.renew() or sum(map(len, self._idle.values())) >= _KEPT:
            link.close()
            return
        links = self._idle.setdefault((origin, trust), [])
        links.append(link)
        link.expires = asyncio.get_running_loop().call_later(_KEEP, self._drop, (origin, trust), link)

    def _drop(self, key: tuple[_Origin, Trust], link: _Link) -> None:
        links = self._idle.get(key, [])
        if link in links:
            links.remove(link)
        if not links:
            self._idle.pop(key, None)
        link.close()

    async def _dial(self, origin: _Origin, trust: Trust) -> _Link:
        seconds = trust.dial_timeout or DIAL
        context = await self._context(trust) if origin.scheme == "https" else None
        through = self._proxies.of(origin.scheme, origin.host, origin.port)
        try:
            async with asyncio.timeout(seconds):
                if through is not None:
                    return await _dial_through(through, origin, context)
                reader, writer = await asyncio.open_connection(
                    origin.host, origin.port, ssl=context, server_hostname=origin.host if context else None
                )
        except TimeoutError:
            raise TimedOut(f"{origin} cannot be reached within {seconds:g} s") from None
        except ssl.SSLCertVerificationError as error:
            raise Distrusted(
                f"the certificate of {origin} is not to be trusted: {error.verify_message}",
                hint=f"its authority's certificate belongs into /etc/stockade/certs.d/{origin}/ca.crt",
            ) from error
        except (ssl.SSLError, ConnectionResetError) as error:
            raise NotTls(
                f"{origin} does not speak TLS: {getattr(error, 'reason', None) or error}",
                hint=f"plain HTTP must be allowed: docs/registries.md, /etc/stockade/certs.d/{origin}/hosts.toml",
            ) from error
        except OSError as error:
            why = error.strerror if isinstance(error, socket.gaierror) or not error.errno else os.strerror(error.errno)
            by = f" through the proxy {through}" if through is not None else ""
            raise Unavailable(f"{origin} cannot be reached{by}: {why or error}") from error
        return _Link(reader, writer)

    async def _context(self, trust: Trust) -> ssl.SSLContext:
        """What TLS needs to know; to read the system's authorities takes tens of milliseconds.

        Certificates that were renewed are read anew.
        """
        stamp = _stamp(trust)
        known = self._contexts.get(trust)
        if known is None or known[0] != stamp:
            known = self._contexts[trust] = stamp, await asyncio.to_thread(_context, trust)
        return known[1]


async def _dial_through(proxy: Proxy, origin: _Origin, context: ssl.SSLContext | None) -> _Link:
    """A connection by a proxy: to TLS by CONNECT (RFC 9110, 9.3.6), which hides what is said; else it hears it all."""
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port, limit=_MAX_HEAD)
    try:
        if context is None:
            return _Link(reader, writer, proxy)
        more = "".join(f"{name}: {value}\r\n" for name, value in [("Host", str(origin)), *_shown(proxy)])
        writer.write(f"CONNECT {origin} HTTP/1.1\r\n{more}\r\n".encode("latin-1"))
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        words = head.split(b"\r\n")[0].decode("latin-1").split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].startswith("2"):
            said = " ".join(word for word in words[1:] if word.isprintable())[:100]
            raise Unavailable(f"the proxy {proxy} does not lead to {origin}: {said or 'this is no HTTP'}")
        await writer.start_tls(context, server_hostname=origin.host)
        return _Link(reader, writer)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        writer.transport.abort()
        raise Unavailable(
            f"the proxy {proxy} does not lead to {origin}: it hung up, or its answer does not end"
        ) from None
    except BaseException:
        writer.transport.abort()
        raise


def _shown(proxy: Proxy) -> list[tuple[str, str]]:
    return [("Proxy-Authorization", proxy.authorization)] if proxy.authorization else []


class _Stale(Exception):
    """A connection that was kept had ended meanwhile: nothing was asked."""


class _Link:
    """One connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, through: Proxy | None = None
    ) -> None:
        self.expires: asyncio.TimerHandle | None = None
        self._through = through
        """The proxy that is told each request's whole address."""
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)

    @property
    def usable(self) -> bool:
        """Whether it is worth trying."""
        return not self._writer.is_closing() and not self._reader.at_eof()

    async def exchange(self, request: Request, origin: _Origin) -> Answer:
        """Ask, and read the answer."""
        if self.expires is not None:
            self.expires.cancel()
        await self._send(request)
        head = await self._head(request, origin)
        body = bytearray()
        while not isinstance(event := await self._next(origin), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                body += event.data
                if len(body) > request.limit:
                    raise ProtocolBroken(f"{origin} answers with more than {request.limit} bytes")
        headers = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in head.headers)
        return Answer(head.status_code, headers, bytes(body), request.url)

    def renew(self) -> bool:
        """Make ready for another exchange; whether that can be."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE and self.usable:
            self._http.start_next_cycle()
            return True
        return False

    def close(self) -> None:
        """Hang up. Idempotent."""
        if self.expires is not None:
            self.expires.cancel()
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.transport.abort()

    async def _send(self, request: Request) -> None:
        split = urlsplit(request.url)
        headers = [("Host", split.netloc), ("User-Agent", AGENT), *request.headers]
        if request.body or request.method not in _SAFE:
            headers.append(("Content-Length", str(len(request.body))))
        target = (split.path or "/") + (f"?{split.query}" if split.query else "")
        if self._through is not None:
            target = f"{split.scheme}://{split.netloc}{target}"
            headers += _shown(self._through)
        head = h11.Request(method=request.method, target=target, headers=headers)
        text = (self._http.send(head) or b"") + (self._http.send(h11.Data(data=request.body)) or b"")
        try:
            self._writer.write(text + (self._http.send(h11.EndOfMessage()) or b""))
            await self._writer.drain()
        except OSError as error:
            raise _Stale from error

    async def _head(self, request: Request, origin: _Origin) -> h11.Response:
        while not isinstance(event := await self._next(origin, first=True), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise _Stale
        return event

    async def _next(self, origin: _Origin, first: bool = False) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            try:
                data = await self._reader.read(_PIECE)
            except OSError as error:
                if first:
                    raise _Stale from error
                raise Unavailable(f"{origin} hung up within its answer: {error.strerror or error}") from error
            if not data and first and not self._http.trailing_data[0]:
                raise _Stale
            self._http.receive_data(data)
        return event


def _origin(url: str) -> _Origin:
    try:
        split = urlsplit(url)
        if split.scheme not in ("http", "https") or not split.hostname:
            raise ValueError
        return _Origin(split.scheme, split.hostname, split.port or (443 if split.scheme == "https" else 80))
    except ValueError:
        raise BadValue(f"{url[:200]!r} is no address of HTTP") from None


def joined(url: str, place: str) -> str:
    """Where a header of an answer leads (RFC 9110, 10.2.2).

    Raises:
        ProtocolBroken: it is no address.
    """
    try:
        if not (place.isascii() and place.isprintable()) or " " in place:
            raise ValueError
        return urljoin(url, place)
    except ValueError:
        raise ProtocolBroken(f"{_origin(url)} leads to {place[:200]!r}, which is no address") from None


def _elsewhere(request: Request, place: str) -> Request:
    """The same request to where an answer leads."""
    url = joined(request.url, place)
    before, after = _origin(request.url), _origin(url)
    if before == after:
        return request._replace(url=url)
    if after.scheme == "http" and (before.scheme == "https" or not is_loopback(str(after))):
        raise ProtocolBroken(f"{before} redirects to {after} in plain text, which is not followed")
    open_ones = tuple(one for one in request.headers if one[0].lower() in _OPEN_HEADERS)
    return request._replace(url=url, headers=open_ones, trust=Trust(ca=request.trust.ca))


def _pause(answer: Answer, attempt: int) -> float:
    """Seconds until a busy registry may be asked again (RFC 9110, 10.2.3)."""
    said = answer.header("retry-after").strip()
    if said.isascii() and said.isdigit():
        return float(said)
    if said:
        with contextlib.suppress(ValueError):
            return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    return float(1 << attempt) / 2


_Stamp = tuple[tuple[int, int, int], ...]


def _stamp(trust: Trust) -> _Stamp:
    """Which certificates there are now: another one for each file that is replaced or changed."""
    system = ssl.get_default_verify_paths()
    paths = (system.cafile, system.capath, *trust.ca, *(path for pair in trust.client for path in pair))
    found = []
    for path in paths:
        try:
            seen = os.stat(path or "")
            found.append((seen.st_ino, seen.st_mtime_ns, seen.st_size))
        except OSError:
            found.append((0, 0, 0))
    return tuple(found)


def _context(trust: Trust) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        for path in trust.ca:
            context.load_verify_locations(cafile=path)
        for certificate, key in trust.client:
            context.load_cert_chain(certificate, key)
    except OSError as error:
        name = path if not trust.client else f"{path} or {trust.client[0][0]}" if trust.ca else trust.client[0][0]
        raise BadValue(f"{name} cannot be used as a certificate: {error.strerror or error}") from error
    if trust.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
