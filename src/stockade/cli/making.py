"""Options of `create` and `run`, and the container that they ask for."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from stockade.cli import ends, members
from stockade.cli.foreground import window_size
from stockade.cli.options import LIMITS, limits_from, positive
from stockade.cli.table import Args, Option
from stockade.errors import BadValue
from stockade.model import parse_duration, parse_size
from stockade.sdk.wanted import Health, Wanted, parse_ulimit

_HEALTH = "Health"
_SECURITY = "Security"
_INSIDE = "What it sees"

OPTIONS = (
    Option("--interactive", "pass standard input on", "-i"),
    Option("--tty", "give it a terminal", "-t"),
    Option("--name", "what to call it", metavar="NAME"),
    Option(
        "--pull",
        "fetch the image: always, if it is missing, or never",
        "",
        "WHEN",
        default="missing",
        completes=("always", "missing", "never"),
    ),
    Option("--platform", "for another machine than this one, as linux/arm64", "", "PLATFORM"),
    Option("--quiet", "no progress while the image is fetched", "-q"),
    Option("--rm", "remove it when it ends"),
    Option("--init", "let process 1 be an init, which passes signals on and collects orphans"),
    Option("--restart", "start it again: no, always, unless-stopped, on-failure[:TIMES]", "", "POLICY", default="no"),
    Option("--wall", "what stands between it and this machine: `stockade system check` lists them", "", "WALL"),
    Option("--runtime", "docker's word for --wall", "", "WALL"),
    Option("--stop-signal", "what asks it to end", metavar="SIGNAL"),
    Option("--stop-timeout", "seconds until it is killed when it does not", "", "SECONDS", positive),
    Option("--label", "mark it", "-l", "NAME=VALUE", many=True),
    Option("--label-file", "marks of a file, one a line", "", "FILE", many=True, completes="file"),
    Option("--annotation", "say something to the runtime", "", "NAME=VALUE", many=True),
    Option("--cidfile", "write its id to a file that does not exist yet", metavar="FILE", completes="file"),
    Option(
        "--log-driver",
        "where its output goes: json-file, local or none",
        "",
        "DRIVER",
        completes=("json-file", "local", "none"),
    ),
    Option("--log-opt", "as max-size=10m, max-file=3", "", "NAME=VALUE", many=True),
    Option("--entrypoint", "run this instead of the image's; empty for none", "", "PROGRAM", heading=_INSIDE),
    Option("--env", "set a variable; NAME alone passes yours on", "-e", "NAME=VALUE", many=True, heading=_INSIDE),
    Option("--env-file", "set the variables of a file", metavar="FILE", many=True, completes="file", heading=_INSIDE),
    Option("--workdir", "where it starts, inside", "-w", "DIR", heading=_INSIDE),
    Option("--hostname", "the host name inside", "-h", "NAME", heading=_INSIDE),
    Option("--domainname", "the domain name inside", "", "NAME", heading=_INSIDE),
    Option(
        "--volume",
        "mount a directory or file of this machine, or the volume of that name",
        "-v",
        "SRC:DST[:ro]",
        many=True,
        heading=_INSIDE,
    ),
    Option("--volumes-from", "mount what another container has mounted", "", "NAME[:ro]", many=True, heading=_INSIDE),
    Option("--mount", "the same in words: type=bind,src=…,dst=…,ro", "", "WORDS", many=True, heading=_INSIDE),
    Option("--tmpfs", "a file system in memory, as /tmp:size=64m", "", "DST[:OPTIONS]", many=True, heading=_INSIDE),
    Option("--device", "show a device, as /dev/fuse", "", "SRC[:DST[:rwm]]", many=True, heading=_INSIDE),
    Option("--read-only", "let it not change its root file system", heading=_INSIDE),
    *ends.OPTIONS,
    Option("--add-host", "one more line of /etc/hosts", "", "NAME:ADDRESS", many=True, heading=_INSIDE),
    Option("--dns", "a name server", "", "ADDRESS", many=True, heading=_INSIDE),
    Option("--shm-size", "the size of /dev/shm", "", "SIZE", parse_size, heading=_INSIDE),
    Option("--pid", "whose processes it sees: host, container:NAME", "", "MODE", heading=_INSIDE),
    Option("--ipc", "whose shared memory: host, none, container:NAME", "", "MODE", heading=_INSIDE),
    Option("--uts", "whose host name: host", "", "MODE", heading=_INSIDE),
    Option("--cgroupns", "which cgroups it sees: host, private", "", "MODE", heading=_INSIDE),
    Option("--user", "who it is inside, by name or number", "-u", "USER[:GROUP]", heading=_SECURITY),
    Option("--group-add", "one more group", "", "GROUP", many=True, heading=_SECURITY),
    Option("--userns", "host: root inside is root outside", "", "MODE", heading=_SECURITY),
    Option("--cap-add", "grant a capability", "", "NAME", many=True, heading=_SECURITY),
    Option("--cap-drop", "take a capability away; ALL takes every one", "", "NAME", many=True, heading=_SECURITY),
    Option("--privileged", "take the wall down: every capability and device", heading=_SECURITY),
    Option(
        "--security-opt",
        "no-new-privileges, seccomp=FILE, seccomp=unconfined",
        "",
        "WORDS",
        many=True,
        heading=_SECURITY,
    ),
    Option("--sysctl", "set a kernel parameter of its namespaces", "", "NAME=VALUE", many=True, heading=_SECURITY),
    Option("--ulimit", "a resource limit, as nofile=1024:2048", "", "NAME=SOFT[:HARD]", parse_ulimit, many=True),
    Option("--oom-score-adj", "how readily the kernel kills it", "", "NUMBER", int, 0),
    Option("--health-cmd", "ask it by this line of its shell whether it is well", "", "LINE", heading=_HEALTH),
    Option("--health-interval", "how often (30s)", "", "DURATION", parse_duration, 0.0, heading=_HEALTH),
    Option(
        "--health-timeout", "how long it may take to answer (30s)", "", "DURATION", parse_duration, 0.0, heading=_HEALTH
    ),
    Option("--health-retries", "how often it may fail (3)", "", "NUMBER", positive, 0, heading=_HEALTH),
    Option(
        "--health-start-period", "how long failing counts nothing", "", "DURATION", parse_duration, 0.0, heading=_HEALTH
    ),
    Option(
        "--health-start-interval", "how often until then (5s)", "", "DURATION", parse_duration, 0.0, heading=_HEALTH
    ),
    Option("--no-healthcheck", "never ask, whatever the image says", heading=_HEALTH),
    *LIMITS,
    *members.OPTIONS,
)


def wanted(args: Args, stdin: bool) -> Wanted:
    """The container that the options and operands ask for."""
    source, *words = args.rest
    tree = source if source.startswith(("/", "./", "../")) or source in (".", "..") else ""
    if tree and not os.path.exists(tree):
        raise BadValue(f"there is no {tree}", hint="a directory of this machine, or the name of an image")
    if args["wall"] and args["runtime"] and args["wall"] != args["runtime"]:
        raise BadValue(f"--wall {args['wall']} and --runtime {args['runtime']} contradict each other")
    entrypoint = args["entrypoint"]
    return Wanted(
        image="" if tree else source,
        rootfs=tree,
        command=tuple(words) or None,
        entrypoint=None if entrypoint is None else (entrypoint,) if entrypoint else (),
        name=args["name"] or "",
        env=_variables(args),
        workdir=args["workdir"] or "",
        user=args["user"] or "",
        groups=args["group-add"],
        hostname=args["hostname"] or "",
        domainname=args["domainname"] or "",
        labels=_labels(args),
        annotations=_pairs(args["annotation"]),
        tty=args["tty"],
        size=window_size() if args["tty"] else None,
        stdin=stdin,
        **_mounts(args),
        **ends.wanted(args),
        wall=args["wall"] or args["runtime"] or "",
        limits=limits_from(args),
        ulimits=args["ulimit"],
        devices=args["device"],
        cap_add=args["cap-add"],
        cap_drop=args["cap-drop"],
        privileged=args["privileged"],
        security=tuple(_security(text) for text in args["security-opt"]),
        user_namespace=args["userns"] or "",
        pid_namespace=args["pid"] or "",
        ipc_namespace=args["ipc"] or "",
        uts_namespace=args["uts"] or "",
        cgroup_namespace=args["cgroupns"] or "",
        sysctls=_pairs(args["sysctl"]),
        shm_size=args["shm-size"] or 0,
        extra_hosts=args["add-host"],
        dns=args["dns"],
        oom_score_adj=args["oom-score-adj"],
        init=args["init"],
        remove=args["rm"],
        restart=args["restart"],
        stop_signal=args["stop-signal"] or "",
        stop_timeout=args["stop-timeout"],
        health=_health(args),
        log=(args["log-driver"] or "", _pairs(args["log-opt"])),
        platform=args["platform"] or "",
        host=members.members(args),
    )


def _mounts(args: Args) -> dict[str, Any]:
    return {
        "binds": tuple(text for text in args["volume"] if ":" in text),
        "volumes": tuple(text for text in args["volume"] if ":" not in text),
        "volumes_from": args["volumes-from"],
        "mounts": tuple(mount(text) for text in args["mount"]),
        "tmpfs": dict(_split(text, ":") for text in args["tmpfs"]),
        "read_only": args["read-only"],
    }


def mount(text: str) -> dict[str, Any]:
    """Read docker's `--mount` words as a Mount object of its API.

    Raises:
        BadValue: a word means nothing here.
    """
    found: dict[str, Any] = {"Type": "volume"}
    for word in text.split(","):
        name, equals, value = word.partition("=")
        name = _MOUNT_NAMES.get(name.lower(), name.lower())
        if name == "Source":
            found[name] = os.path.abspath(value) if found["Type"] == "bind" or value.startswith(".") else value
        elif name in ("Type", "Target"):
            found[name] = value
        elif name in _MOUNT_FLAGS:
            _put(found, _MOUNT_FLAGS[name], _truth(word, value if equals else "true"))
        elif name in _MOUNT_OPTIONS:
            option, read = _MOUNT_OPTIONS[name]
            _put(found, option, read(word, value))
        elif name == "volume-label":
            label, _, rest = value.partition("=")
            _put(found, f"VolumeOptions.Labels.{label}", rest)
        else:
            raise BadValue(
                f"--mount: {word!r} is not served",
                hint="type, src, dst, ro, bind-propagation, volume-subpath, image-subpath",
            )
    if "Target" not in found:
        raise BadValue(f"--mount {text!r} has no dst", hint="type=bind,src=./data,dst=/data")
    return found


def _put(found: dict[str, Any], path: str, value: object) -> None:
    """Set a member of an object within an object."""
    *way, last = path.split(".")
    for name in way:
        found = found.setdefault(name, {})
    found[last] = value


def _truth(word: str, value: str) -> bool:
    if value not in ("true", "false", "1", "0"):
        raise BadValue(f"--mount: {word!r} is neither true nor false")
    return value in ("true", "1")


def _octal(word: str, value: str) -> int:
    try:
        return int(value, 8)
    except ValueError:
        raise BadValue(f"--mount: {word!r} is no octal mode", hint="tmpfs-mode=1777") from None


_MOUNT_NAMES = {
    "type": "Type",
    "src": "Source",
    "source": "Source",
    "dst": "Target",
    "destination": "Target",
    "target": "Target",
    "ro": "readonly",
}
_MOUNT_FLAGS = {
    "readonly": "ReadOnly",
    "bind-nonrecursive": "BindOptions.NonRecursive",
    "volume-nocopy": "VolumeOptions.NoCopy",
}
_MOUNT_OPTIONS: dict[str, tuple[str, Callable[[str, str], object]]] = {
    "bind-propagation": ("BindOptions.Propagation", lambda _, value: value),
    "volume-subpath": ("VolumeOptions.Subpath", lambda _, value: value),
    "image-subpath": ("ImageOptions.Subpath", lambda _, value: value),
    "tmpfs-size": ("TmpfsOptions.SizeBytes", lambda _, value: parse_size(value)),
    "tmpfs-mode": ("TmpfsOptions.Mode", _octal),
}


def _variables(args: Args) -> dict[str, str]:
    from stockade.embedded import environment

    found: dict[str, str] = {}
    for file in args["env-file"]:
        found |= environment.from_file(file)
    return found | environment.given(args["env"], os.environ)


def _labels(args: Args) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in args["label-file"]:
        try:
            with open(path, encoding="utf-8") as file:
                lines = [line.strip() for line in file]
        except OSError as error:
            raise BadValue(f"--label-file {path}: {error.strerror}") from error
        found |= _pairs(tuple(line for line in lines if line and not line.startswith("#")))
    return found | _pairs(args["label"])


def _pairs(words: tuple[str, ...]) -> dict[str, str]:
    return dict(_split(word, "=") for word in words)


def _split(text: str, separator: str) -> tuple[str, str]:
    name, _, value = text.partition(separator)
    if not name:
        raise BadValue(f"{text!r} has no name", hint=f"NAME{separator}VALUE")
    return name, value


def _security(text: str) -> str:
    """A seccomp profile is given by file here, and to the daemon by its text."""
    name, _, value = text.replace(":", "=", 1).partition("=")
    if name != "seccomp" or value == "unconfined":
        return text
    try:
        with open(value, encoding="utf-8") as file:
            return f"seccomp={file.read()}"
    except OSError as error:
        raise BadValue(f"--security-opt {text!r}: cannot read {value}: {error.strerror}") from error


def _health(args: Args) -> Health | None:
    if args["no-healthcheck"]:
        if args["health-cmd"]:
            raise BadValue("--no-healthcheck and --health-cmd contradict each other")
        return Health(("NONE",))
    values = [args[f"health-{name}"] for name in ("interval", "timeout", "retries", "start-period", "start-interval")]
    if not args["health-cmd"] and not any(values):
        return None
    return Health(("CMD-SHELL", args["health-cmd"]) if args["health-cmd"] else (), *values)
