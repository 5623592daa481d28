"""A cell for other people's daemons: mount, network and pid namespaces of its own, whose end takes all along."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

APPLETS = (
    "sh sleep cat echo true false id ls ps kill env pwd tty stty test mkdir rm yes head dd seq wc printf mount hostname"
).split()
# Reaps whoever loses his parent, for it is process 1 of the cell.
INIT = "import signal, time\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: time.sleep(3600)"


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Cell:
    """`tag` names the parent of every cgroup that is made inside."""

    top: Path
    tag: str
    pid: int

    def command(self, *args: str | Path) -> list[str]:
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--net", "--pid", "--wdns=/", "--"]
        return [*enter, *map(str, args)]

    def __call__(self, *args: str | Path, stdin: str | None = None, timeout: float = 60) -> Done:
        """Call a program inside; output goes through files, for daemons keep what they inherit."""
        number = secrets.token_hex(4)
        with open(self.top / f"out{number}", "w+b") as out, open(self.top / f"err{number}", "w+b") as err:
            given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin.encode()}
            done = subprocess.run(self.command(*args), stdout=out, stderr=err, timeout=timeout, **given)
            out.seek(0), err.seek(0)
            return Done(done.returncode, out.read().decode(errors="replace"), err.read().decode(errors="replace"))

    def ok(self, *args: str | Path, stdin: str | None = None) -> str:
        done = self(*args, stdin=stdin)
        assert done.code == 0, f"{args}: {done}"
        return done.out

    def daemon(self, *args: str | Path) -> subprocess.Popen[bytes]:
        with open(self.top / f"{Path(args[0]).name}.log", "wb") as log:
            return subprocess.Popen(
                self.command(*args), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def rootfs(self) -> Path:
        """A busybox root, made once."""
        root = self.top / "rootfs"
        if not root.exists():
            (root / "bin").mkdir(parents=True)
            for directory in ("proc", "dev", "tmp", "sys", "etc", "run"):
                (root / directory).mkdir()
            shutil.copy2("/bin/busybox", root / "bin/busybox")
            for applet in APPLETS:
                (root / "bin" / applet).symlink_to("busybox")
        return root

    def archive(self) -> Path:
        """The same as a tar archive."""
        path = self.top / "rootfs.tar"
        if not path.exists():
            with tarfile.open(path, "w") as tar:
                tar.add(self.rootfs(), arcname=".")
        return path


@contextlib.contextmanager
def cell(under: str | None = None) -> Iterator[Cell]:
    """Make one; its files lie in a directory below `under`, or where temporary files do."""
    tag = f"peer{os.getpid():x}{secrets.token_hex(3)}"
    top = Path(tempfile.mkdtemp(prefix=f"stockade-{tag}-", dir=under))
    top.chmod(0o755)
    unshare = [
        "unshare",
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--propagation",
        "private",
    ]
    init = subprocess.Popen(
        [*unshare, sys.executable, "-c", INIT],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        pid = inner(init.pid)
        made = Cell(top, tag, pid)
        made.ok("ip", "link", "set", "lo", "up")
        yield made
    finally:
        init.send_signal(signal.SIGKILL)
        init.wait()
        remove_cgroups(tag)
        shutil.rmtree(top, ignore_errors=True)
        left = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if tag in line]
        assert not left, f"mounts left behind: {left}"


def inner(outer: int) -> int:
    """The host's pid of the cell's process 1."""
    children = Path(f"/proc/{outer}/task/{outer}/children")
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        found = children.read_text().split()
        if found and b"python" in Path(f"/proc/{found[0]}/cmdline").read_bytes():
            return int(found[0])
        time.sleep(0.01)
    raise AssertionError("the cell's first process does not appear")


def remove_cgroups(tag: str) -> None:
    """Every cgroup below one that carries the tag, deepest first, once its processes are gone."""
    deadline = time.monotonic() + 5
    while True:
        found = [Path(base) for base, _, _ in os.walk("/sys/fs/cgroup", topdown=False) if tag in base]
        for path in found:
            with contextlib.suppress(OSError):
                path.rmdir()
        if not found or time.monotonic() > deadline:
            return
        time.sleep(0.02)


def wait_for_size(size: str) -> str:
    """Typed at a shell: it says the size once the terminal has it; clients tell it when the program runs already."""
    # Quoted so that the terminal's echo of this line is not taken for the answer.
    quoted = '""'.join(size)
    return f'until [ "$(stty size)" = "{quoted}" ]; do sleep 0.1; done; stty size\r'
