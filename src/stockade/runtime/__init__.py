"""The shim protocol, which nothing else speaks: bundles, starting a shim, its services, exit records.

Law: decides nothing about which container exists or why; holds no record of its own. Bytes of workloads never pass
here: their descriptors are handed to the shim. Imports model and errors only.

Every operation that waits is written once, as `async def` over `io.Io`: `blocking` waits in place and never suspends,
so that a coroutine runs by one `send(None)` and asyncio is not even imported; `aio` waits on the running loop.

    wire      messages ↔ bytes, by the tables of messages.py and metrics.py (generated from api/*.proto)
    ttrpc     requests and replies of one connection, no I/O
    io        what the core asks of the world (protocols)
    blocking  the world by system calls; several calls outstanding, from several threads
    aio       the world by asyncio
    inbox     the memory that a loop reads into
    shim      starting a shim; walls: which program a container's wall is, by its name
    task      the Task service: one container
    attach    the shim's private socket: descriptors in, the end out
    handover  the same on a running loop, and a client's connection given away with what was read of it
    exits     exit.json
    spec      config.json; probe: what this kernel offers for it
"""
