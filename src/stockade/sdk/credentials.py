"""Who the caller is to registries: Docker's config.json and its credential helpers (docker/cli, docs "login").

`$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`: `credHelpers` names a helper for one registry, `credsStore`
one for all others, `auths` holds what no helper keeps. A helper is the program `docker-credential-NAME`; it is asked
with the registry's name on standard input (docker-credential-helpers, "Development").
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from typing import NamedTuple
from urllib.parse import urlsplit

from stockade.errors import BadValue, Refused, RuntimeFailed, Unavailable
from stockade.host import locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HUB = "docker.io"
_HUB_KEY = "https://index.docker.io/v1/"
_HUB_NAMES = frozenset({HUB, "index.docker.io", "registry-1.docker.io"})
_MAX_FILE = 4 << 20
_PATIENCE = 120.0
"""Seconds that a helper may take: it may ask its user for a word."""
_TOKEN = "<token>"
_HELPER = re.compile(r"[A-Za-z0-9._-]+")


class Login(NamedTuple):
    """Who somebody is to one registry."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    """In place of a password; a token server gave it."""

    @property
    def known(self) -> bool:
        """Whether it says anything."""
        return bool(self.username or self.identity_token)

    def body(self, registry: str) -> dict[str, str]:
        """As Docker's AuthConfig."""
        found = {"username": self.username, "password": self.password, "identitytoken": self.identity_token}
        return {name: value for name, value in found.items() if value} | {"serveraddress": key_of(registry)}

    def header(self, registry: str) -> dict[str, str]:
        """The header that tells the daemon."""
        if not self.known:
            return {}
        text = json.dumps(self.body(registry)).encode()
        return {"X-Registry-Auth": base64.urlsafe_b64encode(text).decode()}


def registry_of(reference: str) -> str:
    """The registry of an image's name, in Docker's grammar: the first word if it looks like a host."""
    first, slash, _ = reference.partition("/")
    is_host = slash and (any(mark in first for mark in ".:") or first == "localhost" or first.lower() != first)
    return first if is_host and first not in _HUB_NAMES else HUB


def key_of(registry: str) -> str:
    """The name of a registry in config.json."""
    return _HUB_KEY if _host(registry) in _HUB_NAMES else registry


def find(registry: str) -> Login:
    """What the caller's config.json and helpers know; nothing known is a Login that says nothing.

    Raises:
        BadValue: the file or a helper's answer cannot be read.
    """
    config, key = _read(), key_of(registry)
    helper = _helper(config, registry)
    if helper:
        return _ask(helper, key)
    auths = config.get("auths")
    entries = auths if isinstance(auths, dict) else {}
    # What is said of exactly this name comes before older ways to write it.
    near = [name for name in entries if _host(name) == _host(registry)]
    for name in (key, *near):
        if isinstance(entries.get(name), dict):
            return _entry(name, entries[name])
    return Login()


def store(registry: str, login: Login) -> str:
    """Keep who the caller is; where it was put, for people.

    Raises:
        Refused: the file cannot be written. RuntimeFailed: the helper fails.
    """
    config, key = _read(), key_of(registry)
    helper = _helper(config, registry)
    auths = config.setdefault("auths", {})
    if not isinstance(auths, dict):
        raise BadValue(f"{path()}: `auths` is no table")
    if helper:
        name, secret = (_TOKEN, login.identity_token) if login.identity_token else (login.username, login.password)
        _call(helper, "store", json.dumps({"ServerURL": key, "Username": name, "Secret": secret}))
        auths[key] = {}
        _write(config)
        return f"the helper docker-credential-{helper}"
    entry = {"auth": base64.b64encode(f"{login.username}:{login.password}".encode()).decode()}
    if login.identity_token:
        entry = {
            "auth": base64.b64encode(f"{login.username}:".encode()).decode(),
            "identitytoken": login.identity_token,
        }
    auths[key] = entry
    _write(config)
    return path()


def erase(registry: str) -> bool:
    """Forget who the caller is; whether anything was known."""
    config, key = _read(), key_of(registry)
    auths = config.get("auths")
    names = [one for one in auths if one == key or _host(one) == _host(registry)] if isinstance(auths, dict) else []
    helper = _helper(config, registry)
    known = bool(names)
    if helper and _ask(helper, key).known:
        _call(helper, "erase", key)
        known = True
    if isinstance(auths, dict) and names:
        for one in names:
            del auths[one]
        _write(config)
    return known


def path() -> str:
    """Where the caller's config.json lies."""
    return os.path.join(os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"), "config.json")


def _host(name: str) -> str:
    return urlsplit(name if "://" in name else f"//{name}").netloc


def _helper(config: dict[str, Any], registry: str) -> str:
    table = config.get("credHelpers")
    named = config.get("credsStore") or ""
    for name, helper in table.items() if isinstance(table, dict) else ():
        if name == key_of(registry) or _host(name) == _host(registry):
            named = helper  # an empty one: the file itself
    if not isinstance(named, str) or (named and not _HELPER.fullmatch(named)):
        raise BadValue(f"{path()} names a credential helper {named!r}, which is no name of a program")
    return named


def _entry(name: str, entry: dict[str, Any]) -> Login:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    text = entry.get("auth")
    if isinstance(text, str) and text:
        try:
            username, _, password = base64.b64decode(text, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise BadValue(f"{path()}: what it says of {name} is no USER:PASSWORD in base64") from None
    return Login(username, password.rstrip("\0"), str(entry.get("identitytoken") or ""))


def _ask(helper: str, key: str) -> Login:
    said = _call(helper, "get", key, missing=True)
    if not said:
        return Login()
    try:
        found = json.loads(said)
        username, secret = str(found["Username"]), str(found["Secret"])
    except (ValueError, KeyError, TypeError):
        raise BadValue(f"docker-credential-{helper} get answered what is no credential") from None
    return Login(identity_token=secret) if username == _TOKEN else Login(username, secret)


def _call(helper: str, verb: str, text: str, *, missing: bool = False) -> str:
    # Not for every command of ours: it takes as long to import as a container to start.
    import subprocess

    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, verb], input=text.encode(), capture_output=True, timeout=_PATIENCE)
    except FileNotFoundError:
        raise Unavailable(f"{path()} names the helper {program}, which is not installed") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{program} {verb} did not end within {_PATIENCE:g} s") from None
    said = done.stdout[:_MAX_FILE].decode(errors="replace").strip()
    if done.returncode == 0:
        return said
    if missing and "not found" in said.lower():
        return ""
    why = said or done.stderr[:1000].decode(errors="replace").strip()
    raise RuntimeFailed(f"{program} {verb} failed: {why[:300]}")


def _read() -> dict[str, Any]:
    try:
        with open(path(), "rb") as file:
            data = file.read(_MAX_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise Refused(f"{path()} cannot be read: {error.strerror}") from error
    try:
        found = json.loads(data) if len(data) <= _MAX_FILE else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadValue(f"{path()} is no JSON object")
    return found


def _write(config: dict[str, Any]) -> None:
    place = os.path.realpath(path())
    try:
        os.makedirs(os.path.dirname(place), 0o700, exist_ok=True)
        locks.replace(place, json.dumps(config, indent=1) + "\n")
    except OSError as error:
        raise Refused(f"{path()} cannot be written: {error.strerror}") from error
