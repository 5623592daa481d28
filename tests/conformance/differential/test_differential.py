"""The same requests to a dockerd of moby's newest module and to our daemon: what they say is held against each other.

Statuses, texts, keys and types, orders and numbers, but those of one run alone (shape.py). Where we differ on purpose
stands in intended.py with its reason; a line there that no difference needs any more is a failure too.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conformance.differential import containers, inside, intended, things
from conformance.differential.pair import Pair, Story, pair
from support.programs import newest_dockerd

pytestmark = [pytest.mark.root, pytest.mark.judge, pytest.mark.timeout(1800)]
STORIES: tuple[Story, ...] = (*containers.STORIES, *inside.STORIES, *things.STORIES)
used: set[str] = set()
told: set[str] = set()


@pytest.fixture(scope="module", name="both")
def _both() -> Iterator[Pair]:
    with pair(newest_dockerd()) as made:
        yield made
    if len(told) == len(STORIES):
        stale = set(intended.patterns()) - used
        assert not stale, f"intended differences that are none: {stale}"


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_a_story(both: Pair, story: Story) -> None:
    wrong = []
    for path, what in both.compare(story):
        reason = intended.intended(story.__name__, path, what)
        if reason is None:
            wrong.append(f"{path}: {what}")
        else:
            used.add(reason)
    told.add(story.__name__)
    assert not wrong, "\n".join(wrong)
