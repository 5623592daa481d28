"""Which hosts serve a registry's names, in which order, and how they are to be trusted.

containerd's layout (containerd docs/hosts.md) is read as it is: `<directory>/<host>[_<port>_]/hosts.toml`, else
`<directory>/_default/hosts.toml`; a directory without that file holds certificates as Docker's `certs.d` does
(`*.crt`, `NAME.cert` with `NAME.key`). Unlike there a key that nobody knows is refused, so that a misspelt
`skip_verify` is not found out by a failure elsewhere. Reading is all the I/O of this module.
"""

from __future__ import annotations

import ipaddress
import os
import posixpath
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from stockade.errors import BadValue

from .references import DEFAULT_DOMAIN

DIRECTORIES = ("/etc/stockade/certs.d", "/etc/containerd/certs.d", "/etc/docker/certs.d")
"""Searched in this order; the first that knows a host decides."""
ENVIRONMENT = "STOCKADE_CERTS_DIR"
"""Names a directory in place of these."""
_DEFAULT_HOST = "registry-1.docker.io"
_MAX_FILE = 1 << 20
_FILE = "hosts.toml"
_EVERY = "_default"
EVERYTHING = frozenset({"pull", "resolve", "push"})
_KEYS = frozenset({"capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout"})
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_TERM = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")


class Host(NamedTuple):
    """One host that serves a registry's names."""

    scheme: str
    authority: str
    """`host` or `host:port`."""
    path: str = "/v2"
    """What stands before the repository."""
    capabilities: frozenset[str] = EVERYTHING
    ca: tuple[str, ...] = ()
    client: tuple[tuple[str, str], ...] = ()
    """Certificates and their keys."""
    insecure: bool = False
    """Whether its certificate is not looked at."""
    header: tuple[tuple[str, str], ...] = ()
    namespace: str = ""
    """What a mirror is told of whose names are asked for (`?ns=`, as containerd does)."""
    own: bool = True
    """Whether it is the registry itself, which credentials are for; a mirror gets none."""
    dial_timeout: float = 0
    """Seconds; 0: the default."""

    @property
    def base(self) -> str:
        """The beginning of its addresses."""
        return f"{self.scheme}://{self.authority}{self.path}"


def directories(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Where to look."""
    named = environ.get(ENVIRONMENT)
    return (named,) if named else DIRECTORIES


def find(domain: str, tops: Iterable[str] = DIRECTORIES) -> tuple[Host, ...]:
    """The hosts of a registry, in the order in which they are to be tried; the registry itself is the last.

    Raises:
        BadValue: a file cannot be read; the text names it.
    """
    for name in _names(domain):
        for top in tops:
            place = f"{top}/{name}"
            text = _read(f"{place}/{_FILE}")
            if text is not None:
                return parse(text, domain, place, of_all=name == _EVERY)
            found = _certificates(place) if name != _EVERY else None
            if found is not None:
                return tuple(one._replace(ca=found[0], client=found[1]) for one in defaults(domain))
    return defaults(domain)


def defaults(domain: str) -> tuple[Host, ...]:
    """A registry nobody said anything of: HTTPS; on loopback plain HTTP, or else that."""
    authority = _DEFAULT_HOST if domain == DEFAULT_DOMAIN else domain
    secure = Host("https", authority)
    return (Host("http", authority), secure) if is_loopback(authority) else (secure,)


def parse(text: str, domain: str, place: str = "", *, of_all: bool = False) -> tuple[Host, ...]:
    """Read a hosts.toml.

    Args:
        place: its directory, which relative paths in it start from.
        of_all: it is for registries that nobody named: its `server` is none of them, and gets nobody's credentials.

    Raises:
        BadValue: it says what cannot be understood.
    """
    where = f"{place}/{_FILE}"
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadValue(f"{where}: {error}") from None
    tables = raw.pop("host", {})
    server = raw.pop("server", "")
    if not isinstance(tables, dict) or not isinstance(server, str):
        raise BadValue(f"{where}: `host` is a table and `server` an address")
    found = []
    for address, table in tables.items():
        if not isinstance(table, dict):
            raise BadValue(f"{where}: host {address!r} is not a table")
        found.append(_host(address, table, domain, place)._replace(own=False))
    if server:
        found.append(_host(server, raw, domain, place))
    else:
        found += [
            _host(f"{one.scheme}://{one.authority}", raw, domain, place)._replace(path=one.path)
            for one in defaults(domain)
        ]
    usual = {domain, *(one.authority for one in defaults(domain))}
    own = {(one.scheme, one.authority) for one in found if one.own and (not of_all or one.authority in usual)}
    return tuple(
        # Any other than the registry itself is told whose names it is asked for.
        one._replace(own=(one.scheme, one.authority) in own, namespace="" if one.authority in usual else domain)
        for one in found
    )


def _host(address: str, table: Mapping[str, Any], domain: str, place: str) -> Host:
    where = f"{place}/{_FILE}: {address}"
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise BadValue(f"{where}: {unknown[0]!r} is not known", hint=f"known are {', '.join(sorted(_KEYS))}")
    split = urlsplit(address if "://" in address else f"https://{address}")
    if split.scheme not in ("http", "https") or not split.hostname or split.username or split.query or split.fragment:
        raise BadValue(f"{where}: this is no address of a registry", hint="as https://mirror.example.com:5000")
    override = _flag(table, "override_path", where)
    path = posixpath.normpath(split.path) if split.path.strip("/") else ""
    path = "" if path == "." else path.rstrip("/")
    if not override and not path.endswith("/v2"):
        path += "/v2"
    return Host(
        scheme=split.scheme,
        authority=split.netloc,
        path=path,
        capabilities=_capabilities(table, where),
        ca=tuple(_path(one, place) for one in _words(table, "ca", where)),
        client=_clients(table, where, place),
        insecure=_flag(table, "skip_verify", where),
        header=_header(table, where),
        dial_timeout=_duration(table, where),
    )


def _capabilities(table: Mapping[str, Any], where: str) -> frozenset[str]:
    words = frozenset(_words(table, "capabilities", where))
    unknown = sorted(words - EVERYTHING)
    if unknown:
        raise BadValue(f"{where}: the capability {unknown[0]!r} is not known", hint="pull, resolve, push")
    return words or EVERYTHING


def _clients(table: Mapping[str, Any], where: str, place: str) -> tuple[tuple[str, str], ...]:
    """A file with both, several such, or pairs of certificate and key, of which an empty one is in the same file."""
    value = table.get("client", ())
    found = []
    for one in (value,) if isinstance(value, str) else value:
        pair = (one, one) if isinstance(one, str) else tuple(one) if isinstance(one, list) else ()
        if len(pair) == 1 or (len(pair) == 2 and not pair[1]):
            pair = (pair[0], pair[0])
        if len(pair) != 2 or not all(isinstance(word, str) and word for word in pair):
            raise BadValue(f"{where}: `client` is a file, or a list of files or [certificate, key] pairs")
        found.append((_path(pair[0], place), _path(pair[1], place)))
    return tuple(found)


def _header(table: Mapping[str, Any], where: str) -> tuple[tuple[str, str], ...]:
    value = table.get("header", {})
    if not isinstance(value, dict):
        raise BadValue(f"{where}: `header` is a table")
    found = []
    for name, words in value.items():
        for word in (words,) if isinstance(words, str) else words:
            if not isinstance(word, str) or not _plain(name) or not _plain(word) or ":" in name or " " in name:
                raise BadValue(f"{where}: the header {name!r} is no line of a header")
            found.append((name, word))
    return tuple(found)


def _plain(text: str) -> bool:
    return text.isprintable() and text.isascii()


def _words(table: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = table.get(key, ())
    words = (value,) if isinstance(value, str) else value
    if not isinstance(words, Sequence) or not all(isinstance(one, str) and one for one in words):
        raise BadValue(f"{where}: `{key}` is a word or a list of words")
    return tuple(words)


def _flag(table: Mapping[str, Any], key: str, where: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise BadValue(f"{where}: `{key}` is true or false")
    return value


def _duration(table: Mapping[str, Any], where: str) -> float:
    """Go's words of a duration, as 1m30s."""
    value = table.get("dial_timeout", "0s")
    terms = _TERM.findall(value) if isinstance(value, str) else []
    if value == "0":
        return 0
    if not terms or "".join(map("".join, terms)) != value:
        raise BadValue(f"{where}: dial_timeout {value!r} is no duration", hint="10s")
    return sum(float(number) * _UNITS[unit] for number, unit in terms)


def _path(text: str, place: str) -> str:
    return os.path.normpath(os.path.join(place, text))


def _names(domain: str) -> tuple[str, ...]:
    """The directory of a host, with its port in either of the forms that file systems allow."""
    host, colon, port = domain.rpartition(":")
    if colon and port.isdigit():
        return (f"{host}_{port}_", domain, _EVERY)
    return (domain, _EVERY)


def _read(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BadValue(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_FILE:
        raise BadValue(f"{path} has more than {_MAX_FILE} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadValue(f"{path} is no text") from None


def _certificates(place: str) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]] | None:
    """Docker's certs.d: authorities (*.crt), and our certificates with their keys; None: no such directory."""
    try:
        names = sorted(os.listdir(place))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BadValue(f"{place} cannot be read: {error.strerror}") from error
    ca = tuple(f"{place}/{name}" for name in names if name.endswith(".crt"))
    pairs = []
    for name in names:
        stem, dot, kind = name.rpartition(".")
        if dot and kind == "cert":
            if f"{stem}.key" not in names:
                raise BadValue(f"{place}/{name} has no key beside it", hint=f"{place}/{stem}.key")
            pairs.append((f"{place}/{name}", f"{place}/{stem}.key"))
    return ca, tuple(pairs)


def is_loopback(authority: str) -> bool:
    """Whether nobody but this machine can be meant: `localhost`, 127/8, ::1."""
    host = urlsplit(f"//{authority}").hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
