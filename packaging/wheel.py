"""Build the one wheel, dist/stockade-*.whl: the static programs, the Python package and its command.

The programs need no C library of the machine, so that the wheel fits glibc and musl systems alike and says so in its
tags. It depends on nothing else.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
DIST = TOP / "dist"
# What Rust's own x86-64 and aarch64 targets ask of a kernel's C library of that age is more than static programs do.
TAGS = ("manylinux_2_17", "musllinux_1_1")


def build(target: str) -> Path:
    if not target.endswith("-musl"):
        print(f"wheel: {target} is glibc's; built for this machine's kind only", file=sys.stderr)
    shutil.rmtree(DIST, ignore_errors=True)
    tags = TAGS if target.endswith("-musl") else ("linux",)
    flags = [word for tag in tags for word in ("--compatibility", tag)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(
        [Path(sys.executable).parent / "maturin", "build", "--release", "--locked", "--target", target, "--quiet",
         "--auditwheel", "skip", "--out", DIST, *flags],
        cwd=TOP, env=environment, stdin=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    [made] = DIST.glob("*.whl")
    return made


def main() -> int:
    stamp = TOP / ".venv" / ".stockade" / "target"
    target = stamp.read_text() if stamp.is_file() else f"{platform.machine()}-unknown-linux-musl"
    made = build(target)
    print(f"wheel: {made.relative_to(TOP)}, {made.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
