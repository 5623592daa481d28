"""Options that Docker's command has and this one has not, each with its reason; read where a command line fails."""

from __future__ import annotations

_SWARM = "there are no swarms"
_SIGNED = "signatures are not looked at"
_WINDOWS = "it is Windows'"
_ONE = "an image has one platform here: each is an image of its own"
_COPY = "networks that only hold a configuration are not served"
_MAKING = {
    "--attach": "what is attached follows from --interactive and --detach",
    "--cpu-count": _WINDOWS,
    "--cpu-percent": _WINDOWS,
    "--io-maxbandwidth": _WINDOWS,
    "--io-maxiops": _WINDOWS,
    "--isolation": _WINDOWS,
    "--disable-content-trust": _SIGNED,
    "--gpus": "devices by request (GPUs, CDI) are not served yet; --device names one",
    "--kernel-memory": "the kernel has no such limit any more",
    "--storage-opt": "a size of the root file system is not served yet",
    "--use-api-socket": "whoever has the socket is root; -v mounts it",
}

UNSERVED: dict[str, dict[str, str]] = {
    "run": {**_MAKING, "--sig-proxy": "signals are passed on, unless it runs with --detach"},
    "create": _MAKING,
    "network create": {
        "--config-from": _COPY,
        "--config-only": _COPY,
        "--ingress": _SWARM,
        "--scope": "a network is this machine's",
    },
    "volume create": dict.fromkeys(
        ("--availability", "--group", "--limit-bytes", "--required-bytes", "--scope", "--secret", "--sharing",
         "--topology-preferred", "--topology-required", "--type"), _SWARM,
    ),
    "volume ls": {"--cluster": _SWARM},
    "pull": {"--disable-content-trust": _SIGNED},
    "push": {"--disable-content-trust": _SIGNED},
    "images": {"--tree": _ONE},
    "rmi": {"--platform": _ONE},
}  # fmt: skip
