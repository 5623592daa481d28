"""The configuration of an image that is made of a container: Docker's `Config` object. Pure."""

from __future__ import annotations

from typing import Any

from stockade.engine.files import MARK
from stockade.engine.records import Wanted
from stockade.images.values import HealthCheck

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_MADE = (
    f"/{MARK}",
    "/dev",
    "/dev/console",
    "/dev/mqueue",
    "/dev/pts",
    "/dev/shm",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc",
    "/sys",
    "/sys/fs/cgroup",
)


def made_by_runtime(wanted: Wanted) -> tuple[str, ...]:
    """What every container has, and where it has something mounted: nobody's change."""
    asked = {point.target for point in wanted.mounts}
    return tuple(path for path in _MADE if path not in asked)


def config(wanted: Wanted, image: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The container's, in the place of the image's; what was `given` lies over it (moby: daemon/commit.go, merge)."""
    own = of_container(wanted, image)
    if not given:
        return own
    found = {key: value for key, value in given.items() if value not in (None, "", [], {})}
    names = {one.partition("=")[0] for one in found.get("Env", ())}
    env = [*found.get("Env", ()), *(one for one in own["Env"] if one.partition("=")[0] not in names)]
    joined = {key: {**(own.get(key) or {}), **(found.get(key) or {})} for key in ("Labels", "ExposedPorts", "Volumes")}
    rest = {key: value for key, value in own.items() if key not in ("Cmd", "Entrypoint")}
    if "Entrypoint" not in found:
        rest |= {key: own[key] for key in ("Cmd", "Entrypoint") if key in own and key not in found}
    return {**rest, **found, "Env": env, **{key: value for key, value in joined.items() if value}}


def instructions(changes: Sequence[str]) -> list[str]:
    """The lines of all changes, as of one Dockerfile: a backslash at the end goes on, `#` begins a comment."""
    text = "\n".join(changes).replace("\\\n", "")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def of_container(wanted: Wanted, image: dict[str, Any]) -> dict[str, Any]:
    """What the container was made with; fields that only images have stay the image's."""
    found: dict[str, Any] = {
        **{key: image[key] for key in ("OnBuild", "ArgsEscaped") if image.get(key)},
        "Env": list(wanted.env),
        "Cmd": list(wanted.command) or None,
        "Entrypoint": list(wanted.entrypoint) or None,
        "WorkingDir": wanted.workdir,
        "User": wanted.user,
        "StopSignal": wanted.stop_signal,
        "StopTimeout": wanted.stop_timeout,
        "Labels": dict(wanted.labels),
        "ExposedPorts": {port: {} for port in wanted.exposed_ports},
        "Volumes": {path: {} for path in wanted.volumes},
        "Shell": list(wanted.shell),
        "Healthcheck": _health(wanted.health),
    }
    return {key: value for key, value in found.items() if value or key == "Env"}


def _health(check: HealthCheck | None) -> dict[str, Any] | None:
    if check is None or not check.test:
        return None
    seconds = {
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
    }
    found = {key: round(value * 1e9) for key, value in seconds.items() if value}
    return {"Test": list(check.test), **found, **({"Retries": check.retries} if check.retries else {})}
