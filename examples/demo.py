"""`make run`: a script nobody trusts does its work in a container; then five attacks meet the wall.

Everything printed comes from the container's own record of its end or from the program's output. The exit code is 1
if any wall did not hold or anything was left behind.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from examples import engine  # noqa: E402 (it lies beside this file)

SEARCHED = "/usr/local/bin:/usr/bin:/bin"


class Outcome(NamedTuple):
    """One run of `stockade do`."""

    status: int
    output: str
    report: dict[str, Any]

    @property
    def end(self) -> dict[str, Any]:
        """The container's record of its end."""
        found: dict[str, Any] = self.report["exit"]
        return found


class Attack(NamedTuple):
    """A program, its limits, and the evidence that something stopped it."""

    title: str
    script: str
    limits: tuple[str, ...]
    evidence: Callable[[Outcome], str]
    """What stopped it, in words; empty if nothing did."""


def main() -> int:
    """The main job, then the attacks; 1 if anything did not hold."""
    interpreter = shutil.which("python3", path=SEARCHED)
    if interpreter is None:
        print("the view shows no python3: apt-get install python3", file=sys.stderr)
        return 1
    print(bold("\nStockade: running code you do not trust, behind the native wall"))
    before = Host.look()
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="stockade-demo-") as place:
        shutil.copy(HERE / "untrusted.py", place)
        shutil.copytree(HERE / "attacks", Path(place, "attacks"))
        failures += main_job(place, interpreter)
        for attack in ATTACKS:
            failures += try_attack(place, interpreter, attack)
        if sorted(os.listdir(place)) != ["attacks", "untrusted.py"]:
            failures.append(f"the directory was changed: {sorted(os.listdir(place))}")
    title("The engine: a container outlives its daemon", "an image, limits, a log; no network")
    failures += engine.story(line)
    failures += afterwards(before)
    for failure in failures:
        print(red(f"  FAILED  {failure}"))
    print(bold(red("\nThe wall did not hold.\n") if failures else green("\nThe wall held.\n")))
    return 1 if failures else 0


def main_job(place: str, interpreter: str) -> list[str]:
    """An honest script in a container with every limit; what went wrong."""
    title(
        "The main job: untrusted.py",
        "256 MiB of memory, 1 processor, 64 processes, 20 s; no network, own user namespace",
    )
    limits = ("--memory", "256m", "--cpus", "1", "--pids-limit", "64", "--time-limit", "20s")
    outcome = stockade_do(place, limits, interpreter, "untrusted.py")
    show_output(outcome.output)
    usage, times = outcome.end["usage"], outcome.report["times"]
    line("exit", f"{outcome.status}, {outcome.end['reason']}")
    line("used", f"{seconds(usage['cpu'])} of processor time, {mebibytes(usage['memory_peak'])} of memory at most")
    line("steps", " · ".join(f"{name} {value * 1000:.1f}" for name, value in times.items()) + " ms")
    changed = [change["path"].removeprefix(f"{place}/") for change in outcome.report["changes"]["inside"]]
    line("changes", f"{', '.join(changed) or 'none'}: discarded, as nobody asked for them")
    return [] if outcome.status == 0 and changed == ["primes.txt"] else ["the main job did not do its work"]


def try_attack(place: str, interpreter: str, attack: Attack) -> list[str]:
    """Run one attack; what went wrong."""
    title(f"Attack: {attack.title}", " ".join(attack.limits))
    began = time.monotonic()
    outcome = stockade_do(place, attack.limits, interpreter, attack.script)
    took = time.monotonic() - began
    show_output(outcome.output)
    evidence = attack.evidence(outcome)
    line("exit", f"{outcome.status}, {outcome.end['reason']}, after {took:.1f} s")
    line("stopped by", green(evidence) if evidence else red("nothing"))
    left = leftovers(outcome.report["id"])
    line("left on the host", ", ".join(left) or f"nothing; a new process starts in {responsiveness():.1f} ms")
    return [f"{attack.title}: {problem}" for problem in ([] if evidence else ["nothing stopped it"]) + left]


def stockade_do(place: str, limits: tuple[str, ...], *command: str) -> Outcome:
    """`stockade do` in `place`, with its report for programs."""
    beside = Path(sys.executable).parent / "stockade"
    start = "import sys; from stockade.cli import main; sys.exit(main())"
    words = [str(beside)] if beside.exists() else [sys.executable, "-c", start]
    done = subprocess.run(
        [*words, "do", "--format", "json", *limits, "--", *command],
        cwd=place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
    )
    said = done.stderr.decode(errors="replace").rstrip().splitlines()
    try:
        report = json.loads(said[-1])
    except (IndexError, ValueError):
        raise SystemExit("\n".join(said) or f"stockade do ended with {done.returncode} and no report") from None
    return Outcome(done.returncode, done.stdout.decode(errors="replace"), report)


def forks_refused(outcome: Outcome) -> str:
    """The pids limit: its counter where the kernel has one, else the errno that the program got."""
    refused = outcome.end["pids_refused"]
    limit = outcome.report["limits"]["pids"]
    if refused:
        return f"the pids limit of {limit}: {refused:,} forks refused (counted by the kernel)"
    return f"the pids limit of {limit}: fork answered EAGAIN" if "fork: EAGAIN" in outcome.output else ""


def out_of_memory(outcome: Outcome) -> str:
    """The memory limit: the exit reason and the kernel's counter."""
    if outcome.end["reason"] != "OOMKilled" or outcome.status != 137:
        return ""
    peak = mebibytes(outcome.end["usage"]["memory_peak"])
    return f"the memory limit: OOMKilled, {outcome.end['oom_kills']} killed, {peak} at most"


def out_of_time(outcome: Outcome) -> str:
    """The time limit: the exit reason."""
    cpu = seconds(outcome.end["usage"]["cpu"])
    return f"the time limit: TimedOut, after {cpu} of processor time" if outcome.end["reason"] == "TimedOut" else ""


def errnos(*expected: str) -> Callable[[Outcome], str]:
    """What the program got from the kernel, in its own words; every try must have failed."""

    def evidence(outcome: Outcome) -> str:
        tries = [one for one in outcome.output.splitlines() if ": E" in one]
        held = outcome.status == 0 and len(tries) == len(expected)
        held = held and all(
            one.split(": ")[-1] in allowed.split("|") for one, allowed in zip(tries, expected, strict=True)
        )
        return "; ".join(tries) if held else ""

    return evidence


ATTACKS = (
    Attack("a fork bomb", "attacks/fork_bomb.py", ("--pids-limit", "64", "--time-limit", "20s"), forks_refused),
    Attack("a memory hog", "attacks/memory_hog.py", ("--memory", "64m", "--time-limit", "20s"), out_of_memory),
    Attack(
        "an endless loop",
        "attacks/endless_loop.py",
        (
            "--time-limit",
            "1s",
        ),
        out_of_time,
    ),
    Attack(
        "reading the host's /etc/shadow",
        "attacks/read_shadow.py",
        ("--time-limit", "20s"),
        errnos("ENOENT|EACCES", "ENOENT|EACCES", "EPERM|EACCES", "ENOENT|EACCES|EPERM"),
    ),
    Attack(
        "a connection to the outside",
        "attacks/call_home.py",
        ("--time-limit", "20s"),
        errnos("ENETUNREACH", "ENETUNREACH", "ENETUNREACH|EADDRNOTAVAIL|EAFNOSUPPORT"),
    ),
)


class Host(NamedTuple):
    """What must be the same afterwards."""

    shadow: str
    mounts: int
    hostname: str

    @classmethod
    def look(cls) -> Host:
        """As it is now."""
        shadow = Path("/etc/shadow")
        known = shadow.read_bytes() if os.access(shadow, os.R_OK) else str(shadow.stat()).encode()
        mounts = len(Path("/proc/self/mountinfo").read_text().splitlines())
        return cls(hashlib.sha256(known).hexdigest(), mounts, os.uname().nodename)


def afterwards(before: Host) -> list[str]:
    """Whether the host is as it was; what is not."""
    title("The host, afterwards")
    now = Host.look()
    problems = []
    for name, text in (("shadow", "/etc/shadow"), ("hostname", "host name"), ("mounts", "mounts")):
        same = getattr(before, name) == getattr(now, name)
        line(text, "as before" if same else red(f"{getattr(before, name)} → {getattr(now, name)}"))
        problems += [] if same or name == "mounts" else [f"{text} changed"]
    return problems


def leftovers(identity: str) -> list[str]:
    """What of a container is still there, once its end had two seconds: processes, cgroups, mounts, directories."""
    deadline = time.monotonic() + 2
    while (found := list(traces(identity))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def traces(identity: str) -> Iterator[str]:
    """Where the container's id is found on the host."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                known = (entry / "cgroup").read_text() + (entry / "cmdline").read_text(errors="replace")
            except OSError:
                continue
            if identity in known:
                yield f"process {entry.name}"
    for base, _, _ in os.walk("/sys/fs/cgroup"):
        if identity in os.path.basename(base):
            yield f"cgroup {base}"
    if identity in Path("/proc/self/mountinfo").read_text():
        yield "a mount"
    data = os.environ.get("STOCKADE_DATA_DIR") or (
        "/var/lib/stockade" if os.geteuid() == 0 else "~/.local/share/stockade"
    )
    if Path(data, "containers", identity).expanduser().exists():
        yield "its directory"


def responsiveness() -> float:
    """How long the host takes to run `true`, in milliseconds."""
    began = time.monotonic()
    subprocess.run(["true"], check=True)
    return (time.monotonic() - began) * 1000


def title(text: str, details: str = "") -> None:
    """What comes next."""
    print(f"\n{bold(text)}" + (dim(f"   {details}") if details else ""))


def line(name: str, text: str) -> None:
    """One finding."""
    print(f"  {name:>16}  {text}")


def show_output(output: str) -> None:
    """What the program printed: the last of it where a line was written over; nothing that a terminal obeys."""
    for one in output.rstrip("\n").split("\n"):
        shown = "".join(sign if sign.isprintable() else "·" for sign in one.rsplit("\r", 1)[-1])
        print(f"  {'':>16}  {dim('│')} {shown}")


def seconds(value: float | None) -> str:
    """A time that may be unknown."""
    return "an unknown time" if value is None else f"{value:.2f} s"


def mebibytes(value: int | None) -> str:
    """A size that may be unknown."""
    return "an unknown amount" if value is None else f"{value / (1 << 20):.1f} MiB"


def bold(text: str) -> str:
    """For a terminal; elsewhere as it is."""
    return paint("1", text)


def dim(text: str) -> str:
    """For a terminal; elsewhere as it is."""
    return paint("2", text)


def red(text: str) -> str:
    """For a terminal; elsewhere as it is."""
    return paint("31", text)


def green(text: str) -> str:
    """For a terminal; elsewhere as it is."""
    return paint("32", text)


def paint(code: str, text: str) -> str:
    """Colour, if somebody can see it and did not say no."""
    return f"\033[{code}m{text}\033[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text


if __name__ == "__main__":
    sys.exit(main())
