"""Containers as the daemon keeps them: what was wanted, where each is, why; and the acts that bring it there.

The law: decide in pure code, perform at the edge, record before the act. A verb is a row of steps in one journal; it
has no recovery of its own. Imports images, snapshots, store, host, runtime, model; imported by the doors and `daemon`.
"""
