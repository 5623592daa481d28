"""A machine in software (QEMU without KVM), which boots a first root file system and speaks over its serial line."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from guest.archive import Archive
from guest.kernel import kernel

BOUND = 280.0
"""Seconds after which a guest is stopped that nobody gave longer."""
BUSYBOX = Path("/bin/busybox")
COMMANDS = (
    "cat chmod chown cp dd dmesg echo env false grep head id insmod ls mkdir mount mv poweroff ps rm rmdir sed seq sh "
    "sleep sort su switch_root sync tail test touch true umount uname wc"
).split()
RESULT = re.compile(r"^GUEST (\S+) (\d+)\r?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Report:
    """What a guest said until it switched itself off."""

    console: str
    seconds: float

    def status(self, step: str) -> int | None:
        """The exit status of a step; None when the guest never came to its end."""
        found = dict(RESULT.findall(self.console))
        return int(found[step]) if step in found else None

    def said(self, step: str) -> str:
        """The console between the beginning and the end of a step."""
        begun = self.console.rpartition(f"GUEST {step} begins")[2]
        return re.split(rf"^GUEST {re.escape(step)} \d", begun, maxsplit=1, flags=re.MULTILINE)[0]


def missing() -> str:
    """Why no guest can be booted here; empty when one can."""
    for program in ("qemu-system-x86_64", "dpkg-deb", "apt-get"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if not BUSYBOX.is_file() or b"/lib64/ld-linux" in BUSYBOX.read_bytes():
        return f"{BUSYBOX} is not there or not static (package busybox-static)"
    return ""


def base() -> Archive:
    """An archive with the init program, busybox and the kernel's modules."""
    archive = Archive()
    archive.file("init", Path(__file__).with_name("init.sh").read_bytes(), 0o755)
    archive.program("bin/busybox", BUSYBOX)
    for command in COMMANDS:
        archive.link(f"bin/{command}", "busybox")
    for number, module in enumerate(kernel().modules):
        archive.file(f"modules/{number:02}-{module.name}", module.read_bytes())
    for folder in ("proc", "sys", "dev", "tmp", "run", "root", "etc", "steps"):
        archive.folder(folder)
    return archive


def boot(archive: Archive, bound: float = BOUND, disk: Path | None = None) -> Report:
    """Boot, run every program in the folder `steps` in the order of their names, switch off.

    Args:
        bound: seconds after which it is stopped.
        disk: an image of the root file system to go on with, and to write into; none: what the archive has.
    """
    with tempfile.TemporaryDirectory(prefix="stockade-guest-") as folder:
        root = Path(folder, "root.cpio")
        root.write_bytes(archive.finish())
        command = [
            "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "1536", "-nographic", "-no-reboot",
            "-nodefaults", "-serial", "stdio", "-net", "none", "-kernel", str(kernel().image), "-initrd", str(root),
            "-append", "console=ttyS0 quiet panic=-1 oops=panic no_timer_check cgroup_no_v1=all",
        ]  # fmt: skip
        if disk is not None:
            command += ["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"]
        began = time.monotonic()
        output = Path(folder, "console")
        with output.open("wb") as file:
            machine = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
            try:
                machine.wait(bound)
            except subprocess.TimeoutExpired:
                pass  # what it said until then is the report
            finally:
                machine.kill()
                machine.wait()
        return Report(output.read_text(errors="replace").replace("\r", ""), time.monotonic() - began)
