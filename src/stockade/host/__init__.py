"""What whoever keeps containers on this machine must agree upon, with a daemon or without one.

Where things lie (`paths`), which ids of the host a container has (`ids`), locks between processes and files replaced
whole (`locks`), and the program for trees of files (`layer`). Imports only `runtime`, `model` and `errors`; no asyncio,
no third-party package: all of this is on the way of `stockade do`.
"""
