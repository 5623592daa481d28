"""The Docker Engine API on a unix socket, and the engine's own words under one prefix of it.

The law: translate in, translate out, decide nothing. No field is ignored: each one of a request is served or refused
by its name. No byte of a workload passes here: a connection leaves as a descriptor, with what was already read of it.
Imports the engine and what lies below it; imported by `daemon` alone.
"""

from stockade.docker_api.door import Door

__all__ = ["Door"]
