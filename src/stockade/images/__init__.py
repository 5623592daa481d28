"""Images: names, content, layers; load, save, import, commit, tag, remove, prune, and what nobody uses any more.

The law: what an archive or a configuration says is hostile until its digest is checked and its values are bounded;
bytes of layers pass through Rust programs alone; a blob or layer goes only when no image, lease or work under way
needs it. Knows registry, store, host and below; snapshots are strangers to it. Decisions are pure (documents,
platforms, archive, removal, filters, changes, making, saving, collect); the rest performs them.

    images      the face: one method a verb
    intake      load, import and commit, step by step; taking: remove and prune
    exchange    pull and push: pulling and pushing step by step, fetching what layers are missing, once for all who wait
    catalog     names and records, in memory; content: blobs; unpacking: layers as directories
    collect     what nothing needs: roots, what they reach, the rest
"""

from stockade.images.addresses import Address
from stockade.images.addresses import parse as parse_address
from stockade.images.base import Happened
from stockade.images.exchange import Distributed, Pulled
from stockade.images.images import Images
from stockade.images.pulling import Wanted
from stockade.images.pushing import Pushed
from stockade.images.pushing import Wish as Sending
from stockade.images.values import (
    Account,
    Accounts,
    Collected,
    Deleted,
    Group,
    HealthCheck,
    Image,
    ImageConfig,
    Line,
    Loaded,
    Progress,
    Pruned,
    Untagged,
    Usage,
    Use,
)

__all__ = [
    "Account",
    "Accounts",
    "Address",
    "Collected",
    "Deleted",
    "Distributed",
    "Group",
    "Happened",
    "HealthCheck",
    "Image",
    "ImageConfig",
    "Images",
    "Line",
    "Loaded",
    "Progress",
    "Pruned",
    "Pulled",
    "Pushed",
    "Sending",
    "Untagged",
    "Usage",
    "Use",
    "Wanted",
    "parse_address",
]
