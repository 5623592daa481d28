"""Containers as the daemon keeps them: what was wanted, where each is, why; and the acts that bring it there.

The law: decide in pure code, perform at the edge, record before the act. A verb is a row of steps in one journal; it
has no recovery of its own. Imports images, snapshots, networks,
volumes, store, host, runtime and model; imported by the doors and `daemon`.

    engine      the face: a method a verb
    containers  the life of containers; container: one of them in memory
    verbs       what each verb does, step by step, and how it is undone
    policy      what comes after an end; names, bundle, resources: what a request means (pure)
    recover     taking up what an earlier daemon left; repair: when the store is lost too
    execs       processes added to running ones; streams, archive, stats, health: what else is asked of these
    ends        a container's ends of networks; storage: its volumes
    ahead       places made before anybody asks
    events      what happened
"""
