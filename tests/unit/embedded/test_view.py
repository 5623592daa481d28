"""The mounts of the view, as words; that they hold is tests/security."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from stockade.embedded import view
from stockade.embedded.view import Given, Layer
from stockade.host.ids import Ids
from stockade.model import IdMap, RootfsMount

IDS = Ids((IdMap(0, 1000000, 65536),), (IdMap(0, 1000000, 65536),), "range", 0)
GIVEN = Given("/srv/my project", 1000, 1001)


@pytest.fixture
def tree(tmp_path: Path) -> str:
    for name in ("usr", "etc", "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    (tmp_path / "bin").symlink_to("usr/bin")
    return str(tmp_path)


def test_links_of_the_tree_are_no_mounts(tree: str) -> None:
    assert view.layers(tree, None) == (Layer("root", "/", ""), Layer("usr", "/usr", "/usr"))


def test_as_root_only_the_tree_and_the_given_directory_are_mapped(tree: str) -> None:
    parts = view.layers(tree, GIVEN)
    assert view.mounts((tree,), "/d", parts, GIVEN, IDS) == (
        RootfsMount("bind", tree, "", ("ro", "rbind", "uidmap=0:1000000:65536", "gidmap=0:1000000:65536")),
        RootfsMount(
            "format/overlay",
            "overlay",
            "",
            ("lowerdir={{ mount 0 }}", "upperdir=/d/layers/root/upper", "workdir=/d/layers/root/work", "volatile"),
        ),
        RootfsMount(
            "format/overlay",
            "overlay",
            "usr",
            (
                "lowerdir={{ mount 0 }}/usr:/usr",
                "upperdir=/d/layers/usr/upper",
                "workdir=/d/layers/usr/work",
                "volatile",
            ),
        ),
        RootfsMount("bind", "/srv/my project", "", ("bind", "uidmap=1000:1000000:1", "gidmap=1001:1000000:1")),
        RootfsMount(
            "format/overlay",
            "overlay",
            "srv/my project",
            ("lowerdir={{ mount 3 }}", "upperdir=/d/layers/given/upper", "workdir=/d/layers/given/work", "volatile"),
        ),
    )


def test_as_a_user_nothing_is_mapped(tree: str) -> None:
    for mount in view.mounts((tree,), "/d", view.layers(tree, GIVEN), GIVEN, None):
        assert not [option for option in mount.options if "idmap=" in option]


def test_an_upper_directory_looks_like_what_it_covers(tree: str, tmp_path: Path) -> None:
    given_path = tmp_path / "given"
    given_path.mkdir(mode=0o700)
    given = Given(str(given_path), 0, 0)
    container = tmp_path / "container"
    container.mkdir()
    parts = (*view.layers(tree, given), Layer("tmp", "/tmp", "/tmp"))
    view.make_layers(str(container), parts, tree, None)
    modes = {part.name: stat.S_IMODE((container / "layers" / part.name / "upper").stat().st_mode) for part in parts}
    assert modes == {"root": stat.S_IMODE(tmp_path.stat().st_mode), "usr": 0o755, "given": 0o700, "tmp": 0o1777}
