"""What nothing uses any more. Pure: roots, what they need, and the rest.

Roots are the images that are kept, named or not, whatever somebody leased, and what is held for the moment by work
under way. A layer's directory is needed by its chain id, a blob by its digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .values import Kept


class Root(NamedTuple):
    """Something that needs blobs and layers."""

    blobs: frozenset[str]
    chains: frozenset[str]


class Present(NamedTuple):
    """What is on disk."""

    blobs: frozenset[str]
    chains: Mapping[str, str]
    """Chain id → directory."""
    directories: frozenset[str]


class Garbage(NamedTuple):
    """What can go."""

    blobs: frozenset[str]
    chains: frozenset[str]
    """Records of layers: their directories are in `directories`, or gone already."""
    directories: frozenset[str]


def root_of(image: Kept, chains: Iterable[str]) -> Root:
    """What an image needs."""
    return Root(frozenset(image.blobs), frozenset(chains))


def garbage(roots: Iterable[Root], present: Present, held: Iterable[str] = ()) -> Garbage:
    """What of `present` nothing needs.

    Args:
        held: blobs, chain ids and directories of work under way.
    """
    needed_blobs, needed_chains = set(held), set(held)
    for root in roots:
        needed_blobs |= root.blobs
        needed_chains |= root.chains
    chains = frozenset(
        chain
        for chain, directory in present.chains.items()
        if chain not in needed_chains or directory not in present.directories
    )
    kept = {directory for chain, directory in present.chains.items() if chain not in chains}
    return Garbage(
        frozenset(present.blobs - needed_blobs),
        chains,
        frozenset(present.directories - kept - needed_blobs),
    )
