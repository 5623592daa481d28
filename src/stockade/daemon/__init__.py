"""The process that keeps the engine: it puts the parts together, serves a socket, and leaves when told to.

The law: the composition root and nothing else; no other package imports it. One of it at a time per run directory, by
a lock. Whenever and however it ends, containers go on.

    python -m stockade.daemon                  in the foreground, log to standard error
    python -m stockade.daemon --on-demand      as the CLI and SDK start it: its own session and cgroup, log to a file
"""
