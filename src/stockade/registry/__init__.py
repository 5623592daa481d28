"""Registries: names, which hosts serve them, who may ask, and the small documents that are asked for.

The law: a registry is hostile. Every answer is bounded in size and time, what is asked for by digest is checked by it,
credentials go to the registry that they are for and to nobody else, plain HTTP is for loopback unless a file of the
administrator's says otherwise. Layers never pass here: `Repository.sources` says where a program of ours may fetch
them, `Repository.upload` where it may send them. What documents mean is the business of `images`. Decisions are pure
(references, hosts, challenges, refusals); transport and tokens act.

    repositories   the face: one repository of one registry, as one user sees it
    hosts          containerd's hosts.toml and Docker's certs.d, read as they are
    tokens         basic and bearer authorisation; transport: HTTP over asyncio, ssl and h11
"""

from stockade.registry.hosts import Host
from stockade.registry.references import Reference
from stockade.registry.repositories import Document, Registries, Repository, Source
from stockade.registry.tokens import Credentials

__all__ = ["Credentials", "Document", "Host", "Reference", "Registries", "Repository", "Source"]
