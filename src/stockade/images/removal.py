"""What `rmi` and `image prune` take away, in Docker's order and with its refusals. Pure.

Names are whole (`docker.io/library/busybox:latest`), images ids. Rules: Docker's image_delete.go and image_prune.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stockade.errors import Conflict, StockadeError
from stockade.registry.references import Reference, parse, short

from .values import Deleted, Untagged, Use

Uses = Callable[[str], Sequence[Use]]
Removed = Untagged | Deleted


class Shelf:
    """Images and their names, on which a removal is tried before it is made."""

    def __init__(self, names: Mapping[str, str], parents: Mapping[str, str], uses: Uses) -> None:
        self._names = dict(names)
        self._parents = dict(parents)
        self._uses = uses
        self.removed: list[Removed] = []

    def remove(self, text: str, name: str | None, image: str, *, force: bool, prune: bool) -> None:
        """Remove by what the user wrote.

        Args:
            text: that.
            name: the whole name that it stands for, None: it is the (beginning of an) id.
            image: the image that it leads to.

        Raises:
            Conflict: with Docker's words; nothing is removed.
        """
        by_name = False
        if name is not None and not _is_id(image, text):
            self._check_last_name(name, image, force)
            self._untag_with_digests(name)
            if self.names_of(image):
                return
            by_name = True
        else:
            refs = self.names_of(image)
            if refs and _single(refs):
                self._check(image, hard=True, soft=not force, referenced=False)
                self._untag_all(image)
        self._delete(image, force=force, prune=prune, by_name=by_name)

    def prune(self, image: str, dangling_only: bool) -> None:
        """Remove an image for which nothing speaks; one that is in use stays."""
        refs = self.names_of(image)
        if not refs:
            self._try(short(image), None, image)
        elif not dangling_only or all(parse(ref).digest for ref in refs):
            for ref in refs:
                # A tag took the digests of its repository along.
                if image in self._parents and ref in self._names:
                    self._try(ref, ref, image)

    def names_of(self, image: str) -> list[str]:
        """The names of an image that are left."""
        return sorted(name for name, target in self._names.items() if target == image)

    def children_of(self, image: str) -> list[str]:
        """The images that were made from this one."""
        return [child for child, parent in self._parents.items() if parent == image]

    def _try(self, text: str, name: str | None, image: str) -> None:
        before = dict(self._names), dict(self._parents), len(self.removed)
        try:
            self.remove(text, name, image, force=False, prune=True)
        except StockadeError:
            self._names, self._parents = before[0], before[1]
            del self.removed[before[2] :]

    def _check_last_name(self, name: str, image: str, force: bool) -> None:
        """Without its last name an image that a container stands on would dangle."""
        if force or not _single(self.names_of(image)):
            return
        use = next(iter(self._uses(image)), None)
        if use is not None:
            raise Conflict(
                f'conflict: unable to remove repository reference "{parse(name).familiar}" (must force)'
                f" - container {use.container[:12]} is using its referenced image {short(image)}"
            )

    def _untag(self, name: str) -> None:
        image = self._names.pop(name)
        self.removed.append(Untagged(parse(name).familiar, image))

    def _untag_with_digests(self, name: str) -> None:
        """A tag takes the digests of its repository along, when it was the last one there."""
        image = self._names[name]
        self._untag(name)
        gone = parse(name)
        left = [(ref, parse(ref)) for ref in self.names_of(image)]
        same = [(ref, one) for ref, one in left if one.name == gone.name]
        if not gone.digest and all(one.digest for _, one in same):
            for ref, _ in same:
                self._untag(ref)

    def _untag_all(self, image: str) -> None:
        for name in self.names_of(image):
            self._untag(name)

    def _check(self, image: str, *, hard: bool, soft: bool, referenced: bool = True) -> None:
        uses = self._uses(image)
        if hard and self.children_of(image):
            raise _conflict(image, "cannot be forced", "image has dependent child images")
        running = next((use for use in uses if use.running), None)
        if hard and running:
            raise _InUse(
                image, "cannot be forced", f"image is being used by running container {running.container[:12]}"
            )
        if soft and referenced and self.names_of(image):
            raise _conflict(image, "must be forced", "image is referenced in multiple repositories")
        if soft and uses:
            raise _InUse(image, "must be forced", f"image is being used by stopped container {uses[0].container[:12]}")

    def _delete(self, image: str, *, force: bool, prune: bool, by_name: bool) -> None:
        """Delete an image that has no name to lose any more, and its parents that nobody needs then."""
        try:
            self._check(image, hard=True, soft=not force)
        except Conflict as conflict:
            # Whoever took the name away has what was asked for; only what dangles and is not used is worth an error.
            if by_name and (self.names_of(image) or isinstance(conflict, _InUse)):
                return
            if by_name and self.children_of(image):
                return
            raise
        self._untag_all(image)
        parent = self._parents.pop(image)
        self.removed.append(Deleted(image))
        if prune and parent in self._parents:
            try:
                self._delete(parent, force=False, prune=True, by_name=True)
            except Conflict:
                return


class _InUse(Conflict):
    """A container stands on it."""

    def __init__(self, image: str, how: str, why: str) -> None:
        super().__init__(f"conflict: unable to delete {short(image)} ({how}) - {why}")


def _conflict(image: str, how: str, why: str) -> Conflict:
    return Conflict(f"conflict: unable to delete {short(image)} ({how}) - {why}")


def _is_id(image: str, text: str) -> bool:
    return image.startswith(text) or image.removeprefix("sha256:").startswith(text)


def _single(names: Sequence[str]) -> bool:
    """Whether at most one tag, and digests of the same repository alone, name an image."""
    if len(names) <= 1:
        return True
    references = [parse(name) for name in names]
    tags = [one for one in references if not one.digest]
    if len(tags) > 1:
        return False
    first: Reference = (tags or references)[0]
    return all(one.name == first.name for one in references)
