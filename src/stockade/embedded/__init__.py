"""What the SDK and the command line do on this machine without a daemon.

The law: one directory a container, and the record of an act is written before the act. The directory is the bundle;
removing it, the last thing that happens to a container, frees its range of ids. So whoever removes the directory
(this process, the shim whose client was killed, the next start's sweep) leaves nothing behind.

Belongs here: records and their sweep (`records`, `sweep`, `keeper`), the root file system that a program without an
image sees (`view`, `policy`) or is given (`rootfs`), who it is (`environment`), which limits hold (`delegation`), what
it changed (`changes`), and the life of one container (`session`). Imports only `host`, `runtime`, `model` and `errors`;
imported by `sdk` and `cli`. No asyncio: all of this is on the way of `stockade do`.
"""
