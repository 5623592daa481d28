"""Bring a checkout to the point where it runs, and do nothing when it already does.

Law: the standard library only (this runs before anything is installed), nothing outside the checkout except
Debian packages and Rust targets, each step idempotent. A step is skipped when the hash of what it depends on
equals the one recorded when it last succeeded, so that a second call costs a few directory walks.

    python3 packaging/prepare.py run      what `make run` needs
    python3 packaging/prepare.py check    and the linters, type checker and the second architecture
    python3 packaging/prepare.py test     and the peers and languages that the tests drive
    python3 packaging/prepare.py soak     the same, and the fuzz targets
    python3 packaging/prepare.py judge    what `test` needs, and the machine in software that `make judge` boots
"""

from __future__ import annotations

import compileall
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
VENV = TOP / ".venv"
STAMPS = VENV / ".stockade"
PROGRAMS = (
    "stockade",
    "stockade-oci",
    "containerd-shim-stockade-v2",
    "stockade-layer",
    "stockade-logs",
    "stockade-fetch",
    "stockade-net",
    "stockade-websocket",
    "stockade-init",
)
OLDEST_PYTHON = (3, 11)
OLDEST_RUST = (1, 88)  # let chains
SELF_RENEWING_GO = (1, 21)  # from here on it fetches the version that a module asks for
GO = "1.26.6"  # what containerd 2.4 asks for
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}  # Go's words
# Compiler and C headers of the other machine that `make check` looks at, in Debian's words.
CROSS = {"x86_64": ("aarch64-linux-gnu", "arm64"), "aarch64": ("x86-64-linux-gnu", "amd64")}
APT = ["apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"]

OTHER_TRIPLET, OTHER_ARCHITECTURE = CROSS.get(platform.machine(), CROSS["x86_64"])

# A dependency carries its reason.
PACKAGES = {
    "run": {
        "gcc": "links the Rust programs",
        "libc6-dev": "start-up objects for the linker, also of build scripts",
        "musl-tools": "compiles the C of static dependencies against musl",
        "nftables": "nft: the one table of networks",
        "uidmap": "newuidmap: an ordinary user's containers use the ranges of /etc/subuid",
    },
    "check": {
        f"gcc-{OTHER_TRIPLET}": "compiles the C of dependencies for the second architecture",
        f"libc6-dev-{OTHER_ARCHITECTURE}-cross": "the headers for that",
    },
    "test": {
        "busybox-static": "a root file system in one file",
        "crun": "peer, and oracle of the command's words",
        "runc": "peer, and oracle of the command's words",
        "containerd": "drives the shim and the command",
        "docker.io": "drives the command by --runtime",
        "podman": "drives the command by --runtime",
        "iproute2": "private network namespaces for the daemons under test",
        "libseccomp-dev": "oracle of the filter compiler",
        "skopeo": "reads the archives of images that we write",
        "docker-registry": "serves the blobs that are fetched and pushed",
        "openssl": "certificates and tokens of registries under test",
        "iperf3": "what passes through a network, in the measurements",
        "umoci": "unpacks the OCI layouts that we write",
        "libcap2-bin": "setcap: files with capabilities for the tests of escapes",
        "attr": "setfattr: layers with extended attributes",
        "acl": "setfacl: layers with access control lists",
        "zstd": "compresses layers",
        "strace": "counts system calls of a start",
        "procps": "ps: what the command, runc and docker ask for a container's processes",
        "golang-go": "builds other people's validation programs; fetches a newer Go for that",
    },
    "soak": {"g++": "compiles libFuzzer"},
    "judge": {
        "qemu-system-x86": "boots hosts with other cgroups and AppArmor, in software",
        "curl": "asks what is published",
        "dbus": "firewalld is asked by it",
        "firewalld": "a neighbour that loads its rules anew",
        "iptables": "what ufw and Docker speak to the kernel by",
        "ufw": "a neighbour that loads its rules anew",
    },
}


LEVELS = {
    "run": ["run"],
    "check": ["run", "check"],
    "test": ["run", "test"],
    "soak": ["run", "test", "soak"],
    "judge": ["run", "test", "judge"],
}


class Refusal(Exception):
    """What is missing and cannot be helped from here; the text is for a person."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to bring about: its name, what it depends on, and how."""

    name: str
    inputs: str

    def done(self) -> bool:
        stamp = STAMPS / self.name
        return stamp.is_file() and stamp.read_text() == self.inputs

    def record(self) -> None:
        STAMPS.mkdir(parents=True, exist_ok=True)
        fresh = STAMPS / f".{self.name}.new"
        fresh.write_text(self.inputs)
        fresh.rename(STAMPS / self.name)


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


@contextlib.contextmanager
def progress(what: str) -> Iterator[None]:
    say(f"{what} …")
    begun = time.monotonic()
    yield
    say(f"{what}: done in {time.monotonic() - begun:.1f} s")


def call(*command: str | Path, env: dict[str, str] | None = None, quiet: bool = False) -> None:
    """Run a command to its end, its output in view; a failure is a refusal that names it."""
    words = [str(word) for word in command]
    sink = subprocess.DEVNULL if quiet else None
    try:
        status = subprocess.run(words, cwd=TOP, env=env, stdin=subprocess.DEVNULL, stdout=sink, check=False).returncode
    except FileNotFoundError:
        raise Refusal(f"`{words[0]}` is not installed") from None
    if status != 0:
        raise Refusal(f"`{' '.join(words)}` failed with status {status}")


def answer(*command: str) -> str | None:
    """What a command prints, or None when it is absent or fails."""
    try:
        done = subprocess.run(command, cwd=TOP, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def digest(paths: Iterable[Path], *words: str) -> str:
    """One hash over words and over the names and contents of files and trees."""
    total = hashlib.sha256("\0".join(words).encode())
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            total.update(str(file.relative_to(TOP)).encode())
            total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


# Debian packages -----------------------------------------------------------------------------------------------


def absent(packages: Iterable[str]) -> list[str]:
    """Those of the packages that dpkg does not have, installed or provided."""
    wanted = list(packages)
    listing = answer("dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Provides}\n") or ""
    have: set[str] = set()
    for line in listing.splitlines():
        status, _, names = line.partition(" ")
        if status == "installed":
            have.update(name.strip().split(" ")[0] for name in names.replace(",", " ").split())
    return [name for name in wanted if name not in have]


def as_root(*command: str) -> list[str]:
    if os.geteuid() == 0:
        return list(command)
    if shutil.which("sudo") and (sys.stdin.isatty() or answer("sudo", "-n", "true") is not None):
        return ["sudo", *command]
    raise Refusal(f"not root, and sudo does not answer\nhint: have an administrator run `{' '.join(command)}`")


@contextlib.contextmanager
def services_held() -> Iterator[None]:
    """Keep apt from starting the daemons that packages bring: the tests start their own, in private."""
    policy = Path("/usr/sbin/policy-rc.d")
    if os.geteuid() != 0 or policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)


def debian(level: str, packages: dict[str, str]) -> None:
    missing = absent(packages)
    if level == "run" and answer(sys.executable, "-c", "import ensurepip") is None:
        missing.append("python3-venv")
    if shutil.which("go"):  # any Go will do, also one that dpkg does not know
        missing = [name for name in missing if name != "golang-go"]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        reasons = "\n".join(f"  {name}: {packages.get(name, 'virtual environments')}" for name in missing)
        raise Refusal(f"this is no Debian; install what these Debian packages hold, then try again:\n{reasons}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = as_root(*APT, "install", "-y", "--no-install-recommends", *missing)
    with progress(f"Debian packages {' '.join(missing)}"), services_held():
        call(*as_root(*APT, "update"), env=environment, quiet=True)
        call(*install, env=environment, quiet=True)


# Rust ----------------------------------------------------------------------------------------------------------


def version_of(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(" ")[1].split("-", maxsplit=1)[0].split(".")[:2])


def rust_target() -> str:
    """The static target of this machine: musl's where rustup has it, else glibc's."""
    said, wanted = answer("rustc", "--version", "--verbose"), ".".join(map(str, OLDEST_RUST))
    if said is None or shutil.which("cargo") is None:
        raise Refusal(f"there is no Rust\nhint: install Rust {wanted} or newer (rustup), and have cargo in PATH")
    if version_of(said) < OLDEST_RUST:
        raise Refusal(f"{said.splitlines()[0]} is too old\nhint: `rustup update` brings {wanted} or newer")
    musl = f"{platform.machine()}-unknown-linux-musl"
    if has_target(musl):
        return musl
    say(f"rustup has no {musl} here: the programs are linked statically against glibc (three times the memory)")
    return f"{platform.machine()}-unknown-linux-gnu"


def has_target(target: str) -> bool:
    """Whether the compiler has a target's standard library, after asking rustup for it once."""
    found = (Path(answer("rustc", "--print", "sysroot") or "/") / "lib/rustlib" / target / "lib").is_dir()
    return found or answer("rustup", "target", "add", target) is not None


def build(target: str) -> None:
    sources = [TOP / name for name in ("crates", ".cargo", "Cargo.toml", "Cargo.lock")]
    step = Step("build", digest(sources, target, answer("rustc", "--version") or ""))
    installed = [VENV / "bin" / name for name in PROGRAMS]
    if step.done() and all(path.is_file() for path in installed):
        return
    environment = dict(os.environ)
    if target.endswith("-gnu"):
        key = f"CARGO_TARGET_{target.upper().replace('-', '_')}_RUSTFLAGS"
        environment[key] = "-C target-feature=+crt-static -C relocation-model=static"
    with progress("the Rust programs, release build"):
        call("cargo", "build", "--release", "--locked", "-p", "stockade-bins", "--target", target, env=environment)
    output = Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target")) / target / "release"
    for path in installed:
        place(output / path.name, path)
    (STAMPS / "target").write_text(target)
    step.record()


def fuzz() -> None:
    """The targets of fuzz/, by the stable compiler: coverage is a pass of LLVM's."""
    sources = [TOP / "crates", *sorted((TOP / "fuzz").glob("Cargo.*")), TOP / "fuzz" / "fuzz_targets"]
    step = Step("fuzz", digest(sources, answer("rustc", "--version") or ""))
    output = TOP / "target" / "fuzz"
    if step.done() and output.is_dir():
        return
    flags = [
        "-Cpasses=sancov-module", "-Cllvm-args=-sanitizer-coverage-level=4",
        "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters", "-Cllvm-args=-sanitizer-coverage-pc-table",
        "-Ccodegen-units=1", "-Cdebug-assertions", "-Coverflow-checks",
    ]  # fmt: skip
    target = f"{platform.machine()}-unknown-linux-gnu"  # named, so that the flags are not those of build scripts too
    with progress("the fuzz targets"):
        call(
            "cargo", "build", "--release", "--locked", "--manifest-path", TOP / "fuzz" / "Cargo.toml",
            "--target", target, "--target-dir", output, env={**os.environ, "RUSTFLAGS": " ".join(flags)},
        )  # fmt: skip
    step.record()


def place(source: Path, destination: Path) -> None:
    """Replace a program at once: one that runs keeps its old file."""
    fresh = destination.with_name(f".{destination.name}.new")
    shutil.copy2(source, fresh)
    fresh.rename(destination)


# Python --------------------------------------------------------------------------------------------------------


def environment(files: list[Path]) -> None:
    """The virtual environment with the pinned packages, each checked by its hash."""
    python = VENV / "bin" / "python"
    base = Step("venv", digest([], sys.version, str(VENV)))
    if not (base.done() and python.exists()):
        with progress(f"virtual environment for Python {platform.python_version()}"):
            call(sys.executable, "-m", "venv", "--clear", VENV)
        base.record()
    for file in files:
        step = Step(file.stem, digest([file], base.inputs))
        if not step.done():
            with progress(f"Python packages of {file.relative_to(TOP)}"):
                call(
                    python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "-r", file
                )
            step.record()


def development_form() -> None:
    """Make the checkout's own package importable, and its command callable, without a compiler or a copy.

    The byte code is written here, as pip does when it installs: where Python is told to write none
    (PYTHONDONTWRITEBYTECODE), each start would compile the package anew.
    """
    compileall.compile_dir(TOP / "src" / "stockade", quiet=2)
    script = TOP / "packaging/wheel-data/scripts/stockade-cli"
    step = Step("package", digest([script], str(TOP)))
    command = VENV / "bin" / "stockade-cli"
    if step.done() and command.is_file():
        return
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (VENV / "lib" / version / "site-packages" / "stockade.pth").write_text(f"{TOP / 'src'}\n")
    text = script.read_text().replace("#!python", f"#!{VENV / 'bin' / 'python'}", 1)
    fresh = command.with_name(".stockade-cli.new")
    fresh.write_text(text)
    fresh.chmod(0o755)
    fresh.rename(command)
    step.record()


# Go ------------------------------------------------------------------------------------------------------------


def go() -> None:
    """A Go that builds today's modules: the machine's, or one that Debian 12's 1.19 fetches as a module.

    The checksum database vouches for it, as for any module; the programs of a module come without their x bits.
    """
    said = re.search(r"go(\d+)\.(\d+)", answer("go", "env", "GOVERSION") or "")
    own = VENV / "bin" / "go"
    if said is None:
        raise Refusal("`go` does not answer")
    if (int(said[1]), int(said[2])) >= SELF_RENEWING_GO:
        return
    step = Step("go", GO)
    if step.done() and own.exists():
        return
    module = f"golang.org/toolchain@v0.0.1-go{GO}.linux-{MACHINES[platform.machine()]}"
    with progress(f"Go {GO}"):
        cache = {**os.environ, "GOMODCACHE": str(TOP / "build" / "go"), "GOFLAGS": "-modcacherw"}
        done = subprocess.run(["go", "mod", "download", "-json", module], cwd=TOP, env=cache, stdout=subprocess.PIPE)
        if done.returncode != 0:
            raise Refusal(f"`go mod download {module}` failed with status {done.returncode}")
        tree = Path(json.loads(done.stdout)["Dir"])
        for program in (*tree.glob("bin/*"), *tree.glob("pkg/tool/*/*")):
            program.chmod(0o755)
        own.unlink(missing_ok=True)
        own.symlink_to(tree / "bin" / "go")
    step.record()


# The door ------------------------------------------------------------------------------------------------------


def components(target_machine: str) -> None:
    """What only `make check` needs of Rust; a missing second architecture is said by the check itself."""
    for tool, component in (("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")):
        if shutil.which(tool) is None or answer(tool, "--version") is None:
            with progress(f"rustup component {component}"):
                call("rustup", "component", "add", component)
    other = "aarch64" if target_machine == "x86_64" else "x86_64"
    known = has_target(f"{other}-unknown-linux-musl")
    (STAMPS / "other").write_text(f"{other}-unknown-linux-musl" if known else "")


def prepare(level: str) -> None:
    if sys.version_info < OLDEST_PYTHON:
        raise Refusal(f"Python {platform.python_version()} is too old: 3.11 is the oldest that works")
    for name in LEVELS[level]:
        debian(name, PACKAGES[name])
    target = rust_target()
    needed = {"run": ["requirements.txt"]}.get(level, ["requirements.txt", "requirements-dev.txt"])
    environment([TOP / "packaging" / name for name in needed])
    development_form()
    build(target)
    if level == "check":
        components(platform.machine())
    if "test" in LEVELS[level]:
        go()
    if level == "soak":
        fuzz()


def main() -> int:
    level = sys.argv[1] if len(sys.argv) == 2 else ""
    if level not in LEVELS:
        print(f"usage: prepare.py {' | '.join(LEVELS)}", file=sys.stderr)
        return 2
    begun = time.monotonic()
    (TOP / "build").mkdir(exist_ok=True)
    with (TOP / "build" / ".prepare.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            prepare(level)
        except Refusal as refusal:
            print(f"setup: {refusal}", file=sys.stderr)
            return 1
    say(f"ready in {time.monotonic() - begun:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
