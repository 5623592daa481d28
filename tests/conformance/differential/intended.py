"""Where we differ from Docker on purpose: what, and why. `docs/docker-api.md` says the larger of it."""

from __future__ import annotations

import re

EARLIER = "what could never start is refused when it is made, not when it is started"
STATUS = "a mistake of the client's is a 4xx, whatever it is inside of dockerd"
WORDS = "the sentence is ours: it names what is wrong, not the types and programs that dockerd is made of"
NAMED = "no field is ignored (docs/docker-api.md)"
STORE = "the peer keeps its images in containerd, with a manifest and more events for each"
PLACES = "files lie where they lie"
NUMBERS = "numbers of one run"
OWN = "facts about the engine itself"
STRICT = "what is read by people and other programs is held to the narrower form"

_INTENDED = (
    (r".*\.(condition|hint): ", "an error says its class, and what helps (docs/docker-api.md)"),
    (r".*\.status: docker 50\d, ours (4\d\d|501)$", STATUS),
    (r".*\.status: docker 403, ours 40[09]$|.*\.status: docker 40[049], ours 40[034]$", STATUS),
    # Of every container.
    (r".*\.(ResolvConfPath|HostnamePath|HostsPath|LogPath|SandboxKey|Source|Mountpoint): ", PLACES),
    (r".*\.(GraphDriver|Driver|Storage)(\.\w+)?: ", "one storage driver; what of it is told is in docs/docker-api.md"),
    (r".*\.(ImageManifestDescriptor|Descriptor)\b|.*\.RepoDigests(\[\])?: ", STORE),
    (r".*HostConfig\.LogConfig\.Config\.max-(size|file): ", "logs are kept in 3 files of 10 MiB (docs/docker-api.md)"),
    (r".*HostConfig\.PidsLimit: ", "processes are limited to 4,096 (docs/docker-api.md)"),
    (r".*HostConfig\.Runtime: ", "it names the wall (docs/docker-api.md)"),
    (r".*HostConfig\.CgroupnsMode: ", "private also where the cgroups are version 1"),
    (r".*HostConfig\.(Dns\w*|Blkio\w+|Devices|Ulimits): ", "an empty list is [], however nothing was asked for"),
    (r".*HostConfig\.Cap(Add|Drop)\[", "capabilities have their whole name, as up to Docker 28"),
    (r".*\.Networks\.(none|host)\.EndpointID: ", "no network, no end"),
    (r".*\[0\]\.NetworkSettings.*\.NetworkID: ", "a line of a list is made of the container's record alone"),
    (r"connections: container stopped.*\.n3\.NetworkID: ", "the id of a network is known before the start, too"),
    (r"rich: list.body\[0\]\.Ports\[\d\]\.IP: ", "no address where nothing is published"),
    (r".*\.DNSNames: ", "no names of a network on which there are none"),
    (r".*\.DriverOpts: |images: list.*body\[0\]\.Labels: ", "an empty table is null"),
    (r"restarts: inspect stopped.body.RestartCount: ", "a restart counts when it happens, not when it is planned"),
    # Numbers.
    (r"running: stats.*(_stats|networks\.eth0)\.", NUMBERS),
    (r"running: top[^.]*\.body\.Processes\[0\]\[\d\]: ", "users and pids are the host's, and root is nobody there"),
    # Refusals.
    (r"refused_creations: (create|start): (no image|network of nobody|protocol nonsense|seccomp|tmpfs options|log size|"
     r"device|ulimit|userns|health kind|blkio weight)", EARLIER),
    (r"waits: (create|start) as (nobody|33|no group)", EARLIER),
    (r"waits: (create|start) in a file", "the program that starts there looks at it"),
    (r"updates: (nonsense|devices|blkio)\.|system: events unknown", NAMED),
    (r"commands: (create|start): empty command", EARLIER),
    (r"updates: (memory above swap|not running|inspect|inspect not running)\.",
     "a raised limit of memory takes the implied one of swap along; dockerd wants both to be said"),
    (r"names: with slash\.", "a path with two slashes is the same path"),
    (r"filters: name regex\.", "a pattern that is none is said to be none"),
    (r"logs: since date\.", "RFC 3339 is a time here, as it is to events"),
    (r"logs: .*\.lines: docker '\{\"message\"", "an error says its class"),
    (r"commands: start: environment nonsense\.", "a variable without a name is handed on"),
    (r"commands: inspect: working directory absent.body.ExitCode: ", "127 is for a program that is not there"),
    (r"absent: GET !/v1.20|absent: POST /containers/nope/attach|attached: (keys|paused)\.", "every error is JSON"),
    (r"networks: create: (spaces|slash)|connections: events.*'name': 'a[ /]b'", STRICT),
    (r"networks: create: (ipv6 without v6|option unknown)", NAMED),
    (r"connections: disconnect again force\.", "what is to be gone by force may be gone already"),
    (r".*\.(message|Message|State\.Error|error): docker ['\"]|.*\.err\[\d?\]: |.*\.body: docker \['", WORDS),
    (r"(commands|command_line): (start|exec).*(said|out)\[0\]", WORDS),
    # Files.
    (r"files: stat /(t|dev/null|proc/self), running\.", "what is mounted in a running container is seen"),
    (r"files: get /d/nope, \w+\.body: ", "an error says its class"),
    (r"commits: export\.", "it is a tar of what the image and the container wrote"),
    # Images.
    (r"(commits|images): history\.body", "a line for each layer; sizes are those of the files"),
    (r"images: filter (before|since|until)\[\]: ", "an image that names no time has none"),
    (r"images: tag no repo\.|images_going: (create nothing|load \w+|save none)\b", "nothing to do is an error"),
    (r"images_going: push nowhere\.|images_going: import nonsense", STORE),
    (r"images_going: (save|remove import|events)|events: .*image (create|tag|untag) ", STORE),
    # Events.
    (r"(events|connections): .*container (stop|die) ", "the end is told before the stop that asked for it"),
    (r"events: .*volume (un)?mount ", "reading an archive of a container that is stopped mounts nothing"),
    # The system.
    (r"system: (ping|info)|networks: inspect bridge|networks: inspect (host|none).body.Status", OWN),
    (r"system: df( volumes)?\.body\.", "of 1.52 and newer (docs/docker-api.md)"),
)  # fmt: skip


def intended(story: str, path: str, what: str) -> str | None:
    """The pattern that lets a difference be; None: there is none."""
    line = f"{story}: {path}: {what}"
    return next((pattern for pattern, _ in _INTENDED if re.match(pattern, line)), None)


def patterns() -> list[str]:
    """All of them."""
    return [pattern for pattern, _ in _INTENDED]
