"""Which proxy leads to a host, by HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the daemon's environment.

The rules are those of Go's tools (golang.org/x/net http/httpproxy), so that what was written for Docker's daemon means
the same here; `stockade-fetch` has them too. Pure: an environment in, an answer out.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from stockade.errors import BadValue

_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
NAMES = (*_VARIABLES, *(name.lower() for name in _VARIABLES), "SSL_CERT_FILE", "SSL_CERT_DIR")
"""What of an environment says how registries are reached and believed."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxy(NamedTuple):
    """One that is spoken to in plain HTTP."""

    host: str
    port: int
    authorization: str = ""
    """What it is shown (Proxy-Authorization)."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Proxies(NamedTuple):
    """What an environment says."""

    http: str = ""
    https: str = ""
    without: tuple[str, ...] = ()

    def of(self, scheme: str, host: str, port: int) -> Proxy | None:
        """The proxy to a host; None: straight there.

        Raises:
            BadValue: the variable names none that is served.
        """
        text = self.https if scheme == "https" else self.http
        host = host.lower().rstrip(".")
        address = _address(host)
        if not text or host == "localhost" or (address is not None and address.is_loopback):
            return None
        if any(_goes_without(word, host, address, port) for word in self.without):
            return None
        return _parse(text, f"{scheme.upper()}_PROXY")


def of(environ: Mapping[str, str]) -> Proxies:
    """Read an environment; names in capitals come first, as with Go."""
    http, https, without = (environ.get(name) or environ.get(name.lower(), "") for name in _VARIABLES)
    return Proxies(http, https, tuple(word.strip().lower() for word in without.split(",") if word.strip()))


def passed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that a program which moves blobs is to know too."""
    return {name: environ[name] for name in NAMES if name in environ}


def _parse(text: str, name: str) -> Proxy:
    try:
        split = urlsplit(text if "://" in text else f"http://{text}")
        if split.scheme != "http" or not split.hostname:
            raise ValueError
        said = f"{unquote(split.username or '')}:{unquote(split.password or '')}"
        shown = "Basic " + base64.b64encode(said.encode()).decode() if split.username is not None else ""
        return Proxy(split.hostname, split.port or 80, shown)
    except ValueError:
        hint = "as http://[USER:PASSWORD@]HOST[:PORT]"
        raise BadValue(f"{name} of the daemon's environment names no proxy that is served", hint=hint) from None


def _goes_without(word: str, host: str, address: Address | None, port: int) -> bool:
    """Whether a word of NO_PROXY means a host; one that is malformed means none."""
    if word == "*":
        return True
    if "/" in word:
        try:
            return address is not None and address in ipaddress.ip_network(word, strict=False)
        except ValueError:
            return False
    name, at = word, ""
    if _address(word) is None and ":" in word:
        name, _, at = word.rpartition(":")
        if at != str(port):
            return False
    if (meant := _address(name)) is not None:
        return meant == address
    name = name.removeprefix("*")
    below = name.lstrip(".")
    return bool(below) and (host.endswith(f".{below}") or (not name.startswith(".") and host == below))


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
