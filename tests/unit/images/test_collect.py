"""Collection takes everything that nothing needs, and nothing else: whatever the images, leases and leftovers are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stockade.images.collect import Present, Root, garbage

BLOBS = st.frozensets(st.sampled_from([f"sha256:{number}" for number in range(12)]))
CHAINS = st.frozensets(st.sampled_from([f"chain:{number}" for number in range(8)]))
ROOTS = st.lists(st.builds(Root, BLOBS, CHAINS), max_size=5)
NAMES = [str(number) for number in range(1, 9)]


@st.composite
def present(draw: st.DrawFn) -> Present:
    chains = draw(CHAINS)
    names = draw(st.permutations(NAMES))
    return Present(
        draw(BLOBS),
        dict(zip(sorted(chains), names, strict=False)),
        draw(st.frozensets(st.sampled_from(NAMES))),
    )


@given(ROOTS, present(), BLOBS, CHAINS, st.frozensets(st.sampled_from(NAMES)))
def test_exactly_what_nothing_needs_goes(
    roots: list[Root], there: Present, held_blobs: frozenset[str], held_chains: frozenset[str], held: frozenset[str]
) -> None:
    found = garbage(roots, there, [*held_blobs, *held_chains, *held])
    needed = set(held_blobs).union(*(root.blobs for root in roots))
    assert found.blobs == there.blobs - needed
    chains = set(held_chains).union(*(root.chains for root in roots))
    usable = {chain for chain in there.chains if chain in chains and there.chains[chain] in there.directories}
    assert found.chains == set(there.chains) - usable
    kept = {there.chains[chain] for chain in usable}
    assert found.directories == there.directories - kept - held
    # Nothing that stays stands on something that went.
    assert not kept & found.directories


@given(ROOTS, present())
def test_a_second_collection_finds_nothing(roots: list[Root], there: Present) -> None:
    found = garbage(roots, there)
    left = Present(
        there.blobs - found.blobs,
        {chain: name for chain, name in there.chains.items() if chain not in found.chains},
        there.directories - found.directories,
    )
    assert garbage(roots, left) == (frozenset(), frozenset(), frozenset())
