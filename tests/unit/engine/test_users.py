"""Who a process is, by the accounts of its container."""

from __future__ import annotations

import pytest

from stockade.engine.users import Identity, accounts, identify
from stockade.errors import BadValue
from stockade.images.values import Account as User
from stockade.images.values import Accounts, Group

KNOWN = Accounts(
    (User("root", 0, 0, "/root"), User("www", 33, 33, "/var/www"), User("1000", 7, 8, "/odd"), User("big", 2**31, 0)),
    (Group("root", 0), Group("www", 33), Group("audio", 29, ("www", "root")), Group("video", 44, ("www",))),
)


@pytest.mark.parametrize(
    ("spec", "extra", "who"),
    [
        ("", (), Identity(0, 0, (0, 29), "/root")),
        ("root", (), Identity(0, 0, (0, 29), "/root")),
        ("www", (), Identity(33, 33, (33, 29, 44), "/var/www")),
        ("33", (), Identity(33, 33, (33, 29, 44), "/var/www")),
        ("1000", (), Identity(7, 8, (8,), "/odd")),
        ("4242", (), Identity(4242, 0, (0,), "/")),
        ("4242:4343", (), Identity(4242, 4343, (4343,), "/")),
        ("www:audio", (), Identity(33, 29, (29,), "/var/www")),
        ("www:5", ("video", "9"), Identity(33, 5, (5, 44, 9), "/var/www")),
        ("www", ("audio", "77"), Identity(33, 33, (33, 29, 44, 77), "/var/www")),
        (":audio", (), Identity(0, 29, (29,), "/root")),
    ],
)
def test_who(spec: str, extra: tuple[str, ...], who: Identity) -> None:
    assert identify(spec, KNOWN, extra) == who


def test_root_needs_no_file() -> None:
    assert identify("", Accounts()) == Identity(0, 0, (0,), "/")


@pytest.mark.parametrize(
    ("spec", "extra", "text"),
    [
        ("nobody", (), "unable to find user nobody: no matching entries in passwd file"),
        ("www:nogroup", (), "unable to find group nogroup: no matching entries in group file"),
        ("www", ("nogroup",), "unable to find group nogroup: no matching entries in group file"),
        ("-1", (), "unable to find user -1: no matching entries in passwd file"),
        ("2147483648", (), "uids and gids must be in range 0-2147483647"),
        ("99999999999999999999", (), "uids and gids must be in range 0-2147483647"),
        ("big", (), "uids and gids must be in range 0-2147483647"),
        ("²", (), "unable to find user ²: no matching entries in passwd file"),
    ],
)
def test_nobody(spec: str, extra: tuple[str, ...], text: str) -> None:
    with pytest.raises(BadValue) as caught:
        identify(spec, KNOWN, extra)
    assert caught.value.message == text


def test_the_tools_answer() -> None:
    answer = {
        "users": [{"name": "a", "uid": 1, "gid": 2, "home": "/a", "shell": "/bin/sh"}],
        "groups": [{"name": "g", "gid": 2, "members": ["a", "b"]}],
    }
    assert accounts(answer) == Accounts((User("a", 1, 2, "/a", "/bin/sh"),), (Group("g", 2, ("a", "b")),))
