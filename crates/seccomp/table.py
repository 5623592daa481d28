"""Print src/table.rs: the system call numbers of each architecture, from the kernel's own user-space headers.

    python3 table.py ROOT > src/table.rs

ROOT holds the unpacked Debian packages linux-libc-dev and linux-libc-dev-{armhf,arm64,riscv64}-cross; only facts
(names and numbers) are read. Calls newer than those headers stand in NEWER: since Linux 5.1 a new call has one number
everywhere.
"""

import re
import subprocess
import sys
from pathlib import Path

HEADERS = {
    "x86_64": ("include", "asm/unistd_64.h"),
    "x32": ("include", "asm/unistd_x32.h"),
    "x86": ("include", "asm/unistd_32.h"),
    "arm": ("arm-linux-gnueabihf/include", "asm/unistd.h"),
    "aarch64": ("aarch64-linux-gnu/include", "asm/unistd.h"),
    "riscv64": ("riscv64-linux-gnu/include", "asm/unistd.h"),
}
NEWER = {
    "cachestat": 451, "fchmodat2": 452, "map_shadow_stack": 453, "futex_wake": 454, "futex_wait": 455,
    "futex_requeue": 456, "statmount": 457, "listmount": 458, "lsm_get_self_attr": 459, "lsm_set_self_attr": 460,
    "lsm_list_modules": 461,
    "mseal": 462, "setxattrat": 463, "getxattrat": 464, "listxattrat": 465, "removexattrat": 466, "open_tree_attr": 467,
    "file_getattr": 468, "file_setattr": 469,
}  # fmt: skip
ONLY_THERE = {"x86_64": {"uretprobe": 335, "uprobe": 336}, "riscv64": {"riscv_hwprobe": 258}}
X32_BIT = 0x4000_0000
ARM_PRIVATE = 0xF_0000
NO_CALLS = {"syscalls", "arch_specific_syscall", "SYSCALL_MASK", "BASE", "OABI_SYSCALL_BASE", "SYSCALL_BASE"}


def numbers(root: Path, arch: str) -> dict[str, int]:
    """Preprocess the header of `arch` and evaluate every `__NR_` in it."""
    folder, header = HEADERS[arch]
    where = root / folder
    flags = ["-D__ILP32__"] if arch == "x32" else []
    includes = [f"-I{where}", f"-I{where}/x86_64-linux-gnu"]
    command = ["cpp", "-nostdinc", "-P", "-dM", *flags, *includes, "-include", header, "/dev/null"]
    if arch in ("arm", "aarch64", "riscv64"):
        command += ["-U__x86_64__", "-U__i386__", "-D__ARM_EABI__"]
        command += ["-D__LP64__"] if arch != "arm" else ["-U__LP64__"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    defines = dict(re.findall(r"^#define (__(?:ARM_)?NR\w+|__X32_SYSCALL_BIT) (.+)$", out, re.M))
    found = {}
    for key, value in defines.items():
        text = value
        while names := re.findall(r"__\w+", text):
            for name in names:
                text = text.replace(name, defines.get(name, "0"))
        name = re.sub(r"^__(ARM_)?NR_", "", key)
        if name.startswith("__") or name in NO_CALLS:  # __NR3264_… are helpers of the generic header
            continue
        terms = re.findall(r"0x[0-9a-fA-F]+|\d+", text)  # a number, or a sum of a base and one
        found[name] = sum(int(term, 0) for term in terms) & ~X32_BIT
    return found | NEWER | ONLY_THERE.get(arch, {})


def cell(number: int | None) -> str:
    if number is None:
        return "X"
    return str(number if number < ARM_PRIVATE else 0xF000 | (number & 0xFF))


def main() -> None:
    root = Path(sys.argv[1])
    tables = {arch: numbers(root, arch) for arch in HEADERS}
    names = sorted(set().union(*tables.values()))
    print("//! System call numbers up to Linux 6.18: x86_64, x32 (without its bit), x86, arm, aarch64, riscv64.")
    print("//! `X`: no such call there. Arm's private calls 0xf00NN stand as 0xf0NN, so that a cell takes two bytes.\n")
    print("const X: u16 = u16::MAX;\n\n#[rustfmt::skip]")
    print(f"pub(crate) static CALLS: [(&str, [u16; 6]); {len(names)}] = [")
    for name in names:
        print(f'    ("{name}", [{", ".join(cell(tables[arch].get(name)) for arch in HEADERS)}]),')
    print("];")


main()
