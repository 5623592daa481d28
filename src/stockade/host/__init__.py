"""What whoever keeps containers on this machine must agree upon, with a daemon or without one.

Where things lie (`paths`), which ids of the host a container has (`ids`), where its cgroup lies (`delegated`), locks
between processes and files replaced whole (`locks`), processes told apart (`processes`), and the program for trees of
files (`layer`). Imports only `runtime`, `model` and `errors`, no third-party package; and no asyncio, for all of this
is on the way of `stockade do`. But for two modules, which are the daemon's: programs beside its loop (`spawn`), and
ours among them (`tool`).
"""
