"""The root file system of a container: which mounts it is, its upper directory, and what that says.

The law: it only describes; the shim mounts, in the container's own mount namespace, and Rust programs read and copy
trees. Knows host and below; images are strangers to it, layers are directories.
"""

from stockade.snapshots.snapshots import Snapshots

__all__ = ["Snapshots"]
