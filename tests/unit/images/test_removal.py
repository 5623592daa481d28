"""`rmi` and `image prune` by the book: what goes, in which order, and Docker's refusals."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from stockade.errors import Conflict
from stockade.images import Deleted, Untagged, Use
from stockade.images.removal import Shelf

BASE, CHILD = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
DIGEST = f"sha256:{'d' * 64}"
X1, X2, Y1 = (f"docker.io/library/{name}" for name in ("x:1", "x:2", "y:1"))
AT = f"docker.io/library/x@{DIGEST}"
STOPPED, RUNNING = Use("c" * 64, False), Use("e" * 64, True)


def shelf(
    names: dict[str, str], uses: dict[str, list[Use]] | None = None, parents: dict[str, str] | None = None
) -> Shelf:
    def used(image: str) -> Sequence[Use]:
        return (uses or {}).get(image, [])

    return Shelf(names, parents or {BASE: ""}, used)


def remove(on: Shelf, text: str, name: str | None = None, image: str = BASE, force: bool = False) -> list[object]:
    on.remove(text, name, image, force=force, prune=True)
    return list(on.removed)


def test_one_of_two_names() -> None:
    assert remove(shelf({X1: BASE, Y1: BASE}), "x:1", X1) == [Untagged("x:1", BASE)]


def test_the_last_name_takes_the_digests_of_its_repository_and_the_image() -> None:
    assert remove(shelf({X1: BASE, AT: BASE}), "x:1", X1) == [
        Untagged("x:1", BASE), Untagged(f"x@{DIGEST}", BASE), Deleted(BASE),
    ]  # fmt: skip


def test_by_id_with_one_name() -> None:
    assert remove(shelf({X1: BASE}), "aaaa") == [Untagged("x:1", BASE), Deleted(BASE)]


def test_by_id_with_two_names_of_one_repository() -> None:
    with pytest.raises(Conflict) as refusal:
        remove(shelf({X1: BASE, X2: BASE}), "aaaa")
    assert refusal.value.message == (
        "conflict: unable to delete aaaaaaaaaaaa (must be forced) - image is referenced in multiple repositories"
    )
    assert len(remove(shelf({X1: BASE, X2: BASE}), "aaaa", force=True)) == 3


def test_stopped_containers_can_be_forced() -> None:
    with pytest.raises(Conflict, match=r"\(must force\) - container cccccccccccc is using its referenced image aaaa"):
        remove(shelf({X1: BASE}, {BASE: [STOPPED]}), "x:1", X1)
    with pytest.raises(Conflict, match=r"\(must be forced\) - image is being used by stopped container cccccccccccc"):
        remove(shelf({X1: BASE}, {BASE: [STOPPED]}), "aaaa")
    assert remove(shelf({X1: BASE}, {BASE: [STOPPED]}), "x:1", X1, force=True)[-1] == Deleted(BASE)


def test_running_containers_keep_the_image_but_not_the_name() -> None:
    with pytest.raises(Conflict, match=r"\(cannot be forced\) - image is being used by running container eeee"):
        remove(shelf({X1: BASE}, {BASE: [RUNNING]}), "aaaa", force=True)
    assert remove(shelf({X1: BASE}, {BASE: [RUNNING]}), "x:1", X1, force=True) == [Untagged("x:1", BASE)]


def test_parents_go_with_their_last_child_unless_they_have_a_name() -> None:
    parents = {BASE: "", CHILD: BASE}
    assert remove(shelf({X1: CHILD}, parents=parents), "x:1", X1, CHILD) == [
        Untagged("x:1", CHILD), Deleted(CHILD), Deleted(BASE),
    ]  # fmt: skip
    assert remove(shelf({X1: CHILD, Y1: BASE}, parents=parents), "x:1", X1, CHILD)[-1] == Deleted(CHILD)
    with pytest.raises(Conflict, match=r"\(cannot be forced\) - image has dependent child images"):
        remove(shelf({X1: CHILD}, parents=parents), "aaaa", force=True)


def test_prune_takes_what_it_may() -> None:
    on = shelf({X1: BASE, Y1: CHILD}, {CHILD: [STOPPED]}, {BASE: "", CHILD: ""})
    for image in (BASE, CHILD):
        on.prune(image, dangling_only=True)
    assert on.removed == []
    for image in (BASE, CHILD):
        on.prune(image, dangling_only=False)
    assert on.removed == [Untagged("x:1", BASE), Deleted(BASE)]
