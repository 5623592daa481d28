"""runtime-tools' validation programs: built from the Go module, run against a runtime, their TAP read.

The programs mount, make cgroups and call a runtime by the name in RUNTIME. Some of their containers share the host's
namespaces, mount namespace included, so each program gets namespaces of its own here: what it leaves dies with it.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.programs import go

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent.parent.parent / "build/runtime_tools"
MODULE = "github.com/opencontainers/runtime-tools"
SECONDS = 60
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
# Directories of cgroups that the programs name themselves and leave.
CGROUPS = ("cgrouptest", "testdir")


@dataclass(frozen=True, slots=True)
class Report:
    """What one program said of one runtime."""

    code: int
    passed: int
    failed: tuple[str, ...]
    skipped: int
    """Complaints outside numbered tests (YAML without a test)."""
    loose: tuple[str, ...]
    text: str

    def word(self) -> str:
        """For the table."""
        if self.code:
            return f"exit {self.code}"
        bad = len(self.failed) + len(self.loose)
        return f"{self.passed} ok" + (f", {bad} not ok" if bad else "")


def read_tap(code: int, text: str) -> Report:
    lines = text.splitlines()
    failed = tuple(re.sub(r"^not ok \d+ - ", "", line) for line in lines if line.startswith("not ok"))
    passed = sum(line.startswith("ok ") for line in lines)
    skipped = sum("# skip" in line.lower() for line in lines)
    loose = tuple(loose_errors(lines)) if not passed and not failed else ()
    return Report(code, passed, failed, skipped, loose, text)


def loose_errors(lines: list[str]) -> Iterator[str]:
    for line in lines:
        found = re.search(r'"error": "(.*?)(\\n|")', line)
        if found:
            yield found[1]


def build() -> Path:
    """The directory of the programs; built once, into the checkout's build directory."""
    done = BUILD / "done"
    stamp = (HERE / "go.sum").read_text()
    if done.is_file() and done.read_text() == stamp:
        return BUILD
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    for package in ("cmd/runtimetest", "validation/..."):
        go("build", "-mod=mod", "-o", f"{BUILD}/", f"{MODULE}/{package}", here=HERE, CGO_ENABLED="0")
    found = Path(go("list", "-m", "-f", "{{.Dir}}", MODULE, here=HERE).strip())
    architecture = MACHINES[platform.machine()]
    shutil.copy(found / f"rootfs-{architecture}.tar.gz", BUILD / f"rootfs-{architecture}.tar.gz")
    done.write_text(stamp)
    return BUILD


def programs(built: Path) -> list[str]:
    kept = {"runtimetest", "done"}
    return sorted(
        path.name for path in built.iterdir() if path.name not in kept and not path.name.startswith("rootfs-")
    )


@contextlib.contextmanager
def bench(command: list[str]) -> Iterator[Bench]:
    """A place in which programs meet one runtime."""
    top = Path(tempfile.mkdtemp(prefix="stockade-rt-"))
    top.chmod(0o755)  # roots of user namespaces pass through
    made = Bench(top, command)
    try:
        yield made
    finally:
        made.clear()
        shutil.rmtree(top, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Bench:
    top: Path
    command: list[str]

    def run(self, built: Path, program: str) -> Report:
        """One program, in mount, network, UTS and IPC namespaces of its own."""
        runtime = self.top / "runtime"
        words = " ".join(f"'{word}'" for word in [*self.command, "--root", str(self.top / "state")])
        runtime.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        runtime.chmod(0o755)
        (self.top / "tmp").mkdir(exist_ok=True)
        script = 'mount -t tmpfs tmpfs "$TMPDIR" && ip link set lo up; exec "$@"'
        wrapped = [
            "unshare",
            "--mount",
            "--net",
            "--uts",
            "--ipc",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
        ]
        with open(self.top / "out", "w+") as out:
            process = subprocess.Popen(
                [*wrapped, str(built / program)],
                cwd=built,
                env={**os.environ, "RUNTIME": str(runtime), "TMPDIR": str(self.top / "tmp")},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                code = process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                code = 124
            out.seek(0)
            report = read_tap(code, out.read())
        self.clear()
        return report

    def clear(self) -> None:
        """Delete the containers that a program left, and its cgroups."""
        state = self.top / "state"
        for id in os.listdir(state) if state.is_dir() else []:
            subprocess.run(
                [*self.command, "--root", str(state), "delete", "--force", id], capture_output=True, timeout=30
            )
        for base, directories, _ in list(os.walk("/sys/fs/cgroup", topdown=False)):
            for name in set(directories) & set(CGROUPS):
                with contextlib.suppress(OSError):
                    os.rmdir(Path(base) / name)
